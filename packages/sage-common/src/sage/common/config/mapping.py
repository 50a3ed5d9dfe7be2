"""What ``load_config`` returns: a ``dict`` that remembers where its values were written.

Sections of it are passed around as plain mappings (``config["retriever"]``), and an error in one of
them still names the file and the whole path.

Predecessor: ``sage.common.config.reading``; successor: ``sage.common.config.structure``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

_PLAIN_KEY = re.compile(r"[\w-]+")

Path = tuple[Any, ...]


def format_path(path: Iterable[Any]) -> str:
    """``("retriever", "filters", 2, "name")`` → ``retriever.filters[2].name``."""
    text = ""
    for part in path:
        if isinstance(part, str) and _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text


class ConfigDict(dict[str, Any]):
    """A configuration mapping. Behaves, compares, pickles and dumps as a ``dict``.

    Attributes:
        source: Name of the file as it was given to ``load_config``.
        path: Keys that lead from the top of the file to this mapping.
        origins: Where values came from, by path, when not from ``source`` itself: an included
            file, ``environment variable SAGE_X__Y``, ``arguments`` or ``defaults``. Shared by all
            sections of one file.
    """

    __slots__ = ("origins", "path", "source")

    def __init__(
        self,
        items: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        *,
        source: str = "",
        path: Path = (),
        origins: dict[Path, str] | None = None,
    ) -> None:
        super().__init__(items)
        self.source = source
        self.path = path
        self.origins: dict[Path, str] = {} if origins is None else origins

    def origin(self, *path: Any) -> str:
        """Where the value at ``path`` (relative to this mapping) was written."""
        full = (*self.path, *path)
        for end in range(len(full), 0, -1):
            found = self.origins.get(full[:end])
            if found is not None:
                return found or self.source
        return self.source

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, (dict(self), self.source, self.path, self.origins))


def _restore(
    items: dict[str, Any], source: str, path: Path, origins: dict[Path, str]
) -> ConfigDict:
    return ConfigDict(items, source=source, path=path, origins=origins)


def _represent(dumper: Any, data: ConfigDict) -> Any:
    return dumper.represent_dict(data)


# A dict subclass is refused by the safe dumpers unless they are told that it is one.
yaml.SafeDumper.add_representer(ConfigDict, _represent)
if hasattr(yaml, "CSafeDumper"):
    yaml.CSafeDumper.add_representer(ConfigDict, _represent)
