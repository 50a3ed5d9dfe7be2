import os
import stat
import sys

import pytest

from sage.common import paths
from sage.common.errors import ConfigError


def test_sage_home_holds_everything(monkeypatch, tmp_path):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    folders = [
        paths.config_dir(),
        paths.data_dir(),
        paths.cache_dir(),
        paths.state_dir(),
        paths.log_dir(),
        paths.runtime_dir(),
    ]
    assert all(folder.parent == tmp_path / "home" for folder in folders)
    assert len(set(folders)) == 6
    assert not (tmp_path / "home").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="XDG folders")
def test_platform_folders(monkeypatch, tmp_path):
    monkeypatch.delenv("SAGE_HOME", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert paths.config_dir() == tmp_path / "c" / "sage"
    assert paths.runtime_dir() == tmp_path / "s" / "sage" / "run"


def test_folders_are_private(tmp_path):
    folder = paths.ensure_dir(tmp_path / "a")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    assert stat.S_IMODE(paths.ensure_dir(folder).stat().st_mode) == 0o755
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make the folder"):
        paths.ensure_dir(tmp_path / "file")


def test_secrets_are_private_and_whole(tmp_path):
    old = os.umask(0)
    try:
        file = paths.write_secret(tmp_path / "keys" / "token", "first")
        paths.write_secret(file, "second")
    finally:
        os.umask(old)
    assert file.read_text() == "second"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [p.name for p in file.parent.iterdir()] == ["token"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    file = tmp_path / "rows"
    file.write_text("old")
    with pytest.raises(TypeError), paths.replacing(file) as stream:
        stream.writelines([b"half", "no bytes"])
    assert file.read_text() == "old"
    with paths.replacing(file) as stream:
        stream.write(b"new")
        stream.flush()
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["rows"]


def test_within(tmp_path):
    (tmp_path / "base").mkdir()
    base = tmp_path / "base"
    assert paths.within(base, "a/../b") == base / "b"
    (base / "link").symlink_to(tmp_path)
    for bad in ("../x", "/etc/passwd", "link/x"):
        with pytest.raises(ConfigError, match="leads outside"):
            paths.within(base, bad)
