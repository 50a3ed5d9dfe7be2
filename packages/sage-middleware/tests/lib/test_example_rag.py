"""``examples/rag`` as its README says to run it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sage.middleware.testing.model_server import ModelServer

EXAMPLE = Path(__file__).parents[4] / "examples" / "rag"


@pytest.mark.parametrize("arguments", [["--extractive"], []])
def test_the_example_runs(tmp_path, arguments):
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    with ModelServer() as server:
        env = {"PATH": "", "HOME": str(tmp_path), "OPENAI_BASE_URL": server.url}
        for command in (["prepare.py"], ["rag.py", *arguments]):
            done = subprocess.run(
                [sys.executable, "-W", "error", *command],
                cwd=tmp_path,
                env=env,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
    answers = json.loads((tmp_path / "results" / "answers.json").read_bytes())
    assert len(answers) == 4
    assert "6,650 km" in answers[0]["answer"]
    assert [a["model"] for a in answers] == ["extractive" if arguments else "gpt-4o-mini"] * 4
