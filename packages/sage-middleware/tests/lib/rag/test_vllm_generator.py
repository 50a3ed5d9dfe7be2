"""VLLMGenerator with a program called ``vllm`` that speaks the API and takes vLLM's arguments."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import (
    ConfigError,
    ModelError,
    ServiceError,
    TaskFailedError,
    UnreachableError,
)
from sage.lib.rag.generator import OpenAIGenerator, VLLMGenerator
from sage.lib.rag.generator.vllm_server import VLLMNotInstalledError
from sage.lib.testing.generators import GeneratorSuite

PROGRAM = """\
#!{python}
import asyncio, json, os, sys
from pathlib import Path
from sage.middleware.testing.model_server import ModelServer

assert sys.argv[1] == "serve"
Path({folder!r}, f"started-{{os.getpid()}}").write_text(json.dumps(sys.argv[2:]))
if "--refuse" in sys.argv:
    sys.exit("CUDA is not here")
server = ModelServer(port=int(sys.argv[sys.argv.index("--port") + 1]), answer=lambda r: r["model"])
asyncio.run(server.serve(lambda: None))
"""


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """Puts the program on the path; gives the folder in which it leaves its arguments."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable, folder=str(tmp_path)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


class TestVLLMGenerator(GeneratorSuite):
    @pytest.fixture(autouse=True)
    def program(self, vllm):
        self.folder = vllm

    def make(self, **settings):
        return VLLMGenerator({"model_path": "/models/llama-7b", **settings})


def started(folder):
    return {int(path.name.partition("-")[2]): path.read_text() for path in folder.glob("started-*")}


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("operator", [VLLMGenerator, OpenAIGenerator])
def test_the_keys_of_the_seed_start_a_server_and_end_it(vllm, operator):
    answers = []
    env = LocalEnvironment("vllm")
    stream = env.from_collection(["one", "two"])
    settings = {"model_path": "/models/llama-7b", "gpu_memory_utilization": 0.9}
    if operator is VLLMGenerator:
        settings["tensor_parallel_size"] = 2
    stream.map(operator, settings).sink(answers.append)
    env.submit().wait(60)
    # The stand-in answers with the model that was asked for: the one it says it serves.
    assert [a.text for a in answers] == ["test-model"] * 2
    ((pid, arguments),) = started(vllm).items()
    assert re.search(
        r'"/models/llama-7b", "--host", "127\.0\.0\.1", .*"--gpu-memory-utilization", "0\.9"',
        arguments,
    )
    assert ('"--tensor-parallel-size", "2"' in arguments) == (operator is VLLMGenerator)
    assert not alive(pid)


def test_a_server_that_does_not_get_ready_is_ended_in_time(vllm):
    program = vllm / "bin" / "vllm"
    program.write_text(f"#!/bin/sh\necho > {vllm}/started-$$\necho loading weights\nsleep 600\n")
    env = LocalEnvironment("vllm")
    settings = {"model_path": "m", "startup_timeout": 1}
    env.from_collection(["one"]).map(VLLMGenerator, settings).sink(print)
    with pytest.raises(TaskFailedError, match=r"within 1 s \(raise startup_timeout.*weights"):
        env.submit().wait(60)
    (pid,) = started(vllm)
    assert not alive(pid)


def test_a_server_is_ended_when_the_step_cannot_be_opened(vllm, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(vllm))
    (vllm / "config").mkdir()
    (vllm / "config" / "prices.yaml").write_text("no: prices")
    env = LocalEnvironment("vllm")
    env.from_collection(["one"]).map(VLLMGenerator, {"model_path": "m"}).sink(print)
    with pytest.raises(TaskFailedError, match=r"prices\.yaml"):
        env.submit().wait(60)
    (pid,) = started(vllm)
    assert not alive(pid)


def test_equal_steps_share_a_server(vllm, context):
    settings = {"model_path": "m", "vllm_args": ["--seed", "3"], "max_model_len": 512}
    first, second, other = (
        VLLMGenerator({**settings, **more}) for more in ({}, {}, {"dtype": "float16"})
    )
    for operator in (first, second, other):
        operator.open(context())
    pids = started(vllm)
    assert len(pids) == 2
    assert any('"--dtype", "float16"' in arguments for arguments in pids.values())
    assert all('"--max-model-len", "512", ' in arguments for arguments in pids.values())
    first.close()
    assert sum(alive(pid) for pid in pids) == 2
    second.close()
    assert sum(alive(pid) for pid in pids) == 1
    other.close()
    assert not any(alive(pid) for pid in pids)


def test_a_server_that_ends_is_an_error_with_its_last_words(vllm, context):
    operator = VLLMGenerator({"model_path": "m", "vllm_args": ["--refuse"]})
    with pytest.raises(ServiceError, match="CUDA is not here"):
        operator.open(context())


def test_a_server_that_is_killed_fails_the_calls(vllm, context):
    operator = VLLMGenerator({"model_path": "m", "max_retries": 0})
    operator.open(context())
    (pid,) = started(vllm)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ModelError) as caught:
        asyncio.run(operator.execute("one"))
    assert caught.value.data["kind"] == "connection"
    operator.close()


def test_without_vllm_the_error_says_what_to_do(monkeypatch, context, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    if Path(sys.executable).with_name("vllm").exists():
        pytest.skip("vllm is installed here")
    with pytest.raises(VLLMNotInstalledError, match=r"pip install vllm.*base_url") as caught:
        VLLMGenerator({"model_path": "/models/llama-7b"}).open(context())
    assert caught.value.data["model_path"] == "/models/llama-7b"


def test_a_running_server_is_used_as_it_is(server, monkeypatch):
    monkeypatch.setenv("PATH", "")
    for settings, model in (
        ({}, "test-model"),
        ({"model_path": "/models/x"}, "/models/x"),
        ({"model": "named"}, "named"),
    ):
        answers = []
        env = LocalEnvironment("vllm")
        stream = env.from_collection(["one"])
        stream.map("VLLMGenerator", {**settings, "base_url": server.url}).sink(answers.append)
        env.submit().wait(60)
        assert answers[0].model == model


def test_wrong_settings_are_refused(monkeypatch, context):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigError, match="model_path"):
        VLLMGenerator({})
    with pytest.raises(ConfigError, match="model is missing"):
        OpenAIGenerator({})
    with pytest.raises(ConfigError, match="gpu_memory_utilization"):
        VLLMGenerator({"model_path": "m", "gpu_memory_utilization": 1.5})
    with pytest.raises(UnreachableError, match="does not say which models"):
        VLLMGenerator({"base_url": "http://127.0.0.1:9/v1"}).open(context())
