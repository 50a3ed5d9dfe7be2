"""The command ``sage app run qa``."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from sage.apps.qa.corpus import has_references, load_passages, load_questions
from sage.apps.qa.index import build_collection
from sage.apps.qa.pipeline import build_pipeline, choose_generator
from sage.apps.qa.report import Report, summary, write_json
from sage.lib.types import Evaluation, Query
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model


def command(
    docs: Annotated[
        Path | None,
        typer.Option(
            help="Folder of text, Markdown, HTML, PDF and Word files; default: bundled "
            "texts about SAGE."
        ),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(help="Instead of a folder: a collection, as `sage app run ingest` makes."),
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(help="txt, jsonl or csv file of questions; answers in it are scored."),
    ] = None,
    ask: Annotated[
        list[str] | None, typer.Option(help="Ask this instead; can be given several times.")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Passages per question.")] = 5,
    embedder: Annotated[
        str, typer.Option(help="Embedding model, such as default, hash or minilm.")
    ] = "default",
    model: Annotated[
        str | None, typer.Option(help="Model name when a model server is used.")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Keep the index here; default: a temporary folder. With --collection: where it "
            "is; default: SAGE's data directory."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Answer questions about a folder of documents, with passages, scores and an evaluation."""
    started = time.perf_counter()
    if docs and collection:
        raise typer.BadParameter("give either --docs or --collection", param_hint="--docs")
    wanted = [Query(text=text, id=f"ask:{n}") for n, text in enumerate(ask or (), 1)]
    if not wanted:
        if (docs or collection) and questions is None:
            raise typer.BadParameter(
                "your own documents need your own questions: add --questions FILE or --ask TEXT",
                param_hint="--docs" if docs else "--collection",
            )
        wanted = load_questions(questions)
    generator = choose_generator(model)
    report = Report()
    items: list[Evaluation] = []
    with ExitStack() as stack:
        if collection is None:
            passages = load_passages(docs)
            model_of_texts = apply_embedding_model(embedder)
            if data_dir is None:
                data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sage-qa-")))
            collection = build_collection(passages, data_dir, model_of_texts)
            searched = f"{len(passages)} passages indexed (embedding: {model_of_texts.name})"
        else:
            searched = f"collection {collection}"
        index_seconds = time.perf_counter() - started

        def on_answer(item: Evaluation) -> None:
            items.append(item)
            if not as_json:
                report.answer(item)

        if not as_json:
            report.head(searched, generator.label)
        env = build_pipeline(
            wanted,
            collection=collection,
            data_dir=data_dir,
            top_k=top_k,
            generator=generator,
            on_answer=on_answer,
        )
        started = time.perf_counter()
        env.submit().wait()
        seconds = time.perf_counter() - started
    if as_json:
        write_json(items, summary(items, seconds, index_seconds, generator.label))
    elif has_references(wanted) or len(wanted) > 1:
        report.totals(items, seconds, index_seconds)
    return 0
