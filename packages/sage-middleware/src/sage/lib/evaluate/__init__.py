"""Evaluators: scores for answers and passages, per item and aggregated.

Reading order: ``metric`` and ``judge`` (bases), one file per evaluator, ``aggregate`` and
``resampling`` (from items to a result).
"""

from sage.lib.evaluate.accuracy import AccuracyEvaluate
from sage.lib.evaluate.aggregate import Summary, aggregate
from sage.lib.evaluate.answer_relevancy import AnswerRelevancyEvaluate
from sage.lib.evaluate.bert_recall import BERTRecallEvaluate
from sage.lib.evaluate.bert_score import BERTScoreEvaluate
from sage.lib.evaluate.bleu import BLEUEvaluate
from sage.lib.evaluate.citation_faithfulness import CitationFaithfulnessEvaluate
from sage.lib.evaluate.compression_rate import CompressionRateEvaluate
from sage.lib.evaluate.context_precision import ContextPrecisionEvaluate
from sage.lib.evaluate.context_recall import ContextRecallEvaluate
from sage.lib.evaluate.cost import CostEvaluate
from sage.lib.evaluate.exact_match import ExactMatch
from sage.lib.evaluate.f1 import F1Evaluate
from sage.lib.evaluate.faithfulness import FaithfulnessEvaluate
from sage.lib.evaluate.hf_metric import EvaluateMetric
from sage.lib.evaluate.hit_rate import HitRateEvaluate
from sage.lib.evaluate.latency import LatencyEvaluate
from sage.lib.evaluate.mean_average_precision import MAPEvaluate
from sage.lib.evaluate.ndcg import NDCGEvaluate
from sage.lib.evaluate.precision import PrecisionEvaluate
from sage.lib.evaluate.recall import RecallEvaluate
from sage.lib.evaluate.reciprocal_rank import MRREvaluate
from sage.lib.evaluate.rouge_l import RougeLEvaluate
from sage.lib.evaluate.span_overlap import SpanOverlapEvaluate
from sage.lib.evaluate.tokens import TokensEvaluate

__all__ = [
    "AccuracyEvaluate",
    "AnswerRelevancyEvaluate",
    "BERTRecallEvaluate",
    "BERTScoreEvaluate",
    "BLEUEvaluate",
    "CitationFaithfulnessEvaluate",
    "CompressionRateEvaluate",
    "ContextPrecisionEvaluate",
    "ContextRecallEvaluate",
    "CostEvaluate",
    "EvaluateMetric",
    "ExactMatch",
    "F1Evaluate",
    "FaithfulnessEvaluate",
    "HitRateEvaluate",
    "LatencyEvaluate",
    "MAPEvaluate",
    "MRREvaluate",
    "NDCGEvaluate",
    "PrecisionEvaluate",
    "RecallEvaluate",
    "RougeLEvaluate",
    "SpanOverlapEvaluate",
    "Summary",
    "TokensEvaluate",
    "aggregate",
]
