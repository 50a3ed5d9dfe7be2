from __future__ import annotations

import collections.abc
import dataclasses
import decimal
import io
import subprocess
import threading
import typing
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import attrs
import numpy as np
import pytest

from sage.kernel.state.codec import check_annotation


class Base:
    pass


@attrs.define
class Derived(Base):
    x: int
    next: Derived | None = None


class Hopeless:
    pass


@dataclasses.dataclass
class Holder:
    inner: list[Deep]
    name: typing.ClassVar[threading.Thread]


@attrs.define
class Deep:
    lock: threading.Thread


class Pair(NamedTuple):
    a: int
    b: Holder | None


class Options(typing.TypedDict):
    n: int


class Sized(typing.Protocol):
    n: int


class Kind(Enum):
    A = 1


T = typing.TypeVar("T")
Name = typing.NewType("Name", str)


@pytest.mark.parametrize(
    "tp",
    [
        *(None, Any, object, int, str, float, bytes, bool, list, dict[str, int], tuple[int, ...]),
        *(int | str, int | None, Literal["a"], T, Name, "Later", Options),
        *(Sized, Kind, Path, decimal.Decimal, np.ndarray, np.float32, Derived, Base),
        *(collections.abc.Mapping[str, int], collections.abc.Sequence, typing.Hashable),
        *(collections.Counter[str], collections.deque[Derived], typing.Annotated[int, "x"]),
    ],
    ids=str,
)
def test_what_can_or_may_be_state(tp):
    assert check_annotation(tp) is None


@pytest.mark.parametrize(
    ("tp", "says"),
    [
        (threading.Lock, "lock"),
        (type(threading.Lock()), "lock is not known"),
        (dict[str, threading.Thread], "threading.Thread is not known"),
        (int | subprocess.Popen, "Popen is not known"),
        (Hopeless, "Hopeless is not known"),
        (Deep, "Deep.lock: threading.Thread"),
        (Holder, "Holder.inner: Deep.lock: threading.Thread"),
        (tuple[Pair, ...], "Pair.b: Holder.inner: Deep.lock: threading.Thread"),
        (collections.abc.Callable[[int], int], "code, not data"),
        (typing.Iterator[int], "code, not data"),
        (type[int], "code, not data"),
        (ValueError, "exception"),
        (io.StringIO, "StringIO"),
        (typing.TextIO, "TextIO"),
        (dict[str, typing.IO[str]], "IO"),
    ],
    ids=str,
)
def test_what_cannot_be_state_is_named(tp, says):
    problem = check_annotation(tp)
    assert problem is not None
    assert says in problem


def test_classes_of_a_function_are_named():
    @attrs.define
    class Local:
        x: int = 0

    assert "inside a function" in (check_annotation(list[Local]) or "")
