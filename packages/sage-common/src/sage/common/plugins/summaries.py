"""One-line descriptions of plugins that are not imported: read from their source text.

Predecessor: ``sage.common.plugins.scan``.
"""

from __future__ import annotations

import ast
import functools
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from sage.common.plugins.scan import PluginEntry


def summary(entry: PluginEntry) -> str:
    """First line of the docstring of what ``entry`` names, or ``""`` when it is not to be found.

    Follows re-exports (``from x import Name``) and runs no code of the plugin, not even that of the
    packages around it.
    """
    return _summary(entry.module, entry.attr.partition(".")[0], 4)


def _summary(module: str, name: str, depth: int) -> str:
    tree = _tree(module)
    if tree is None or depth == 0:
        return ""
    if not name:
        return _first_line(tree)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == name
        ):
            return _first_line(node)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _summary(node.module, alias.name, depth - 1)
    # A name that is assigned, such as ``app = typer.Typer()``: the module speaks for it.
    return _first_line(tree)


def _first_line(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


@functools.lru_cache(maxsize=256)
def _tree(module: str) -> ast.Module | None:
    path = module_file(module)
    if path is None or path.suffix != ".py":
        return None
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def module_file(module: str) -> Path | None:
    """The file of a module, found without importing its parents; ``None`` if there is none."""
    loaded = sys.modules.get(module)
    if loaded is not None and getattr(loaded, "__file__", None):
        return Path(str(loaded.__file__))
    search: list[str] | None = None
    spec = None
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:end]), search)
        if spec is None:
            return None
        # A namespace portion's location is computed from its parent, which is not imported.
        locations = spec.submodule_search_locations
        search = list(getattr(locations, "_path", locations)) if locations is not None else []
    return Path(spec.origin) if spec is not None and spec.origin else None
