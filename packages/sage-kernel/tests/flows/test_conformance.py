"""The public conformance suite, on every setting of the local runtime."""

from __future__ import annotations

import pytest

from sage.api import LocalEnvironment
from sage.kernel.testing import SETTINGS, RuntimeConformance


class TestLocalRuntime(RuntimeConformance):
    @pytest.fixture(autouse=True, params=list(SETTINGS), ids=list(SETTINGS))
    def _setting(self, request):
        self.setting = SETTINGS[request.param]

    def make_environment(self, name, config):
        return LocalEnvironment(name, {**self.setting, **config})
