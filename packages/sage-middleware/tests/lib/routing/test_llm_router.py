import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, JobFailedError
from sage.lib.routing import LLMRouter
from sage.lib.routing.llm import read_route
from sage.middleware.testing.model_server import ModelServer, content_of

ROUTES = {"billing": "invoices and refunds", "support": "something does not work"}


def routed(questions, answer, faults=(), **options):
    seen = {"billing": [], "support": [], "rest": []}
    with ModelServer(answer=answer, faults=faults) as server:
        env = LocalEnvironment("llm")
        config = {"model": "m", "base_url": server.url, "routes": ROUTES, "max_retries": 1}
        ways = env.from_collection(questions).route("LLMRouter", config, **options)
        ways["billing"].sink(seen["billing"].append)
        ways["support"].sink(seen["support"].append)
        ways.default.sink(seen["rest"].append)
        job = env.submit()
        job.wait(60)
    return seen, server, job


def by_word(request):
    said = content_of(request["messages"][-1]).split("<question>")[1]
    if "pay" in said:
        return "Billing."
    return "The route is support" if "start" in said else "I cannot tell: billing or support"


def test_the_model_names_the_route():
    questions = ["How do I pay?", "It does not start", "Hm"]
    seen, server, job = routed(questions, by_word, concurrency=4)
    assert seen == {"billing": questions[:1], "support": questions[1:2], "rest": questions[2:]}
    assert "- billing: invoices and refunds" in content_of(server.calls[0].request["messages"][-1])
    counters = next(
        step["counters"] for step in job.metrics()["operators"].values() if step.get("counters")
    )
    assert counters["malformed"] == 1


def test_a_failing_model_is_no_route():
    with pytest.raises(JobFailedError):
        routed(["How do I pay?"], by_word, faults=["400"])
    seen, server, _ = routed(["How do I pay?"], by_word, faults=["500"])
    assert seen["billing"] == ["How do I pay?"]
    assert server.count == 2


@pytest.mark.parametrize(
    ("reply", "route"),
    [
        ("billing", "billing"),
        (' "Support". ', "support"),
        ("**billing**", "billing"),
        ("Route: billing", "billing"),
        ("<think>support? no</think>billing", "billing"),
        ("billing or support", None),
        ("rebilling", None),
        ("", None),
    ],
)
def test_reading_replies(reply, route):
    assert read_route(reply, ["billing", "support", "default"]) == route


def test_settings():
    with pytest.raises(ConfigError, match="model"):
        LLMRouter({"routes": ROUTES})
    with pytest.raises(ConfigError, match="case"):
        LLMRouter({"model": "m", "routes": {"a": "x", "A": "y"}})
    with pytest.raises(ConfigError, match="routes"):
        LLMRouter({"model": "m", "routes": {}})
