"""A model server that counts: every call, every token, every cent, and every rule it enforces.

An OpenAI-compatible server (chat completions and embeddings) over HTTP on loopback, in a process of
its own, for tests and benchmarks of what calls cost and how often they are made::

    with Referee(tpm=60_000, window=5, faults={"500": 0.05}) as referee:
        ...  # run a job against referee.url
        assert referee.summary()["repeats_by_body"] == 0

By hand: ``python -m sage.middleware.testing.referee --port 8001``.

Answers are a function of the request. Faults are drawn from the seed, the request and the number of
its attempt, so that a run can be repeated. The process ends with the one that started it.

Reading order: ``settings`` → ``rules`` (limits, bill, faults) → ``server`` → ``process``.
"""

from sage.middleware.testing.referee.process import Referee
from sage.middleware.testing.referee.settings import FAULTS, RefereeSettings

__all__ = ["FAULTS", "Referee", "RefereeSettings"]
