"""``sage app new``: what it makes does all that its README says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sage.apps.scaffold import TEMPLATES
from sage.common.cli import main
from sage.middleware.testing.model_server import ModelServer


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_project_is_the_template_with_its_name(template, tmp_path, monkeypatch, capsys):
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


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_commands_of_the_readme_work(template, tmp_path):
    """All of them, as they stand there; what they make is ignored by git."""
    place = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    hidden = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL")
    env = {**os.environ, **place, "SAGE_HOME": str(tmp_path / "home")}
    env = {name: value for name, value in env.items() if name not in hidden}
    project = tmp_path / "my-project"

    def run(command, **more):
        done = subprocess.run(
            shlex.split(command), cwd=project, env={**env, **more}, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    assert main(["app", "new", str(project), "--template", template]) == 0
    run("git init --quiet")
    run("git add --all")
    readme = (project / "README.md").read_text("utf-8")
    commands = re.findall(r"^    (\S.*?)(?:  +# .*)?$", readme, re.MULTILINE)
    assert len(commands) >= 4
    with ModelServer() as server:
        for command in commands:
            model = {"OPENAI_BASE_URL": server.url} if "pipeline-model" in command else {}
            said = run(command, **model)
            if "--ask" in command:
                assert "6,650 km" in said
        assert bool(server.calls) == any("pipeline-model" in each for each in commands)
    assert run("git ls-files --others --exclude-standard") == ""


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
