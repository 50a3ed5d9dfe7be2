"""GraphSpec: a pipeline survives the way to YAML and back; hostile files run nothing."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage.api import LocalEnvironment
from sage.common.errors import GraphError

MODULE = "spec_steps_for_tests"


@pytest.fixture(scope="module")
def steps():
    path = Path(__file__).parent / "spec_steps.py"
    made = importlib.util.spec_from_file_location(MODULE, path)
    module = importlib.util.module_from_spec(made)
    sys.modules[MODULE] = module
    made.loader.exec_module(module)
    yield module
    del sys.modules[MODULE]


def numbers(env, items=(1, 2, 3)):
    return env.from_collection(list(items), name="numbers")


def everything(steps):
    env = LocalEnvironment("everything", {"fusion": False, "max_in_flight": 4})
    env.register_service("prices", steps.Prices)
    stream = numbers(env).map(
        steps.Times, {"factor": 3}, offset=1, retry={"max_attempts": 2, "on": [OSError]}
    )
    stream = stream.map(steps.increase, on_error=(steps.Times, {"factor": 2}), timeout=5)
    routed = stream.route(steps.parity, routes=["even", "odd"])
    keyed = [routed[name].key_by(steps.increase) for name in ("even", "odd")]
    keyed[0].connect(keyed[1]).join(how="outer", window=5).discard()
    big, rest = stream.split(steps.is_big, name="size")
    big.union(rest).batch(2, timeout=1).print("batch ", limit=3)
    stream.key_by(steps.parity).aggregate(0, steps.add, type=int).discard()
    stream.fallback(steps.increase, (steps.Times, {"factor": 1})).discard()
    stream.connect(stream).comap(steps.increase, steps.parity).discard()
    stream.window(seconds=5, slide=1).discard()
    stream.iterate(lambda s: s.map(steps.increase), until=steps.is_big, max_iterations=3).discard()
    back = env.from_future("back", max_items=10)
    small, large = stream.union(back).map(steps.increase).split(steps.is_big)
    env.fill_future(back, large)
    small.discard()
    return env


def test_round_trip_of_every_kind(steps):
    spec = everything(steps).to_spec()
    text = yaml.safe_dump(spec)
    assert json.loads(json.dumps(spec)) == spec
    again = LocalEnvironment.from_spec(text, allow=[MODULE])
    again.check()
    assert again.to_spec() == spec
    assert again.name == "everything"
    assert again.config == {"fusion": False, "max_in_flight": 4}


_STEPS = st.lists(
    st.sampled_from(["map", "times", "filter", "key", "batch", "split", "loop"]), max_size=8
)
_NAMES = st.text(min_size=1).filter(lambda text: text.strip())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kinds=_STEPS, factor=st.integers(), name=_NAMES, items=st.lists(st.integers(), min_size=1))
def test_round_trip_property(steps, kinds, factor, name, items):
    env = LocalEnvironment(name)
    stream = numbers(env, items)
    for kind in kinds:
        if kind == "map":
            stream = stream.map(steps.increase, parallelism=2)
        elif kind == "times":
            stream = stream.map(steps.Times, {"factor": factor, "note": name}, type=int)
        elif kind == "filter":
            stream = stream.filter(steps.is_big)
        elif kind == "key":
            stream = stream.key_by(steps.parity)
        elif kind == "batch":
            stream = stream.batch(3, type=int)
        elif kind == "split":
            stream, rest = stream.split(steps.is_big)
            rest.discard()
        else:
            stream = stream.iterate(
                lambda s: s.map(steps.increase), until=steps.is_big, max_iterations=2
            )
    stream.discard()
    spec = env.to_spec()
    text = yaml.safe_dump(spec, allow_unicode=True)
    again = LocalEnvironment.from_spec(text, allow=[MODULE])
    assert again.to_spec() == spec
    shape = [(n.id, n.kind, n.uid, [(e.source, e.port) for e in n.inputs]) for n in nodes(env)]
    assert shape == [
        (n.id, n.kind, n.uid, [(e.source, e.port) for e in n.inputs]) for n in nodes(again)
    ]


def nodes(env):
    return env.stream_graph.nodes.values()


def test_what_cannot_be_written_says_what_to_do(steps):
    def local(x):
        return x

    for step, words in (
        (lambda x: x, "lambda.*top level"),
        (local, "local function.*top level"),
        (steps.Times({"factor": 1}), "instance.*class and config"),
    ):
        env = LocalEnvironment("x")
        numbers(env).map(step, name="mine").discard()
        with pytest.raises(GraphError, match=f"'mine'.*{words}"):
            env.to_spec()
    env = LocalEnvironment("x")
    numbers(env).map(steps.Times, {"factor": {1, 2}}, name="mine").discard()
    with pytest.raises(GraphError, match=r"'mine'.*set in config\.factor"):
        env.to_spec()


def base(**step):
    return {
        "version": 1,
        "name": "x",
        "steps": [
            {"id": "a", "kind": "source", "op": "builtin:collection", "items": [1]},
            {"id": "b", "kind": "map", "op": f"{MODULE}:increase", "inputs": ["a"], **step},
            {"id": "c", "kind": "sink", "op": "builtin:discard", "inputs": ["b"]},
        ],
    }


@pytest.mark.parametrize(
    ("step", "key", "words"),
    [
        ({"knd": "map"}, "steps[1].knd", "did you mean 'kind'"),
        ({"kind": "mpa"}, "steps[1].kind", "did you mean 'map'"),
        ({"inputs": ["z"]}, "steps[1].inputs[0]", "no step has the id 'z'"),
        ({"inputs": "a"}, "steps[1].inputs", "must be a list"),
        ({"options": {"paralelism": 2}}, "steps[1].options.paralelism", "'parallelism'"),
        ({"options": {"parallelism": 0}}, "steps[1].options", "int >= 1"),
        ({"options": {"retry": {"on": ["os.system"]}}}, "steps[1].options.retry.on", "exception"),
        ({"op": "builtin:eval"}, "steps[1].op", "none of the engine's own"),
        ({"op": "os:system"}, "steps[1].op", "not allowed"),
        ({"op": f"{MODULE}:borrowed"}, "steps[1].op", "'subprocess', which is not allowed"),
        ({"op": f"{MODULE}:imported"}, "steps[1].op", "neither a class nor a function"),
        ({"op": f"{MODULE}:subprocess.run"}, "steps[1].op", "module:Class"),
        ({"op": f"{MODULE}:nothing"}, "steps[1].op", "cannot import"),
        ({"op": "NoSuchOperator"}, "steps[1].op", "NoSuchOperator"),
        ({"op": 3}, "steps[1].op", "name of an operator"),
        ({"id": "a"}, "steps[1].id", "used twice"),
        ({"params": {"sise": 3}}, "steps[1].params.sise", "unknown key"),
        ({"config": {}, "args": []}, "steps[1].args", "together"),
    ],
)
def test_errors_name_file_and_key(steps, tmp_path, step, key, words):
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(base(**step)), encoding="utf-8")
    with pytest.raises(GraphError) as caught:
        LocalEnvironment.from_spec(path, allow=[MODULE])
    assert f"{path}: {key}: " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nname: x\nname: y\nsteps: []\n",
        "version: 2\nname: x\nsteps: []\n",
        "- a\n- b\n",
        "version: 1\nname: !!python/object/apply:os.system ['true']\n",
        "version: 1\nname: [\n",
        "{",
    ],
)
def test_malformed_text(text):
    with pytest.raises(GraphError):
        LocalEnvironment.from_spec(text + "\n")


def test_loading_imports_only_what_is_allowed(tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    (tmp_path / "hostile_steps.py").write_text(
        f"open({str(marker)!r}, 'w').close()\ndef f(x):\n    return x\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(GraphError, match="not allowed"):
        LocalEnvironment.from_spec(base(op="hostile_steps:f"))
    assert not marker.exists()
    assert "hostile_steps" not in sys.modules


def test_it_runs_after_the_round_trip(steps, capsys):
    env = LocalEnvironment("run")
    numbers(env).map(steps.Times, {"factor": 2}).print("n=")
    LocalEnvironment.from_spec(yaml.safe_dump(env.to_spec()), allow=[MODULE]).execute(timeout=60)
    assert capsys.readouterr().out == "n=2\nn=4\nn=6\n"
