"""What every engine promises, on every engine."""

from __future__ import annotations

import numpy as np
import pytest

from sage.common.errors import ConfigError
from sage.middleware.search.bm25 import (
    ENGINES,
    SnapshotError,
    TextEngine,
    load_text_engine,
    text_engine,
)

TEXTS = [
    "the cat sat on the mat",
    "dogs chase cats through gardens",
    "a treatise on gardening, with gardens and gardeners",
    "ships sail the northern seas",
    "nothing to see here",
    "violins and cellos",
]


@pytest.fixture(params=ENGINES)
def engine(request):
    made = text_engine(request.param, language="en")
    made.add(range(6), TEXTS)
    return made


def slots(engine, *arguments):
    return engine.search(*arguments)[0].tolist()


def test_the_contract(engine, tmp_path):
    assert isinstance(engine, TextEngine)
    assert len(engine) == 6
    assert slots(engine, "gardens", 1) == [2]
    assert set(slots(engine, "garden cat")) == {0, 1, 2}
    found, scores = engine.search("cats garden")
    assert found[0] == 1
    assert (np.diff(scores) <= 0).all()
    assert slots(engine, "zzz") == slots(engine, "the") == slots(engine, "") == []


def test_filters_never_cost_results(engine):
    mask = np.array([True, False, False, True])
    assert slots(engine, "cat garden", 1, mask) == [0]
    assert slots(engine, "cat garden", 1, np.array([2])) == [2]
    assert slots(engine, "cat", 5, np.array([4, 5])) == []


def test_changes_are_found_at_once(engine):
    engine.add([0, 9], ["replaced by a zebra", "another zebra crossing the wide plain"])
    assert set(slots(engine, "zebra")) == {0, 9}
    assert slots(engine, "mat") == []
    assert engine.delete([9, 77]) == 1
    assert slots(engine, "zebra") == [0]
    assert len(engine) == 6


def test_saving_and_loading(engine, tmp_path, request):
    name = request.node.callspec.params["engine"]
    with pytest.raises(SnapshotError):
        load_text_engine(name, tmp_path)
    engine.save(tmp_path)
    again = load_text_engine(name, tmp_path)
    assert len(again) == 6
    for query in ("cat garden", "sea ship"):
        assert slots(again, query) == slots(engine, query)


def test_tantivy_ranks_almost_alike():
    rng = np.random.default_rng(0)
    words = np.array([f"v{i}" for i in range(500)])
    weights = 1 / np.arange(1, 501)
    texts = [" ".join(rng.choice(words, 30, p=weights / weights.sum())) for _ in range(500)]
    ours, theirs = text_engine("sage", language="none"), text_engine("tantivy", language="none")
    ours.add(range(500), texts)
    theirs.add(range(500), texts)
    shared = [
        len(set(slots(ours, query)) & set(slots(theirs, query))) / 10
        for query in ("v3 v80", "v10 v20 v40", "v1 v200 v7")
    ]
    assert np.mean(shared) >= 0.9


def test_unknown_engines_and_options():
    with pytest.raises(ConfigError, match="lucene"):
        text_engine("lucene")
    with pytest.raises(ConfigError, match="built in"):
        text_engine("tantivy", k1=2.0)
