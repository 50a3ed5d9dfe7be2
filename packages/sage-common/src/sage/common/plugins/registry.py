"""Plugins by name: looked up in metadata, imported when they are first asked for.

Predecessor: ``sage.common.plugins.scan``; successors: the graph builder (``env.map("name")``), the
command line.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator
from typing import Any

from sage.common.errors import PluginError, UnknownNameError
from sage.common.plugins.groups import OPERATOR_GROUPS, group_of, kind_of
from sage.common.plugins.scan import PluginEntry, canonical, installed


class Registry:
    """The plugins of one entry-point group.

    A plugin is named by its entry (``DenseRetriever``, ``acme.Reranker``), by the last part of such
    a name when only one plugin has it, or by ``distribution.name``, which also reaches a plugin
    whose short name another distribution has taken.

    Args:
        group: The group (``sage.retrievers``) or its kind (``retriever``).

    Raises:
        PluginError: There is no such group.
    """

    __slots__ = ("group",)

    def __init__(self, group: str) -> None:
        self.group = group_of(group)

    def names(self) -> list[str]:
        """Names of the plugins, sorted. Those left out are warned of."""
        return [entry.name for entry in self.entries()]

    def entries(self) -> list[PluginEntry]:
        """The plugins, sorted by name, not imported. Those left out are warned of."""
        found = installed()
        for problem in found.problems:
            if problem.group in (self.group, ""):
                problem.warn()
        return sorted(found.entries[self.group].values())

    def __contains__(self, name: str) -> bool:
        return bool(_matches(self.group, name))

    def entry(self, name: str) -> PluginEntry:
        """The entry of a plugin, not imported.

        Raises:
            UnknownNameError: No plugin has that name; the message has the nearest one.
            PluginError: Several have it.
        """
        return _pick(name, [self.group], f"{kind_of(self.group)}")

    def get(self, name: str) -> Any:
        """Import a plugin and return it.

        Raises:
            UnknownNameError: No plugin has that name.
            PluginError: It cannot be imported; the message names its distribution.
        """
        return load_entry(self.entry(name))

    def load_all(self) -> Iterator[tuple[PluginEntry, Any]]:
        """Import every plugin; one that is broken is warned of and left out."""
        for entry in self.entries():
            try:
                loaded = load_entry(entry)
            except PluginError as exc:
                _warn_skipped(entry, exc)
                continue
            yield entry, loaded

    def __repr__(self) -> str:
        return f"Registry({self.group!r})"


def operators(kind: str | None = None) -> list[PluginEntry]:
    """All registered operators, or those of one kind, in the order of a pipeline."""
    groups = OPERATOR_GROUPS if kind is None else (group_of(kind),)
    return [entry for group in groups for entry in Registry(group).entries()]


def find_operator_entry(name: str, *, kind: str | None = None) -> PluginEntry:
    """The entry of an operator of any kind, not imported.

    Args:
        name: A name as ``Registry`` takes it, or ``kind/name``.
        kind: Look only there; needed when operators of two kinds have the same name.

    Raises:
        UnknownNameError: No operator has that name.
        PluginError: Several have it.
    """
    if kind is None and "/" in name:
        kind, _, name = name.partition("/")
    groups = list(OPERATOR_GROUPS) if kind is None else [group_of(kind)]
    return _pick(name, groups, "operator" if kind is None else kind_of(groups[0]))


def find_operator(name: str, *, kind: str | None = None) -> Any:
    """Import the operator that ``find_operator_entry`` finds, usually a class.

    Raises:
        UnknownNameError: No operator has that name.
        PluginError: Several have it, or it cannot be imported.
    """
    return load_entry(find_operator_entry(name, kind=kind))


def load_entry(entry: PluginEntry) -> Any:
    """Import what an entry names.

    Raises:
        PluginError: The import fails or the name is not there; names the distribution.
    """
    place = f"{kind_of(entry.group)} {entry.name!r} of the distribution {entry.distribution!r}"
    try:
        target: Any = importlib.import_module(entry.module)
    except (Exception, SystemExit) as exc:  # a plugin must not end the program
        raise PluginError(
            f"the {place} cannot be imported from {entry.target!r}: {type(exc).__name__}: {exc}",
            distribution=entry.distribution,
            name=entry.name,
            group=entry.group,
        ) from exc
    for part in entry.attr.split(".") if entry.attr else ():
        try:
            target = getattr(target, part)
        except AttributeError as exc:
            raise PluginError(
                f"the {place} is not there: {entry.module!r} has no {entry.attr!r}",
                distribution=entry.distribution,
                name=entry.name,
                group=entry.group,
            ) from exc
    return target


def _warn_skipped(entry: PluginEntry, error: Exception) -> None:
    import warnings  # noqa: PLC0415 - only when something is broken

    from sage.common.plugins.scan import PluginWarning  # noqa: PLC0415

    warnings.warn(f"{error} (skipped)", PluginWarning, stacklevel=3)


def _matches(group: str, name: str) -> list[PluginEntry]:
    found = installed()
    entries = found.entries[group]
    if name in entries:
        return [entries[name]]
    provider, _, short = name.rpartition(".")
    if provider:
        # Longest distribution names may hold dots themselves, hence the last dot.
        everyone = [*entries.values(), *found.shadowed[group]]
        return [e for e in everyone if e.name == short and e.distribution == canonical(provider)]
    return [e for e in entries.values() if e.name.rpartition(".")[2] == name]


def _pick(name: str, groups: list[str], what: str) -> PluginEntry:
    found = [entry for group in groups for entry in _matches(group, name)]
    ours = [entry for entry in found if entry.built_in]
    if len(found) == 1 or len(ours) == 1:
        return (ours or found)[0]
    if found:
        options = ", ".join(f"{kind_of(e.group)}/{e.distribution}.{e.name}" for e in found)
        raise PluginError(f"{name!r} names several plugins: {options}; use one of these names")
    known = sorted({n for group in groups for n in installed().entries[group]})
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5) or [
        n for n in known if n.lower() == name.lower()
    ]
    skipped = [p.message for p in installed().problems if p.name == name and p.group in groups]
    if skipped:
        hint = skipped[0]
    elif near:
        hint = f"did you mean {near[0]!r}?"
    elif known:
        hint = f"known: {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}"
    else:
        hint = "none is installed"
    raise UnknownNameError(f"there is no {what} {name!r}; {hint}", name=name, groups=tuple(groups))
