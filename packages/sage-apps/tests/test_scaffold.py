"""``sage app new``: what it makes runs and passes its own test."""

import os
import subprocess
import sys

import pytest

from sage.apps.scaffold import TEMPLATES
from sage.common.cli import main


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_project_passes_its_own_test(template, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["app", "new", "my-project", "--template", template]) == 0
    written = capsys.readouterr().out.split()
    folder = tmp_path / "my-project"
    assert sorted(written) == sorted(
        str(path.relative_to(tmp_path)) for path in folder.rglob("*") if path.is_file()
    )
    texts = "".join(path.read_text("utf-8") for path in folder.rglob("*") if path.is_file())
    assert "PROJECT_NAME" not in texts
    assert "my-project" in texts
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, "SAGE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_commands_of_the_readme_work(tmp_path, monkeypatch, capsys):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert main(["app", "new", "mine"]) == 0
    monkeypatch.chdir(tmp_path / "mine")
    for command in (
        "app run ingest docs --data-dir data --embedder hash",
        "run pipeline.yaml",
        "app run qa --collection knowledge_base --data-dir data --ask Nile?",
        "eval run pipeline.yaml --dataset eval/questions.jsonl --threshold f1>=0.8",
        "app run rag-eval --variants variants.yaml",
        "check pipeline-model.yaml",
    ):
        assert main(command.split()) == 0, f"{command}: {capsys.readouterr().err}"
        capsys.readouterr()


def test_mistakes_write_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments, said in (
        (["x", "--template", "rga"], "'rag'"),
        (["a b"], "letters"),
    ):
        assert main(["app", "new", *arguments]) != 0
        assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert main(["app", "new", "full"]) != 0
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["file"]
