"""``sage app run rag-eval``: variants side by side."""

import json
import re

import pytest

from sage.common.cli import main

PIPELINE = """
version: 1
name: rag
steps:
- {id: asked, kind: source, op: FileSource, config: {file_path: none.txt}}
- {id: retrieve, kind: map, op: BM25Retriever, config: {documents: docs, top_k: 3}, inputs: [asked]}
- {id: answer, kind: map, op: ExtractiveGenerator, config: {answer: span}, inputs: [retrieve]}
- {id: show, kind: sink, op: TerminalSink, inputs: [answer]}
"""


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments):
        code = main(["app", "run", "rag-eval", *map(str, arguments)])
        return code, capsys.readouterr()

    return call


@pytest.fixture
def rivers(tmp_path):
    folder = tmp_path / "rivers"
    folder.mkdir()
    corpus, queries, qrels = [], [], []
    for n, name in enumerate(["Nile", "Rhine", "Danube", "Volga", "Amazon", "Ganges"] * 3):
        corpus.append({"id": f"d{n}", "text": f"The river {name}, number {n}, is {n + 1000} km."})
        queries.append({"id": f"q{n}", "text": f"How long is river {name} number {n}?"})
        qrels.append(f"q{n}\td{n}\t1")
    for file, rows in (("corpus", corpus), ("queries", queries)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{file}.jsonl").write_text(text, encoding="utf-8")
    (folder / "qrels.tsv").write_text("\n".join(qrels), encoding="utf-8")
    return folder


@pytest.fixture
def project(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("The Nile is 6650 km long.", encoding="utf-8")
    (tmp_path / "docs" / "b.txt").write_text("The Rhine is 1230 km long.", encoding="utf-8")
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    rows = [
        {"text": "How long is the Nile?", "answers": ["6650 km"], "documents": ["a.txt"]},
        {"text": "How long is the Rhine?", "answers": "1230 km", "documents": "b.txt"},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "questions.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def test_variants_are_run_compared_and_reported(run, rivers):
    code, shown = run(
        "--dataset", rivers, "--variant", "many=retrieval-bm25,top_k=10",
        "--variant", "one=retrieval-bm25,top_k=1", "--metrics", "recall@10,ndcg@10", "--out", "r",
        "--json",
    )  # fmt: skip
    assert code == 0
    data = json.loads(shown.out)
    assert data["baseline"] == "many"
    assert list(data["variants"]) == ["many", "one"]
    means = {name: each["scores"]["recall@10"]["mean"] for name, each in data["variants"].items()}
    assert means["many"] == 1.0
    test = data["against_baseline"]["one"]["recall@10"]
    assert test["difference"] == pytest.approx(means["one"] - means["many"])


def test_the_report_needs_nothing_and_links_the_comparisons(run, rivers, tmp_path):
    run("--dataset", rivers, "--variant", "a=retrieval-bm25", "--variant",
        "b=retrieval-bm25,top_k=1", "--out", "two")  # fmt: skip
    html = (tmp_path / "two" / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in html
    assert not re.search(r"<script|src=|https?:", html)
    (link,) = re.findall(r'href="([^"]+)"', html)
    assert (tmp_path / "two" / link).is_file()
    assert html.count("<svg") == 5


def test_a_file_of_variants_over_a_file_of_questions(run, project):
    (project / "v.yaml").write_text(
        "dataset: questions.jsonl\nmetrics: [f1, recall@1]\nvariants:\n"
        "  three: {pipeline: pipeline.yaml}\n"
        "  strict: {pipeline: pipeline.yaml, set: {retrieve.similarity_threshold: 1000000.0}}\n",
        encoding="utf-8",
    )
    code, shown = run("--variants", "v.yaml", "--json")
    assert code == 0
    scores = {n: v["scores"] for n, v in json.loads(shown.out)["variants"].items()}
    assert scores["three"]["f1"]["mean"] == 1.0
    assert scores["three"]["recall@1"]["mean"] == 1.0
    assert scores["strict"]["f1"]["mean"] == 0.0
    assert (project / "eval" / "rag-eval-questions" / "report.html").is_file()


def test_it_goes_on_with_what_is_there(run, rivers):
    given = ("--dataset", rivers, "--variant", "a=retrieval-bm25", "--out", "r")
    assert run(*given)[0] == 0
    code, shown = run(*given)
    assert code != 0
    assert "--resume" in shown.err
    code, shown = run(*given, "--variant", "b=retrieval-bm25,top_k=5", "--resume", "--json")
    assert code == 0
    assert set(json.loads(shown.out)["variants"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--variant", "a=nothing"], "no file and no built-in"),
        (["--variant", "a=retrieval-bm25,topk=3"], "top_k"),
        (["--variant", "a=retrieval-bm25,x.y=3"], "--set"),
        (["--variant", "a=retrieval-bm25", "--variant", "a=retrieval-dense"], "already"),
        (["--variant", "/=retrieval-bm25"], "name of its own"),
        (["--variant", "a=pipeline.yaml,top_k=3"], "top_k: for built-in pipelines only"),
    ],
)
def test_mistakes_are_named(run, rivers, project, arguments, said):
    code, shown = run("--dataset", rivers, *arguments)
    assert code != 0
    assert said in shown.err


def test_a_data_set_is_needed(run):
    code, shown = run()
    assert code == 2
    assert "--dataset" in shown.err


def test_a_csv_file_of_questions(project, capsys, monkeypatch):
    monkeypatch.chdir(project)
    (project / "q.csv").write_text(
        'question,answers,documents\nHow long is the Nile?,"[""6650 km""]",a.txt\n'
        "How long is the Rhine?,1230 km,b.txt\n",
        encoding="utf-8",
    )
    assert main(["eval", "run", "pipeline.yaml", "--dataset", "q.csv", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores["em"]["mean"] == 1.0
    assert scores["ndcg@10"]["mean"] == 1.0
