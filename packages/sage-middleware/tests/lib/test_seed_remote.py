"""The distributed snippet of the founding document, verbatim, against a JobManager."""

import json
import subprocess
import sys

import pytest

from sage.common.errors import ServiceError
from sage.kernel.jobmanager.launch import daemon_log, start_daemon, stop_daemon
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.testing.model_server import ModelServer
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model

pytest.importorskip("fastapi")

# What the snippet has from the one before it, and the configuration it reads.
BEFORE = """\
from sage.lib.io.source import FileSource
from sage.lib.rag.retriever import DenseRetriever
from sage.lib.rag.promptor import QAPromptor
from sage.lib.rag.generator import OpenAIGenerator
from sage.lib.io.sink import TerminalSink
from sage.utils.config.loader import load_config

config = load_config("config.yaml")
"""

SNIPPET = """\
from sage.api.remote_environment import RemoteEnvironment

# Create distributed environment  
env = RemoteEnvironment("distributed_rag", jobmanager_address="localhost:19001")
env.set_memory(config=config["memory"])

# Same pipeline code works in distributed mode
query_stream = (env
                .from_source(FileSource, config["source"])
                .map(DenseRetriever, config["retriever"])
                .map(QAPromptor, config["promptor"])  
                .map(OpenAIGenerator, config["generator"]["vllm"])
                .sink(TerminalSink, config["sink"])
                )

# Submit to Ray cluster
job_id = env.submit()
print(f"Job submitted with ID: {job_id}")
env.wait_for_completion(job_id)
"""  # noqa: W291 - as the document has it

CONFIG = """\
source:
  file_path: "data/questions.txt"
  batch_size: 10

retriever:
  collection_name: "knowledge_base"
  top_k: 5
  similarity_threshold: 0.7

promptor:
  template: "Answer the question based on context: {{context}}\\nQuestion: {{query}}\\nAnswer:"
  max_context_length: 2000

generator:
  vllm:
    model_path: "/models/llama-7b"
    gpu_memory_utilization: 0.9
    base_url: {url}

sink:
  output_format: "json"
  file_path: "results/answers.json"

memory:
  data_dir: {memory}
"""


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONUTF8", "1")
    try:
        start_daemon()
        yield "localhost:19001"
    except ServiceError:  # something else has the port: another run of this very test
        yield start_daemon(port=0).url
    finally:
        print("\n".join(daemon_log(tail=20)))
        stop_daemon(jobs="cancel")


@pytest.fixture
def folder(tmp_path):
    model = apply_embedding_model("default")
    with MemoryManager(tmp_path / "memory") as manager:
        collection = manager.create_collection(
            "knowledge_base", backend_type="VDB", embedding_model=model, dim=model.get_dim()
        )
        collection.insert_many(
            ["Paris is the capital of France.", "The Nile is a river in Africa."],
            ids=["fr", "nile"],
        )
    (tmp_path / "data").mkdir()
    questions = "Paris is the capital of France?\nThe Nile is a river in Africa?\n"
    (tmp_path / "data" / "questions.txt").write_text(questions, encoding="utf-8")
    return tmp_path


def test_the_snippet_runs_verbatim(folder, address):
    program = BEFORE + SNIPPET.replace("localhost:19001", address)
    with ModelServer() as server:
        config = CONFIG.format(
            url=json.dumps(server.url), memory=json.dumps(str(folder / "memory"))
        )
        (folder / "config.yaml").write_text(config, encoding="utf-8")
        (folder / "snippet.py").write_text(program, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-W", "error", "snippet.py"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=100,
        )
        models = {call.request["model"] for call in server.calls}
    assert done.returncode == 0, done.stderr
    (said,) = done.stdout.splitlines()
    assert said.startswith("Job submitted with ID: job-")
    assert models == {"/models/llama-7b"}
    answers = json.loads((folder / "results" / "answers.json").read_bytes())
    assert [a["question"] for a in answers] == [
        "Paris is the capital of France?", "The Nile is a river in Africa?",
    ]  # fmt: skip
    assert [a["passages"][0]["id"] for a in answers] == ["fr", "nile"]
