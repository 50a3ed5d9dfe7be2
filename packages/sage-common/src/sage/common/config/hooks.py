"""How each kind of type is structured: exact primitives, containers, unions, choices, secrets.

These are cattrs hooks; ``sage.common.config.structure`` puts them into its converter. A hook raises
``Mismatch`` with words for the user, and containers mark the element with a cattrs note, from which
the path is made.

Predecessor: ``sage.common.config.mapping``; successor: ``sage.common.config.structure``.
"""

from __future__ import annotations

import datetime as dt
import difflib
import enum
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import attrs
from cattrs import Converter
from cattrs.errors import IterableValidationError, IterableValidationNote

from sage.common.config.type_names import expected_name
from sage.common.errors import ConfigError
from sage.common.secrets import Secret

Hook = Callable[[Any, Any], Any]


class Mismatch(ValueError):
    """A value is not of the type that was expected; the text follows the key."""


def shown(value: Any) -> str:
    """A value as messages show it: short, and never a secret."""
    if isinstance(value, Mapping):
        return f"a mapping with the keys {', '.join(map(repr, list(value)[:5]))}" if value else "{}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def mismatch(kind: Any, value: Any) -> Mismatch:
    """The usual message: ``must be an int, got '7'``."""
    return Mismatch(f"must be {expected_name(kind)}, got {shown(value)}")


def structure_str(value: Any, kind: Any) -> str:
    """Take text; a secret is refused, because it would be shown."""
    if isinstance(value, str):
        return value
    if isinstance(value, Secret):
        name = (value.reference or "").removeprefix("env:")
        hint = f"${{{name}}}" if str(value.reference).startswith("env:") else "the value itself"
        raise Mismatch(
            f"must be a str, got the secret {value.reference or '********'!r}, which this key "
            f"would show in clear; write {hint} if it is not secret"
        )
    raise mismatch(str, value)


def structure_int(value: Any, kind: Any) -> int:
    """Take an int, never a bool or text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise mismatch(int, value)


def structure_float(value: Any, kind: Any) -> float:
    """Take a float or an int."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise mismatch(float, value)


def structure_bool(value: Any, kind: Any) -> bool:
    """Take true or false and nothing that only looks like it."""
    if isinstance(value, bool):
        return value
    raise mismatch(bool, value)


def structure_none(value: Any, kind: Any) -> None:
    """Take ``None``."""
    if value is not None:
        raise mismatch(NoneType, value)


def structure_secret(value: Any, kind: Any) -> Secret:
    """A secret, read at once so that a missing one is found before the job runs."""
    if isinstance(value, str):
        value = Secret.parse(value)
    if not isinstance(value, Secret):
        raise mismatch(Secret, value)
    try:
        value.reveal()
    except ConfigError as exc:
        # The place is left out: the path in front of the message says it already.
        raise Mismatch(exc.message[exc.message.index("the secret ") :]) from exc
    return value


def structure_path(value: Any, kind: Any) -> Path:
    """Take a path as text."""
    if isinstance(value, str | Path):
        return Path(value)
    raise mismatch(Path, value)


def structure_date(value: Any, kind: Any) -> Any:
    """Dates and times, as YAML and TOML read them or as ISO 8601 text."""
    if isinstance(value, kind) and (kind is not dt.date or not isinstance(value, dt.datetime)):
        return value
    if isinstance(value, str):
        try:
            return kind.fromisoformat(value)
        except ValueError:
            pass
    raise mismatch(kind, value)


def structure_enum(value: Any, kind: type[enum.Enum]) -> enum.Enum:
    """Take the value of a member, or the member."""
    if isinstance(value, kind):
        return value
    for member in kind:
        if type(member.value) is type(value) and member.value == value:
            return member
    raise Mismatch(_one_of([member.value for member in kind], value))


def structure_literal(value: Any, kind: Any) -> Any:
    """Take one of the options, of the same type."""
    options = typing.get_args(kind)
    for option in options:
        if type(option) is type(value) and option == value:
            return value
    for option in options:
        if isinstance(option, enum.Enum) and option.value == value:
            return option
    raise Mismatch(_one_of([getattr(o, "value", o) for o in options], value))


