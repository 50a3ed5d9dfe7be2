"""What is installed is this checkout, and the namespace has no owner."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path


def ours() -> list[metadata.Distribution]:
    names = [(d, d.name.lower().replace("_", "-")) for d in metadata.distributions()]
    return [d for d, name in names if name == "isage" or name.startswith("isage-")]


def test_every_isage_distribution_came_from_a_file_url() -> None:
    found = ours()
    assert {d.name for d in found} >= {
        "isage",
        "isage-common",
        "isage-kernel",
        "isage-middleware",
        "isage-apps",
    }
    for distribution in found:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}").get("url", "")
        assert origin.startswith("file://"), f"{distribution.name} came from {origin or 'an index'}"


def test_no_distribution_owns_the_namespace(root: Path) -> None:
    strays = [path for path in root.glob("**/sage/__init__.py") if ".venv" not in path.parts]
    assert strays == []
    import sage

    assert getattr(sage, "__file__", None) is None, "a stray sage/__init__.py is on sys.path"
    assert not (root / "sage").exists(), "a folder `sage` in the root comes first in sage.__path__"


def test_import_sage_works_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sage; print('ok')"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_the_check_of_the_quickstart_agrees(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(root / "tools/verify_install.py")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"SAGE {metadata.version('isage')} on Python ")


def test_the_check_of_the_quickstart_sees_a_stranger(root: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "isage_common-9.9.9.dist-info"
    stranger.mkdir()
    (stranger / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: isage-common\nVersion: 9.9.9\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv=['v']; import runpy; "
    code += f"runpy.run_path({str(root / 'tools/verify_install.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "isage-common 9.9.9 came from an index, not this checkout" in done.stderr
