import json

import pytest

from sage.common.cli import main

TOPICS = [
    "Nile",
    "Rhine",
    "Danube",
    "Volga",
    "Amazon",
    "Ganges",
    "Thames",
    "Seine",
    "Loire",
    "Elbe",
]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main(["eval", *map(str, arguments)])
        return code, capsys.readouterr()

    return call


@pytest.fixture
def rivers(tmp_path):
    """A data set: one document and one question per river."""
    folder = tmp_path / "rivers"
    folder.mkdir()
    write = {"corpus.jsonl": [], "queries.jsonl": [], "qrels.tsv": ["query-id\tcorpus-id\tscore"]}
    for n, name in enumerate(TOPICS):
        length = 1000 + 7 * n
        text = f"The river {name} is {length} km long. Boats go on it."
        write["corpus.jsonl"].append(json.dumps({"id": f"d{n}", "title": name, "text": text}))
        question = {"id": f"q{n}", "text": f"How long is the {name}?", "answers": [f"{length} km"]}
        write["queries.jsonl"].append(json.dumps(question))
        write["qrels.tsv"].append(f"q{n}\td{n}\t1")
    for name, lines in write.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
