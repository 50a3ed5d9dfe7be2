"""What the installed distributions offer, read from their metadata without importing any of them.

The result is kept until ``sys.path`` changes or ``refresh()`` is called. What is wrong is part of
the result: a plugin whose entry cannot be read, or whose name another distribution has already
taken, is a ``PluginProblem`` that names the distribution, and is left out.

Predecessor: ``sage.common.plugins.groups``; successor: ``sage.common.plugins.registry``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
import sys
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from sage.common.plugins.groups import GROUPS, PREFIX

#: Our own distributions: they win a name against any other.
BUILT_IN = frozenset(
    f"isage{part}"
    for part in ("", "-common", "-kernel", "-middleware", "-apps", "-dashboard", "-dev")
)

_TARGET = re.compile(r"(?P<module>\w+(?:\.\w+)*)(?::(?P<attr>\w+(?:\.\w+)*))?(?:\s*\[.*\])?\s*")


class PluginWarning(UserWarning):
    """A plugin is left out; the text names its distribution."""


class PluginEntry(NamedTuple):
    """One registered plugin, not imported.

    Attributes:
        name: The name it is looked up by.
        group: The entry-point group, ``sage.retrievers``.
        module: Module to import.
        attr: What to take from it; ``""`` for the module itself.
        distribution: Who registered it, as the distribution is named.
        version: Version of that distribution.
    """

    name: str
    group: str
    module: str
    attr: str
    distribution: str
    version: str

    @property
    def target(self) -> str:
        """``module:Class``."""
        return f"{self.module}:{self.attr}" if self.attr else self.module

    @property
    def built_in(self) -> bool:
        """Whether it is one of ours."""
        return self.distribution in BUILT_IN


class PluginProblem(NamedTuple):
    """A plugin that was left out.

    Attributes:
        distribution: Who registered it.
        group: The entry-point group, or ``""`` when the whole metadata is unreadable.
        name: Its name, or ``""``.
        message: What is wrong.
    """

    distribution: str
    group: str
    name: str
    message: str

    def warn(self) -> None:
        """Show it as a ``PluginWarning`` (by default Python shows each text once)."""
        warnings.warn(self.message, PluginWarning, stacklevel=3)


class Installed(NamedTuple):
    """The plugins of all distributions.

    Attributes:
        entries: By group, then name, the one that is used.
        shadowed: By group, those whose name another one has taken; reached as ``provider.name``.
        problems: What was left out, in a fixed order.
    """

    entries: dict[str, dict[str, PluginEntry]]
    shadowed: dict[str, list[PluginEntry]]
    problems: tuple[PluginProblem, ...]


def installed() -> Installed:
    """Everything that is registered on the current ``sys.path``."""
    return _scan(tuple(sys.path))


def refresh() -> None:
    """Forget what was read: a distribution was installed or removed since."""
    importlib.invalidate_caches()
    _scan.cache_clear()


def canonical(distribution: str) -> str:
    """A distribution name in its comparable form. Source: PEP 503, "Normalized Names"."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


@functools.lru_cache(maxsize=4)
def _scan(path: tuple[str, ...]) -> Installed:
    problems: list[PluginProblem] = []
    found: list[PluginEntry] = []
    seen: set[str] = set()
    for distribution in _distributions(list(path)):
        name = canonical(distribution.metadata["Name"] or "")
        if name in seen:  # an older copy further down the path
            continue
        seen.add(name)
        found += _entries(distribution, name, problems)
    # Ours first, then by name: the winner must not depend on the order of folders on a disk.
    found.sort(key=lambda e: (e.distribution not in BUILT_IN, e.distribution, e.group, e.name))
    entries: dict[str, dict[str, PluginEntry]] = {group: {} for group in GROUPS}
    shadowed: dict[str, list[PluginEntry]] = {group: [] for group in GROUPS}
    for entry in found:
        winner = entries[entry.group].setdefault(entry.name, entry)
        if winner is entry:
            continue
        shadowed[entry.group].append(entry)
        if entry.distribution == winner.distribution:
            text = f"is registered twice by the distribution {entry.distribution!r}"
            advice = "only the first is used"
        else:
            text = f"of the distribution {entry.distribution!r} is skipped"
            advice = (
                f"{winner.distribution!r} has registered that name already; reach the other as "
                f"{entry.distribution + '.' + entry.name!r}"
            )
        message = f"plugin {entry.name!r} ({entry.group}) {text}: {advice}"
        problems.append(PluginProblem(entry.distribution, entry.group, entry.name, message))
    return Installed(entries, shadowed, tuple(problems))


def _distributions(path: list[str]) -> Iterator[importlib.metadata.Distribution]:
    """Those that mention one of our groups: reading the name of the others would cost the most."""
    marker = f"[{PREFIX}"
    for distribution in importlib.metadata.distributions(path=path):
        text = distribution.read_text("entry_points.txt")
        if text and marker in text:
            yield distribution


def _entries(
    distribution: importlib.metadata.Distribution, name: str, problems: list[PluginProblem]
) -> Iterator[PluginEntry]:
    try:
        points = list(distribution.entry_points)
    except (ValueError, TypeError, AttributeError) as exc:
        message = f"the plugins of the distribution {name!r} are skipped: bad metadata: {exc}"
        problems.append(PluginProblem(name, "", "", message))
        return
    for point in points:
        if not point.group.startswith(PREFIX):
            continue
        target = _TARGET.fullmatch(point.value)
        if point.group not in GROUPS:
            reason = f"there is no group {point.group!r}"
        elif target is None:
            reason = f"{point.value!r} is not a module or module:name"
        else:
            yield PluginEntry(
                name=point.name,
                group=point.group,
                module=target["module"],
                attr=target["attr"] or "",
                distribution=name,
                version=distribution.version,
            )
            continue
        who = f"plugin {point.name!r} ({point.group}) of the distribution {name!r}"
        message = f"{who} is skipped: {reason}"
        problems.append(PluginProblem(name, point.group, point.name, message))
