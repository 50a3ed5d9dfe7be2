"""Filters over columns answer as their definition on single rows does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.middleware.services.memory.chroma.translate import split
from sage.middleware.services.memory.errors import FilterError
from sage.middleware.services.memory.vdb.columns import Columns
from sage.middleware.services.memory.vdb.filters import All, canonical, matches, parse

FIELDS = st.sampled_from(["a", "b", "c", "", "ü.x", "'; --"])
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.0, 1.0, -2.5, 2.5, 1e300]),
    st.sampled_from(["", "x", "xy", "1", "true"]),
)
VALUES = st.one_of(
    ATOMS,
    st.lists(ATOMS, max_size=2),
    st.dictionaries(st.sampled_from(["k", "l"]), ATOMS, max_size=2),
)
ROWS = st.lists(st.dictionaries(FIELDS, VALUES, max_size=4), max_size=12)
ORDERED = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, -2.5]), st.sampled_from(["", "x"]))
TESTS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$contains"]), VALUES),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ORDERED),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(ATOMS, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
)
FIELD_FILTERS = st.one_of(
    st.tuples(FIELDS, ATOMS).map(lambda p: {p[0]: p[1]}),
    st.tuples(FIELDS, TESTS).map(lambda p: {p[0]: {p[1][0]: p[1][1]}}),
    st.tuples(FIELDS, TESTS).map(lambda p: {p[0]: {"$not": {p[1][0]: p[1][1]}}}),
    st.tuples(FIELDS, TESTS, TESTS).map(lambda p: {p[0]: {p[1][0]: p[1][1], p[2][0]: p[2][1]}}),
)
FILTERS = st.recursive(
    FIELD_FILTERS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda fs: {"$and": fs}),
        st.lists(inner, min_size=1, max_size=3).map(lambda fs: {"$or": fs}),
        inner.map(lambda f: {"$not": f}),
        st.tuples(inner, inner).map(lambda p: {**p[0], **p[1]}),
    ),
    max_leaves=5,
)


def no_other_fields(field: str, count: int, missing: object) -> list[tuple[int, Any]]:
    raise AssertionError(f"{field} has a column")


@settings(max_examples=400, deadline=None)
@given(rows=ROWS, more=ROWS, where=FILTERS)
def test_columns_equal_the_definition(
    rows: list[dict[str, Any]], more: list[dict[str, Any]], where: dict[str, Any]
) -> None:
    columns = Columns(no_other_fields)
    node = parse(where)
    if rows:
        columns.append(rows)
    first = columns.mask(where).bits(len(rows)).copy()
    assert first.tolist() == [matches(node, row) for row in rows]
    for row in more:  # one by one takes another path than a batch
        columns.append([row])
    both = rows + more
    mask = columns.mask(where)
    assert mask.bits(len(both)).tolist() == [matches(node, row) for row in both]
    assert mask.slots(len(both)).tolist() == np.flatnonzero(mask.bits(len(both))).tolist()
    head, codes = columns.dump()
    copy = Columns(no_other_fields)
    copy.load(head, codes)
    assert copy.mask(where).bits(len(both)).tolist() == mask.bits(len(both)).tolist()


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, where=FILTERS)
def test_what_chromadb_cannot_do_is_left_over(
    rows: list[dict[str, Any]], where: dict[str, Any]
) -> None:
    # A clause without rest is only claimed for fields and values that chromadb keeps natively.
    clause, rest = split(parse(where))
    if clause is None and rest is not None:
        assert [matches(rest, r) for r in rows] == [matches(parse(where), r) for r in rows]
    if clause is None and rest is None:
        assert parse(where) == All(())


def test_fields_beyond_the_first_are_read_when_asked_for() -> None:
    rows = [{f"f{i}": i % 2} for i in range(100)]

    def read(field: str, count: int, missing: object) -> list[tuple[int, Any]]:
        return [(i, r[field]) for i, r in enumerate(rows[:count]) if field in r]

    columns = Columns(read)
    columns.append(rows)
    for i in (0, 50, 99):
        assert columns.mask({f"f{i}": i % 2}).slots(100).tolist() == [i]
    columns.append([{"f99": 1}])
    assert columns.mask({"f99": 1}).slots(101).tolist() == [99, 100]


def test_equal_filters_share_a_key() -> None:
    assert canonical({"a": 1, "b": {"$in": [1]}}) == canonical({"b": {"$in": (1,)}, "a": 1})
    with pytest.raises(FilterError):
        canonical({"a": object()})
