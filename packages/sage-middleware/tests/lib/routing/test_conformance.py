"""The built-in routers under the suite that plugin authors use."""

import pytest

from sage.lib.routing import ConditionalRouter, LLMRouter, LoadBalancer, SemanticRouter
from sage.lib.testing.routers import RouterSuite
from sage.middleware.testing.model_server import ModelServer


class TestConditionalRouter(RouterSuite):
    routes = ("long", "default")

    def make(self):
        return ConditionalRouter({"rules": [{"route": "long", "when": {"length": {"$gt": 20}}}]})


class TestSemanticRouter(RouterSuite):
    routes = ("billing", "default")

    def make(self):
        routes = {"billing": ["How can I pay?"]}
        return SemanticRouter({"routes": routes, "threshold": 0.3, "embedding": {"method": "hash"}})


class TestRoundRobin(RouterSuite):
    routes = ("a", "b", "c")

    def make(self):
        return LoadBalancer({"targets": ["a", "b", "c"]})


class TestWeighted(RouterSuite):
    routes = ("a", "b", "c")

    def make(self):
        targets = {"targets": ["a", "b", "c"], "weights": [3, 1, 0.5]}
        return LoadBalancer({**targets, "strategy": "weighted"})


class TestSticky(RouterSuite):
    routes = ("a", "b")

    def make(self):
        return LoadBalancer({"targets": ["a", "b"], "strategy": "sticky", "key": repr})


class TestLLMRouter(RouterSuite):
    routes = ("billing", "support", "default")

    @pytest.fixture(autouse=True)
    def server(self):
        def answer(request):
            asked = request["messages"][-1]["content"].split("<question>")[1]
            return "billing" if "pay" in asked else "support" if "start" in asked else "default"

        with ModelServer(answer=answer) as server:
            self.url = server.url
            yield

    def make(self):
        routes = {"billing": "money", "support": "faults"}
        return LLMRouter({"model": "m", "base_url": self.url, "routes": routes})
