"""``sage eval run`` as a user calls it."""

import json
import os
import signal
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from sage.middleware.testing.model_server import ModelServer


def rows_of(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_retrieval_by_name(run, rivers, tmp_path):
    code, shown = run("run", "retrieval-bm25", "--dataset", rivers, "--json")
    assert code == 0
    data = json.loads(shown.out)
    assert data["results"] == 10
    assert data["scores"]["ndcg@10"] == {
        "mean": 1.0, "low": 1.0, "high": 1.0, "n_scored": 10, "n_missing": 0
    }  # fmt: skip
    assert set(data["scores"]) == {"ndcg@10", "map", "mrr", "recall@10", "hit@10"}
    rows = rows_of(tmp_path / "eval" / "retrieval-bm25-rivers")
    assert {row["id"] for row in rows} == {f"q{n}" for n in range(10)}
    assert all(row["passages"][0][0] == row["id"].replace("q", "d") for row in rows)


@pytest.mark.parametrize("name", ["retrieval-dense", "retrieval-hybrid"])
def test_retrieval_by_vectors(run, rivers, name):
    code, shown = run("run", name, "--dataset", rivers, "--embedder", "hash", "--json")
    assert code == 0
    assert json.loads(shown.out)["scores"]["mrr"]["mean"] > 0.9


def test_answers_without_a_model(run, rivers, tmp_path):
    code, shown = run("run", "extractive", "--dataset", rivers, "--limit", "6", "--out", "o")
    assert code == 0
    assert shown.out.splitlines()[0].split() == [
        "METRIC", "MEAN", "95", "%", "INTERVAL", "SCORED", "NO", "SCORE"
    ]  # fmt: skip
    scores = json.loads((tmp_path / "o" / "summary.json").read_text())["scores"]
    assert scores["em"]["mean"] > 0.8
    assert scores["input_tokens"] == {
        "mean": None, "low": None, "high": None, "n_scored": 0, "n_missing": 6
    }  # fmt: skip
    assert "\x1b" not in shown.err
    assert len(rows_of(tmp_path / "o")) == 6


def test_a_model_and_a_judge(run, rivers, monkeypatch):
    def answer(request):
        if "grade the output" in request["messages"][0]["content"]:
            return '{"verdicts": [true]}'
        return "1000 km"

    with ModelServer(answer=answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        code, shown = run(
            "run", "qa", "--dataset", rivers, "--embedder", "hash", "--judge", "j",
            "--metrics", "f1,faithfulness", "--metrics", "context_recall", "--json",
        )  # fmt: skip
    assert code == 0
    scores = json.loads(shown.out)["scores"]
    assert scores["faithfulness"]["mean"] == 1.0
    assert scores["f1"]["mean"] > 0.5
    assert server.count == 30


PIPELINE = """
version: 1
name: production
steps:
  - {id: questions, kind: source, op: FileSource, config: {file_path: nowhere.jsonl}}
  - id: retrieve
    kind: map
    op: BM25Retriever
    config: {documents: rivers/corpus.jsonl, top_k: 3}
    inputs: [questions]
  - {id: answer, kind: map, op: ExtractiveGenerator, config: {answer: span}, inputs: [retrieve]}
  - {id: audit, kind: sink, op: FileSink, config: {file_path: audit.jsonl}, inputs: [retrieve]}
  - {id: out, kind: sink, op: FileSink, config: {file_path: production.jsonl}, inputs: [answer]}
"""


def test_the_production_graph_without_its_ends(run, rivers, tmp_path):
    (tmp_path / "p.yaml").write_text(PIPELINE, encoding="utf-8")
    code, shown = run("run", "p.yaml", "--dataset", rivers)
    assert code == 1
    assert "--sink ID" in shown.err
    code, shown = run("run", "p.yaml", "--dataset", rivers, "--sink", "out", "--json")
    assert code == 0
    assert json.loads(shown.out)["scores"]["em"]["mean"] > 0.8
    code, shown = run(
        "run", "p.yaml", "--dataset", rivers, "--sink", "audit", "--set", "retrieve.top_k=1",
        "--out", "other", "--json",
    )  # fmt: skip
    assert code == 0
    assert "em" not in json.loads(shown.out)["scores"]
    assert {len(row["passages"]) for row in rows_of(tmp_path / "other")} == {1}
    # What production would have written to.
    assert not (tmp_path / "audit.jsonl").exists()
    assert not (tmp_path / "production.jsonl").exists()


@pytest.mark.parametrize(
    ("pipeline", "given", "said"),
    [
        ("p.yaml", ["--top-k", "1"], "top_k: for built-in pipelines only"),
        ("p.yaml", ["--model", "m", "--embedder", "hash"], "embedder, model: for built-in"),
        ("p.yaml", ["--max-chars", "100"], "set the key of a step"),
        ("app.py", ["--top-k", "1"], "set it in the program"),
        ("app.py", ["--sink", "out"], "for pipeline files"),
        ("extractive", ["--set", "retrieve.top_k=1"], "for pipeline files"),
    ],
)
def test_options_that_a_pipeline_would_ignore(run, rivers, tmp_path, pipeline, given, said):
    (tmp_path / "p.yaml").write_text(PIPELINE, encoding="utf-8")
    (tmp_path / "app.py").write_text(PROGRAM, encoding="utf-8")
    code, shown = run("run", pipeline, "--dataset", rivers, *given)
    assert code == 1
    assert said in shown.err
    assert not (tmp_path / "eval").exists()


PROGRAM = """
from sage.lib.types import Answer, Query

def answer(query: Query) -> Answer:
    if query.text.endswith("{fails}?"):
        raise ValueError("no idea")
    return Answer(text="1000 km", query=query)

def build(env, source):
    return source.map(answer)
"""


def test_a_program(run, rivers, tmp_path):
    (tmp_path / "app.py").write_text(PROGRAM, encoding="utf-8")
    code, shown = run("run", "app.py", "--dataset", rivers, "--metrics", "em,latency", "--json")
    assert code == 0
    scores = json.loads(shown.out)["scores"]
    assert scores["em"]["mean"] == 0.1
    assert scores["latency"]["mean"] is None
    (tmp_path / "bad.py").write_text("x = 1", encoding="utf-8")
    code, shown = run("run", "bad.py", "--dataset", rivers)
    assert code == 1
    assert "build(env, source)" in shown.err


def test_a_question_that_fails(run, rivers, tmp_path):
    (tmp_path / "app.py").write_text(PROGRAM.replace("{fails}", "Volga"), encoding="utf-8")
    base = ("run", "app.py", "--dataset", rivers, "--metrics", "em", "--json")
    code, shown = run(*base, "--out", "a")
    assert code == 3
    assert "no idea" in shown.err
    code, shown = run(*base, "--out", "b", "--keep-going", "--junit", "j.xml")
    assert code == 3
    data = json.loads(shown.out)
    assert (data["results"], data["failed"]) == (9, 1)
    assert "no idea" in shown.err
    assert "Volga" in ET.parse(tmp_path / "j.xml").findtext(".//failure")
    # Once it is mended, only what is missing runs.
    (tmp_path / "app.py").write_text(PROGRAM, encoding="utf-8")
    code, shown = run(*base, "--out", "b", "--resume")
    assert code == 1
    assert "pipeline_fingerprint" in shown.err


def test_thresholds_and_junit(run, rivers, tmp_path):
    base = ("run", "retrieval-bm25", "--dataset", rivers, "--metrics", "mrr,recall@1")
    code, shown = run(*base, "--threshold", "mrr>=0.9", "--threshold", "recall@1.low>0.5")
    assert code == 0
    code, shown = run(
        *base, "--out", "b", "--threshold", "mrr<0.5", "--threshold", "recall@1>=1",
        "--junit", "reports/junit.xml", "-o", "json",
    )  # fmt: skip
    assert code == 8
    assert "mrr<0.5 does not hold" in shown.err
    assert [t["holds"] for t in json.loads(shown.out)["thresholds"]] == [False, True]
    suite = ET.parse(tmp_path / "reports" / "junit.xml").find("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    failed = [
        case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None
    ]
    assert failed == ["mrr<0.5"]


def test_mistakes_are_named_before_anything_runs(run, rivers, tmp_path):
    for arguments, code, words in [
        (["retrieval-bm26"], 4, "retrieval-bm25"),
        (["retrieval-bm25", "--metrics", "f1"], 1, "ends with passages"),
        (["extractive", "--metrics", "rouge"], 1, "rouge_l"),
        (["extractive", "--metrics", 'BLEUEvaluate={"tokenise": "zh"}'], 1, "tokenize"),
        (["extractive", "--metrics", "BLEUEvaluate={"], 1, "JSON object"),
        (["extractive", "--metrics", "bertscore"], 1, "--bert-model"),
        (["extractive", "--threshold", "f1=0.3"], 1, "f1>=0.3"),
        (["extractive", "--threshold", "rouge>=0.3"], 1, "sets no score"),
        (["extractive", "--set", "a.b=1"], 1, "pipeline files"),
    ]:
        found, shown = run("run", *arguments, "--dataset", rivers)
        assert found == code, (arguments, shown.err)
        assert words in shown.err
    assert not (tmp_path / "eval").exists()


def test_a_run_is_not_overwritten_and_not_mixed(run, rivers):
    base = ("run", "retrieval-bm25", "--dataset", rivers, "--out", "o")
    assert run(*base, "--limit", "4")[0] == 0
    code, shown = run(*base)
    assert code == 1
    assert "--resume" in shown.err
    code, shown = run(*base, "--resume", "--top-k", "3")
    assert code == 1
    assert "pipeline_fingerprint" in shown.err
    code, shown = run(*base, "--resume", "--metrics", "mrr")
    assert code == 1
    assert "metrics" in shown.err
    code, shown = run(*base, "--resume", "--json")
    assert code == 0
    data = json.loads(shown.out)
    assert (data["results"], data["earlier"]) == (10, 4)


SLOW = """
import sys
from sage.lib.types import Answer, Query

def answer(query: Query) -> Answer:
    with open("asked.txt", "a") as file:
        print(query.id, file=file)
    if query.id == "q6" and GATE:
        sys.stdout.write("waiting\\n")
        sys.stdout.flush()
        sys.stdin.read()
    return Answer(text="1000 km", query=query)

def build(env, source):
    return source.map(answer, batch_size=1)
"""


def test_a_killed_run_goes_on(run, rivers, tmp_path):
    program = tmp_path / "app.py"
    program.write_text("import os\nGATE = os.environ.get('GATE')\n" + SLOW, encoding="utf-8")
    base = ["run", "app.py", "--dataset", str(rivers), "--metrics", "em", "--out", "o"]
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; from sage.common.cli import main; sys.exit(main())",
              "eval", *base],
        cwd=tmp_path, env={**os.environ, "GATE": "1"}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout.readline() == "waiting\n"
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
    before = [row["id"] for row in rows_of(tmp_path / "o")]
    assert before == [f"q{n}" for n in range(6)]
    # A crash may also cut a line.
    with (tmp_path / "o" / "results.jsonl").open("a") as file:
        file.write('{"id": "q9", "sco')
    code, shown = run(*base, "--resume", "--json")
    assert code == 0
    data = json.loads(shown.out)
    assert (data["results"], data["earlier"]) == (10, len(before))
    ids = [row["id"] for row in rows_of(tmp_path / "o")]
    assert sorted(ids) == sorted({f"q{n}" for n in range(10)})
    assert ids[: len(before)] == before
    asked = (tmp_path / "asked.txt").read_text().split()
    assert all(asked.count(each) == 1 for each in before)


def test_a_question_is_answered_from_its_own_documents(run, tmp_path):
    folder = tmp_path / "talks"
    folder.mkdir()
    documents = [{"id": f"{c}{n}", "talk": c, "text": f"We met on day {n}."}
                 for c in "ab" for n in range(3)]  # fmt: skip
    queries = [{"id": c, "talk": c, "text": "When did we meet, on day 1?"} for c in "ab"]
    for name, rows in (("corpus.jsonl", documents), ("queries.jsonl", queries)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "qrels.tsv").write_text("a\ta1\t1\nb\tb1\t1\n", encoding="utf-8")
    for name in ("retrieval-bm25", "retrieval-hybrid"):
        code, shown = run(
            "run", name, "--dataset", folder, "--scope", "talk", "--embedder", "hash", "--json"
        )
        assert code == 0, shown.err
        assert json.loads(shown.out)["scores"]["mrr"]["mean"] == 1.0
        for row in rows_of(tmp_path / "eval" / f"{name}-talks"):
            assert {passage[0][0] for passage in row["passages"]} == {row["id"]}
    code, shown = run("run", "retrieval-bm25", "--dataset", folder, "--scope", "year", "--out", "o")
    assert code == 1
    assert "queries.jsonl, line 1" in shown.err


def test_broken_data_sets_say_where(run, rivers):
    for name, text, words in [
        ("queries.jsonl", '{"id": "1", "text": 3}\n', "queries.jsonl, line 1"),
        ("queries.jsonl", '{"id": "1", "text": "a"}\n{"id": "1", "text": "b"}\n', "used twice"),
        ("queries.jsonl", "\nnonsense\n", "queries.jsonl, line 2: not valid JSON"),
        ("queries.jsonl", "[1]\n", "expected an object or a string"),
        ("queries.jsonl", "", "no questions"),
        ("qrels.tsv", "q1\td1\t1\nq2\td2\n", "qrels.tsv, line 2"),
        ("corpus.jsonl", '{"id": "1"}\n', "corpus.jsonl, line 1"),
    ]:
        before = (rivers / name).read_text(encoding="utf-8")
        (rivers / name).write_text(text, encoding="utf-8")
        code, shown = run("run", "retrieval-bm25", "--dataset", rivers)
        (rivers / name).write_text(before, encoding="utf-8")
        assert code == 1
        assert words in shown.err
    code, shown = run("run", "retrieval-bm25", "--dataset", rivers / "none")
    assert code == 4


def test_spans_of_cut_documents(run, tmp_path):
    folder = tmp_path / "long"
    folder.mkdir()
    sentences = [f"Fact number {n} says that thing{n} is blue." for n in range(60)]
    text = " ".join(sentences)
    start = text.index(sentences[41])
    reference = {"start": start, "end": start + len(sentences[41])}
    query = {"id": "1", "text": "What is thing41?", "corpus_id": "d", "references": [reference]}
    (folder / "corpus.jsonl").write_text(json.dumps({"id": "d", "text": text}), encoding="utf-8")
    (folder / "queries.jsonl").write_text(json.dumps(query), encoding="utf-8")
    for name in ("retrieval-bm25", "retrieval-hybrid"):
        code, shown = run(
            "run", name, "--dataset", folder, "--max-chars", "200", "--top-k", "1",
            "--embedder", "hash", "--json",
        )  # fmt: skip
        assert code == 0, shown.err
        scores = json.loads(shown.out)["scores"]
        assert scores["span_recall"]["mean"] > 0.5
        assert scores["span_precision"]["mean"] > 0.1


def test_a_run_that_never_began_is_not_in_the_way(run, rivers, tmp_path):
    spec = PIPELINE.replace("rivers/corpus.jsonl", "none.jsonl")
    (tmp_path / "p.yaml").write_text(spec, encoding="utf-8")
    base = ("run", "p.yaml", "--dataset", rivers, "--sink", "out", "--out", "o")
    code, shown = run(*base)
    assert code != 0
    assert "none.jsonl" in shown.err
    (tmp_path / "p.yaml").write_text(PIPELINE, encoding="utf-8")
    assert run(*base)[0] == 0
    assert len(rows_of(tmp_path / "o")) == 10


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_bar_is_drawn_on_a_terminal_only(rivers, tmp_path):
    import pty

    terminal, end = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from sage.common.cli import main; sys.exit(main())",
             "eval", "run", "retrieval-bm25", "--dataset", str(rivers)],
            cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=end, text=True,
        )  # fmt: skip
        os.close(end)
        seen = os.read(terminal, 65536).decode()
    finally:
        os.close(terminal)
    assert done.returncode == 0
    assert "\x1b[K" in seen
    assert "\x1b" not in done.stdout


def test_the_metrics_are_listed(run):
    code, shown = run("metrics", "--json")
    assert code == 0
    rows = {row["metric"]: row["evaluator"] for row in json.loads(shown.out)}
    assert rows["f1"] == "F1Evaluate"
    assert rows["ndcg@K"] == "NDCGEvaluate"
    assert rows["EvaluateMetric={...}"] == "EvaluateMetric"
