"""Classes whose instances are their fields: attrs, dataclasses, named tuples, msgspec structs.

A ``Record`` reads the fields of an instance and makes one again without calling the class. How a
class is found by name is here too, and why a class is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from datetime import tzinfo
from enum import EnumMeta, Flag
from operator import attrgetter
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType
from typing import Any, Final

import attrs

_HEAP_TYPE: Final = 1 << 9
_HASH_CACHE: Final = "_attrs_cached_hash"
UPGRADE: Final = "__upgrade_state__"
"""Optional class method ``fields -> fields`` for state saved when the class had other fields."""


def class_name(cls: type) -> str:
    """``module:qualname``, by which a class is found again."""
    return f"{cls.__module__}:{cls.__qualname__}"


def find_class(module: str, qualname: str) -> Any:
    """What a loaded module has under a name, or ``None``; runs no code of the module."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        if found is None:
            return None
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return found


def refusal(cls: type) -> str | None:
    """Why instances of a class cannot be state, as the rest of a sentence; ``None`` if they can.

    Plain types are the encoder's business: this is about enums and records.
    """
    if issubclass(cls, tzinfo):
        return "is not a time zone of the standard library; use zoneinfo.ZoneInfo"
    if issubclass(cls, BaseException):
        return "is an exception; store its text, or its facts in a dataclass"
    if not isinstance(cls, EnumMeta) and not is_record(cls):
        return _not_a_record(cls)
    if "<locals>" in cls.__qualname__:
        return "is defined inside a function, where it is not found again; move it to its module"
    if find_class(cls.__module__, cls.__qualname__) is not cls:
        return f"is not what {class_name(cls)!r} names, so it would not be found again"
    if isinstance(cls, EnumMeta):
        return None
    if is_struct(cls):
        if hasattr(cls, "__post_init__"):
            return (
                "is a msgspec.Struct with __post_init__, and state is read back without running "
                "it; use attrs.define or a dataclass"
            )
        return None
    for base in cls.__mro__[:-1]:
        if base is tuple and _is_named_tuple(cls):
            continue
        made_in_c = not base.__flags__ & _HEAP_TYPE
        if made_in_c or isinstance(vars(base).get("__new__"), BuiltinFunctionType):
            return (
                f"is a subclass of {base.__qualname__}, whose part of the instance is not in its "
                "fields; keep that part in a field"
            )
    return None


def _not_a_record(cls: type) -> str:
    for base in cls.__mro__[1:-1]:
        if base.__module__ in ("builtins", "collections", "datetime", "decimal", "numpy"):
            return (
                f"is a subclass of {base.__qualname__} and would come back as something else; "
                f"store a plain {base.__qualname__}, or a class made by attrs or dataclasses"
            )
    return (
        "is not known to the state codec; store plain values, dates, numpy arrays, enums, "
        "attrs classes, dataclasses or named tuples, and make the rest in open(ctx)"
    )


def can_be_combined(cls: type) -> bool:
    """Whether a class makes combinations of its members, without code of its own."""
    if not (isinstance(cls, EnumMeta) and issubclass(cls, Flag)):
        return False
    return not any("_missing_" in vars(base) for base in cls.__mro__ if base.__module__ != "enum")


def is_record(cls: type) -> bool:
    """Whether instances are their fields."""
    return attrs.has(cls) or dataclasses.is_dataclass(cls) or _is_named_tuple(cls) or is_struct(cls)


def is_struct(cls: type) -> bool:
    """Whether a class is a ``msgspec.Struct``."""
    return hasattr(cls, "__struct_fields__") and hasattr(cls, "__struct_config__")


def _is_named_tuple(cls: type) -> bool:
    fields = getattr(cls, "_fields", None)
    return (
        issubclass(cls, tuple)
        and isinstance(fields, tuple)
        and all(isinstance(name, str) for name in fields)
        and hasattr(cls, "_make")
    )


class Unset:
    """Stands for a field that has no value; there is one such object, ``UNSET_FIELD``."""


UNSET_FIELD: Final = Unset()


