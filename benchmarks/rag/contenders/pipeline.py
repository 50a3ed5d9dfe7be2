"""The same job as a pipeline. What a user writes is between the two marks."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.rag.job import Job

# isort: off
# --- user code
from sage.api import LocalEnvironment
from sage.lib.rag.generator import OpenAIGenerator
from sage.lib.rag.promptor import QAPromptor
from sage.lib.rag.retriever import DenseRetriever


def run(job: Job, in_flight: int, take: Callable[[str], object]) -> None:
    env = LocalEnvironment("rag")
    corpus = {"documents": job.texts, "vectors": job.matrix, "embed": job.vector, "top_k": job.k}
    model = {"model": job.model, "base_url": job.url, "api_key": job.key}
    retrieved = env.from_collection(job.questions).map(DenseRetriever, corpus)
    prompts = retrieved.map(QAPromptor, {"template": job.prompt})
    prompts.map(OpenAIGenerator, model, concurrency=in_flight).sink(lambda a: take(a.text))
    env.execute()


# --- end


def answer(job: Job, in_flight: int) -> list[str]:
    """The answers to all questions, in order."""
    found: list[str] = []
    run(job, in_flight, found.append)
    return found
