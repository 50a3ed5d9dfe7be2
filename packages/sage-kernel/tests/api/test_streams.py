"""The fluent API: what each call records, and what it refuses."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import sage.api as api
from sage.api import (
    CoMapFunction,
    FilterFunction,
    FlatMapFunction,
    KeyedStream,
    LocalEnvironment,
    MapFunction,
    ProcessFunction,
    RetryPolicy,
    SinkFunction,
    SourceFunction,
)
from sage.common.errors import GraphError, PluginError
from sage.kernel.graph.model import DEAD_LETTER, FunctionSpec


class Upper(MapFunction[str, str]):
    def execute(self, item: str) -> str:
        return item.upper()


class Store(SinkFunction[str]):
    def execute(self, item: str) -> None:
        pass


class Numbers(SourceFunction[int]):
    def run(self):
        yield from range(3)


class Plain:
    def __init__(self, config=None, extra=0):
        self.config, self.extra = config, extra

    def execute(self, item):
        return item


class Forgot(MapFunction[str, str]):
    def exectue(self, item):
        return item


class Timed(ProcessFunction[int, int]):
    def process(self, item):
        yield item


class OnlyFirst(CoMapFunction[int, int, int]):
    def map1(self, item):
        return item


@pytest.fixture
def env():
    return LocalEnvironment("tests")


@pytest.fixture
def stream(env):
    return env.from_collection(["a", "b"])


def test_every_public_name_is_there():
    for name in api.__all__:
        assert getattr(api, name) is not None
    assert set(api.__all__) <= set(dir(api))
    with pytest.raises(AttributeError, match="nothing"):
        api.nothing  # noqa: B018


def test_import_is_light():
    code = (
        "import sys, sage.api; from sage.api import LocalEnvironment; "
        "LocalEnvironment().from_collection([1]).map(str).print(); "
        "heavy = {'attrs', 'attr', 'dataclasses', 'inspect', 'logging', 'asyncio', 'pluggy', "
        "'numpy', 'yaml', 'rich', 'typer', 'cattrs'} & set(sys.modules); "
        "sys.exit(repr(sorted(heavy)) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_uids_and_locations(env, stream):
    first = stream.map(lambda x: x)
    second = stream.map(lambda x: x)
    third = stream.map(Upper, name="loud", uid="u1")
    assert first.name != second.name
    assert first.uid != second.uid
    assert (third.name, third.uid) == ("loud", "u1")
    file, line = first._node.location
    assert file == __file__
    assert line > 1


def test_uids_do_not_move_when_another_step_is_inserted():
    def build(extra):
        env = LocalEnvironment("x")
        stream = env.from_collection([1])
        if extra:
            stream = stream.filter(bool)
        return stream.map(Upper).uid

    assert build(False) == build(True)


def test_class_config_and_keywords_reach_the_constructor(stream):
    made = stream.map(Plain, {"a": 1}, extra=2, timeout=3, retry=2)
    instance = made._node.spec.instantiate()
    assert (instance.config, instance.extra) == ({"a": 1}, 2)
    assert made._node.options.timeout == 3
    assert made._node.options.retry == RetryPolicy(3)


def test_constructor_as_function(stream):
    spec = stream.map(len)._node.spec
    assert spec.instantiate() is len
    spec = stream.map(int)._node.spec
    assert spec.instantiate() is int


def test_key_option_is_key_by(env, stream):
    stream.map(Upper, key=len)
    kinds = [node.kind for node in env.stream_graph.nodes.values()]
    assert kinds == ["source", "keyby", "map"]


def test_key_survives_only_steps_that_keep_the_item(env, stream):
    keyed = stream.key_by(len)
    assert isinstance(keyed, KeyedStream)
    assert isinstance(keyed.filter(bool), KeyedStream)
    assert not isinstance(keyed.map(Upper), KeyedStream)
    assert env.stream_graph.is_keyed(keyed.filter(bool).edge)
    assert not env.stream_graph.is_keyed(keyed.map(Upper).edge)
    assert env.stream_graph.is_keyed(keyed.split(bool)[0].edge)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: s.map(Store), r"'Store' is a SinkFunction.*use \.sink"),
        (lambda s: s.map(Numbers), r"env\.from_source"),
        (lambda s: s.sink(Numbers), "SourceFunction"),
        (lambda s: s.map(Forgot), r"does not define execute"),
        (lambda s: s.process(Upper), "MapFunction"),
        (lambda s: s.process(lambda x: x), "ProcessFunction class or instance"),
        (lambda s: s.map(lambda x: x, paralelism=2), "did you mean 'parallelism'"),
        (lambda s: s.map(lambda x: x, {"a": 1}), "unexpected argument"),
        (lambda s: s.map(3), "takes a class"),
        (lambda s: s.map((x for x in "ab").__next__ and (lambda: (yield))), "flatmap"),
        (lambda s: s.map(str, parallelism=0), "parallelism must be an int >= 1, got 0"),
        (lambda s: s.map(str, parallelism=True), "parallelism"),
        (lambda s: s.map(str, timeout=0), "timeout must be a number of seconds > 0"),
        (lambda s: s.map(str, executor="proces"), "did you mean 'process'"),
        (lambda s: s.map(str, on_error="skp"), "did you mean 'skip'"),
        (lambda s: s.map(str, retry={"tries": 1}), "unknown key 'tries'"),
        (lambda s: s.map(str, linger=-1), "linger"),
        (lambda s: s.map(str, ordered="yes"), "ordered"),
        (lambda s: s.map(str, name=""), "name"),
        (lambda s: s.union(), "at least one"),
        (lambda s: s.split(), "predicate"),
        (lambda s: s.branch(), "builder"),
        (lambda s: s.branch(lambda s: s.map(str), lambda x: x < 2), "builder 2 .* use split"),
        (lambda s: s.fallback(str), "backup"),
        (lambda s: s.window(), "either count"),
        (lambda s: s.window(count=1, seconds=1), "either count"),
        (lambda s: s.window(count=1.5), "an int >= 1"),
        (lambda s: s.window(seconds=0), "seconds > 0"),
        (lambda s: s.window(count=3, slide=0), "slide"),
        (lambda s: s.batch(0), "size"),
        (lambda s: s.batch(2, timeout=0), "timeout"),
        (lambda s: s.print(limit=0), "limit"),
        (lambda s: s.print(limt=3), "unknown option 'limt'"),
        (lambda s: s.route(len, routes=["a", "a"]), "twice"),
        (lambda s: s.route(len, routes="ab"), "list of names"),
        (lambda s: s.route(len, routes=["default"]), "reserved"),
        (lambda s: s.route(len, routes=["long", "short"])["lnog"], "did you mean 'long'"),
        (lambda s: s.connect(s).comap(str), "two callables"),
        (lambda s: s.connect(s).comap(OnlyFirst), "does not define map2"),
        (lambda s: s.connect(s).join(how="sideways"), "how must be one of"),
        (lambda s: s.connect(s).join(match="any"), "match must be one of"),
        (lambda s: s.connect(s).join(window=0), "window"),
        (lambda s: [*s], "cannot be iterated"),
        (lambda s: s.union(LocalEnvironment("other").from_collection([1])), "different env"),
        (lambda s: s.iterate(lambda t: t, until=bool, max_iterations=2), "until must be"),
        (lambda s: s.iterate(lambda t: t, until=len, max_iterations=2), "body must return"),
        (lambda s: s.iterate(lambda t: s, until=len, max_iterations=2), "body must return"),
        (lambda s: s.iterate(lambda t: t.map(len), until=len, max_iterations=0), ">= 1"),
        (lambda s: s.iterate(lambda t: t.union(s), until=len, max_iterations=2), "same loop"),
        (lambda s: s.map(str, on_error="skip").dead_letters(), "no dead letters"),
    ],
)
def test_mistakes_are_refused_where_they_are_made(stream, call, words):
    with pytest.raises(GraphError, match=words):
        call(stream)


def test_unknown_operator_name(stream):
    with pytest.raises(PluginError, match="NoSuchOperator"):
        stream.map("NoSuchOperator")


def test_on_error_fallback_forms(stream):
    for step in (len, Upper, (Plain, {"a": 1})):
        policy = stream.map(str, on_error=step)._node.options.on_error
        assert isinstance(policy, FunctionSpec)


def test_routes_and_default(stream):
    routed = stream.route(len, routes=["long", "short"])
    assert routed.routes == ("long", "short")
    assert routed["long"].edge.port == "long"
    assert routed.default.edge.port == "default"
    free = stream.route(len)
    assert free["x"].edge.port == "x"
    assert free.routes == ("x",)


def test_split_first_match_wins(stream):
    parts = stream.split(lambda x: x < 5, lambda x: x < 10)
    assert len(parts) == 3
    function = parts[0]._node.spec.instantiate()
    assert [function(x) for x in (1, 7, 12)] == ["0", "1", "default"]


def test_dead_letters_is_a_stream_of_the_step(stream):
    step = stream.map(str)
    letters = step.dead_letters()
    assert step._node.options.on_error == "dead_letter"
    assert letters.edge.port == DEAD_LETTER


def test_aggregate_makes_a_start_value_per_key(stream):
    node = stream.key_by(len).aggregate([], lambda a, x: [*a, x])._node
    first, second = node.params["initial"](), node.params["initial"]()
    assert first == second == []
    assert first is not second


def test_branch_returns_what_the_builders_made(stream):
    loud, plain = stream.branch(lambda s: s.map(Upper), lambda s: s.filter(bool))
    assert loud._node.inputs[0].source == plain._node.inputs[0].source == stream._node.id


def test_step_kinds(stream):
    keyed = stream.key_by(len)
    assert keyed.process(Timed)._node.kind == "process"
    assert keyed.reduce(max)._node.kind == "reduce"
    assert keyed.window(count=2)._node.params == {"type": "count", "size": 2, "slide": 2}
    assert keyed.window(sum, seconds=5, slide=1)._node.params["slide"] == 1
    assert stream.batch(3, timeout=1)._node.params == {"size": 3, "timeout": 1}
    fallback = stream.fallback(Upper, (Plain, {"a": 1}), str)
    assert [spec.label for spec in fallback._node.specs] == ["Upper", "Plain", "str"]


def test_filter_and_flatmap_contracts(stream):
    class Keep(FilterFunction[str]):
        def execute(self, item):
            return True

    class Spread(FlatMapFunction[str, str]):
        def execute(self, item):
            return [item]

    assert stream.filter(Keep)._node.kind == "filter"
    assert stream.flatmap(Spread)._node.kind == "flatmap"
    assert stream.flatmap(Upper)._node.kind == "flatmap"


def test_repr_says_which_stream(stream):
    assert re.match(r"DataStream\('source-0:collection'\)", repr(stream))
