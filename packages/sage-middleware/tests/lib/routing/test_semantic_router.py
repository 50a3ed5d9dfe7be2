import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.routing import SemanticRouter

ROUTES = {
    "billing": ["How do I pay my invoice?", "Where is my refund?"],
    "support": ["The printer does not start."],
}


def test_questions_go_where_their_like_goes():
    seen = {"billing": [], "support": [], "rest": []}
    env = LocalEnvironment("semantic")
    settings = {"routes": ROUTES, "threshold": 0.2, "embedding": {"method": "hash"}}
    questions = ["How can I pay an invoice?", "My printer will not start", "xyzzy qwv"]
    routed = env.from_collection(questions).route("SemanticRouter", settings)
    routed["billing"].sink(seen["billing"].append)
    routed["support"].sink(seen["support"].append)
    routed.default.sink(seen["rest"].append)
    env.submit().wait(60)
    assert seen == {"billing": questions[:1], "support": questions[1:2], "rest": questions[2:]}


def test_a_route_needs_examples():
    with pytest.raises(ConfigError, match="no examples"):
        SemanticRouter({"routes": {"a": []}})
    with pytest.raises(ConfigError, match="routes"):
        SemanticRouter({"routes": {}})
