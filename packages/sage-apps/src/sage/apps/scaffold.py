"""``sage app new``: a project that runs and has a test, copied from a template."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from sage.common.errors import ConfigError
from sage.kernel.graph.options import suggest

TEMPLATES = {
    "rag": "questions answered from a folder of documents, and evaluated",
    "pipeline": "a small program with a step of its own",
}
SUFFIX = ".template"
"""Ending of files that tools would otherwise take for the package's own."""
_NAMES = {"gitignore": ".gitignore"}
_PLACEHOLDER = "PROJECT_NAME"


def make_project(target: Path, template: str) -> list[str]:
    """Copy a template; returns the files, relative to ``target``.

    Raises:
        ConfigError: There is no such template, the name cannot be used, or there is something at
            ``target`` already; nothing was written then.
    """
    if template not in TEMPLATES:
        raise ConfigError(
            f"--template {template!r}: there is none of that name{suggest(template, TEMPLATES)} "
            f"(there are {', '.join(TEMPLATES)})"
        )
    name = target.resolve().name
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"{name!r}: a project's name has letters, digits, '-' and '_' only")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{str(target)!r} is there already and not empty; nothing was written")
    written = []
    for relative, source in sorted(_walk(files("sage.apps.templates") / template)):
        path = target / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source.read_text("utf-8").replace(_PLACEHOLDER, name), encoding="utf-8")
        written.append(relative)
    return written


def _walk(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.name == "__pycache__":
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            name = entry.name.removesuffix(SUFFIX)
            yield prefix + _NAMES.get(name, name), entry
