import enum
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.config import ConfigDict, Secret, load_config, structure_config
from sage.common.errors import ConfigError


class Mode(enum.Enum):
    FAST = "fast"
    EXACT = "exact"


@attrs.frozen(kw_only=True)
class Filter:
    field: str
    value: int | str


@attrs.frozen(kw_only=True)
class Config:
    collection_name: str
    top_k: int = attrs.field(default=5, validator=attrs.validators.ge(1))
    threshold: float = attrs.field(default=0.5, validator=attrs.validators.le(1))
    exact: bool = False
    kind: Literal["dense", "sparse"] = "dense"
    mode: Mode = Mode.FAST
    filters: list[Filter] = attrs.field(factory=list)
    named: Mapping[str, Filter] = attrs.field(factory=dict)
    pair: tuple[int, str] = (1, "a")
    many: tuple[int, ...] = ()
    tags: frozenset[str] = frozenset()
    path: Path | None = None
    api_key: Secret | None = None
    hook: Callable[[int], int] | None = None
    anything: Any = None


def problems(raw, cls=Config, **kwargs):
    with pytest.raises(ConfigError) as caught:
        structure_config(raw, cls, name=kwargs.pop("name", "Op"), **kwargs)
    return str(caught.value).splitlines()


def test_everything_well_typed():
    config = structure_config(
        {
            "collection_name": "kb",
            "top_k": 3,
            "threshold": 1,
            "exact": True,
            "kind": "sparse",
            "mode": "exact",
            "filters": [{"field": "year", "value": 2020}, Filter(field="a", value="b")],
            "named": {"x": {"field": "f", "value": "v"}},
            "pair": [2, "b"],
            "many": [1, 2],
            "tags": ["a", "b"],
            "path": "data/x.txt",
            "api_key": "sk-plain",
            "hook": abs,
            "anything": {"a": [1]},
        },
        Config,
    )
    assert config == Config(
        collection_name="kb",
        top_k=3,
        threshold=1.0,
        exact=True,
        kind="sparse",
        mode=Mode.EXACT,
        filters=[Filter(field="year", value=2020), Filter(field="a", value="b")],
        named={"x": Filter(field="f", value="v")},
        pair=(2, "b"),
        many=(1, 2),
        tags=frozenset("ab"),
        path=Path("data/x.txt"),
        api_key=Secret("sk-plain"),
        hook=abs,
        anything={"a": [1]},
    )
    assert type(config.threshold) is float


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("top_k", "7", "must be an int, got '7'"),
        ("top_k", 7.0, "must be an int, got 7.0"),
        ("top_k", True, "must be an int, got True"),
        ("top_k", None, "must be an int, got None"),
        ("top_k", 0, "'top_k' must be >= 1: 0"),
        ("threshold", True, "must be a float, got True"),
        ("threshold", "0.5", "must be a float, got '0.5'"),
        ("exact", 1, "must be a bool, got 1"),
        ("exact", "yes", "must be a bool, got 'yes'"),
        ("collection_name", 3, "must be a str, got 3"),
        ("kind", "dens", "must be one of 'dense', 'sparse', got 'dens'; did you mean 'dense'?"),
        ("mode", "exat", "must be one of 'fast', 'exact', got 'exat'; did you mean 'exact'?"),
        ("filters", "abc", "must be a list of Filter, got 'abc'"),
        (
            "filters",
            {"field": "a"},
            "must be a list of Filter, got a mapping with the keys 'field'",
        ),
        ("named", [1], "must be a mapping of str to Filter, got [1]"),
        ("pair", [1], "must be a list of 2 values (int, str), got [1]"),
        ("path", 5, "must be a Path, got 5"),
        ("api_key", 5, "must be a Secret, got 5"),
        ("hook", 5, "must be a Callable, got 5"),
    ],
)
def test_one_wrong_value(key, value, message):
    assert problems({"collection_name": "kb", key: value}) == [f"Op: {key}: {message}"]


def test_paths_lead_to_the_element():
    assert problems(
        {
            "collection_name": "kb",
            "filters": [{"field": "a", "value": 1}, {"field": 1, "value": 1}, 5],
            "named": {"q r": {"field": "a", "value": []}},
            "pair": ["x", 1],
            "many": [1, "2"],
        }
    ) == [
        "Op: filters[1].field: must be a str, got 1",
        "Op: filters[2]: must be a mapping (the keys of Filter), got 5",
        "Op: named['q r'].value: must be an int or a str, got []",
        "Op: pair[0]: must be an int, got 'x'",
        "Op: pair[1]: must be a str, got 1",
        "Op: many[1]: must be an int, got '2'",
    ]


def test_all_problems_at_once():
    found = problems({"topk": 3, "top_k": 0, "threshold": 7, "exact": "no", "filters": [{}]})
    assert found == [
        "Op: collection_name: is required: expected a str",
        "Op: exact: must be a bool, got 'no'",
        "Op: filters[0].field: is required: expected a str",
        "Op: filters[0].value: is required: expected an int or a str",
        "Op: top_k: 'top_k' must be >= 1: 0",
        "Op: threshold: 'threshold' must be <= 1: 7.0",
        found[-1],
    ]
    assert found[-1].startswith("Op: topk: unknown key; did you mean 'top_k'? known keys: coll")


