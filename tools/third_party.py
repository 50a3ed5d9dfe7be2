"""Print the third-party requirements that the packages of this repository declare.

``python tools/third_party.py base`` lists what the base install needs; further arguments name
extras of ``isage``. The ``pyproject.toml`` files are the one source: the locks in ``requirements/``
are compiled from this output, and a meta test compares the two.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Installed by pip on its own: its file differs between machines (CPU or GPU), so no hash fits all.
UNLOCKED = frozenset({"torch"})
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?")


def canonical(name: str) -> str:
    """Return ``name`` as indexes compare it (lower case, dashes)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def projects() -> dict[str, dict[str, object]]:
    """Map each local distribution to its ``[project]`` table."""
    files = [ROOT / "pyproject.toml", *sorted(ROOT.glob("packages/*/pyproject.toml"))]
    files += sorted(ROOT.glob("tools/*/pyproject.toml"))
    tables = [tomllib.loads(path.read_text("utf-8"))["project"] for path in files]
    return {canonical(str(table["name"])): table for table in tables}


def third_party(extras: list[str]) -> list[str]:
    """Return the requirements of every local package, and of ``extras`` of ``isage``.

    Raises:
        SystemExit: An extra is not declared.
    """
    local = projects()

    def walk(requirement: str) -> Iterator[str]:
        match = _REQUIREMENT.match(requirement)
        if match is None:
            raise SystemExit(f"cannot read the requirement {requirement!r}")
        name = canonical(match[1])
        if name not in local:
            if name not in UNLOCKED:
                yield requirement
            return
        for extra in filter(None, (part.strip() for part in (match[2] or "").split(","))):
            declared = local[name].get("optional-dependencies", {})
            if not isinstance(declared, dict) or extra not in declared:
                raise SystemExit(f"{name} declares no extra {extra!r}")
            for inner in declared[extra]:
                yield from walk(inner)

    found: set[str] = set()
    for table in local.values():
        for requirement in table.get("dependencies", []):  # type: ignore[attr-defined]
            found.update(walk(requirement))
    for extra in extras:
        found.update(walk(f"isage[{extra}]"))
    return sorted(found, key=str.lower)


if __name__ == "__main__":
    if sys.argv[1:2] != ["base"]:
        raise SystemExit("usage: third_party.py base [EXTRA...]")
    print("\n".join(third_party(sys.argv[2:])))
