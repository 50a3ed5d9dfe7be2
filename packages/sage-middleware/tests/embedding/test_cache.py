from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sage.common.errors import ServiceError
from sage.middleware.utils.embedding.cache import (
    ENTRY_OVERHEAD,
    DiskVectorCache,
    VectorCache,
    content_key,
)

SIZE = 4 * 10 + ENTRY_OVERHEAD


def vector(value: float) -> np.ndarray:
    return np.full(10, value, np.float32)


def test_keys_tell_texts_and_kinds_apart() -> None:
    keys = {content_key(*pair) for pair in [("a", "x"), ("a", "y"), ("b", "x"), ("\ud800", "x")]}
    assert len(keys) == 4
    assert content_key("a", "x") == content_key("a", "x")


def test_the_least_recently_used_is_dropped_at_the_bound() -> None:
    cache = VectorCache(3 * SIZE)
    for key in (b"a", b"b", b"c"):
        cache.put_many({key: vector(1)})
    cache.get_many([b"a"])
    cache.put_many({b"d": vector(2)})
    assert set(cache.get_many([b"a", b"b", b"c", b"d"])) == {b"a", b"c", b"d"}
    assert cache.size == 3 * SIZE
    cache.clear()
    assert (len(cache), cache.size) == (0, 0)


def test_a_row_does_not_keep_its_batch() -> None:
    cache = VectorCache(10 * SIZE)
    cache.put_many({b"a": np.ones((1000, 10), np.float32)[3]})
    assert cache.get_many([b"a"])[b"a"].base is None


def test_the_disk_cache_trims_the_oldest(tmp_path: Path) -> None:
    cache = DiskVectorCache(tmp_path / "c.db", max_bytes=40 * 20)
    for number in range(100):
        cache.put_many("m", {bytes([number]): vector(number)})
    found = cache.get_many("m", [bytes([number]) for number in range(100)])
    cache.close()
    assert 15 <= len(found) <= 20
    assert bytes([99]) in found
    assert bytes([0]) not in found


def test_more_keys_than_one_statement_takes(tmp_path: Path) -> None:
    cache = DiskVectorCache(tmp_path / "c.db")
    rows = {number.to_bytes(4, "big"): vector(number) for number in range(1800)}
    cache.put_many("m", rows)
    cache.put_many("m", rows)
    found = cache.get_many("m", list(rows))
    assert len(found) == 1800
    np.testing.assert_array_equal(found[(77).to_bytes(4, "big")], vector(77))
    assert cache.get_many("other", list(rows)) == {}
    cache.close()


def test_two_processes_worth_of_connections_share_a_file(tmp_path: Path) -> None:
    one, two = DiskVectorCache(tmp_path / "c.db"), DiskVectorCache(tmp_path / "c.db")
    one.put_many("m", {b"a": vector(1)})
    two.put_many("m", {b"b": vector(2)})
    assert set(one.get_many("m", [b"a", b"b"])) == {b"a", b"b"}
    one.close()
    two.close()


def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(ServiceError, match=r"c\.db.*delete the file"):
        DiskVectorCache(path)
