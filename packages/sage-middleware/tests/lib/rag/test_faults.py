"""A model server that fails in every way it can: nothing is lost, nothing is made up."""

import random

from sage.api import LocalEnvironment
from sage.lib.rag.generator import OpenAIGenerator
from sage.lib.types import Query
from sage.middleware.testing.model_server import ModelServer

FAULTS = ("429", "500", "503", "hang", "drop", "drop_mid", "garbage", "empty", "400")


def test_every_question_is_answered_or_dead_lettered_with_its_reason():
    count = 60
    chance = random.Random(4)
    faults = ["ok" if chance.random() < 0.5 else chance.choice(FAULTS) for _ in range(3 * count)]
    questions = [
        Query(id=f"q{n}", text=f"Fact {n} is here. Question: Where is fact {n}?")
        for n in range(count)
    ]
    answers = []
    with ModelServer(faults=faults, retry_after=0.01) as server:
        config = {"model": "m", "base_url": server.url, "timeout": 0.3, "max_retries": 2}
        env = LocalEnvironment("faults")
        stream = env.from_collection(questions).map(
            OpenAIGenerator, config, concurrency=16, on_error="dead_letter"
        )
        stream.sink(answers.append)
        job = env.submit()
        job.wait(120)
        met = {call.fault for call in server.calls}
    assert set(FAULTS) <= met
    assert all(a.text == f"Fact {a.query.id[1:]} is here." for a in answers)
    letters = job.dead_letters()
    assert len(letters) > 0
    failed = [letter["item"]["id"] for letter in letters]
    assert sorted([a.query.id for a in answers] + failed) == sorted(q.id for q in questions)
    reasons = {letter["error"]["message"] for letter in letters}
    assert any("400" in reason for reason in reasons)
    assert any("empty" in reason for reason in reasons)
    assert all(letter["error"]["type"].endswith("ModelError") for letter in letters)
