"""The RAG snippet of the founding document, verbatim, with its config.yaml."""

import json
import subprocess
import sys

import pytest

from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.testing.model_server import ModelServer
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model

CONFIG = """\
# Example config.yaml structure
source:
  file_path: "data/questions.txt"
  batch_size: 10

retriever:
  collection_name: "knowledge_base"
  top_k: 5
  similarity_threshold: 0.7

promptor:
  template: "Answer the question based on context: {context}\\nQuestion: {query}\\nAnswer:"
  max_context_length: 2000

generator:
  local:
    model: "gpt-3.5-turbo"
    temperature: 0.7
    max_tokens: 500
  vllm:
    model_path: "/models/llama-7b"
    gpu_memory_utilization: 0.9

sink:
  output_format: "json"
  file_path: "results/answers.json"
"""

SNIPPET = """\
from sage.api.local_environment import LocalEnvironment  # Updated import
from sage.lib.io.source import FileSource
from sage.lib.rag.retriever import DenseRetriever
from sage.lib.rag.promptor import QAPromptor
from sage.lib.rag.generator import OpenAIGenerator
from sage.lib.io.sink import TerminalSink
from sage.utils.config.loader import load_config

# Load configuration
config = load_config("config.yaml")

# Create local execution environment with memory support
env = LocalEnvironment("rag_pipeline")
env.set_memory(config=None)  # Initialize built-in memory system

# Build pipeline using Fluent API with method chaining
query_stream = (env
                .from_source(FileSource, config["source"])
                .map(DenseRetriever, config["retriever"])
                .map(QAPromptor, config["promptor"])
                .map(OpenAIGenerator, config["generator"]["local"])
                .sink(TerminalSink, config["sink"])
                )

# Submit and execute the pipeline
try:
    env.submit()
    print("✅ Pipeline submitted successfully")
    # Pipeline runs asynchronously - you can do other work here
    
except Exception as e:
    print(f"❌ Pipeline execution failed: {e}")
"""  # noqa: W293 - as the document has it

SERVICE = """\
from sage.middleware.services.memory import MemoryService

# Register memory service
def memory_service_factory():
    service = MemoryService()
    result = service.create_collection(
        name="qa_collection",
        backend_type="VDB", 
        description="QA pipeline memory"
    )
    return service

env.register_service("memory_service", memory_service_factory)

# Use in pipeline
query_stream = (env
                .from_source(FileSource, config["source"])
                .map(DenseRetriever, config["retriever"])  # Uses registered memory service
                .map(QAPromptor, config["promptor"])
                .map(OpenAIGenerator, config["generator"]["local"])
                .sink(TerminalSink, config["sink"])
                )
"""  # noqa: W291 - as the document has it

FACTS = {
    "fr": "Paris is the capital of France.",
    "de": "Berlin is the capital of Germany.",
    "nile": "The Nile is a river in Africa.",
}


@pytest.fixture
def folder(tmp_path):
    model = apply_embedding_model("default")
    with MemoryManager(tmp_path / "memory") as manager:
        collection = manager.create_collection(
            "knowledge_base", backend_type="VDB", embedding_model=model, dim=model.get_dim()
        )
        collection.insert_many(list(FACTS.values()), ids=list(FACTS))
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "data").mkdir()
    questions = "Paris is the capital of France?\n\nThe Nile is a river in Africa?\n"
    (tmp_path / "data" / "questions.txt").write_text(questions, encoding="utf-8")
    return tmp_path


def run(folder, program, server):
    (folder / "snippet.py").write_text(program, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-W", "error", "snippet.py"],
        cwd=folder,
        env={
            "PATH": "",
            "HOME": str(folder),
            "SAGE_MEMORY_DIR": str(folder / "memory"),
            "OPENAI_BASE_URL": server.url,
            "PYTHONUTF8": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_snippet_runs_verbatim(folder):
    with ModelServer() as server:
        done = run(folder, SNIPPET, server)
        sent = [call.request for call in server.calls]
    assert done.returncode == 0, done.stderr
    assert "✅ Pipeline submitted successfully" in done.stdout
    answers = json.loads((folder / "results" / "answers.json").read_bytes())
    assert [a["question"] for a in answers] == [
        "Paris is the capital of France?", "The Nile is a river in Africa?",
    ]  # fmt: skip
    assert [a["passages"][0]["id"] for a in answers] == ["fr", "nile"]
    assert all(p["score"] >= 0.7 for a in answers for p in a["passages"])
    printed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert printed == answers
    assert {r["model"] for r in sent} == {"gpt-3.5-turbo"}
    assert {(r["temperature"], r["max_tokens"]) for r in sent} == {(0.7, 500)}


def test_the_service_snippet_runs_verbatim(folder):
    # The snippet goes on where the imports and the configuration of the first one stand.
    before = SNIPPET.partition("env.set_memory")[0]
    after = """
job_id = env.submit()
print(f"id {job_id}")
env.wait_for_completion(job_id)
print("over")
"""
    with ModelServer() as server:
        done = run(folder, before + SERVICE + after, server)
        again = run(folder, before + SERVICE + after, server)
    for each in (done, again):
        assert each.returncode == 0, each.stderr
        lines = each.stdout.splitlines()
        assert lines[0].startswith("id job-")
        assert lines[-1] == "over"
        assert len([line for line in lines if line.startswith("{")]) == 2


def test_memory_takes_its_configuration(folder):
    program = SNIPPET.replace("config=None", 'config=config["memory"]')
    (folder / "memory").rename(folder / "elsewhere")
    memory = f"\nmemory:\n  data_dir: {json.dumps(str(folder / 'elsewhere'))}\n"
    (folder / "config.yaml").write_text(CONFIG + memory, encoding="utf-8")
    with ModelServer() as server:
        done = run(folder, program, server)
    assert done.returncode == 0, done.stderr
    answers = json.loads((folder / "results" / "answers.json").read_bytes())
    assert [a["passages"][0]["id"] for a in answers] == ["fr", "nile"]
