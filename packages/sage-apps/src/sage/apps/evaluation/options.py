"""Options that ``sage eval run``, ``sage eval compare`` and ``sage app run rag-eval`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Metrics = Annotated[
    list[str] | None,
    typer.Option(help="Comma-separated; default: what the data set allows."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first N questions.")]
Answerable = Annotated[
    bool, typer.Option("--answerable", help="Only questions with reference answers.")
]
Scope = Annotated[
    str | None,
    typer.Option(help="Key of questions and documents; search only where both agree."),
]
KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="A question that fails does not end the run.")
]
Judge = Annotated[
    str | None,
    typer.Option(help="Model that judges, at OPENAI_BASE_URL; default: words decide."),
]
BertModel = Annotated[
    str | None, typer.Option(help="Folder of an encoder, for bertscore and bert_recall.")
]
Concurrency = Annotated[
    int, typer.Option(min=1, help="Calls in flight of built-in model steps and judges.")
]
DataDir = Annotated[
    Path | None, typer.Option(help="Keep indexes of built-in pipelines here, not in the cache.")
]
Seed = Annotated[int | None, typer.Option(help="Of the resampling; default: the same every time.")]
