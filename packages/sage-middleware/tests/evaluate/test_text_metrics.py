"""Measures of the answer against their reference implementations."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.lib.evaluate import AccuracyEvaluate, BLEUEvaluate, RougeLEvaluate
from sage.lib.evaluate.accuracy import last_number
from sage.lib.evaluate.bleu import corpus_bleu
from sage.lib.evaluate.rouge_l import longest_common_subsequence, rouge_l, tokens

# fmt: off
WORDS = [
    "the",
    "a",
    "cat",
    "sat",
    "on",
    "mat",
    "dog",
    "ran,",
    "fast!",
    "3.5",
    "über",
    "don't",
    "北京",
    "of-the-art",
]


def item(answer, *references):
    return {"question": "q", "answer": answer, "references": list(references)}


def score(evaluator, *given):
    return evaluator.execute(item(*given)).scores


@pytest.mark.parametrize(
    ("match", "answer", "reference", "expected"),
    [
        ("contains", "It is in Paris, France.", "paris", 1.0),
        ("contains", "comparison", "paris", 0.0),
        ("contains", "the comparable", "", 0.0),
        ("contains", "首都是北京。", "北京", 1.0),
        ("exact", "The Paris!", "paris", 1.0),
        ("exact", "in Paris", "paris", 0.0),
        ("number", "So 3 + 4 = 7, she has $1,234.", "1234", 1.0),
        ("number", "none", "18", 0.0),
        ("number", "18", "none", 0.0),
    ],
)
def test_accuracy(match, answer, reference, expected):
    assert score(AccuracyEvaluate(match=match), answer, reference) == {"accuracy": expected}


def test_accuracy_without_references_is_no_score():
    assert score(AccuracyEvaluate(), "x") == {"accuracy": None}


def test_the_last_number_is_read_as_written():
    assert last_number("-2 then 1,000,000.25.") == 1000000.25
    assert last_number("no") is None


def slow_lcs(a, b):
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + slow_lcs(a[:-1], b[:-1])
    return max(slow_lcs(a[:-1], b), slow_lcs(a, b[:-1]))


@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_the_bit_vector_counts_as_the_recursion(a, b):
    assert longest_common_subsequence(a, b) == slow_lcs(a, b)


# Values of rouge-score 0.1.2, rougeL, no stemmer.
@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("the cat sat on the mat", "a cat was on the mat", 2 / 3),
        ("police killed the gunman", "the gunman police killed", 0.5),
        ("Fast, state-of-the-art!", "state of the art is fast", 8 / 11),
        ("北京", "北京", 0.0),
        ("", "x", 0.0),
    ],
)
def test_rouge_l_of_the_reference(answer, reference, expected):
    assert score(RougeLEvaluate(), answer, reference)["rouge_l"] == pytest.approx(
        expected, abs=1e-6
    )


def test_rouge_l_equals_rouge_score_on_random_texts():
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    reference = rouge_scorer.RougeScorer(["rougeL"])
    draw = random.Random(1)
    for _ in range(200):
        a, b = (" ".join(draw.choices(WORDS, k=draw.randrange(15))) for _ in range(2))
        assert rouge_l(tokens(a), tokens(b)) == pytest.approx(
            reference.score(b, a)["rougeL"].fmeasure, abs=1e-6
        )


def test_rouge_l_reads_other_scripts_when_asked():
    assert score(RougeLEvaluate(tokenizer="unicode"), "北京市", "北京")["rouge_l"] == 0.8


def test_the_best_reference_counts():
    assert score(RougeLEvaluate(), "b", "a", "b")["rouge_l"] == 1.0
    assert score(RougeLEvaluate(), "b")["rouge_l"] is None


def test_bleu_equals_sacrebleu(tmp_path):
    sacrebleu = pytest.importorskip("sacrebleu")
    evaluator = BLEUEvaluate()
    evaluator.open(None)
    draw = random.Random(2)
    pairs = []
    for _ in range(50):
        text = " ".join(draw.choices(WORDS, k=draw.randrange(1, 15)))
        references = [" ".join(draw.choices(WORDS, k=8)) for _ in range(draw.randrange(1, 3))]
        pairs.append((text, references))
        assert score(evaluator, text, *references)["bleu"] == pytest.approx(
            sacrebleu.sentence_bleu(text, references).score, abs=1e-6
        )
    assert score(evaluator, "x")["bleu"] is None
    single = [(text, references[:1]) for text, references in pairs]
    expected = sacrebleu.corpus_bleu([a for a, _ in single], [[r[0] for _, r in single]]).score
    assert corpus_bleu([*single, ("nothing known", [])]) == pytest.approx(expected, abs=1e-6)
    assert corpus_bleu([("a", [])]) is None


def test_the_tokenizer_of_bleu_makes_a_difference():
    pytest.importorskip("sacrebleu")
    values = []
    for name in ("13a", "zh"):
        evaluator = BLEUEvaluate(tokenize=name)
        evaluator.open(None)
        values.append(score(evaluator, "北京是中国的首都。", "中国的首都是北京。")["bleu"])
    assert values[0] < values[1]
