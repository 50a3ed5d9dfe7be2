"""The application as a user runs it: ``sage app run qa``."""

import json

import pytest

from sage.apps.qa.corpus import load_passages, load_questions
from sage.apps.qa.pipeline import RetrievalHit
from sage.common.cli import main
from sage.lib.types import Answer, Document, Query
from sage.middleware.testing.model_server import ModelServer


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = main(["app", *arguments])
        return code, capsys.readouterr()

    return call


def test_it_is_listed(run):
    code, shown = run("list", "--json")
    assert code == 0
    assert "qa" in [row["name"] for row in json.loads(shown.out)]


def test_the_bundled_questions_are_about_the_bundled_documents():
    sources = {passage.metadata["source"] for passage in load_passages()}
    questions = load_questions()
    assert len(sources) >= 12
    assert len(questions) >= 12
    for query in questions:
        assert query.metadata["document"] in sources
        assert query.answers


def test_the_demo_answers_and_evaluates_without_a_model(run):
    code, shown = run("run", "qa", "--embedder", "hash", "--json")
    assert code == 0
    data = json.loads(shown.out)
    scores = data["summary"]["scores"]
    assert data["summary"]["questions"] == len(load_questions())
    assert scores["hit"]["mean"] >= 0.9
    assert scores["f1"]["mean"] >= 0.5
    assert {answer["model"] for answer in data["answers"]} == {"extractive"}
    assert all(answer["passages"][0]["score"] is not None for answer in data["answers"])


def test_the_report_shows_passages_scores_answers_and_totals(run):
    code, shown = run("run", "qa", "--embedder", "hash")
    assert code == 0
    for part in ("extractive", "retrieval: hybrid", "[ 1.000]", "→ MIT License", "exact match: ",
                 "F1: ", "retrieval hit rate: ", "answers in", " ms"):  # fmt: skip
        assert part in shown.out
    assert "\x1b" not in shown.out


def test_own_documents_and_a_question(run, tmp_path):
    (tmp_path / "nile.md").write_text("# Nile\n\nThe Nile is 6,650 km long.\n", encoding="utf-8")
    code, shown = run(
        "run", "qa", "--docs", str(tmp_path), "--ask", "How long is the Nile?", "--embedder", "hash"
    )
    assert code == 0
    assert "→ 6,650 km" in shown.out


def test_a_pdf_file_answers_a_question(run, tmp_path, write_pdf):
    docs = tmp_path / "docs"
    docs.mkdir()
    write_pdf(docs / "rivers.pdf", "The Rhine is 1,230 km long.", "The Nile is 6,650 km long.")
    questions = tmp_path / "questions.jsonl"
    asked = {"question": "How long is the Nile?", "answers": ["6,650 km"]}
    questions.write_text(json.dumps(asked) + "\n", encoding="utf-8")
    code, shown = run("run", "qa", "--docs", str(docs), "--questions", str(questions),
                      "--embedder", "hash", "--json")  # fmt: skip
    assert code == 0, shown.err
    data = json.loads(shown.out)
    (answer,) = data["answers"]
    assert answer["answer"] == "6,650 km"
    assert answer["passages"][0]["metadata"]["source"] == "rivers.pdf"
    assert data["summary"]["scores"]["f1"]["mean"] == 1.0


def test_own_documents_need_own_questions(run, tmp_path):
    code, shown = run("run", "qa", "--docs", str(tmp_path))
    assert code == 2
    assert "--questions" in shown.err


def test_an_index_that_is_kept_is_used_again(run, tmp_path):
    for _ in range(2):
        code, _ = run("run", "qa", "--embedder", "hash", "--data-dir", str(tmp_path), "--json")
        assert code == 0
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


def test_a_model_server_is_used_when_there_is_one(run, monkeypatch):
    with ModelServer(latency=0.001) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_MODEL", "local-model")
        code, shown = run("run", "qa", "--embedder", "hash", "--json")
        assert code == 0
        data = json.loads(shown.out)
        assert server.count == len(load_questions())
        assert {answer["model"] for answer in data["answers"]} == {"local-model"}
        assert data["answers"][0]["usage"]["output_tokens"] > 0


def test_unknown_applications_and_folders_say_so(run, tmp_path):
    code, shown = run("run", "qaa")
    assert code != 0
    assert "'qa'" in shown.err
    code, shown = run("run", "qa", "--docs", str(tmp_path / "no"), "--ask", "x")
    assert code != 0
    assert "no folder" in shown.err


def test_retrieval_hit():
    def hit(metadata, answers=()):
        query = Query(text="q", answers=answers, metadata=metadata)
        passages = (Document(id="1", text="The Cat.", metadata={"source": "a.md"}),)
        scored = RetrievalHit().execute(Answer(text="", query=query, passages=passages))
        return scored.scores["hit"]

    assert hit({"document": "a.md"}) == 1.0
    assert hit({"document": "b.md"}) == 0.0
    assert hit({}, ("cat",)) == 1.0
    assert hit({}) is None
