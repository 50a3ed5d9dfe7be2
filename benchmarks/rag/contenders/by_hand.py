"""Retrieval and prompt by hand, for the contenders without a framework."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.rag.job import Job


def request(job: Job, question: str) -> dict[str, Any]:
    """The body of the chat completion that answers ``question``."""
    top = np.argsort(-(job.matrix @ job.vector(question)))[: job.k]
    context = "\n\n".join(job.texts[i] for i in top)
    text = job.prompt.format(context=context, question=question)
    return {"model": job.model, "messages": [{"role": "user", "content": text}]}
