"""``structure_config``: a mapping becomes an attrs class, with exact types.

All that is wrong is said at once, each line with file, path, what was found and what was expected.

Predecessor: ``sage.common.config.hooks``; successor: ``sage.common.config.schema``.
"""

from __future__ import annotations

import collections.abc
import datetime as dt
import difflib
import enum
import functools
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import attrs
import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn

from sage.common.config import hooks
from sage.common.config.hooks import Mismatch, shown
from sage.common.config.mapping import ConfigDict, format_path
from sage.common.config.type_names import expected_name, is_union
from sage.common.errors import ConfigError
from sage.common.secrets import Secret, redact

T = TypeVar("T")


class Problem(NamedTuple):
    """One thing that is wrong in a configuration.

    Attributes:
        path: Keys and indexes that lead to the value.
        message: What was found and expected, without the path.
    """

    path: tuple[Any, ...]
    message: str


def structure_config(
    raw: Mapping[str, Any] | T | None,
    cls: type[T],
    *,
    name: str | None = None,
    file: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> T:
    """Structure a configuration mapping into the attrs class ``cls``.

    Types are exact: ``"7"`` is not an int, ``3`` is not a str, ``True`` is not an int; an int is
    taken for a float. Unknown keys are refused with the nearest known one. A field annotated
    ``Secret`` takes text, ``env:NAME`` or ``file:path``. The words of attrs validators are kept.

    Args:
        raw: The mapping; ``None`` for an empty one. An instance of ``cls`` is returned as it is. A
            section of what ``load_config`` returned knows its file and path.
        cls: An attrs class.
        name: Who is configured, for messages when there is no file (an operator's name).
        file: The file, for messages; default: what ``raw`` remembers.
        overrides: Single keys that win over ``raw``.

    Raises:
        ConfigError: With every problem; ``problems`` holds them as ``Problem`` values.
    """
    if isinstance(raw, cls):
        return attrs.evolve(raw, **overrides) if overrides else raw  # type: ignore[misc]
    base: tuple[Any, ...] = raw.path if isinstance(raw, ConfigDict) else ()
    value: Any = {} if raw is None else raw
    if overrides and isinstance(raw, Mapping | None):
        value = {**(raw or {}), **overrides}
    try:
        return converter().structure(value, cls)
    except (BaseValidationError, Mismatch) as exc:
        problems = tuple(_problems(exc, value, base, cls))
    shown_source = {**raw.origins} if isinstance(raw, ConfigDict) and file is None else {}
    lines = []
    for problem in problems:
        source = file or name or cls.__name__
        if isinstance(raw, ConfigDict) and file is None:
            source = raw.origin(*problem.path[len(base) :]) if shown_source else raw.source
            overridden = len(problem.path) > len(base) and problem.path[len(base)] in (
                overrides or ()
            )
            source = (name or "arguments") if overridden else source
        where = format_path(problem.path)
        lines.append(redact(": ".join(part for part in (source, where, problem.message) if part)))
    raise ConfigError("\n".join(lines), problems=problems, file=file, name=name)


@functools.cache
def converter() -> cattrs.Converter:
    """The converter behind ``structure_config``, made once; its hooks are cached by type."""
    made = cattrs.Converter(
        forbid_extra_keys=True,
        detailed_validation=True,
        use_alias=True,
        structure_fallback_factory=hooks.instance_factory,
    )
    for kind, hook in (
        (str, hooks.structure_str),
        (int, hooks.structure_int),
        (float, hooks.structure_float),
        (bool, hooks.structure_bool),
        (Path, hooks.structure_path),
        (Secret, hooks.structure_secret),
        (dt.date, hooks.structure_date),
        (dt.datetime, hooks.structure_date),
        (dt.time, hooks.structure_date),
    ):
        made.register_structure_hook(kind, hook)
    made.register_structure_hook_func(lambda kind: kind in (None, type(None)), hooks.structure_none)
    made.register_structure_hook_func(_is_enum, hooks.structure_enum)
    made.register_structure_hook_func(_has_origin(typing.Literal), hooks.structure_literal)
    made.register_structure_hook_factory(is_union, hooks.union_factory(made))
    made.register_structure_hook_factory(
        _has_origin(list, collections.abc.Sequence, collections.abc.MutableSequence),
        hooks.sequence_factory(made, list),
    )
    made.register_structure_hook_factory(
        _has_origin(set, collections.abc.Set, collections.abc.MutableSet),
        hooks.sequence_factory(made, set),
    )
    made.register_structure_hook_factory(
        _has_origin(frozenset), hooks.sequence_factory(made, frozenset)
    )
    made.register_structure_hook_factory(_has_origin(tuple), hooks.tuple_factory(made))
    made.register_structure_hook_factory(
        _has_origin(dict, collections.abc.Mapping, collections.abc.MutableMapping),
        hooks.mapping_factory(made),
    )
    made.register_structure_hook_factory(attrs.has, functools.partial(_class_factory, made))
    return made


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _has_origin(*origins: Any) -> Any:
    return lambda kind: kind in origins or typing.get_origin(kind) in origins


def _class_factory(made: cattrs.Converter, cls: Any) -> hooks.Hook:
    """The function cattrs generates for ``cls``, with a check for mappings and all validators."""
    generated = make_dict_structure_fn(
        cls,
        made,
        _cattrs_forbid_extra_keys=True,
        _cattrs_detailed_validation=True,
        _cattrs_use_alias=True,
    )

    def structure(value: Any, kind: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise Mismatch(f"must be a mapping (the keys of {cls.__name__}), got {shown(value)}")
        try:
            return generated(value, kind)
        except ClassValidationError as exc:
            errors = _with_validators(made, exc, value, cls)
            raise ClassValidationError(exc.message, errors, cls) from exc

    return structure


def _with_validators(
    made: cattrs.Converter, error: ClassValidationError, value: Mapping[Any, Any], cls: Any
) -> list[Exception]:
    """Run the validators that a failure kept from running.

    attrs stops at the first one that fails, and never gets there when another field has a wrong
    type; the user wants to know all.
    """
    noted = {n.name for e in error.exceptions if (n := _note(e)) is not None}
    failures = [e for e in error.exceptions if _note(e) is not None]
    extra = [e for e in error.exceptions if isinstance(e, ForbiddenExtraKeysError)]
    whole = [e for e in error.exceptions if e not in failures and e not in extra]
    types = typing.get_type_hints(cls)
    scratch = object.__new__(cls)
    validated: list[Exception] = []
    for field in attrs.fields(cls):
        if field.name in noted or not field.init or field.alias not in value:
            continue
        kind = types.get(field.name, Any)
        try:
            item = made.get_structure_hook(kind)(value[field.alias], kind)
            if callable(field.converter) and not isinstance(field.converter, attrs.Converter):
                item = field.converter(item)
            object.__setattr__(scratch, field.name, item)
            if field.validator is not None:
                field.validator(scratch, field, item)
        except Exception as exc:  # noqa: BLE001 - a validator may raise anything; it is reported
            exc.add_note(AttributeValidationNote("field", field.name, kind))
            validated.append(exc)
    return [*failures, *validated, *([] if validated else whole), *extra]


def _note(error: BaseException) -> Any:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote | IterableValidationNote):
            return note
    return None


def _problems(
    error: BaseException, value: Any, path: tuple[Any, ...], cls: Any
) -> typing.Iterator[Problem]:
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from _inner_problems(inner, value, path, error.cl)
    else:
        yield Problem(path, _words(error))


def _inner_problems(
    inner: Exception, value: Any, path: tuple[Any, ...], cls: Any
) -> typing.Iterator[Problem]:
    if isinstance(inner, ForbiddenExtraKeysError):
        known = [field.alias for field in attrs.fields(cls) if field.init]
        for key in inner.extra_fields:
            yield Problem((*path, key), _unknown_key(key, known))
        return
    # Notes accumulate from the inside out; each level of nesting reads the last it added.
    notes = [
        n
        for n in getattr(inner, "__notes__", ())
        if isinstance(n, AttributeValidationNote | IterableValidationNote)
    ]
    if not notes:
        yield from _problems(inner, value, path, cls)
        return
    note = notes[-1]
    if isinstance(note, IterableValidationNote):
        step = note.index
    else:
        step = next(f.alias for f in attrs.fields(cls) if f.name == note.name)
        missing = isinstance(value, Mapping) and step not in value
        if missing and isinstance(inner, KeyError):
            yield Problem((*path, step), f"is required: expected {expected_name(note.type)}")
            return
    try:
        below = value[step]
    except (KeyError, IndexError, TypeError):
        below = None
    yield from _problems(inner, below, (*path, step), cls)


def _unknown_key(key: Any, known: list[str]) -> str:
    near = difflib.get_close_matches(str(key), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    listed = f"known keys: {', '.join(known)}" if known else "there are no keys here"
    return f"unknown key; {hint}{listed}"


def _words(error: BaseException) -> str:
    """The message of a validator or hook, without the values attrs packs beside it."""
    if isinstance(error, ConfigError):
        return error.message
    if error.args and isinstance(error.args[0], str):
        return error.args[0]
    return f"{type(error).__name__}: {error}"
