"""``sage eval compare``: the numbers, the report, and hostile text in it."""

import json
import re
from html.parser import HTMLParser

import pytest

from sage.apps.evaluation.comparison import holm


@pytest.fixture
def make_run(tmp_path):
    def make(name, scores, *, answer="a", fingerprint="f", **more):
        folder = tmp_path / name
        folder.mkdir()
        run = {"version": 1, "pipeline": more.pop("pipeline", "p"), "dataset": "d",
               "dataset_fingerprint": fingerprint, "metrics": []}  # fmt: skip
        (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
        rows = [
            {"id": str(n), "question": more.get("question", f"question {n}"), "answer": answer,
             "references": ["r"], "scores": each, "passages": []}
            for n, each in enumerate(scores)
        ]  # fmt: skip
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "results.jsonl").write_text(text, encoding="utf-8")
        return folder

    return make


def test_a_better_run_is_found_and_an_equal_one_is_not(run, make_run):
    a = make_run("a", [{"f1": (n % 10) / 10, "em": float(n % 2)} for n in range(40)])
    b = make_run("b", [{"f1": (n % 10) / 10 + 0.05, "em": float(n % 2)} for n in range(40)])
    code, shown = run("compare", a, b, "-o", "json")
    assert code == 0
    data = json.loads(shown.out)
    f1, em = data["metrics"]["f1"], data["metrics"]["em"]
    assert f1["difference"] == pytest.approx(0.05)
    assert f1["p_holm"] < 0.01
    assert (f1["wins"], f1["losses"], f1["ties"]) == (40, 0, 0)
    assert (em["difference"], em["p_holm"], em["effect"]) == (0.0, 1.0, None)
    assert json.loads(run("compare", a, b, "-o", "json")[1].out) == data
    code, shown = run("compare", a, b)
    assert shown.out.splitlines()[0].split()[:4] == ["METRIC", "N", "A", "B"]


def test_only_what_both_scored_counts(run, make_run):
    a = make_run("a", [{"f1": 1.0, "x": 1.0}, {"f1": None, "x": 1.0}, {"f1": 0.0, "x": 1.0}])
    b = make_run("b", [{"f1": 0.0, "y": 0.0}, {"f1": 0.5, "y": 0.0}], fingerprint="other")
    _, shown = run("compare", a, b, "--json")
    data = json.loads(shown.out)
    assert data["metrics"]["f1"]["count"] == 1
    assert (data["shared"], data["only_a"], data["only_b"]) == (2, 1, 0)
    assert sorted(data["skipped"]) == ["x", "y"]
    assert "data sets differ" in shown.err


def test_mistakes(run, make_run, tmp_path):
    a = make_run("a", [{"f1": 1.0}])
    code, shown = run("compare", a, tmp_path / "none")
    assert code == 4
    assert "holds no run" in shown.err
    empty = make_run("empty", [])
    code, shown = run("compare", a, empty)
    assert code == 1
    assert "no common question" in shown.err
    (a / "results.jsonl").write_text('{"no": 1}\n{"id": "0", "scores": {}}\n', encoding="utf-8")
    code, shown = run("compare", a, empty)
    assert code == 1
    assert "results.jsonl:1" in shown.err


HOSTILE = "</title></svg><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x00\u202e"


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []
        self.attributes = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]


def test_the_report_stands_alone_and_holds_no_foreign_markup(run, make_run, tmp_path):
    options = {"answer": HOSTILE, "question": HOSTILE, "pipeline": HOSTILE}
    a = make_run("a", [{HOSTILE: 0.0, "f1": 0.1 * n} for n in range(10)], **options)
    b = make_run("b", [{HOSTILE: 1.0, "f1": 0.5} for n in range(10)], fingerprint="x", **options)
    code, _ = run("compare", a, b, "--html", tmp_path / "out" / "report.html")
    assert code == 0
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert not {"script", "img", "link", "iframe", "object", "a"} & set(page.tags)
    assert not [each for each in page.attributes if each[1].startswith("on") or each[1] == "src"]
    assert not re.search(r"https?://|@import|url\(", text)
    assert page.tags.count("svg") == 3
    assert "default-src 'none'" in text
    assert "\x00" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_two_real_runs(run, rivers, tmp_path):
    for name, k in (("a", "1"), ("b", "10")):
        code, _ = run("run", "extractive", "--dataset", rivers, "--top-k", k, "--out", name)
        assert code == 0
    code, shown = run("compare", "a", "b", "--html", "r.html", "--json")
    assert code == 0
    data = json.loads(shown.out)
    assert data["shared"] == 10
    assert {"f1", "em", "ndcg@10", "latency"} <= set(data["metrics"])
    assert "input_tokens" in data["skipped"]
    assert (tmp_path / "r.html").stat().st_size > 3000
