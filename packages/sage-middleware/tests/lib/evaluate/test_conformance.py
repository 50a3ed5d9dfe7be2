"""The built-in evaluators under the suite that plugin authors use."""

import pytest

from sage.common.plugins import Registry
from sage.lib.testing.evaluators import EvaluatorSuite

CONFIGS = {
    "AnswerRelevancyEvaluate": {},
    "FaithfulnessEvaluate": {},
    "HitRateEvaluate": {"k": 2},
    "NDCGEvaluate": {"k": 2},
    "PrecisionEvaluate": {"k": 2},
    "RecallEvaluate": {"k": 2},
}
# BERTScore and the adapter need models and scripts; their own tests have them.
APART = {"BERTRecallEvaluate", "BERTScoreEvaluate", "EvaluateMetric"}
NAMES = [name for name in Registry("sage.evaluators").names() if name not in APART]


def test_all_are_here():
    assert set(CONFIGS) <= set(NAMES)
    assert len(NAMES) >= 21


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


class TestEvaluators(EvaluatorSuite):
    @pytest.fixture(autouse=True)
    def chosen(self, name):
        self.name = name

    def make(self, **settings):
        evaluator = Registry("sage.evaluators").get(self.name)
        return evaluator({**CONFIGS.get(self.name, {}), **settings})
