"""One fixture runs every flow on several settings of the engine: results must not differ."""

from __future__ import annotations

import pytest

from sage.api import LocalEnvironment
from sage.kernel.testing import SETTINGS, FlowRunner, leftovers


@pytest.fixture(params=list(SETTINGS), ids=list(SETTINGS))
def run_flow(request, tmp_path):
    """``run_flow(build)`` runs ``build(env, out)`` and returns a ``FlowRun``."""
    config = {"dead_letter_dir": str(tmp_path), **SETTINGS[request.param]}
    return FlowRunner(LocalEnvironment, config)


@pytest.fixture
def run_once(tmp_path):
    """Like ``run_flow``, with the default settings only."""
    return FlowRunner(LocalEnvironment, {"dead_letter_dir": str(tmp_path)})


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    assert leftovers() == []