def test_the_error_carries_its_problems():
    with pytest.raises(ConfigError) as caught:
        structure_config({"collection_name": 1}, Config, file="config.yaml")
    (problem,) = caught.value.problems
    assert problem.path == ("collection_name",)
    assert str(caught.value) == "config.yaml: collection_name: must be a str, got 1"


def test_sections_of_a_file_name_it_and_their_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("generator:\n  retriever:\n    top_k: '7'\n    exact: 1\n")
    config = load_config(
        "config.yaml", environ={"SAGE_GENERATOR__RETRIEVER__THRESHOLD": "high"}, overrides={}
    )
    section = config["generator"]["retriever"]
    assert isinstance(section, ConfigDict)
    assert problems(section, overrides={"collection_name": 5}) == [
        "Op: generator.retriever.collection_name: must be a str, got 5",
        "config.yaml: generator.retriever.top_k: must be an int, got '7'",
        (
            "environment variable SAGE_GENERATOR__RETRIEVER__THRESHOLD: "
            "generator.retriever.threshold: must be a float, got 'high'"
        ),
        "config.yaml: generator.retriever.exact: must be a bool, got 1",
    ]


def test_what_is_structured_already_is_kept():
    config = Config(collection_name="kb")
    assert structure_config(config, Config) is config
    assert structure_config(config, Config, overrides={"top_k": 2}).top_k == 2


def test_none_is_an_empty_mapping():
    @attrs.frozen
    class Empty:
        a: int = 1

    assert structure_config(None, Empty) == Empty()
    assert problems("text", Empty)[0].startswith("Op: must be a mapping (the keys of Empty)")


def test_post_init_errors_keep_their_words():
    assert problems({"low": 2, "high": 1}, Range) == ["Op: low must not be above high"]


@attrs.frozen
class Range:
    low: int
    high: int

    def __attrs_post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low must not be above high")


@attrs.frozen
class Local:
    kind: Literal["local"]
    path: str


@attrs.frozen
class Remote:
    kind: Literal["remote"]
    url: str


@attrs.frozen
class Holder:
    model: Local | Remote
    number: int | float = 0
    flag: bool | int | str = False


def test_union_of_classes_is_told_apart_by_its_tag():
    assert structure_config({"model": {"kind": "remote", "url": "u"}}, Holder).model == Remote(
        kind="remote", url="u"
    )
    assert problems({"model": {"kind": "local", "url": "u"}}, Holder) == [
        "Op: model.path: is required: expected a str",
        "Op: model.url: unknown key; known keys: kind, path",
    ]
    assert problems({"model": 3}, Holder) == ["Op: model: must be a Local or a Remote, got 3"]


@given(st.one_of(st.booleans(), st.integers(), st.text()))
def test_unions_keep_the_exact_type(value):
    held = structure_config({"model": Local("local", ""), "flag": value}, Holder).flag
    assert type(held) is type(value)
    assert held == value


@given(
    st.fixed_dictionaries(
        {"collection_name": st.text()},
        optional={
            "top_k": st.integers(min_value=1),
            "threshold": st.floats(max_value=1, allow_nan=False),
            "kind": st.sampled_from(["dense", "sparse"]),
            "filters": st.lists(
                st.fixed_dictionaries({"field": st.text(), "value": st.integers() | st.text()})
            ),
            "many": st.lists(st.integers()),
        },
    )
)
def test_valid_mappings_come_back_unchanged(raw):
    config = structure_config(json.loads(json.dumps(raw)), Config)
    back = attrs.asdict(config)
    for key, value in raw.items():
        assert (list(back[key]) if key == "many" else back[key]) == value


def test_secret_reference_that_is_not_set_is_found_at_once(monkeypatch):
    monkeypatch.delenv("TEST_STRUCTURE_KEY", raising=False)
    (line,) = problems({"collection_name": "a", "api_key": "env:TEST_STRUCTURE_KEY"})
    assert line.startswith("Op: api_key: the secret 'env:TEST_STRUCTURE_KEY' refers to the env")
    monkeypatch.setenv("TEST_STRUCTURE_KEY", "value")
    config = structure_config({"collection_name": "a", "api_key": "env:TEST_STRUCTURE_KEY"}, Config)
    assert config.api_key is not None
    assert config.api_key.reveal() == "value"
    assert "value" not in repr(config)


def test_a_secret_is_not_shown_by_a_plain_key(monkeypatch):
    (line,) = problems({"collection_name": Secret(reference="env:TEST_NAME")})
    assert "write ${TEST_NAME} if it is not secret" in line


def test_secret_values_are_masked_in_messages():
    secret = Secret("hunter2-hunter2")
    (line,) = problems({"collection_name": "a", "top_k": f"x{secret.reveal()}"})
    assert line == "Op: top_k: must be an int, got 'x********'"
