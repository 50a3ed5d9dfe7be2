"""Time, tokens, money and compression; aggregation; paired comparison; metric scripts."""

import math
import random

import pytest

from sage.common.errors import ConfigError
from sage.lib.errors import ItemError
from sage.lib.evaluate import (
    CompressionRateEvaluate,
    CostEvaluate,
    EvaluateMetric,
    LatencyEvaluate,
    TokensEvaluate,
    aggregate,
)
from sage.lib.evaluate.aggregate import summarize
from sage.lib.evaluate.resampling import bootstrap_interval, compare_paired
from sage.lib.types import Answer, Document, Evaluation, Query, Usage


def answer(**more):
    return Answer(text="a", query=Query(text="q", answers=more.pop("answers", ())), **more)


def test_what_is_not_known_is_no_score():
    for evaluator in (LatencyEvaluate(), CostEvaluate(), TokensEvaluate()):
        assert set(evaluator.execute(answer()).scores.values()) == {None}
    known = answer(latency=0.5, cost=0.0, usage=Usage(input_tokens=7, output_tokens=3))
    assert LatencyEvaluate().execute(known).scores == {"latency": 0.5}
    assert CostEvaluate().execute(known).scores == {"cost": 0.0}
    assert TokensEvaluate().execute(known).scores["total_tokens"] == 10.0


def test_compression_rate():
    evaluator = CompressionRateEvaluate()
    evaluator.open(None)

    def rate(*passages, **metadata):
        item = answer(passages=passages, metadata=metadata)
        return evaluator.execute(item).scores["compression_rate"]

    short = Document(id="1", text="one", metadata={"original_text": "one two three four"})
    same = Document(id="2", text="one two")
    assert rate(short) == 0.25
    assert rate(same) == 1.0
    assert rate(short, same) == 0.5
    assert rate(same, original_text=20) == 0.1
    assert rate() is None


def test_the_bootstrap_is_reproducible_and_covers_the_mean():
    draw = random.Random(5)
    values = [float(draw.random() < 0.3) for _ in range(200)]
    found = bootstrap_interval(values)
    assert found == bootstrap_interval(values)
    assert found != bootstrap_interval(values, seed=1)
    half = 1.96 * math.sqrt(0.3 * 0.7 / 200)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)
    assert found.low < sum(values) / 200 < found.high
    assert bootstrap_interval([1.0]) is None


def test_aggregation_counts_what_has_no_score():
    items = [
        Evaluation(answer=answer(), scores={"f1": value}) for value in (0.0, 1.0, None, 1.0, 0.0)
    ]
    total = aggregate(items, resamples=500)["f1"]
    assert (total.mean, total.count, total.missing) == (0.5, 4, 1)
    assert total.low < 0.5 < total.high
    assert summarize([None], resamples=500).mean is None


def test_paired_comparison_of_equal_and_of_different_runs():
    draw = random.Random(6)
    a = [draw.random() for _ in range(100)]
    same = compare_paired(a, a)
    assert (same.p_value, same.difference, same.effect, same.ties) == (1.0, 0.0, None, 100)
    better = compare_paired(a, [value + 0.1 + draw.uniform(-0.1, 0.1) for value in a])
    assert better.p_value < 0.001
    assert better.low > 0
    assert better.effect > 1
    noise = compare_paired(a, [value + draw.uniform(-0.1, 0.1) for value in a])
    assert noise.p_value > 0.01
    assert compare_paired([], []) is None
    with pytest.raises(ValueError, match="length"):
        compare_paired([1.0], [])


def test_the_p_value_of_few_differences_is_exact():
    found = compare_paired([0, 0, 0, 0], [1, 1, 1, 0])
    assert found.p_value == 0.25
    assert (found.wins, found.losses, found.ties) == (3, 0, 1)


SCRIPT = """
import datasets
import evaluate


class Overlap(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references, scale=1.0):
        hits = [p == r for p, r in zip(predictions, references)]
        return {"overlap": scale * sum(hits) / len(hits)}
"""


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_local_metric_script(tmp_path, monkeypatch):
    pytest.importorskip("evaluate", exc_type=ImportError)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "overlap"
    folder.mkdir()
    (folder / "overlap.py").write_text(SCRIPT, encoding="utf-8")
    evaluator = EvaluateMetric(path=str(folder), key="overlap", options={"scale": 2.0})
    evaluator.open(None)
    assert evaluator.execute(answer(answers=("a",))).scores == {"overlap": 2.0}
    assert evaluator.execute(answer(answers=("b", "a"))).scores == {"overlap": 0.0}
    assert evaluator.execute(answer()).scores == {"overlap": None}
    wrong = EvaluateMetric(path=str(folder), key="nope")
    wrong.open(None)
    with pytest.raises(ItemError, match="overlap"):
        wrong.execute(answer(answers=("a",)))


def test_names_of_the_hub_are_not_loaded(tmp_path):
    for path in ("rouge", str(tmp_path)):
        with pytest.raises(ConfigError, match="local copy"):
            EvaluateMetric(path=path, key="rougeL")