def _one_of(options: list[Any], value: Any) -> str:
    names = [option for option in options if isinstance(option, str)]
    near = difflib.get_close_matches(value, names, n=1) if isinstance(value, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"must be one of {', '.join(map(repr, options))}, got {shown(value)}{hint}"


def _each(
    items: Iterable[tuple[Any, Any]], hook: Hook, element: Any, kind: Any
) -> list[tuple[Any, Any]]:
    """Structure every element; errors are gathered, each marked with its index or key."""
    out: list[tuple[Any, Any]] = []
    errors: list[Exception] = []
    for index, item in items:
        try:
            out.append((index, hook(item, element)))
        except Exception as exc:  # noqa: BLE001 - gathered, and raised below
            errors.append(_marked(exc, index, element))
    if errors:
        raise IterableValidationError("structuring a container", errors, kind)
    return out


def _marked(exc: Exception, index: Any, element: Any) -> Exception:
    exc.add_note(IterableValidationNote("element", index, element))
    return exc


def sequence_factory(converter: Converter, build: Callable[[Iterable[Any]], Any]) -> Any:
    """Hooks for ``list[T]``, ``set[T]`` and ``tuple[T, ...]``; text is not a sequence here."""

    def factory(kind: Any) -> Hook:
        args = typing.get_args(kind)
        element = args[0] if args else Any
        hook: Hook = converter.get_structure_hook(element)

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, list | tuple | set | frozenset):
                raise mismatch(kind, value)
            return build(item for _, item in _each(enumerate(value), hook, element, kind))

        return structure

    return factory


def tuple_factory(converter: Converter) -> Any:
    """Hooks for tuples: ``tuple[T, ...]`` and ``tuple[A, B]``."""
    same = sequence_factory(converter, tuple)

    def factory(kind: Any) -> Hook:
        args = typing.get_args(kind)
        if not args or args[-1] is Ellipsis:
            return typing.cast("Hook", same(kind))
        hooks: list[Hook] = [converter.get_structure_hook(arg) for arg in args]

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, list | tuple) or len(value) != len(args):
                raise mismatch(kind, value)
            out: list[Any] = []
            errors: list[Exception] = []
            for index, item in enumerate(value):
                try:
                    out.append(hooks[index](item, args[index]))
                except Exception as exc:  # noqa: BLE001 - gathered, and raised below
                    errors.append(_marked(exc, index, args[index]))
            if errors:
                raise IterableValidationError("structuring a tuple", errors, kind)
            return tuple(out)

        return structure

    return factory


def mapping_factory(converter: Converter) -> Any:
    """Hooks for ``dict[K, V]`` and ``Mapping[K, V]``."""

    def factory(kind: Any) -> Hook:
        args = typing.get_args(kind)
        key_kind, value_kind = args if len(args) == 2 else (Any, Any)
        key_hook: Hook = converter.get_structure_hook(key_kind)
        value_hook: Hook = converter.get_structure_hook(value_kind)

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, Mapping):
                raise mismatch(kind, value)
            keys = dict(_each(((k, k) for k in value), key_hook, key_kind, kind))
            pairs = _each(value.items(), value_hook, value_kind, kind)
            return {keys[key]: item for key, item in pairs}

        return structure

    return factory


def union_factory(converter: Converter) -> Any:
    """Hooks for ``A | B``: the member whose type the value has; else the first that takes it."""

    def factory(kind: Any) -> Hook:
        members = [m for m in typing.get_args(kind) if m is not NoneType]
        optional = len(members) < len(typing.get_args(kind))
        hooks: list[tuple[Any, Hook]] = [(m, converter.get_structure_hook(m)) for m in members]
        exact: dict[Any, Hook] = dict(hooks)

        def structure(value: Any, _: Any) -> Any:
            if value is None and optional:
                return None
            if len(hooks) == 1:
                return hooks[0][1](value, hooks[0][0])
            hook = exact.get(type(value))
            if hook is not None:
                return hook(value, type(value))
            candidates = hooks
            if isinstance(value, Mapping):
                candidates = _by_keys(hooks, value)
            failures: list[Exception] = []
            for member, hook in candidates:
                try:
                    return hook(value, member)
                except Exception as exc:  # noqa: BLE001 - the best is raised below
                    failures.append(exc)
            if isinstance(value, Mapping) and attrs.has(candidates[0][0]):
                raise failures[0]
            raise mismatch(kind, value)

        return structure

    return factory


def _by_keys(hooks: list[tuple[Any, Hook]], value: Mapping[Any, Any]) -> list[tuple[Any, Hook]]:
    """Members that fit a mapping best come first: same ``Literal`` tags, then shared keys."""

    def fit(member: Any) -> tuple[int, int]:
        if not attrs.has(member):
            return (0, 0)
        types = typing.get_type_hints(member)
        tags = shared = 0
        for field in attrs.fields(member):
            if field.alias in value:
                shared += 1
                kind = types.get(field.name)
                if typing.get_origin(kind) is typing.Literal:
                    tags += 1 if value[field.alias] in typing.get_args(kind) else -1
        return (tags, shared)

    return sorted(hooks, key=lambda pair: fit(pair[0]), reverse=True)


def instance_factory(kind: Any) -> Hook:
    """Any other class: an instance of it and nothing else."""

    def structure(value: Any, _: Any) -> Any:
        try:
            fits = isinstance(value, typing.get_origin(kind) or kind)
        except TypeError:  # a Protocol that is not runtime_checkable, a TypeVar
            fits = True
        if not fits:
            raise mismatch(kind, value)
        return value

    return structure
