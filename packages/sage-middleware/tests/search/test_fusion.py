from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError
from sage.middleware.search.fusion import (
    auto,
    convex,
    dense_weight,
    fuse,
    reciprocal_rank,
)
from sage.middleware.search.fusion.confidence import peak, stand_out


def ranking(ids, scores):
    return np.array(ids, np.int64), np.array(scores, np.float32)


rankings = st.dictionaries(st.integers(0, 50), st.floats(-5, 20, width=32), max_size=40).map(
    lambda scores: (
        ranking(*zip(*sorted(scores.items(), key=lambda p: -p[1]), strict=True))
        if scores
        else ranking([], [])
    )
)


@given(rankings, rankings, st.sampled_from(["auto", "convex", "rrf"]), st.integers(1, 20))
def test_every_method_returns_the_union_best_first(dense, sparse, method, topk):
    ids, scores = fuse(dense, sparse, method=method)
    assert set(ids.tolist()) == set(dense[0].tolist()) | set(sparse[0].tolist())
    assert len(set(ids.tolist())) == len(ids)
    assert (np.diff(scores) <= 0).all()
    assert ((scores >= 0) & (scores <= 1 + 1e-6)).all()
    some, _ = fuse(dense, sparse, method=method, topk=topk)
    assert some.tolist() == ids[:topk].tolist()


def test_reciprocal_rank_by_hand():
    ids, scores = reciprocal_rank([ranking([1, 2], [9, 8]), ranking([2, 3], [5, 4])], k=60)
    assert ids.tolist() == [2, 1, 3]
    np.testing.assert_allclose(scores, [1 / 62 + 1 / 61, 1 / 61, 1 / 62], rtol=1e-6)


def test_convex_by_hand():
    dense, sparse = ranking([1, 2, 3], [0.9, 0.5, 0.1]), ranking([3, 1], [8, 2])
    ids, scores = convex(dense, sparse, weight=0.25)
    assert ids.tolist() == [3, 1, 2]
    np.testing.assert_allclose(scores, [0.75, 0.25, 0.125], rtol=1e-6)


def test_stand_out_finds_the_deviations_whatever_the_scale():
    rng = np.random.default_rng(1)
    for mean, width in [(0.0, 1.0), (0.7, 0.02), (-3.0, 10.0)]:
        for extra in (4.0, 8.0):
            scores = np.sort(np.append(rng.normal(mean, width, 20_000), mean + extra * width))[::-1]
            found = stand_out(scores[:100].astype(np.float64), 20_001)
            expected = max((scores[0] - mean) / width, extra)
            assert found == pytest.approx(expected, rel=0.2)


def test_scores_that_say_nothing():
    assert stand_out(np.ones(100), 1000) is None
    assert stand_out(np.array([3.0, 2.0, 1.0]), 1000) is None
    assert peak(np.array([])) == 0
    assert peak(np.full(10, 2.0)) == 0
    assert peak(np.array([5.0])) == 1


def background(rng, n=1000):
    return np.sort(rng.normal(0.2, 0.05, n))[::-1][:100]


def test_the_side_that_is_surer_gets_the_weight():
    rng = np.random.default_rng(0)
    noise = background(rng)
    sure = noise.copy()
    sure[0] = 0.8
    flat, sharp = np.linspace(10, 9, 100), np.append([20.0], np.linspace(5, 1, 99))

    def weight(dense, sparse):
        return dense_weight(
            ranking(range(100), dense), ranking(range(100), sparse), population=1000
        )

    assert weight(sure, flat) > 0.7
    assert weight(noise, sharp) < 0.25
    assert weight(noise, sharp) < weight(noise, flat) < weight(sure, flat)
    assert weight(noise, sharp) < weight(sure, sharp) < weight(sure, flat)


def test_a_side_without_answers_has_no_say():
    some, none = ranking([4, 2], [0.5, 0.4]), ranking([], [])
    assert dense_weight(some, none, population=10) == 1
    assert dense_weight(none, some, population=10) == 0
    assert auto(some, none, population=10)[0].tolist() == [4, 2]
    assert auto(none, some, population=10)[0].tolist() == [4, 2]
    assert auto(none, none, population=10)[0].tolist() == []


def test_covering_more_of_the_query_makes_words_count_more():
    rng = np.random.default_rng(0)
    dense, sparse = ranking(range(100), background(rng)), ranking(range(3), [6, 5, 4])
    weights = [
        dense_weight(dense, sparse, population=1000, query_weight=total) for total in (6, 12, 60)
    ]
    assert weights == sorted(weights)
    assert len(set(weights)) == 3


@pytest.mark.parametrize(
    "options", [{"method": "best"}, {"method": "convex", "weight": 2}, {"method": "rrf", "k": 0}]
)
def test_wrong_arguments_are_named(options):
    with pytest.raises(ConfigError):
        fuse(ranking([1], [1]), ranking([1], [1]), **options)
