"""A corpus of broken graphs, made from good ones: every one is refused, naming the step."""

from __future__ import annotations

import pytest

from sage.common.errors import GraphError
from sage.kernel.graph.model import Edge, FunctionSpec, Node
from sage.kernel.graph.validate import validate


def node(graph, name):
    return next(n for n in graph.nodes.values() if n.name == name)


def option(step, key, value):
    def change(graph):
        setattr(node(graph, step).options, key, value)

    return change


def param(step, key, value):
    def change(graph):
        node(graph, step).params[key] = value

    return change


def inputs(step, *names):
    def change(graph):
        edges = [Edge(node(graph, n).id) if isinstance(n, str) else n for n in names]
        node(graph, step).inputs = tuple(edges)

    return change


def attribute(step, key, value):
    def change(graph):
        setattr(node(graph, step), key, value)

    return change


def function(step, *targets):
    def change(graph):
        node(graph, step).specs = tuple(FunctionSpec(t) for t in targets)

    return change


def delete(step):
    def change(graph):
        del graph.nodes[node(graph, step).id]

    return change


def add(kind, *names, specs=(str,), **params):
    def change(graph):
        new = max(graph.nodes) + 1
        edges = tuple(Edge(node(graph, n).id) for n in names)
        count = () if kind in ("future", "union", "batch") else tuple(map(FunctionSpec, specs))
        graph.nodes[new] = Node(
            new, kind, "extra", uid="extra", specs=count, inputs=edges, params=params
        )

    return change


def takes_text(x: str) -> int:
    return 1


def gives_list(x: int) -> list[str]:
    return []


def wants_dict(x: dict[str, int]) -> float:
    return 1.0


async def gives_bytes(x: int) -> bytes:
    return b""


