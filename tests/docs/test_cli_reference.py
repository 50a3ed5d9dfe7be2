"""``docs/cli.md`` says what the commands are, and every noun is also a program of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sage.common.cli.commands.completion import programs
from sage.common.cli.exits import ExitCode
from sage.common.cli.shell import as_command
from sage.common.plugins import Registry, load_entry
from sage.common.plugins.scan import BUILT_IN

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "cli.md"


def nouns() -> list[str]:
    registry = Registry("sage.commands")
    entries = [registry.entry(name) for name in registry.names()]
    return [
        entry.name
        for entry in entries
        if entry.distribution in BUILT_IN
        and hasattr(as_command(load_entry(entry), entry.name), "commands")
    ]


def test_the_reference_is_not_stale() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "cli_reference.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_every_exit_code_is_documented() -> None:
    codes = re.findall(r"^\| (\d+) \| \S", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [int(code) for code in codes] == [code.value for code in ExitCode]


def test_every_noun_is_a_program_of_its_own() -> None:
    assert {"config", "job", "jobmanager", "license"} <= set(nouns())
    assert {f"sage-{noun}" for noun in nouns()} - set(programs()) == set()


@pytest.mark.parametrize("program", programs())
def test_a_program_starts_and_completes(program: str) -> None:
    path = str(Path(sys.executable).with_name(program))
    shown = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60)
    assert shown.stdout.startswith(f"{program} ")
    script = subprocess.run(
        [path, "--show-completion", "bash"],
        capture_output=True,
        text=True,
        timeout=60,
        # Without it typer asks which shell its parent is, and a test run may have none.
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert script.returncode == 0, script.stderr
    assert f"complete -o default -F _{program.replace('-', '_')}_completion {program}" in (
        script.stdout
    )