class Record:
    """How instances of one class are read and made.

    Attributes:
        cls: The class.
        fields: Names of its fields, in order.
        open: Whether an instance may have attributes beside its fields.
    """

    __slots__ = (
        "_derived",
        "_get",
        "_hidden",
        "_names",
        "_setters",
        "_slots",
        "cls",
        "fields",
        "make",
        "open",
    )

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.fields = _field_names(cls)
        self._names = frozenset(self.fields)
        self._get = _getter(cls, self.fields)
        self._slots = {
            name: member
            for base in reversed(cls.__mro__)
            for name, member in vars(base).items()
            if isinstance(member, MemberDescriptorType)
        }
        self._derived = _derived_names(cls)
        self._hidden = tuple(sorted(self._slots.keys() - self._names - self._derived))
        self.open = bool(self._hidden) or cls.__dictoffset__ != 0
        # Of instances that are nothing but slots: the way most values of the field are made.
        self._setters = (
            None
            if is_struct(cls)
            or _HASH_CACHE in self._derived
            or not self._slots.keys() >= self._names
            else tuple(self._slots[name].__set__ for name in self.fields)
        )
        self.make = (
            self._make_struct
            if is_struct(cls)
            else self._make_tuple
            if issubclass(cls, tuple)
            else self._make_object
        )
        """``(fields, added)`` to an instance: fields by name, and fields that take their default.
        A field in neither has no value.
        """

    def read(self, instance: Any) -> tuple[Any, ...]:
        """The values of the fields, ``UNSET_FIELD`` where there is none."""
        try:
            return self._get(instance)
        except AttributeError:
            return tuple(getattr(instance, name, UNSET_FIELD) for name in self.fields)

    def extras(self, instance: Any) -> dict[str, Any]:
        """Attributes beside the fields. What ``cached_property`` keeps is made again instead."""
        own = getattr(instance, "__dict__", None)
        found = {}
        if own and not self._names.issuperset(own):
            known = self._names | self._derived
            found = {name: value for name, value in own.items() if name not in known}
        for name in self._hidden:
            value = getattr(instance, name, UNSET_FIELD)
            if value is not UNSET_FIELD:
                found[name] = value
        return found

    def build(self, values: Sequence[Any]) -> Any:
        """An instance with these values of all its fields, in order."""
        if self._setters is None:
            return self.make(dict(zip(self.fields, values, strict=True)), ())
        instance: Any = object.__new__(self.cls)
        for setter, value in zip(self._setters, values, strict=True):
            setter(instance, value)
        return instance

    def _make_struct(self, fields: dict[str, Any], added: tuple[str, ...]) -> Any:
        import msgspec  # noqa: PLC0415 - not needed to check annotations

        # The metaclass's own call assigns the fields and, without __post_init__, runs nothing.
        return type(msgspec.Struct).__call__(self.cls, **fields)

    def _make_tuple(self, fields: dict[str, Any], added: tuple[str, ...]) -> Any:
        cls: Any = self.cls
        given = {**{name: cls._field_defaults[name] for name in added}, **fields}
        return tuple.__new__(cls, map(given.__getitem__, self.fields))

    def _make_object(self, fields: dict[str, Any], added: tuple[str, ...]) -> Any:
        instance: Any = object.__new__(self.cls)
        self.fill(instance, fields)
        for name in added:
            self.fill(instance, {name: _default(self.cls, name, instance)})
        if _HASH_CACHE in self._derived:
            self.fill(instance, {_HASH_CACHE: None})
        return instance

    def fill(self, instance: Any, values: dict[str, Any]) -> None:
        """Set attributes without running code of the class."""
        slots = self._slots
        if not slots:
            instance.__dict__.update(values)
            return
        for name, value in values.items():
            if name in slots:
                slots[name].__set__(instance, value)
            else:
                instance.__dict__[name] = value


@functools.lru_cache(maxsize=1024)
def record_of(cls: type) -> Record:
    """The ``Record`` of a class that ``refusal`` has nothing against."""
    return Record(cls)


def _field_names(cls: type) -> tuple[str, ...]:
    if is_struct(cls):
        return tuple(cls.__struct_fields__)  # type: ignore[attr-defined]
    if issubclass(cls, tuple):
        return tuple(cls._fields)  # type: ignore[attr-defined]
    if attrs.has(cls):
        return tuple(field.name for field in attrs.fields(cls))
    return tuple(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]


def _getter(cls: type, fields: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if issubclass(cls, tuple):
        return tuple
    if not fields:
        return lambda instance: ()
    get = attrgetter(*fields)
    return get if len(fields) > 1 else lambda instance: (get(instance),)


def _derived_names(cls: type) -> frozenset[str]:
    """Attributes that are computed from the fields or say nothing about the value."""
    names = {"__orig_class__"}
    for base in cls.__mro__:
        for name, member in vars(base).items():
            if isinstance(member, functools.cached_property):
                names.add(name)
        lookup = vars(base).get("__getattr__")
        if isinstance(lookup, FunctionType) and "cached_properties" in lookup.__code__.co_varnames:
            # attrs turns the cached properties of a slotted class into slots that this fills.
            cached = inspect.signature(lookup).parameters["cached_properties"].default
            names.update(cached if isinstance(cached, dict) else ())
    hashing = getattr(cls.__hash__, "__code__", None)
    if hashing is not None and _HASH_CACHE in hashing.co_names:
        names.add(_HASH_CACHE)
    return frozenset(names)


def has_default(cls: type, name: str) -> bool:
    """Whether a field that old state does not have can be filled in."""
    if is_struct(cls):
        import msgspec  # noqa: PLC0415 - not needed to check annotations

        return any(f.name == name and not f.required for f in msgspec.structs.fields(cls))
    if issubclass(cls, tuple):
        return name in getattr(cls, "_field_defaults", {})
    if attrs.has(cls):
        return getattr(attrs.fields(cls), name).default is not attrs.NOTHING
    field = _dataclass_field(cls, name)
    return not (
        field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )


def _default(cls: type, name: str, instance: Any) -> Any:
    if attrs.has(cls):
        default: Any = getattr(attrs.fields(cls), name).default
        if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            return default
        return default.factory(instance) if default.takes_self else default.factory()
    field = _dataclass_field(cls, name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _dataclass_field(cls: Any, name: str) -> Any:
    return next(field for field in dataclasses.fields(cls) if field.name == name)
