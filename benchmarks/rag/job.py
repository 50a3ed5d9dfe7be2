"""The job of ``main_job``: paragraphs, questions, their vectors, and the prompt.

Without ``--data`` the paragraphs are made up: word lists whose statistics are those of SQuAD 2.0
(1,216 paragraphs of about 120 words), one question per paragraph that takes some of its words.
``--data DIR`` reads ``corpus.jsonl`` (``id``, ``text``, optionally ``title``) and ``queries.jsonl``
(``id``, ``text``). The vectors come from the built-in hashing model, once, before anything is
measured: retrieval quality is not the subject here, and all contenders are given the same.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

PROMPT = (
    "Answer the question from the context.\n\nContext:\n{context}\n\nQuestion: {question}\nAnswer:"
)
PARAGRAPHS = 1216
WORDS = 120


class Job:
    """What every contender is given.

    Attributes:
        url: Base URL of the model server, ends in ``/v1``.
        ids, texts: Of the paragraphs.
        matrix: ``(n, dim)`` float32, unit length, one row per paragraph.
        questions: What is asked, in order.
        prompt, k, model, key: Template, passages per prompt, model name, API key.
    """

    prompt, k, model, key = PROMPT, 5, "m", "x"

    def __init__(self, path: Path, url: str) -> None:
        with np.load(path) as data:
            self.ids: list[str] = data["ids"].tolist()
            self.texts: list[str] = data["texts"].tolist()
            self.questions: list[str] = data["questions"].tolist()
            self.matrix: Any = data["matrix"]
            self._vectors = dict(zip(self.questions, data["question_matrix"], strict=True))
        self.url = url

    def vector(self, question: str) -> Any:
        """The vector of a question: ``(dim,)`` float32, unit length."""
        return self._vectors[question]


def write_job(path: Path, folder: Path | None, questions: int) -> None:
    """Prepare the job once for all processes."""
    from sage.middleware.utils.embedding.embedding_api import (  # noqa: PLC0415 - workers do not
        apply_embedding_model,
    )

    ids, texts, asked = read(folder, questions) if folder else made_up(questions)
    embed = apply_embedding_model("hash", dim=384).embed
    np.savez(
        path,
        ids=np.array(ids),
        texts=np.array(texts),
        questions=np.array(asked),
        matrix=unit([embed(text) for text in texts]),
        question_matrix=unit([embed(question) for question in asked]),
    )


def unit(rows: list[Any]) -> Any:
    matrix = np.asarray(rows, dtype=np.float32)
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)


def made_up(questions: int) -> tuple[list[str], list[str], list[str]]:
    chance = random.Random(7)
    letters = "abcdefghijklmnoprstuvw"
    words = sorted({"".join(chance.choices(letters, k=chance.randint(3, 9))) for _ in range(8000)})
    weights = [1 / (rank + 2) for rank in range(len(words))]
    texts, asked = [], []
    for _ in range(PARAGRAPHS):
        drawn = chance.choices(words, weights, k=WORDS)
        sentences = [" ".join(drawn[i : i + 15]).capitalize() for i in range(0, WORDS, 15)]
        texts.append(". ".join(sentences) + ".")
        asked.append("What about " + " ".join(chance.sample(drawn, 6)) + "?")
    return [f"p{i}" for i in range(PARAGRAPHS)], texts, asked[:questions]


def read(folder: Path, questions: int) -> tuple[list[str], list[str], list[str]]:
    documents = lines(folder / "corpus.jsonl")
    texts = [f"{d['title']}. {d['text']}" if d.get("title") else d["text"] for d in documents]
    asked = list(dict.fromkeys(query["text"] for query in lines(folder / "queries.jsonl")))
    step = max(1, len(asked) // questions)
    return [str(d["id"]) for d in documents], texts, asked[::step][:questions]


def lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
