"""Which evaluators a run uses: by short name, by registered name with a config, or by default."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from sage.apps.evaluation.dataset import Dataset
from sage.common.errors import ConfigError
from sage.common.plugins import Registry
from sage.kernel.graph.options import suggest

GROUP = "sage.evaluators"

JUDGED = {
    "faithfulness": "FaithfulnessEvaluate",
    "answer_relevancy": "AnswerRelevancyEvaluate",
    "citations": "CitationFaithfulnessEvaluate",
    "context_recall": "ContextRecallEvaluate",
    "context_precision": "ContextPrecisionEvaluate",
}
PLAIN = {
    "em": "ExactMatch",
    "f1": "F1Evaluate",
    "accuracy": "AccuracyEvaluate",
    "rouge_l": "RougeLEvaluate",
    "bleu": "BLEUEvaluate",
    "map": "MAPEvaluate",
    "mrr": "MRREvaluate",
    "spans": "SpanOverlapEvaluate",
    "compression_rate": "CompressionRateEvaluate",
    "latency": "LatencyEvaluate",
    "tokens": "TokensEvaluate",
    "cost": "CostEvaluate",
}
RANKED = {
    "ndcg": "NDCGEvaluate",
    "recall": "RecallEvaluate",
    "precision": "PrecisionEvaluate",
    "hit": "HitRateEvaluate",
    "map": "MAPEvaluate",
    "mrr": "MRREvaluate",
}
BERT = {"bertscore": "BERTScoreEvaluate", "bert_recall": "BERTRecallEvaluate"}
_RANKED = re.compile(r"([a-z]+)@([1-9]\d{0,5})")


@attrs.frozen(kw_only=True)
class Chosen:
    """One evaluator of a run.

    Attributes:
        operator: Registered name.
        config: Its configuration.
        names: The scores it sets.
        needs_answer: Whether it needs an answer, or only passages.
        concurrency: Calls in flight, for judges.
    """

    operator: str
    config: Mapping[str, Any]
    names: tuple[str, ...]
    needs_answer: bool
    concurrency: int | None = None


@attrs.frozen(kw_only=True)
class Models:
    """Models that evaluators need.

    Attributes:
        judge: Model that judges, at ``OPENAI_BASE_URL``; ``None``: judge by the words.
        bert: Folder of the encoder for BERTScore.
        concurrency: Calls of the judge in flight.
    """

    judge: str | None = None
    bert: str | None = None
    concurrency: int = 16


def split_names(given: Sequence[str]) -> list[str]:
    """``["f1,em", "Name={...}"]`` as single names; a name with a config stays whole."""
    return [
        part.strip()
        for text in given
        for part in ([text] if "=" in text else text.split(","))
        if part.strip()
    ]


def default_names(dataset: Dataset, *, answers: bool) -> list[str]:
    """What can be measured on a data set.

    Args:
        dataset: The data set.
        answers: Whether the pipeline gives answers, not only passages.
    """
    names: list[str] = []
    if answers:
        names += ["f1", "em"] if dataset.has("answers") else []
    if dataset.has("qrels"):
        names += ["ndcg@10", "map", "mrr", "recall@10", "hit@10"]
    if dataset.has("spans"):
        names.append("spans")
    if answers:
        names += ["latency", "tokens", "cost"]
    if not names:
        raise ConfigError(
            f"data set {dataset.name!r} has neither answers nor judgements, so there is nothing to "
            "measure by default; choose with --metrics, e.g. --metrics context_recall"
        )
    return names


def choose(names: Sequence[str], models: Models, *, answers: bool) -> list[Chosen]:
    """The evaluators of these names, each once.

    Raises:
        ConfigError: A name is unknown, a config is wrong, two set the same score, or one needs an
            answer and the pipeline gives none.
    """
    chosen: dict[str, Chosen] = {}
    for name in names:
        found = _choose(name, models)
        if found.needs_answer and not answers:
            raise ConfigError(
                f"--metrics {name}: it scores answers, and this pipeline ends with passages"
            )
        for score in found.names:
            if score in chosen and chosen[score] != found:
                raise ConfigError(f"--metrics {name}: the score {score!r} is set twice")
            chosen[score] = found
    return list({id(each): each for each in chosen.values()}.values())


def known_names() -> list[dict[str, str]]:
    """The short names and what they stand for, for people."""
    rows = [{"metric": f"{name}@K", "evaluator": op} for name, op in RANKED.items()]
    rows += [{"metric": name, "evaluator": op} for name, op in {**PLAIN, **JUDGED, **BERT}.items()]
    short = {row["evaluator"] for row in rows}
    rows += [
        {"metric": f"{name}={{...}}", "evaluator": name}
        for name in Registry(GROUP).names()
        if name not in short
    ]
    return sorted(rows, key=lambda row: row["metric"])


def _choose(name: str, models: Models) -> Chosen:
    key, sign, text = name.partition("=")
    ranked = _RANKED.fullmatch(key)
    config: dict[str, Any] = {}
    concurrency = None
    if ranked and ranked[1] in RANKED:
        operator, config = RANKED[ranked[1]], {"k": int(ranked[2])}
    elif key in PLAIN:
        operator = PLAIN[key]
    elif key in JUDGED:
        operator = JUDGED[key]
        if models.judge is not None:
            config, concurrency = {"judge": models.judge}, models.concurrency
    elif key in BERT:
        operator = BERT[key]
        if models.bert is None and not sign:
            raise ConfigError(f"--metrics {key}: needs --bert-model FOLDER, a local encoder")
        config = {} if models.bert is None else {"model": models.bert}
    elif key in Registry(GROUP):
        operator = key
    else:
        known = [*PLAIN, *JUDGED, *BERT, *(f"{each}@10" for each in RANKED)]
        known += Registry(GROUP).names()
        raise ConfigError(
            f"--metrics: no metric {key!r}{suggest(key, known)} (`sage eval metrics` lists them)"
        )
    if sign:
        try:
            given = json.loads(text)
        except ValueError as exc:
            raise ConfigError(
                f"--metrics {name}: after '=' comes a JSON object with the config ({exc})"
            ) from exc
        if not isinstance(given, dict):
            raise ConfigError(f"--metrics {name}: after '=' comes a JSON object with the config")
        config.update(given)
    evaluator = Registry(GROUP).get(operator)(config)
    return Chosen(
        operator=operator,
        config=config,
        names=tuple(evaluator.metrics),
        needs_answer=getattr(evaluator, "needs", "answer") == "answer",
        concurrency=concurrency,
    )
