import json
import os
import re
import signal
import subprocess
import sys
from importlib import metadata

import pytest

COMMANDS = """
    [sage.commands]
    greet = cmds:greet
    tree = cmds:tree
    fails = cmds:fails
    crashes = cmds:crashes
    checks = cmds:checks
    waits = cmds:waits
    broken = cmds_broken:app
    wrong = cmds:NUMBER
"""
SOURCE = '''
    """Commands for tests."""
    import os, sys, time
    import typer
    from typing import Annotated
    from sage.common.errors import JobFailedError, SageError
    from sage.common.secrets import Secret

    NUMBER = 5
    tree = typer.Typer()

    @tree.command()
    def grow(by: int = 1):
        """Grow the tree."""
        print("grown", by)

    @tree.command()
    def cut():
        """Cut the tree."""

    def greet(name: str, loud: bool = False):
        """Greet somebody."""
        print("HELLO" if loud else "hello", name)

    def fails(kind: str):
        """Fail as asked."""
        value = Secret("sk-canary-cli").reveal()
        raise {"job": JobFailedError, "sage": SageError}[kind](f"it failed with {value}")

    def crashes():
        """Crash."""
        raise RuntimeError("unexpected " + Secret("sk-canary-cli").reveal())

    def checks() -> int:
        """Find problems."""
        return 8

    def waits():
        """Wait for ever."""
        print("waiting", flush=True)
        time.sleep(60)
'''


@pytest.fixture
def commands(site):
    site.add("sage-cmds", COMMANDS, {"cmds.py": SOURCE})
    return [site.folder]


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(sage, flag):
    done = sage(flag)
    assert done.returncode == 0
    assert done.stdout == f"sage {metadata.version('isage')}\n"
    assert sage(flag, program="sage-config").stdout.startswith("sage-config ")


def test_version_loads_no_shell():
    code = "import sys; from sage.common.cli import main; main(['--version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"typer", "rich", "attr", "yaml", "cattrs"} & set(done.stdout.split())


def test_help_lists_commands_without_importing_them(sage, commands):
    done = sage("--help", path=commands)
    assert done.returncode == 0
    assert "Greet somebody." in done.stdout
    assert "Commands for tests." in done.stdout
    assert re.search(r"broken +\(from sage-cmds\)", done.stdout)
    for name in ("version", "operators", "config", "doctor"):
        assert f"  {name} " in done.stdout
    assert done.stderr == ""


def test_functions_and_apps_are_commands(sage, commands):
    assert sage("greet", "you", "--loud", path=commands).stdout == "HELLO you\n"
    assert sage("tree", "grow", "--by", "3", path=commands).stdout == "grown 3\n"
    assert "Cut the tree." in sage("tree", "--help", path=commands).stdout


def test_the_standalone_form_is_the_same(sage, commands):
    assert sage("grow", program="sage-tree", path=commands).stdout == "grown 1\n"
    assert sage("you", program="sage-greet", path=commands).stdout == "hello you\n"
    done = sage("burn", program="sage-tree", path=commands)
    assert done.returncode == 2
    done = sage(program="sage-nothing")
    assert done.returncode == 4
    assert "there is no command 'nothing'" in done.stderr


def test_a_broken_command_hurts_nobody_else(sage, commands):
    assert sage("greet", "you", path=commands).returncode == 0
    done = sage("broken", path=commands)
    assert done.returncode == 1
    assert "'broken' of the distribution 'sage-cmds' cannot be imported" in done.stderr
    assert "Traceback" not in done.stderr
    done = sage("wrong", path=commands)
    assert done.returncode == 1
    assert "is a int; expected a typer.Typer" in done.stderr


def test_duplicate_commands_are_warned_of(sage, site):
    site.add("mine", "[sage.commands]\nversion = mine:app\n", {"mine.py": "print('loaded')"})
    done = sage("version", "--json", path=[site.folder])
    assert done.returncode == 0
    assert "sage" in json.loads(done.stdout)
    assert done.stderr.startswith(
        "warning: plugin 'version' (sage.commands) of the distribution 'mine'"
    )


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("fails", "job"), 3, "error: it failed with ********\n"),
        (("fails", "sage"), 1, "error: it failed with ********\n"),
        (("crashes",), 1, "error: RuntimeError: unexpected ******** (set SAGE_DEBUG=1 for the tra"),
        (("checks",), 8, ""),
        (("operatrs",), 2, "No such command 'operatrs'. Did you mean 'operators'?"),
        (("greet",), 2, "Missing argument"),
        (("greet", "a", "--nope"), 2, "No such option"),
    ],
)
def test_exit_codes_and_messages(sage, commands, args, code, message):
    done = sage(*args, path=commands)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "canary" not in done.stderr


def test_debug_shows_the_traceback_without_secrets(sage, commands):
    for done in (
        sage("--debug", "crashes", path=commands),
        sage("crashes", path=commands, SAGE_DEBUG="1"),
    ):
        assert done.returncode == 1
        assert "Traceback (most recent call last)" in done.stderr
        assert "RuntimeError: unexpected ********" in done.stderr
        assert "canary" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_interrupt_ends_with_130(commands):
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from sage.common.cli import main; sys.exit(main())",
            "waits",
        ],
        env={**os.environ, "PYTHONPATH": str(commands[0])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_completion(sage, commands):
    done = sage(path=commands, _SAGE_COMPLETE="complete_bash", COMP_WORDS="sage gr", COMP_CWORD="1")
    assert done.stdout.split() == ["greet"]
    done = sage(
        path=commands, _SAGE_COMPLETE="complete_bash", COMP_WORDS="sage tree g", COMP_CWORD="2"
    )
    assert done.stdout.split() == ["grow"]
    done = sage(
        program="sage-tree",
        path=commands,
        _SAGE_TREE_COMPLETE="complete_bash",
        COMP_WORDS="sage-tree ",
        COMP_CWORD="1",
    )
    assert set(done.stdout.split()) == {"grow", "cut"}
    # Without it typer asks which shell its parent is, and a test run may have none.
    script = sage("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "sage" in script.stdout


def test_reader_that_goes_away_is_no_error(commands):
    code = "import sys; from sage.common.cli import main; sys.exit(main(['doctor', '--json']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=30)
    assert "Traceback" not in err
    assert "Exception ignored" not in err
