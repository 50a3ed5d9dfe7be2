"""Read one configuration file (YAML, TOML or JSON) into plain values.

Only data is read: YAML with the safe tags, no objects. A key given twice is an error in every
format. YAML scalars that were written without quotes and hold ``${...}`` come back as
``PlainText``, because their type is known only after interpolation; ``!include`` as ``Include``.

Predecessor: ``sage.common.secrets``; successor: ``sage.common.config.interpolation``.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from sage.common.errors import ConfigError


class PlainText(str):
    """An unquoted YAML scalar with ``${...}`` in it: typed after interpolation."""

    __slots__ = ()


class Include:
    """``!include path``: the content of another file stands here."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Include) and other.path == self.path

    def __hash__(self) -> int:
        return hash(("Include", self.path))


class _Loader(yaml.SafeLoader):
    """The safe loader, with duplicate keys refused and ``1e-3`` read as a number."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # While composing, because constructing expands ``<<`` in place and would see merged keys.
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            key = (key_node.tag, key_node.value)
            if key in lines:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key_node.value!r} is given twice (first in line "
                    f"{lines[key]})",
                    problem_mark=key_node.start_mark,
                )
            lines[key] = key_node.start_mark.line + 1
        return node


_SCALAR_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null"))


def _construct_str(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node))
    return PlainText(text) if node.style is None and "${" in text else text


def _construct_include(loader: yaml.SafeLoader, node: yaml.Node) -> Include:
    if not isinstance(node, yaml.ScalarNode):
        raise yaml.MarkedYAMLError(
            problem="!include takes one path, as text", problem_mark=node.start_mark
        )
    return Include(str(loader.construct_scalar(node)))


_Loader.add_constructor("tag:yaml.org,2002:str", _construct_str)
_Loader.add_constructor("!include", _construct_include)
# YAML 1.1 wants a dot and a signed exponent; everybody writes 1e-3. Source: YAML 1.2, section 10.3.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9][0-9]*)(?:\.[0-9]*)?[eE][-+]?[0-9]+"),
    list("-+0123456789"),
)


def read_scalar(text: str) -> Any:
    """Type a text as YAML types an unquoted scalar: ``"5"`` → 5, ``"yes"`` → True."""
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    if not text or tag not in _SCALAR_TAGS:
        return str(text)
    return loader.construct_object(yaml.ScalarNode(tag, text))


def read_value(text: str) -> Any:
    """Like ``read_scalar``, with YAML's lists, mappings and quoted text: ``"[a, 2]"``."""
    if text[:1] not in ("[", "{", '"', "'"):
        return read_scalar(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def compose_yaml(text: str) -> yaml.Node | None:
    """The nodes of YAML text, with their places in it; ``None`` if it holds no value.

    Raises:
        yaml.YAMLError: It is malformed.
    """
    node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    return node


def parse_yaml(text: str, name: str) -> Any:
    """Parse YAML text; ``name`` is the file as messages call it."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = exc.problem or exc.context or "it is not valid YAML"
        shown = f"\n{mark.get_snippet()}" if mark and mark.buffer else ""
        raise ConfigError(f"{name}{place}: {problem}{shown}", file=name) from exc
    except yaml.YAMLError as exc:
        raise ConfigError(f"{name}: it is not valid YAML: {exc}", file=name) from exc
    except RecursionError as exc:
        raise ConfigError(f"{name}: the nesting is too deep", file=name) from exc


def parse_json(text: str, name: str) -> Any:
    """Parse JSON text; ``name`` is the file as messages call it."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                raise ConfigError(f"{name}: the key {key!r} is given twice", file=name)
            result[key] = value
        return result

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as exc:
        raise ConfigError(f"{name}:{exc.lineno}:{exc.colno}: {exc.msg}", file=name) from exc
    except RecursionError as exc:
        raise ConfigError(f"{name}: the nesting is too deep", file=name) from exc


def parse_toml(text: str, name: str) -> Any:
    """Parse TOML text; ``name`` is the file as messages call it."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{name}: {exc}", file=name) from exc


_PARSERS = {".yaml": parse_yaml, ".yml": parse_yaml, ".json": parse_json, ".toml": parse_toml}


def read_file(path: Path, name: str) -> Any:
    """Read and parse ``path``; the ending chooses the format.

    Raises:
        ConfigError: The file is missing, unreadable, of an unknown format or malformed.
    """
    return parse_text(read_text(path, name), path, name)


def parse_text(text: str, path: Path, name: str) -> Any:
    """Parse ``text`` as the ending of ``path`` says.

    Raises:
        ConfigError: The ending is of no known format, or the text is malformed.
    """
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        known = ", ".join(sorted(_PARSERS))
        raise ConfigError(
            f"{name}: cannot tell the format from the ending {path.suffix!r}; expected {known}",
            file=name,
        )
    return parse(text, name)


def read_text(path: Path, name: str) -> str:
    """The text of a configuration file.

    Raises:
        ConfigError: The file is missing, unreadable or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as exc:
        raise ConfigError(_missing(path, name), file=name) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{name}: the file is not UTF-8 text", file=name) from exc
    except OSError as exc:
        raise ConfigError(f"{name}: cannot be read: {exc.strerror}", file=name) from exc


def _missing(path: Path, name: str) -> str:
    where = f"{name}: no such file (looked in {str(path.parent.resolve())!r})"
    if not path.parent.is_dir():
        return f"{name}: no such file; the folder {str(path.parent)!r} does not exist either"
    others = [p.name for p in path.parent.iterdir() if p.suffix.lower() in _PARSERS]
    near = difflib.get_close_matches(path.name, others, n=1)
    return f"{where}; did you mean {near[0]!r}?" if near else where
