import json

import pytest
import yaml

from sage.common import errors
from sage.common.cli.output import ExitCode, OutputFormat, emit, error, exit_code, say, style, table
from sage.common.secrets import Secret

ROWS = [{"name": "a", "count": 1, "on": True}, {"name": "文档", "count": None, "on": False}]


def test_formats_say_the_same(capsys):
    emit(ROWS, OutputFormat.JSON)
    assert json.loads(capsys.readouterr().out) == ROWS
    emit(ROWS, OutputFormat.YAML)
    assert yaml.safe_load(capsys.readouterr().out) == ROWS
    emit(ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "NAME  COUNT  ON",
        "a     1      yes",
        "文档  -      no",
    ]
    emit({"key": "v", "longer": [1]})
    assert capsys.readouterr().out == "key     v\nlonger  [1]\n"


def test_tables():
    assert table([]) == ""
    assert table(ROWS, ["count"]).splitlines() == ["COUNT", "1", "-"]
    assert table([{"a_b": "x\ny"}]).splitlines() == ["A B", "x y"]


def test_talk_goes_to_stderr_and_is_masked(capsys):
    secret = Secret("sk-canary-out")
    say(f"using {secret.reveal()}")
    error("no")
    emit({"key": secret, "text": secret.reveal()}, OutputFormat.JSON)
    captured = capsys.readouterr()
    assert captured.err == "using ********\nerror: no\n"
    assert json.loads(captured.out) == {"key": "********", "text": "********"}


def test_colour_is_asked_for(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert style("x", "red") == "x"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert style("x", "red") == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert style("x", "red") == "x"


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (errors.SageError("x"), 1),
        (errors.ConfigError("x"), 1),
        (errors.TaskFailedError("x"), 3),
        (errors.JobCanceledError("x"), 3),
        (errors.UnknownNameError("x"), 4),
        (errors.AuthError("x"), 5),
        (errors.StepTimeoutError("x"), 6),
        (TimeoutError(), 6),
        (errors.UnreachableError("x"), 7),
        (ConnectionRefusedError(), 7),
        (KeyboardInterrupt(), 130),
        (ValueError(), 1),
    ],
)
def test_exit_codes(raised, code):
    assert exit_code(raised) == code
    assert ExitCode.USAGE == 2
    assert ExitCode.PROBLEMS == 8
