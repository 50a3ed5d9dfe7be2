"""The unit of the ratios: a NumPy product and the openai client, no framework."""

from __future__ import annotations

import asyncio

from benchmarks.rag.contenders.by_hand import request
from benchmarks.rag.job import Job
from openai import AsyncOpenAI, OpenAI  # noqa: TID253 - what is measured


def answer(job: Job, in_flight: int) -> list[str]:
    """The answers to all questions, in order."""
    connect = {"base_url": job.url, "api_key": job.key}
    if in_flight == 1:
        with OpenAI(**connect) as client:
            replies = [
                client.chat.completions.create(**request(job, question))
                for question in job.questions
            ]
        return [reply.choices[0].message.content for reply in replies]

    async def run() -> list[str]:
        turn = asyncio.Semaphore(in_flight)
        async with AsyncOpenAI(**connect) as client:

            async def one(question: str) -> str:
                async with turn:
                    reply = await client.chat.completions.create(**request(job, question))
                    return reply.choices[0].message.content

            return await asyncio.gather(*map(one, job.questions))

    return asyncio.run(run())
