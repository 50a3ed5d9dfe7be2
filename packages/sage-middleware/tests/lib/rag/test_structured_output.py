from typing import Literal

import attrs
import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, JobFailedError
from sage.lib.rag.generator import OpenAIGenerator
from sage.lib.rag.generator.structured import read_output, schema_of


@attrs.frozen(kw_only=True)
class City:
    name: str
    people: int
    rivers: list[str] = attrs.field(factory=list)
    kind: Literal["town", "capital"] = "town"
    mayor: str | None = None


GOOD = '{"name": "Paris", "people": 2100000, "rivers": ["Seine"], "kind": "capital"}'
PARIS = City(name="Paris", people=2_100_000, rivers=["Seine"], kind="capital")


def ask(server, replies, **settings):
    replies = iter(replies)
    server.answer = lambda request: next(replies)
    seen = []
    env = LocalEnvironment("typed")
    config = {"model": "m", "base_url": server.url, "output": City, **settings}
    env.from_collection(["Which city?"]).map(OpenAIGenerator, config).sink(seen.append)
    env.submit().wait(60)
    return seen[0]


@pytest.mark.parametrize(
    "reply",
    [
        GOOD,
        f"Here it is:\n```json\n{GOOD}\n```",
        f'<think>{{"name": "Lyon"}}? No.</think>{GOOD}',
        f"As {{name, people}}: {GOOD} {{done}}",
    ],
)
def test_the_reply_becomes_a_value(server, reply):
    answer = ask(server, [reply])
    assert answer.metadata == {"output": PARIS}
    form = server.calls[0].request["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["schema"]["required"] == ["name", "people"]


def test_a_reply_that_does_not_fit_is_repaired_once(server):
    prices = {"m": {"input": 1.0, "output": 2.0}}
    answer = ask(server, ['{"name": "Paris", "people": "many"}', GOOD], prices=prices)
    assert answer.metadata["output"] == PARIS
    assert "people" in answer.metadata["repaired"]
    second = server.calls[1].request["messages"]
    assert [m["role"] for m in second] == ["user", "assistant", "user"]
    assert "people" in second[-1]["content"]
    assert answer.usage.input_tokens > 20
    assert answer.cost == pytest.approx(
        (answer.usage.input_tokens + 2 * answer.usage.output_tokens) / 1e6
    )


def test_a_second_failure_is_clear(server):
    with pytest.raises(JobFailedError, match=r"does not fit City.*no JSON object"):
        ask(server, ["no", "still no"])
    assert server.count == 2


def test_schema_and_values():
    assert schema_of(City)["properties"] == {
        "name": {"type": "string"},
        "people": {"type": "integer"},
        "rivers": {"type": "array", "items": {"type": "string"}},
        "kind": {"enum": ["town", "capital"]},
        "mayor": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    }
    with pytest.raises(ConfigError, match="broken JSON"):
        read_output("{x}", City)
    with pytest.raises(ConfigError, match="no JSON schema"):
        schema_of(object)
    with pytest.raises(ConfigError, match="must be an attrs class"):
        OpenAIGenerator({"model": "m", "output": "City"})
