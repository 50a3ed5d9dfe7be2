"""What a distribution ships."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

DISTRIBUTIONS = ("sage-common", "sage-kernel", "sage-middleware", "sage-apps")


def test_each_distribution_builds_a_sound_wheel(root: Path, tmp_path: Path) -> None:
    # Holds every module, marks each portion as typed, never sage/__init__.py: the script says so.
    done = subprocess.run(
        [sys.executable, str(root / "tools/check_wheels.py"), str(tmp_path / "wheels")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "fault" not in done.stderr
    built = {path.parent.name: path for path in (tmp_path / "wheels").glob("*/*.whl")}
    assert set(built) >= set(DISTRIBUTIONS)
    with zipfile.ZipFile(built["sage-common"]) as wheel:
        assert "sage/common/errors.py" in wheel.namelist()


def test_the_check_sees_a_stray_namespace_owner(root: Path, tmp_path: Path) -> None:
    code = (
        "import runpy, sys; from pathlib import Path\n"
        "faults = runpy.run_path(sys.argv[1])['faults']\n"
        "print(*faults(Path(sys.argv[2]), Path(sys.argv[3])), sep='\\n')"
    )
    source = tmp_path / "source/src/sage/thing"
    source.mkdir(parents=True)
    (source / "core.py").write_text("")
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        wheel.writestr("sage/__init__.py", "")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            str(root / "tools/check_wheels.py"),
            str(tmp_path / "x.whl"),
            str(tmp_path / "source"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "ships sage/__init__.py, which would hide the other portions",
        "lacks sage/thing/core.py",
        "lacks sage/thing/py.typed",
    ]
