from __future__ import annotations

import math
import threading
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from sage.middleware.services.memory.errors import (
    CollectionClosedError,
    InvalidInputError,
    RowNotFoundError,
)
from sage.middleware.services.memory.kv.codec import decode, encode
from sage.middleware.services.memory.kv.jsonl import write_rows
from sage.middleware.services.memory.kv.keys import key_range
from sage.middleware.services.memory.memory_collection.kv_collection import (
    ABSENT,
    KVMemoryCollection,
)

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
    | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
keys = st.text(st.sampled_from("ab\u00e9\ud7ff\ue000\U0010ffff"), max_size=4)


@given(plain)
def test_values_come_back_as_they_were(value):
    assert decode(encode(value)) == value


def test_values_that_json_would_change():
    assert math.isnan(decode(encode(math.nan)))
    assert decode(encode({1: b"\x00"})) == {1: b"\x00"}
    assert decode(encode(datetime(2026, 1, 2, tzinfo=UTC))) == datetime(2026, 1, 2, tzinfo=UTC)
    assert decode(encode((1, 2))) == [1, 2]


@pytest.mark.parametrize("value", [object(), {"a": [1, object()]}, 2**64, lambda: 1])
def test_what_cannot_be_stored_is_refused_and_changes_nothing(kv, value):
    kv.put("a", 1)
    with pytest.raises(InvalidInputError):
        kv.put("a", value)
    with pytest.raises(InvalidInputError):
        kv.put_many([("b", 2), ("a", value)])
    assert dict(kv.scan()) == {"a": 1}


@pytest.mark.parametrize("key", [1, None, b"a", "\ud800"])
def test_keys_that_are_not_text(kv, key):
    with pytest.raises(InvalidInputError):
        kv.put(key, 1)


@given(keys, keys)
def test_the_range_of_a_prefix_holds_exactly_the_keys_with_it(prefix, key):
    start, end = key_range(prefix)
    code = key.encode()
    inside = start.encode() <= code and (end is None or code < end.encode())
    assert inside == key.startswith(prefix)


class KVMachine(RuleBasedStateMachine):
    """A collection against a dictionary."""

    def __init__(self):
        super().__init__()
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.kv = KVMemoryCollection.create(Path(self.folder.name), name="kv")
        self.model = {}

    @rule(key=keys, value=plain)
    def put(self, key, value):
        self.kv.put(key, value)
        self.model[key] = value

    @rule(key=keys)
    def delete(self, key):
        assert self.kv.delete(key) == (self.model.pop(key, ABSENT) is not ABSENT)

    @rule(key=keys, value=plain, right=st.booleans(), other=plain)
    def compare_and_set(self, key, value, right, other):
        expected = self.model.get(key, ABSENT) if right else other
        now = self.model.get(key, ABSENT)
        same = expected is now if ABSENT in (expected, now) else expected == now
        assert self.kv.compare_and_set(key, expected, value) == same
        if same:
            self.model[key] = value

    @rule(prefix=keys)
    def delete_prefix(self, prefix):
        gone = [key for key in self.model if key.startswith(prefix)]
        assert self.kv.delete_prefix(prefix) == len(gone)
        for key in gone:
            del self.model[key]

    @rule(pairs=st.dictionaries(keys, plain, max_size=5))
    def put_many(self, pairs):
        assert self.kv.put_many(pairs) == len(pairs)
        self.model.update(pairs)

    @rule(prefix=keys, after=keys, limit=st.integers(0, 4))
    def scan(self, prefix, after, limit):
        expected = sorted(
            ((k, v) for k, v in self.model.items() if k.startswith(prefix)),
            key=lambda pair: pair[0].encode(),
        )
        assert list(self.kv.scan(prefix)) == expected
        assert self.kv.count(prefix) == len(expected)
        behind = [pair for pair in expected if pair[0].encode() > after.encode()]
        assert list(self.kv.scan(prefix, after=after, limit=limit)) == behind[:limit]

    @precondition(lambda self: self.model)
    @rule()
    def reopen(self):
        path = self.kv.path
        self.kv.close()
        self.kv = KVMemoryCollection.connect(path, name="kv")
        assert dict(self.kv.scan()) == self.model
        assert self.kv.get_many(self.model) == self.model

    def teardown(self):
        self.kv.close()
        self.folder.cleanup()


TestKVMachine = KVMachine.TestCase
TestKVMachine.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)


def test_none_is_a_value(kv):
    kv.put("a", None)
    assert "a" in kv
    assert kv["a"] is None
    assert kv.get("b", 7) == 7
    with pytest.raises(RowNotFoundError, match="'b'"):
        kv["b"]


def test_scans_run_over_many_pages_while_the_collection_changes(kv):
    kv.put_many((f"k{i:05d}", i) for i in range(3500))
    seen = []
    for _, value in kv.scan("k"):
        seen.append(value)
        if value == 5:
            kv.delete_prefix("k02")
            kv.put("k99999", 99999)
    assert seen == [*range(2000), *range(3000, 3500), 99999]


