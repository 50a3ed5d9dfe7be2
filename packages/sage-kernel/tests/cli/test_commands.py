"""``sage run``, ``sage check`` and ``sage explain`` as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

STEPS = """
class Times:
    def __init__(self, config=None):
        self.factor = config["factor"]
    def execute(self, x):
        return x * self.factor
def fail(x):
    raise ValueError("bad " + str(x))
"""
PIPELINE = """
version: 1
name: demo
steps:
- {id: numbers, kind: source, op: "builtin:collection", items: [1, 2, 3]}
- {id: times, kind: map, op: "cli_steps:Times", config: {factor: 3}, inputs: [numbers]}
- {id: out, kind: sink, op: "builtin:print", inputs: [times]}
"""
PROGRAM = """
import sys
from sage.api import LocalEnvironment
env = LocalEnvironment("program")
def double(x: int) -> int:
    return x * 2
env.from_collection([1, 2]).map(double).print()
job = env.submit()
job.wait()
print("after", sys.argv[1:])
"""


@pytest.fixture
def sage(tmp_path):
    (tmp_path / "cli_steps.py").write_text(STEPS, encoding="utf-8")
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    (tmp_path / "app.py").write_text(PROGRAM, encoding="utf-8")

    def call(*arguments, **variables):
        environment = {**os.environ, "COLUMNS": "120", **variables}
        code = "import sys; from sage.common.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],  # as a console script is run
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    call.folder = tmp_path
    return call


def test_run_pipeline(sage):
    done = sage("run", "--allow", "cli_steps", "pipeline.yaml")
    assert (done.returncode, done.stdout) == (0, "3\n6\n9\n"), done.stderr
    assert "\r" not in done.stderr


def test_text_that_a_terminal_cannot_show(sage):
    (sage.folder / "settings.yaml").write_text("name: Grüße\n", encoding="utf-8")
    done = sage("config", "get", "name", "settings.yaml", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "Gr\\xfc\\xdfe\n"), done.stderr


def test_overrides(sage):
    (sage.folder / "over.yaml").write_text("times: {factor: 5}\n", encoding="utf-8")
    done = sage("run", "--allow", "cli_steps", "--config", "over.yaml", "pipeline.yaml")
    assert done.stdout == "5\n10\n15\n", done.stderr
    done = sage("run", "--allow", "cli_steps", "--set", "times.factor=10", "pipeline.yaml")
    assert done.stdout == "10\n20\n30\n", done.stderr
    done = sage("run", "--allow", "cli_steps", "--set", "tims.factor=1", "pipeline.yaml")
    assert done.returncode == 1
    assert "did you mean 'times'" in done.stderr


def test_modules_must_be_allowed(sage):
    done = sage("run", "pipeline.yaml")
    assert done.returncode == 1
    assert "steps[1].op" in done.stderr
    assert "--allow cli_steps" in done.stderr


def test_failed_job_is_exit_code_3(sage):
    broken = PIPELINE.replace("cli_steps:Times", "cli_steps:fail").replace(
        "config: {factor: 3}, ", ""
    )
    (sage.folder / "broken.yaml").write_text(broken, encoding="utf-8")
    done = sage("run", "--allow", "cli_steps", "broken.yaml")
    assert done.returncode == 3, done.stderr
    assert "bad 1" in done.stderr


def test_watch_shows_the_steps(sage):
    done = sage("run", "--watch", "--allow", "cli_steps", "pipeline.yaml")
    assert done.stdout == "3\n6\n9\n"
    assert "FINISHED" in done.stderr
    assert "times" in done.stderr


def test_run_program_with_arguments(sage):
    done = sage("run", "app.py", "x", "--flag")
    assert (done.returncode, done.stdout) == (0, "2\n4\nafter ['x', '--flag']\n"), done.stderr


def test_an_option_behind_the_file_is_not_lost(sage):
    done = sage("run", "pipeline.yaml", "--watch")
    assert done.returncode == 2
    assert "sage run --watch pipeline.yaml" in done.stderr
    done = sage("run", "app.py", "--watch")
    assert done.stdout.endswith("after ['--watch']\n")
    assert "--watch goes to app.py" in done.stderr


def test_program_that_does_not_wait(sage):
    text = PROGRAM.replace("job.wait()\n", "").replace("x * 2", "x / 0")
    (sage.folder / "lazy.py").write_text(text, encoding="utf-8")
    done = sage("run", "lazy.py")
    assert done.returncode == 3
    assert "ZeroDivisionError" in done.stderr


def test_check_pipeline(sage):
    done = sage("check", "--allow", "cli_steps", "--json", "pipeline.yaml")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"name": "demo", "steps": 3, "problems": []}]
    (sage.folder / "bad.yaml").write_text(PIPELINE.replace("[times]", "[numbers]"))
    done = sage("check", "--allow", "cli_steps", "bad.yaml")
    assert done.returncode == 8
    assert "nothing reads step" in done.stdout


def test_check_program_runs_nothing(sage):
    done = sage("check", "app.py")
    assert (done.returncode, done.stdout) == (0, "program: 3 steps, ok\n"), done.stderr
    wrong = PROGRAM.replace("x: int", "x: str")
    (sage.folder / "wrong.py").write_text(wrong, encoding="utf-8")
    done = sage("check", "wrong.py")
    assert done.returncode == 8
    assert "takes str" in done.stdout


def test_check_program_that_breaks_or_submits_nothing(sage):
    (sage.folder / "breaks.py").write_text("raise RuntimeError('early')\n", encoding="utf-8")
    done = sage("check", "breaks.py")
    assert done.returncode == 1
    assert "early" in done.stderr
    (sage.folder / "none.py").write_text("pass\n", encoding="utf-8")
    assert "submitted no pipeline" in sage("check", "none.py").stderr


def test_explain_as_mermaid(sage):
    for target in ("app.py", "pipeline.yaml"):
        done = sage("explain", "--mermaid", "--allow", "cli_steps", target)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("flowchart LR\n")


def test_missing_and_strange_files(sage):
    assert sage("run", "nothing.yaml").returncode == 4
    (sage.folder / "notes.txt").write_text("x", encoding="utf-8")
    assert "expected a pipeline file" in sage("run", "notes.txt").stderr


LONG = (
    "import itertools\nfrom sage.api import LocalEnvironment\nenv = LocalEnvironment('long')\n"
    "env.from_source(itertools.count).map(lambda x: x).print()\nenv.submit().wait()\n"
)


def test_ctrl_c_ends_cleanly(sage):
    (sage.folder / "long.py").write_text(LONG, encoding="utf-8")
    code = "import sys; from sage.common.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "run", "long.py"],
        cwd=sage.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "0\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err


def test_a_reader_that_has_enough_ends_the_run_quietly(sage):
    (sage.folder / "long.py").write_text(LONG, encoding="utf-8")
    code = "import sys; from sage.common.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "run", "long.py"],
        cwd=sage.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


def test_watch_on_a_terminal_leaves_the_output_where_it_was_sent(sage):
    # stderr is a terminal, on which the table is drawn; stdout is a file.
    terminal, end = os.openpty()
    code = "import sys; from sage.common.cli import main; sys.exit(main())"
    out = sage.folder / "out.txt"
    with out.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "run", "--watch", "app.py"],
            cwd=sage.folder,
            env={**os.environ, "PYTHONPATH": str(sage.folder), "TERM": "xterm", "COLUMNS": "80"},
            stdout=file,
            stderr=end,
        )
        os.close(end)
        drawn = b""
        try:
            while chunk := os.read(terminal, 4096):
                drawn += chunk
        except OSError:
            pass  # the other side of the terminal is closed: the program ended
        os.close(terminal)
        assert process.wait(60) == 0
    assert out.read_text() == "2\n4\nafter []\n"
    assert b"FINISHED" in drawn
    assert b"p95" in drawn
