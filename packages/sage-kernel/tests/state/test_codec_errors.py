"""What the codec refuses to write, and bytes it refuses to read."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import pickle
import random
import re
import subprocess
import sys
import threading
import types
from enum import Enum
from pathlib import Path
from typing import Any

import attrs
import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sage.kernel.state import _tags as tag
from sage.kernel.state.codec import StateDecodingError, StateEncodingError, decode, encode


@attrs.define
class Node:
    value: Any = None


class Plain:
    pass


class Words(list[str]):
    pass


@attrs.define
class Catalogue(dict[str, int]):
    title: str = ""


@attrs.define
class Oops(ValueError):
    code: int = 0


class Checked(msgspec.Struct):
    a: int = 0

    def __post_init__(self) -> None:
        self.a += 1


class Half(msgspec.Struct):
    a: int = 0


@attrs.define
class Shadowed:
    x: int = 0


old_shadowed = Shadowed(1)


@attrs.define  # type: ignore[no-redef]
class Shadowed:
    x: int = 0


class Kind(Enum):
    A = 1


@dataclasses.dataclass
class Saved:
    x: int
    y: int = 2


def refused(value: Any) -> StateEncodingError:
    with pytest.raises(StateEncodingError) as caught:
        encode(value, "state 'seen' of step 'dedupe'")
    error = caught.value
    assert str(error).startswith("state 'seen' of step 'dedupe': ")
    assert error.path in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    return error


@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        (threading.Lock(), "value", "_thread:lock"),
        ([1, {"a": Node(threading.Lock())}], "value[1]['a'].value", "_thread:lock"),
        ({(1, len): 2}, "value.keys()[(1, <built-in function len>)][1]", "builtin"),
        ({1, Plain}, "value{...}", "builtins:type"),
        (collections.deque([0, Plain()]), "value[1]", "Plain is not known"),
        (Words(["a"]), "value", "subclass of list"),
        ((Words(),), "value[0]", "subclass of list"),
        (collections.defaultdict(lambda: 0), "value", "default factory"),
        (collections.UserDict(), "value", "not known"),
        (Catalogue("x"), "value", "subclass of dict"),
        (Oops(1), "value", "exception"),
        (ValueError("x"), "value", "exception"),
        (Node(lambda: 0), "value.value", "function"),
        (old_shadowed, "value", "is not what"),
        (np.array([object()]), "value", "dtype object"),
        (np.array(["a"], np.dtypes.StringDType()), "value", "StringDType"),
        (np.ma.masked_array([1]), "value", "subclass of ndarray"),
        (np.zeros(1).view(np.recarray), "value", "subclass of ndarray"),
        (memoryview(b"x"), "value", "memoryview"),
        ((i for i in ()), "value", "generator"),
        (types.SimpleNamespace(a=1), "value", "SimpleNamespace"),
    ],
)
def test_what_cannot_be_state_is_named(value, path, says):
    error = refused(value)
    assert error.path == path
    assert says in str(error)
    assert "state" in str(error)


def test_structs_with_a_post_init_are_refused():
    assert "__post_init__" in str(refused([Checked()]))


def test_a_struct_without_a_value_in_a_field_is_refused():
    value = Half(1)
    del value.a
    assert "'a'" in str(refused(value))


def test_classes_defined_in_a_function_are_refused():
    @attrs.define
    class Local:
        x: int = 0

    class Shade(Enum):
        A = 1

    for value in (Local(), Shade.A):
        assert "inside a function" in str(refused(value))


def test_a_value_that_contains_itself_is_named():
    node = Node([])
    node.value.append({"back": node})
    error = refused({"root": node})
    assert "contains itself" in str(error)
    assert len(error.path) < 60
    plain: list[Any] = []
    plain.extend([plain, plain, plain])
    assert "contains itself" in str(refused(plain))


def test_nesting_is_limited_and_what_is_written_can_be_read():
    def nested(levels: int, wrap: Any) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = wrap(value)
        return value

    for wrap in (lambda v: [v], lambda v: (v,), lambda v: {"a": v}, Node, lambda v: {(1,): v}):
        deepest = nested(tag.MAX_DEPTH - 1, wrap)
        assert encode(decode(encode(deepest, "x"), "x"), "x") == encode(deepest, "x")
        error = refused(nested(tag.MAX_DEPTH + 1, wrap))
        assert "deeper than" in str(error)
        assert len(str(error)) < 600


def test_one_object_in_two_places_is_two_objects_afterwards():
    shared = [1]
    back = decode(encode([shared, shared, Node(shared)], "x"), "x")
    assert back == [[1], [1], Node([1])]
    assert back[0] is not back[1]


def changed(monkeypatch: pytest.MonkeyPatch, value: Any, cls: type) -> Any:
    """Saved with one class, read with another of the same name."""
    data = encode(value, "x")
    monkeypatch.setitem(globals(), type(value).__name__, cls)
    cls.__qualname__ = type(value).__name__
    return decode(data, "x")


def test_fields_added_since_take_their_default(monkeypatch):
    @dataclasses.dataclass
    class New:
        x: int
        y: int = 0
        z: list[int] = dataclasses.field(default_factory=list)
        w: str = "w"

    assert vars(changed(monkeypatch, Saved(5, 6), New)) == {"x": 5, "y": 6, "z": [], "w": "w"}


def test_a_dataclass_that_became_an_attrs_class_or_a_named_tuple_or_a_struct(monkeypatch):
    @attrs.define
    class AsAttrs:
        y: int
        x: int
        z: int = attrs.field(init=False, default=attrs.Factory(lambda s: s.x + s.y, True))

    back = changed(monkeypatch, Saved(5, 6), AsAttrs)
    assert (back.x, back.y, back.z) == (5, 6, 11)
    monkeypatch.undo()
    as_tuple = collections.namedtuple("as_tuple", ["x", "y", "z"], defaults=[9])
    assert changed(monkeypatch, Saved(5, 6), as_tuple) == (5, 6, 9)
    monkeypatch.undo()

    class AsStruct(msgspec.Struct):
        x: int
        y: int
        z: int = 4

    assert changed(monkeypatch, Saved(5, 6), AsStruct) == AsStruct(5, 6, 4)


def test_a_field_added_without_a_default_is_an_error(monkeypatch):
    for cls in (
        dataclasses.make_dataclass("New", ["x", "y", "z"], namespace={"__module__": __name__}),
        attrs.make_class("New", ["x", "y", "z"], class_body={"__module__": __name__}),
        collections.namedtuple("New", ["x", "y", "z"], module=__name__),
        msgspec.defstruct("New", ["x", "y", "z"], module=__name__),
    ):
        with pytest.raises(StateDecodingError, match=r"'z'.*default"):
            changed(monkeypatch, Saved(1), cls)
        monkeypatch.undo()


def test_a_field_that_was_removed_is_an_error_unless_the_class_says_how(monkeypatch):
    @attrs.define
    class New:
        x: int

    with pytest.raises(StateDecodingError, match=r"'y'.*__upgrade_state__"):
        changed(monkeypatch, Saved(1, 2), New)
    monkeypatch.undo()

    @attrs.define
    class Upgraded:
        first: int
        more: str = "more"

        @classmethod
        def __upgrade_state__(cls, fields: dict[str, Any]) -> dict[str, Any]:
            return {"first": fields["x"] + fields["y"]}

    back = changed(monkeypatch, [Saved(1, 2), Saved(3, 4)][1], Upgraded)
    assert (back.first, back.more) == (7, "more")
    monkeypatch.undo()

    @attrs.define
    class Wrong:
        x: int

        @classmethod
        def __upgrade_state__(cls, fields: dict[str, Any]) -> dict[str, Any]:
            return fields

    with pytest.raises(StateDecodingError, match="returned the field 'y'"):
        changed(monkeypatch, Saved(1, 2), Wrong)


def test_classes_and_members_that_are_gone_are_named(monkeypatch):
    data = encode([Saved(1)], "x")
    monkeypatch.delitem(globals(), "Saved")
    with pytest.raises(StateDecodingError, match=r"state s: .*:Saved' is not loaded; import it"):
        decode(data, "state s")
    data = encode(Kind.A, "x")
    monkeypatch.setitem(globals(), "Kind", Enum("Kind", {"B": 2}, module=__name__))
    with pytest.raises(StateDecodingError, match="no member 'A'; it has B"):
        decode(data, "x")


def test_a_class_that_moved_is_found_by_its_old_name(monkeypatch):
    data = encode(Saved(1), "x")
    monkeypatch.setitem(globals(), "Moved", Node)
    cls = attrs.make_class("Elsewhere", ["x", "y"], class_body={"__module__": __name__})
    monkeypatch.setitem(globals(), "Elsewhere", cls)
    monkeypatch.setitem(globals(), "Saved", cls)
    assert decode(data, "x") == cls(1, 2)


def hostile(name: str, fields: Any = (), value: Any = None) -> bytes:
    """A document that names a class."""
    table = [[name] if fields is None else [name, list(fields)]]
    body = [tag.MARKS[tag.RECORD], 0] if value is None else value
    return msgspec.msgpack.encode([tag.FORMAT, table, body])


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "builtins:eval",
        "builtins:list",
        "subprocess:Popen",
        "os:environ",
        "os.path:join",
        "sage.kernel.state.codec:decode",
        "threading:Thread",
        "builtins:Exception",
        "enum:Enum.__call__",
        "collections:deque",
        "nonsense",
        "",
        ":",
        "os:",
        "a.b.c:d.e.f",
        "antigravity:x",
        "pickle:Unpickler",
    ],
)
@pytest.mark.parametrize("code", [tag.RECORD, tag.ENUM, tag.FLAGS])
def test_names_of_other_things_than_value_classes_are_refused(name, code):
    body = [tag.MARKS[code], 0] + ["true"] * (code != tag.RECORD)
    for fields in ((), None):
        with pytest.raises(StateDecodingError):
            decode(hostile(name, fields, body), "x")
    assert "antigravity" not in sys.modules


def test_modules_are_imported_only_if_allowed(tmp_path, monkeypatch):
    (tmp_path / "lazy_values.py").write_text(
        "import attrs\n@attrs.define\nclass Lazy:\n    x: int\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    data = hostile("lazy_values:Lazy", ["x"], [tag.MARKS[tag.RECORD], 0, 3])
    with pytest.raises(StateDecodingError, match="not loaded"):
        decode(data, "x")
    assert "lazy_values" not in sys.modules
    try:
        assert decode(data, "x", allow=lambda module: module == "lazy_values").x == 3
    finally:
        sys.modules.pop("lazy_values", None)
    with pytest.raises(StateDecodingError, match="no_such_module"):
        decode(hostile("no_such_module:X"), "x", allow=lambda module: True)


def test_modules_of_sage_are_imported_if_need_be():
    program = (
        "import msgspec, sys\n"
        "from sage.kernel.state import _tags as tag\n"
        "from sage.kernel.state.codec import decode\n"
        "name = 'sage.kernel.checkpoint.settings:Restart'\n"
        "assert 'sage.kernel.checkpoint.settings' not in sys.modules\n"
        "body = [tag.MARKS[tag.RECORD], 0, 7]\n"
        "data = msgspec.msgpack.encode([tag.FORMAT, [[name, ['attempts']]], body])\n"
        "assert decode(data, 'x').attempts == 7\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


M = tag.MARKS


@pytest.mark.parametrize(
    "body",
    [
        [M[tag.RECORD]],
        [M[tag.RECORD], 1],
        [M[tag.RECORD], -1],
        [M[tag.RECORD], "0"],
        [M[tag.RECORD], 0, 1, 2, 3, 4],
        [M[tag.RECORD], 0, 1],
        [M[tag.RECORD], 0, 1, 2, ["extra"]],
        [M[tag.RECORD], [M[tag.RECORD], 0], 1, 2],
        [M[tag.ENUM], 0, "x"],
        [M[tag.UNSET]],
        [1, M[tag.UNSET]],
        M[tag.TUPLE],
        {"a": M[tag.TUPLE]},
        [M[tag.TUPLE], M[tag.TUPLE]],
        [M[tag.DICT], 1],
        [M[tag.DICT], [1], 2],
        [M[tag.SET], [1]],
        [M[tag.BIG_INT]],
        [M[tag.BIG_INT], "1"],
        [M[tag.SURROGATES], b"\xff"],
        [M[tag.BYTEARRAY], 10**12],
        [M[tag.BYTEARRAY], "x"],
        [M[tag.DATETIME], "yesterday"],
        [M[tag.DATETIME], "2024-01-01", 7, None],
        [M[tag.DATETIME], "2024-01-01", 0, "UTC"],
        [M[tag.TIMEZONE], 1],
        [M[tag.ZONE], "../../etc/passwd"],
        [M[tag.ZONE], "/etc/passwd"],
        [M[tag.ZONE], "No/Where"],
        [M[tag.TIMEDELTA], 10**15],
        [M[tag.DECIMAL], "x"],
        [M[tag.UUID_], b"x"],
        [M[tag.PATH], "os.system", "x"],
        [M[tag.PATH], "PosixPath", 3],
        [M[tag.DEFAULT_DICT], "eval"],
        [M[tag.DEQUE], -1, 1],
        [M[tag.RANGE], 0, 1, 0],
        [M[tag.COMPLEX], "1", 2],
        [M[tag.ARRAY], "|O", [1], "C", b"\0" * 8],
        [M[tag.ARRAY], [["a", "|O"]], [1], "C", b"\0" * 8],
        [M[tag.ARRAY], "<f8", [2**40], "C", b"\0" * 8],
        [M[tag.ARRAY], "<f8", [-1], "C", b"\0" * 8],
        [M[tag.ARRAY], "<f8", [2], "C", b"\0" * 8],
        [M[tag.ARRAY], "<f8", [1], "X", b"\0" * 8],
        [M[tag.ARRAY], "<U0", [2**62, 2**62], "C", b""],
        [M[tag.ARRAY], "nonsense", [1], "C", b"\0" * 8],
        [M[tag.ARRAY], 5, [1], "C", b"\0" * 8],
        [M[tag.ARRAY_SCALAR], "|O", b"\0" * 8],
        [M[tag.ARRAY_SCALAR], "<f8", b"\0"],
        [msgspec.msgpack.Ext(99, b"")],
        [msgspec.msgpack.Ext(tag.TUPLE, b"x")],
        {1: msgspec.msgpack.Ext(tag.TUPLE, b"")},
    ],
    ids=lambda body: re.sub(r" object at 0x\w+", "", str(body)),  # the same in every worker
)
def test_malformed_parts_are_refused(body):
    with pytest.raises(StateDecodingError):
        decode(hostile(f"{__name__}:Saved", ["x", "y"], body), "x")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x01",
        b"\x90",
        b"\x91\x01",
        b"\x93\x01\x90",
        b"\x93\x02\x90\xc0",
        b"\x93\x01\x90\xc0\xc0",
        b"\xdd\xff\xff\xff\xff",
        b"\x93\x01\x90\xdf\xff\xff\xff\xff",
        b"\x93\x01\x90\xc6\xff\xff\xff\xff",
        b"\x93\x01\xdd\xff\xff\xff\xff",
        b"\x93\x01\x90" + b"\x91" * 100_000 + b"\xc0",
        b"\x93\x01\x90" + b"\x92\xc7\x00\x04" * 100_000 + b"\xc0",
        b"\x93\x01\x90" + b"\x92\xc7\x00\x04" * 900 + b"\xc0",
        b"\x93\x01\x90\x81\x92\xc7\x00\x04\xc0\xc0",
        pickle.dumps({"a": 1}),
        b"{}",
    ],
    ids=range(18),
)
def test_bytes_of_something_else_are_refused(data):
    with pytest.raises(StateDecodingError, match=r"^part 'x': ") as caught:
        decode(data, "part 'x'")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_another_format_is_named():
    with pytest.raises(StateDecodingError, match=r"format 2.*reads format 1"):
        decode(b"\x93\x02\x90\xc0", "x")


SOUND = encode(
    [Saved(1, [2]), Node((1, {3})), {"a": {(1, 2): np.arange(3)}}, Kind.A, Path("x"), 2**80], "x"
)


@given(st.integers(0, len(SOUND) - 1), st.integers(0, 255))
def test_a_changed_byte_gives_a_value_or_an_error_of_ours(place, byte):
    data = SOUND[:place] + bytes([byte]) + SOUND[place + 1 :]
    with contextlib.suppress(StateDecodingError):
        decode(data, "x")


def test_truncated_bytes_are_refused():
    for end in range(len(SOUND)):
        with pytest.raises(StateDecodingError):
            decode(SOUND[:end], "x")


@given(st.binary(max_size=200))
@example(b"\x93\x01\x90\xd6\xff\x00\x00\x00\x00")
def test_random_bytes_give_a_value_or_an_error_of_ours(data):
    for each in (data, b"\x93\x01\x90" + data):
        with contextlib.suppress(StateDecodingError):
            decode(each, "x")


def test_shuffled_documents_give_a_value_or_an_error_of_ours():
    rng = random.Random(5)
    marks = list(tag.MARKS.values())
    leaves = [0, -1, 2**40, "x", b"x", None, 1.5, True, f"{__name__}:Saved", "<f8", [], {}, "C"]

    def tree(depth: int) -> Any:
        if depth == 0 or rng.random() < 0.3:
            return rng.choice(leaves)
        return [rng.choice(marks), *(tree(depth - 1) for _ in range(rng.randrange(6)))]

    table = [[f"{__name__}:Saved", ["x", "y"]], [f"{__name__}:Kind"], ["os:system", []]]
    for _ in range(3000):
        with contextlib.suppress(StateDecodingError):
            decode(msgspec.msgpack.encode([tag.FORMAT, table, tree(4)]), "x")
