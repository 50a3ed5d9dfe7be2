import enum
from pathlib import Path
from typing import Literal

import attrs
import jsonschema
import pytest

from sage.common.config import Secret, config_schema, json_schema


class Metric(enum.Enum):
    COSINE = "cosine"
    DOT = "dot"


@attrs.frozen(kw_only=True)
class Index:
    """An index.

    Attributes:
        name: Its name.
        width: Neighbours per node,
            more is slower.
    """

    name: str
    width: int = attrs.field(default=16, metadata={"unit": "nodes"})


@attrs.frozen(kw_only=True)
class Options:
    """Options of a thing.

    Attributes:
        low, high: Bounds: inclusive.
    """

    low: float = 0.0
    high: float = 1.0
    timeout: float | None = attrs.field(
        default=None, metadata={"help": "Limit.", "unit": "seconds"}
    )
    metric: Metric = Metric.COSINE
    kind: Literal["a", "b"] | None = None
    indexes: tuple[Index, ...] = (Index(name="x"),)
    extra: dict[str, int] = attrs.field(factory=dict)
    path: Path
    api_key: Secret = attrs.field(factory=lambda: Secret("top-secret-default"))


def test_fields():
    fields = {field.name: field for field in config_schema(Options)}
    assert list(fields)[:3] == ["low", "high", "timeout"]
    assert fields["low"].help == fields["high"].help == "Bounds: inclusive."
    assert (fields["timeout"].help, fields["timeout"].unit) == ("Limit.", "seconds")
    assert fields["timeout"].type == "float | None"
    assert fields["metric"].choices == ("cosine", "dot")
    assert fields["metric"].default == "cosine"
    assert fields["kind"].choices == ("a", "b")
    assert fields["path"].required
    assert not fields["extra"].required
    assert fields["indexes"].default == [{"name": "x", "width": 16}]
    assert fields["indexes"].type == "tuple[Index, ...]"
    inner = fields["indexes"].fields
    assert [f.name for f in inner] == ["name", "width"]
    assert inner[1].help == "Neighbours per node, more is slower."
    assert fields["api_key"].default == "********"


def test_json_schema_accepts_what_structuring_accepts():
    schema = json_schema(Options)
    jsonschema.Draft202012Validator.check_schema(schema)
    validate = jsonschema.Draft202012Validator(schema).is_valid
    assert validate({"path": "x", "metric": "dot", "indexes": [{"name": "a"}], "kind": None})
    assert not validate({})
    assert not validate({"path": "x", "unknown": 1})
    assert not validate({"path": "x", "metric": "l2"})
    assert not validate({"path": "x", "indexes": [{"width": 1}]})
    assert schema["properties"]["timeout"]["x-unit"] == "seconds"
    assert schema["description"] == "Options of a thing."
    assert "top-secret-default" not in str(schema)


@attrs.frozen
class Tree:
    label: str
    children: tuple["Tree", ...] = ()


def test_a_class_may_hold_itself():
    schema = json_schema(Tree)
    jsonschema.validate({"label": "a", "children": [{"label": "b"}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"label": "a", "children": [{"label": 1}]}, schema)
    assert config_schema(Tree)[1].fields == ()


def test_the_unit_a_number_is_counted_in():
    @attrs.frozen(kw_only=True)
    class Counted:
        """Numbers.

        Attributes:
            max_tokens: Most tokens of a reply; default: the server's.
            timeout: Seconds for one attempt.
            keep: Weight of the score the passages came with, 0 to 1.
            threshold: A cosine in ``[-1, 1]`` for one search, a share in ``[0, 1]`` for another.
            temperature: Sampling temperature.
            prices: USD per million tokens, by model.
            text: Words that stand in front.
        """

        max_tokens: int | None = None
        timeout: float = 5.0
        keep: float = 0.5
        threshold: float = 0.0
        temperature: float = 0.0
        prices: dict[str, float] = attrs.field(factory=dict)
        text: str = ""

    assert {field.name: field.unit for field in config_schema(Counted)} == {
        "max_tokens": "tokens",
        "timeout": "seconds",
        "keep": "0 to 1",
        "threshold": "",
        "temperature": "",
        "prices": "USD per million tokens",
        "text": "",
    }
