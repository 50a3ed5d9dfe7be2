"""Random graphs give what plain Python gives, under every setting, and count every item."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage.api import LocalEnvironment
from sage.kernel.testing import SETTINGS, FlowRunner, Plan

KINDS = ["map", "map", "filter", "filter", "flatmap", "amap", "union", "route", "fold"]


@st.composite
def plans(draw):
    items = draw(st.lists(st.integers(-40, 400), max_size=60))
    steps = []
    for i in range(1, draw(st.integers(1, 9)) + 1):
        kind = draw(st.sampled_from(KINDS))
        # Near steps are likelier, so that chains get long enough to be fused.
        one = st.integers(max(0, i - 3), i - 1) | st.integers(0, i - 1)
        count = draw(st.integers(2, 3)) if kind == "union" else 1
        sources = draw(st.lists(one, min_size=count, max_size=count, unique=True))
        if len(sources) < 2 and kind == "union":
            kind = "map"
        options = {}
        if kind in ("map", "filter", "flatmap", "fold") and draw(st.integers(0, 4)) == 0:
            options["parallelism"] = draw(st.integers(2, 3))
        if kind == "amap":
            options["concurrency"] = draw(st.integers(1, 4))
        steps.append((kind, draw(st.integers(0, 3)), tuple(sources), options))
    return Plan(items, _bounded(steps))


def _bounded(steps):
    """Few expansions, so that there are few items; no fold of a union, whose order is open."""
    seen = 0
    merged = {0: False}
    for i, (kind, number, sources, _options) in enumerate(steps, 1):
        seen += kind in ("flatmap", "union")
        merged[i] = kind == "union" or any(merged[source] for source in sources)
        too_many = seen > 3 and kind in ("flatmap", "union")
        if too_many or (kind == "fold" and merged[i]):
            steps[i - 1] = ("map", number, sources[:1], {})
    return steps


@pytest.mark.parametrize("setting", SETTINGS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(plan=plans())
def test_like_the_reference(setting, plan):
    run = FlowRunner(LocalEnvironment, SETTINGS[setting])(plan.build)
    got = {end: [] for end in plan.ends()}
    for end, item in run.out:
        got[end].append(item)
    assert {end: sorted(items) for end, items in got.items()} == plan.expected()
    numbers = run.job.metrics()["operators"]
    for name, flow in plan.flows().items():
        assert (numbers[name]["in"], numbers[name]["out"]) == flow, name
