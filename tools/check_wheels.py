"""Build a wheel of every local distribution and check what is inside.

``python tools/check_wheels.py OUTPUT_DIRECTORY``. A wheel must not hold ``sage/__init__.py`` (it
would hide the other portions of the namespace), must mark each portion as typed, must hold every
module of its sources and nothing else's, and the meta distribution holds no code.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def faults(wheel: Path, source: Path) -> Iterator[str]:
    """Yield what is wrong with ``wheel``, built from the distribution folder ``source``."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    code = {name for name in names if ".dist-info/" not in name}
    if "sage/__init__.py" in code:
        yield "ships sage/__init__.py, which would hide the other portions"
    root = source / "src"
    expected = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for missing in sorted(expected - code):
        yield f"lacks {missing}"
    for portion in sorted({name.split("/")[1] for name in expected if name.startswith("sage/")}):
        if f"sage/{portion}/py.typed" not in code:
            yield f"lacks sage/{portion}/py.typed"
    if not expected and code:
        yield f"is the meta distribution and must be empty, holds {sorted(code)[:3]}"
    for name in sorted(code):
        if name.endswith(".py") and (name.startswith("tests/") or "/tests/" in name):
            yield f"ships a test: {name}"


def main(output: Path) -> int:
    """Build into ``output`` and report; return the exit status."""
    shutil.rmtree(output, ignore_errors=True)
    sources = [path.parent for path in sorted(ROOT.glob("packages/*/pyproject.toml"))]
    sources += [path.parent for path in sorted(ROOT.glob("tools/*/pyproject.toml"))] + [ROOT]
    status = 0
    for source in sources:
        target = output / source.name
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"]
        command += ["--no-build-isolation", "--wheel-dir", str(target), str(source)]
        subprocess.run(command, check=True)
        (wheel,) = target.glob("*.whl")
        found = list(faults(wheel, source))
        for fault in found:
            print(f"fault: {wheel.name} {fault}", file=sys.stderr)
        if not found:
            print(f"{wheel.name}: ok")
        status |= bool(found)
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
