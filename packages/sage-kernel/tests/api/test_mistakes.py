"""Typical mistakes of a first hour, and what SAGE says to them."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from sage.api import BatchFunction, LocalEnvironment, MapFunction
from sage.common.errors import ConfigError, GraphError, TaskFailedError


@attrs.frozen
class Config:
    top_k: int = 5


class Typed(MapFunction):
    """A step with a typed configuration."""

    Config = Config

    def execute(self, item):
        return item


def run(build, items=(1, 2)):
    env = LocalEnvironment("mistake")
    out: list[object] = []
    build(env.from_collection(list(items))).sink(out.append)
    env.submit().wait(30)
    return out


def test_check_finds_a_wrong_configuration_and_names_the_step() -> None:
    env = LocalEnvironment("check")
    env.from_collection([1]).map(Typed, {"topk": 3}, name="search").print()
    with pytest.raises(GraphError, match=r"step 'search' .*topk: unknown key; did you mean"):
        env.check()
    env = LocalEnvironment("check")
    env.from_collection([1]).map(Typed, {"top_k": "3"}).map(Typed, {"k": 1}).print()
    with pytest.raises(GraphError, match="2 problems"):
        env.check()


def test_a_configuration_that_is_no_mapping() -> None:
    with pytest.raises(ConfigError, match=r"Typed: the configuration must be a mapping .*'kb'"):
        run(lambda stream: stream.map(Typed, "kb"))


def test_a_misspelled_option_of_a_constructor() -> None:
    with pytest.raises(GraphError, match="'paralelism'; did you mean 'parallelism'"):
        run(lambda stream: stream.map(str, paralelism=2))


def test_a_field_name_as_key() -> None:
    with pytest.raises(GraphError, match=r"key_by\(lambda item: item\['name'\]\)"):
        run(lambda stream: stream.key_by("name").reduce(max))


def test_a_service_without_any_registered() -> None:
    class Ask(MapFunction):
        def execute(self, item):
            return self.call_service["answers"].ask(item)

    with pytest.raises(TaskFailedError, match=r"none is registered: call env\.register_service"):
        run(lambda stream: stream.map(Ask))


def test_a_step_that_cannot_be_opened() -> None:
    class Broken(MapFunction):
        def open(self, ctx):
            raise OSError("no such device")

        def execute(self, item):
            return item

    with pytest.raises(TaskFailedError, match="could not be opened: OSError: no such device"):
        run(lambda stream: stream.map(Broken))


def test_a_source_whose_execute_is_a_generator() -> None:
    class Three(BatchFunction):
        def execute(self):
            yield from "abc"

    env = LocalEnvironment("generator")
    out: list[str] = []
    env.from_batch(Three).sink(out.append)
    env.submit().wait(30)
    assert out == ["a", "b", "c"]


def test_an_async_generator_function_expands() -> None:
    async def twice(item):
        yield item
        yield -item

    assert run(lambda stream: stream.flatmap(twice)) == [1, -1, 2, -2]
    with pytest.raises(GraphError, match=r"use .flatmap\(...\) for it"):
        run(lambda stream: stream.map(twice))


def test_check_of_a_pipeline_file(tmp_path: Path) -> None:
    from sage.kernel.graph.spec import read_spec

    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "version: 1\nname: p\nsteps:\n"
        "  - {id: s, kind: source, op: FileSource, config: {file_pth: q.txt}}\n"
        "  - {id: out, kind: sink, op: TerminalSink, inputs: [s]}\n"
    )
    pytest.importorskip("sage.lib")
    env = LocalEnvironment.from_spec(read_spec(path))
    with pytest.raises(GraphError, match=r"step 's': FileSource: .*file_pth: unknown key"):
        env.check()
