"""Change one value of a configuration file and leave the rest of its text as it is.

YAML is edited in place: comments, order and style of everything else stay. JSON is written anew
with the same keys. TOML is not written.

The result is parsed again before it is saved, and must say what the file said, but for the one key.

Predecessor: ``sage.common.config.reading``; successor: ``sage config set``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import yaml

from sage.common.config.reading import compose_yaml, parse_text, read_text
from sage.common.errors import ConfigError
from sage.common.paths import write_secret


def set_value(path: Path, key: str, value: Any) -> None:
    """Set ``key`` (dotted; numbers index lists) in the file ``path``, made if it is not there.

    A new file can be read by its owner only; one that exists keeps its permissions.

    Raises:
        ConfigError: The file is malformed or is no YAML or JSON, or the key leads through a value
            that holds no keys.
    """
    name = str(path)
    keys = key.split(".")
    if not all(keys):
        raise ConfigError(
            f"{key!r} is no key: expected names with dots between, as retriever.top_k"
        )
    if path.suffix.lower() == ".toml":
        raise ConfigError(f"{name}: `sage config set` writes YAML and JSON; edit this file by hand")
    target = path.resolve()
    exists = target.exists()
    text = read_text(path, name) if exists else ""
    blank = not text.strip()
    before = {} if blank else parse_text(text, path, name)
    expected = _with_value(before, keys, value, name)
    if path.suffix.lower() == ".json":
        edited = json.dumps(expected, indent=2, ensure_ascii=False) + "\n"
    else:
        edited = _edit_yaml(text, keys, value)
    try:
        right = parse_text(edited, path, name) == expected
    except ConfigError:
        right = False
    if not right:  # an anchor that others refer to, or a notation that cannot be cut in two
        raise ConfigError(f"{name}: {key} cannot be changed without touching other keys; edit it")
    mode = target.stat().st_mode if exists else None
    write_secret(target, edited)
    if mode is not None:
        target.chmod(mode)


def _with_value(data: Any, keys: list[str], value: Any, name: str, depth: int = 0) -> Any:
    """``data`` with ``value`` at ``keys``; copied along the way: aliases share."""
    if depth == len(keys):
        return value
    key = keys[depth]
    if isinstance(data, list):
        index = _index(data, key)
        if index is None:
            _refuse(name, keys[:depth], f"is a list of {len(data)}, {key!r} is no place in it")
        inner = _with_value(data[index], keys, value, name, depth + 1)
        return [*data[:index], inner, *data[index + 1 :]]
    if data is None:
        data = {}
    if not isinstance(data, dict):
        _refuse(name, keys[:depth], "is a value, not a section; set it to {} first")
    return {**data, key: _with_value(data.get(key), keys, value, name, depth + 1)}


def _refuse(name: str, keys: list[str], why: str) -> NoReturn:
    raise ConfigError(f"{name}: {'.'.join(keys) or 'the file'} {why}")


def _index(items: list[Any], key: str) -> int | None:
    return int(key) if key.isdecimal() and int(key) < len(items) else None


def _edit_yaml(text: str, keys: list[str], value: Any) -> str:
    node = compose_yaml(text)
    if node is None:
        return _line_end(text) + _block(keys, value, 0)
    rest = list(keys)
    flow = False
    while rest:
        flow = flow or getattr(node, "flow_style", None) is True
        child = _child(node, rest[0])
        if child is None:
            break
        node = child
        rest.pop(0)
    if rest and isinstance(node, yaml.MappingNode) and node.value:
        return _insert(text, node, rest, value, flow=flow)
    # The value itself, or one that holds nothing: null or {}.
    return _replace(text, node, _nested(rest, value), flow=flow)


def _child(node: yaml.Node, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode):
        index = _index(node.value, key)
        found: yaml.Node | None = None if index is None else node.value[index]
        return found
    if isinstance(node, yaml.MappingNode):
        return next((item for name, item in node.value if name.value == key), None)
    return None


def _replace(text: str, node: yaml.Node, value: Any, *, flow: bool) -> str:
    start, end = node.start_mark.index, _end(node)
    new = _one_line(value, flow=flow)
    if text[start - 1 : start] == ":":  # ``key:`` with nothing after it
        new = f" {new}"
    if text[start:end].endswith("\n"):
        new += "\n"
    return text[:start] + new + text[end:]


def _insert(text: str, node: yaml.MappingNode, keys: list[str], value: Any, *, flow: bool) -> str:
    if flow:
        at = node.end_mark.index - 1
        pair = _one_line(_nested(keys, value), flow=True)[1:-1]
        return f"{text[:at].rstrip()}, {pair}{text[at:]}"
    end = _end(node)
    if text[end - 1 : end] != "\n":  # a comment behind the last value belongs to it
        newline = text.find("\n", end)
        end = len(text) if newline < 0 else newline + 1
    column = node.value[0][0].start_mark.column
    return _line_end(text[:end]) + _block(keys, value, column) + text[end:]


def _end(node: yaml.Node) -> int:
    """Where the text of a node ends; that of a block, before the comments behind it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _nested(keys: list[str], value: Any) -> Any:
    for key in reversed(keys):
        value = {key: value}
    return value


def _block(keys: list[str], value: Any, column: int) -> str:
    lines = [
        f"{' ' * (column + 2 * depth)}{_one_line(key, flow=False)}:"
        for depth, key in enumerate(keys)
    ]
    return "\n".join(lines) + f" {_one_line(value, flow=False)}\n"


class _Dumper(yaml.SafeDumper):
    """The safe dumper, with text of several lines on one."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)


def _one_line(value: Any, *, flow: bool) -> str:
    """A value as YAML on one line; ``flow``: that can stand inside of ``{}`` and ``[]``."""
    shown = yaml.dump(
        [value] if flow else value,
        Dumper=_Dumper,
        default_flow_style=True,
        allow_unicode=True,
        sort_keys=False,
        width=float("inf"),
    ).removesuffix("...\n")
    return shown.strip()[1:-1] if flow else shown.strip()


def _line_end(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
