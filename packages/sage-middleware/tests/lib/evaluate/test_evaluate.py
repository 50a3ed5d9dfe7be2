import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.lib.evaluate import ExactMatch, F1Evaluate, aggregate
from sage.lib.evaluate.aggregate import summarize
from sage.lib.evaluate.squad import exact_match, token_f1


@pytest.mark.parametrize(
    ("answer", "reference", "f1", "em"),
    [("The Eiffel Tower!", "eiffel tower", 1.0, 1.0), ("in Paris", "Paris", 2 / 3, 0.0),
     ("", "", 1.0, 1.0), ("", "x", 0.0, 0.0), ("the", "a", 1.0, 1.0), ("a b b", "b b c", 0.8, 0.0)],
)  # fmt: skip
def test_squad_measures(answer, reference, f1, em):
    assert token_f1(answer, reference) == pytest.approx(f1)
    assert exact_match(answer, reference) == em


@given(st.text(max_size=40), st.text(max_size=40))
def test_f1_is_symmetric_and_bounded(a, b):
    assert token_f1(a, b) == token_f1(b, a)
    assert 0.0 <= token_f1(a, b) <= 1.0
    assert token_f1(a, a) == 1.0


def test_the_best_reference_counts_and_scores_add_up():
    item = {"question": "q", "answer": "the cat", "references": ["dog", "cat"]}
    found = ExactMatch().execute(F1Evaluate().execute(item))
    assert found.scores == {"f1": 1.0, "em": 1.0}
    assert found.answer.query.text == "q"


def test_without_references_there_is_no_score_and_no_zero():
    scored = [
        F1Evaluate().execute({"question": "q", "answer": "a"}),
        F1Evaluate().execute(("a", ["a"])),
    ]
    assert scored[0].scores == {"f1": None}
    total = aggregate(scored)["f1"]
    assert (total.mean, total.count, total.missing) == (1.0, 1, 1)


def test_the_interval_is_that_of_the_mean():
    total = summarize([0.0, 1.0, 0.0, 1.0])
    assert total.mean == 0.5
    assert total.high - total.mean == pytest.approx(1.96 * (1 / 3) ** 0.5 / 2)
    assert summarize([None, None]).mean is None