CORPUS = [
    # types
    ("linear", function("half", takes_text), "'half'", "takes str"),
    ("linear", function("half", gives_list), "'half'", "gives list[str]"),
    ("linear", function("half", wants_dict), "'half'", "dict[str, int]"),
    ("linear", function("half", gives_bytes), "'half'", "gives bytes"),
    ("linear", function("length", gives_list), "'length'", "takes int"),
    ("linear", function("texts", [1, 2]), "'texts'", "gives int"),
    ("linear", function("texts", ["a", None]), "'texts'", "None"),
    ("linear", option("length", "type", bytes), "'length'", "bytes"),
    ("branching", function("length", gives_list), "'length'", "takes int"),
    ("branching", function("careful", gives_list, len), "'careful'", "takes int"),
    ("branching", function("comapped", takes_text, len), "'comapped'", "takes str"),
    ("branching", function("windows", takes_text), "'windows'", "takes str"),
    # edges
    ("linear", inputs("half"), "'half'", "exactly 1 input"),
    ("linear", inputs("half", "length", "positive"), "'half'", "it has 2"),
    ("linear", inputs("half", Edge(99)), "'half'", "does not exist"),
    ("linear", inputs("half", Edge(1, "x")), "'half'", "only one"),
    ("linear", inputs("half", Edge(1, "dead_letter")), "'half'", "dead letters"),
    ("linear", inputs("half", "half"), "'half'", "cycle"),
    ("linear", inputs("length", "needy"), "'length'", "cycle"),
    ("linear", inputs("positive", "half"), "'positive'", "cycle"),
    ("linear", inputs("texts", "half"), "'texts'", "exactly 0"),
    ("linear", inputs("half", "length"), "'positive'", "nothing reads"),
    ("linear", inputs("keep", "half"), "'needy'", "nothing reads"),
    ("linear", delete("keep"), "'needy'", "nothing reads"),
    ("linear", delete("length"), "'positive'", "does not exist"),
    ("linear", delete("texts"), "'length'", "does not exist"),
    ("linear", add("map", "half"), "'extra'", "nothing reads"),
    ("linear", add("filter", "half"), "'extra'", "nothing reads"),
    ("linear", add("sink", "keep"), "'extra'", "is a sink"),
    ("linear", add("union", "half"), "'extra'", "at least 2"),
    ("linear", add("join", "half"), "'extra'", "exactly 2"),
    ("linear", add("source"), "'extra'", "nothing reads"),
    ("branching", inputs("pairs", "key_short"), "'pairs'", "exactly 2"),
    ("branching", inputs("pairs", "key_short", "texts"), "'texts'", "not keyed"),
    ("branching", inputs("pairs", "texts", "length"), "'pairs'", "are not keyed"),
    ("branching", inputs("comapped", "texts"), "'comapped'", "exactly 2"),
    ("branching", inputs("both", "texts"), "'both'", "at least 2"),
    ("branching", inputs("key_long", Edge(1, "lnog")), "'key_long'", "did you mean 'long'"),
    ("branching", inputs("key_long", Edge(1)), "'key_long'", "routes: short, long"),
    ("branching", inputs("key_long", Edge(1, "short")), "'by_size'", "nothing reads"),
    ("branching", inputs("out", "key_short"), "'pairs'", "nothing reads"),
    # functions and kinds
    ("linear", function("half"), "'half'", "function(s), it has 0"),
    ("linear", function("half", int, int), "'half'", "function(s), it has 2"),
    ("branching", function("careful", len), "'careful'", "at least 2"),
    ("branching", function("both", len), "'both'", "exactly 0"),
    ("linear", attribute("half", "kind", "mpa"), "'half'", "did you mean 'map'"),
    ("linear", attribute("half", "id", 77), "'half'", "another id"),
    ("linear", attribute("half", "name", "length"), "'length'", "same name"),
    ("linear", attribute("half", "uid", "length"), "'half'", "same uid"),
    ("branching", attribute("length", "uid", "both"), "'length'", "same uid"),
    # options
    ("linear", option("half", "parallelism", 0), "'half'", "parallelism"),
    ("linear", option("half", "parallelism", 1.5), "'half'", "parallelism"),
    ("linear", option("half", "concurrency", -1), "'half'", "concurrency"),
    ("linear", option("half", "timeout", 0), "'half'", "timeout"),
    ("linear", option("half", "timeout", "5s"), "'half'", "timeout"),
    ("linear", option("half", "executor", "thred"), "'half'", "did you mean 'thread'"),
    ("linear", option("half", "on_error", "ignore"), "'half'", "on_error"),
    ("linear", option("half", "retry", 3.5), "'half'", "retry"),
    ("linear", option("half", "batch_size", 0), "'half'", "batch_size"),
    ("linear", option("half", "linger", -1), "'half'", "linger"),
    ("linear", option("half", "ordered", 1), "'half'", "ordered"),
    ("linear", option("half", "num_gpus", -1), "'half'", "num_gpus"),
    ("branching", option("batched", "parallelism", 2), "'batched'", "not keyed"),
    ("branching", option("windows", "parallelism", 2), "'windows'", "not keyed"),
    # settings of kinds
    ("branching", param("pairs", "how", "iner"), "'pairs'", "how"),
    ("branching", param("pairs", "match", "some"), "'pairs'", "match"),
    ("branching", param("pairs", "window", 0), "'pairs'", "window"),
    ("branching", param("batched", "size", 0), "'batched'", "size"),
    ("branching", param("batched", "timeout", -1), "'batched'", "timeout"),
    ("branching", param("windows", "type", "session"), "'windows'", "type"),
    ("branching", param("windows", "size", 1.5), "'windows'", "size"),
    ("branching", param("windows", "slide", 0), "'windows'", "slide"),
    ("branching", param("by_size", "ports", ("a", "a")), "'by_size'", "different"),
    ("branching", param("by_size", "ports", ("short",)), "'key_long'", "'long'"),
    ("branching", param("by_size", "ports", ("short", "long", "huge")), "'by_size'", "'huge'"),
    # feedback
    ("looping", param("back", "filled_by", None), "'back'", "never filled"),
    ("looping", param("back", "filled_by", Edge(99)), "'back'", "does not exist"),
    ("looping", param("back", "filled_by", Edge(0)), "'back'", "itself"),
    ("looping", param("back", "filled_by", "all"), "'back'", "one stream"),
    ("looping", param("back", "filled_by", Edge(3)), "'back'", "never ends"),
    ("looping", param("back", "max_items", 0), "'back'", "max_items"),
    ("looping", add("future", filled_by=Edge(4, "0")), "'extra'", "same stream"),
    ("looping", inputs("out", Edge(4, "0")), "'enough'", "'default'"),
    ("looping", delete("numbers"), "'all'", "does not exist"),
    ("looping", attribute("numbers", "kind", "future"), "'numbers'", "never filled"),
    # services and configuration
    ("linear", lambda g: g.services.clear(), "'needy'", "needs the service 'prices'"),
    ("linear", lambda g: g.services.update(price=g.services.pop("prices")), "'needy'", "'price'"),
    ("linear", lambda g: g.config.update(fusoin=True), "'fusoin'", "did you mean 'fusion'"),
    ("linear", lambda g: g.config.update(max_in_flight="many"), "'max_in_flight'", "int"),
]  # fmt: skip


def test_the_good_ones_pass(good_environment):
    good_environment.check()


def test_the_corpus_is_large():
    assert len(CORPUS) >= 60


@pytest.mark.parametrize(("base", "change", "step", "words"), CORPUS)
def test_refused_with_the_name_of_the_step(build, base, change, step, words):
    graph = build[base]().stream_graph
    change(graph)
    with pytest.raises(GraphError) as caught:
        validate(graph)
    assert any(step in p and words in p for p in caught.value.problems), str(caught.value)


def test_all_problems_are_listed_at_once(build):
    graph = build["linear"]().stream_graph
    option("half", "parallelism", 0)(graph)
    option("length", "timeout", -1)(graph)
    attribute("needy", "uid", "half")(graph)
    with pytest.raises(GraphError) as caught:
        validate(graph)
    assert len(caught.value.problems) == 3
    assert "conftest.py:" in str(caught.value)


def test_nothing_to_run():
    from sage.api import LocalEnvironment

    with pytest.raises(GraphError, match="no steps"):
        LocalEnvironment("empty").check()


def test_a_loop_that_no_source_feeds():
    from sage.api import LocalEnvironment

    env = LocalEnvironment("island")
    env.from_collection([1]).discard()
    back = env.from_future("back", max_items=3)
    env.fill_future(back, back.map(lambda x: x, name="again"))
    with pytest.raises(GraphError, match=r"'back'.*unreachable"):
        env.check()
