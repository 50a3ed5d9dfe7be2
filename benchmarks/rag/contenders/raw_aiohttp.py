"""The floor: a NumPy product and aiohttp."""

from __future__ import annotations

import asyncio

import aiohttp
from benchmarks.rag.contenders.by_hand import request
from benchmarks.rag.job import Job


def answer(job: Job, in_flight: int) -> list[str]:
    """The answers to all questions, in order."""

    async def run() -> list[str]:
        connector = aiohttp.TCPConnector(limit=in_flight)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def one(question: str) -> str:
                url = job.url + "/chat/completions"
                async with session.post(url, json=request(job, question)) as reply:
                    reply.raise_for_status()
                    text: str = (await reply.json())["choices"][0]["message"]["content"]
                    return text

            if in_flight == 1:
                return [await one(question) for question in job.questions]
            return await asyncio.gather(*map(one, job.questions))

    return asyncio.run(run())
