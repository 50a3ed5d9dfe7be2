from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from sage.api.calls import CallUsage, usage_of
from sage.common.errors import ConfigError
from sage.kernel.ledger.prices import PACKAGED, PriceTable, read_prices


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_packaged_row_says_where_and_when() -> None:
    rows = read_prices(PACKAGED)
    assert rows
    for row in rows:
        assert row.source, row.model
        assert len(row.as_of) == 10, row.model


def test_cost_is_exact() -> None:
    table = PriceTable.packaged()
    usage = CallUsage(1_000_001, 7, 1)
    cost = table.cost("api.openai.com", "gpt-4o-mini", usage)
    assert cost == Decimal("0.15") + Decimal("0.000000075") + 7 * Decimal("0.0000006")


@pytest.mark.parametrize(
    ("provider", "model", "answered", "known"),
    [
        ("api.openai.com", "gpt-4o", "", True),
        ("api.openai.com", "gpt-4o", "gpt-4o-2024-08-06", True),
        ("api.openai.com", "alias", "gpt-4o-mini-2024-07-18", True),
        ("api.openai.com", "gpt-4o-2024-08-06", "", True),
        ("api.openai.com", "another", "", False),
        ("127.0.0.1:8000", "gpt-4o", "", False),
        ("api.openai.com", "", "", False),
    ],
)
def test_which_row(provider: str, model: str, answered: str, known: bool) -> None:
    cost = PriceTable.packaged().cost(provider, model, CallUsage(1, 1, model=answered))
    assert (cost is not None) is known


def test_unknown_is_never_zero() -> None:
    table = PriceTable.packaged()
    assert table.cost("api.openai.com", "gpt-4o", None) is None
    assert table.cost("api.openai.com", "gpt-4o", CallUsage(10, None)) is None
    assert table.cost("api.openai.com", "gpt-4o", CallUsage(None, 10)) is None
    assert table.cost("x", "y", CallUsage(1, 1, cost=Decimal(0))) == 0, "the provider says zero"
    only_input = table.cost("api.openai.com", "text-embedding-3-small", CallUsage(1_000_000))
    assert only_input == Decimal("0.02")


def test_the_prices_of_the_step_go_first() -> None:
    own = {"gpt-4o": {"input": 1, "output": 2}}
    cost = PriceTable.packaged().cost("api.openai.com", "gpt-4o", CallUsage(10, 10), own)
    assert cost == Decimal("0.00003")


def test_later_files_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_HOME", str(tmp_path))
    (tmp_path / "config").mkdir()
    write(
        tmp_path / "config" / "prices.yaml",
        "prices:\n- {provider: api.openai.com, model: gpt-4o, input: 1, output: 1}\n"
        "- {model: local, call: 0.5}\n",
    )
    given = write(tmp_path / "mine.yaml", "prices:\n- {model: local, input: 3}\n")
    usage = CallUsage(1_000_000, 0)
    assert PriceTable.load().cost("api.openai.com", "gpt-4o", usage) == 1
    assert PriceTable.load().cost("anywhere", "local", usage) == Decimal("0.5")
    assert PriceTable.load(given).cost("anywhere", "local", usage) == 3
    with pytest.raises(ConfigError, match=r"there is no file .*nowhere.yaml"):
        PriceTable.load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prices: 3", "expected a list"),
        ("[", "cannot be read"),
        ("prices:\n- 3", r"prices\[0\]: must be a mapping"),
        ("prices:\n- {model: m, inputs: 1}", "unknown key 'inputs'"),
        ("prices:\n- {model: m}", "has none of"),
        ("prices:\n- {model: m, input: cheap}", "must be a number"),
        ("prices:\n- {model: m, input: -1}", "must be a number >= 0"),
        ("prices:\n- {model: m, input: .nan}", "must be a number >= 0"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = write(tmp_path / "prices.yaml", text)
    with pytest.raises(ConfigError, match=problem) as caught:
        read_prices(path)
    assert str(path) in str(caught.value)


class Reply:
    input_tokens, output_tokens, cached_tokens, model, retries = 1, 2, 3, "m", 4


class Answer:
    usage = Reply()
    model = "m"
    retries = 4


@pytest.mark.parametrize(
    "response",
    [
        Reply(),
        Answer(),
        {
            "model": "m",
            "usage": {
                "prompt_tokens": 1,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 3},
            },
        },
    ],
    ids=["reply", "answer", "mapping"],
)
def test_usage_of_the_usual_forms(response: object) -> None:
    used = usage_of(response)
    assert used is not None
    assert (used.input_tokens, used.output_tokens, used.cached_tokens) == (1, 2, 3)
    assert used.model == "m"


@pytest.mark.parametrize("response", [None, "text", {"usage": None}, {"text": "x"}, [1, 2]])
def test_no_usage(response: object) -> None:
    assert usage_of(response) is None