def test_time_to_live(timed_kv, clock):
    timed_kv.put("a", 1, ttl=10)
    timed_kv.put("b", 2, ttl=20)
    timed_kv.put("c", 3)
    assert timed_kv.ttl("a") == 10
    assert timed_kv.ttl("c") is None
    clock.now += 10
    assert "a" not in timed_kv
    assert dict(timed_kv.scan()) == {"b": 2, "c": 3}
    assert len(timed_kv) == 2
    assert timed_kv.delete("a") is False
    with pytest.raises(RowNotFoundError):
        timed_kv.ttl("a")
    assert timed_kv.compare_and_set("a", ABSENT, 5)
    timed_kv.put("b", 2)
    clock.now += 100
    assert dict(timed_kv.scan()) == {"a": 5, "b": 2, "c": 3}
    assert timed_kv.purge_expired() == 0


@pytest.mark.parametrize("ttl", [0, -1, "5", math.nan, True])
def test_a_time_to_live_that_makes_no_sense(kv, ttl):
    with pytest.raises(InvalidInputError, match="ttl"):
        kv.put("a", 1, ttl=ttl)


def test_expired_rows_are_removed(timed_kv, clock):
    timed_kv.put_many({"x": 1, "y": 2}, ttl=5)
    timed_kv.put("z", 3, ttl=50)
    clock.now += 6
    assert timed_kv.purge_expired() == 2
    assert timed_kv.purge_expired() == 0
    assert timed_kv["z"] == 3


def test_a_batch_is_applied_together_or_not_at_all(kv):
    kv.put("gone", 1)
    with kv.batch() as batch:
        batch.put("a", 1).put("b", 2).delete("gone").delete("never there")
        assert kv.get("a") is None
        assert len(batch) == 4
    assert dict(kv.scan()) == {"a": 1, "b": 2}

    def fail():
        with kv.batch() as half:
            half.put("c", 1)
            half.put("d", 1 // 0)

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "c" not in kv


def test_one_of_many_wins_and_no_update_is_lost(kv, tmp_path):
    kv.put("n", 0)
    wins = []

    def work(i):
        if kv.compare_and_set("lock", ABSENT, i):
            wins.append(i)
        for _ in range(50):
            kv.update("n", lambda n: n + 1)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kv["n"] == 200
    assert wins == [kv["lock"]]


@pytest.mark.parametrize("durability", ["process", "power", "none"])
def test_durability_is_kept_with_the_collection(tmp_path, durability, reopen):
    kv = KVMemoryCollection.create(tmp_path, name="kv", durability=durability)
    kv.put("a", 1)
    kv.put_many({"b": 2})
    again = reopen(kv)
    assert again.info()["durability"] == durability
    assert dict(again.scan()) == {"a": 1, "b": 2}


def test_info_and_the_end(kv):
    kv.put("a", 1)
    facts = kv.info()
    assert (facts["backend_type"], facts["count"], facts["description"]) == ("KV", 1, "d")
    kv.close()
    kv.close()
    with pytest.raises(CollectionClosedError):
        kv.get("a")


def test_options_of_other_kinds_of_collection(tmp_path):
    with pytest.raises(InvalidInputError, match="dim"):
        KVMemoryCollection.create(tmp_path, name="kv", dim=3)


def test_an_export_that_breaks_off_leaves_what_was_there(tmp_path):
    def rows():
        yield "a", 1, None
        raise InvalidInputError("broken")

    (tmp_path / "out.jsonl").write_text("before", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="broken"):
        write_rows(tmp_path / "out.jsonl", rows())
    assert [file.read_text(encoding="utf-8") for file in tmp_path.iterdir()] == ["before"]


def test_export_and_import(kv, tmp_path):
    values = {"a": 1, "b": b"\x00\xff", "c": {"d": [None, math.inf, "é\n"]}, "e": {1: 2}}
    kv.put_many(values)
    kv.put("t", 1, ttl=1000)
    assert kv.export_jsonl(tmp_path / "new" / "out.jsonl") == 5
    assert (tmp_path / "new" / "out.jsonl").stat().st_mode & 0o777 == 0o600
    folder = tmp_path / "other"
    folder.mkdir()
    with KVMemoryCollection.create(folder, name="other") as other:
        assert other.import_jsonl(tmp_path / "new" / "out.jsonl") == 5
        assert dict(other.scan()) == {**values, "t": 1}
        assert other.ttl("t") == pytest.approx(1000, abs=60)
        (tmp_path / "bad.jsonl").write_text('{"key": "z", "value": 1}\n{"key": 1')
        with pytest.raises(InvalidInputError, match="line 2"):
            other.import_jsonl(tmp_path / "bad.jsonl")
        assert "z" not in other
