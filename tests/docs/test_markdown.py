"""The documentation works as written: code runs, commands exist, links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The seed contract lists commands that do not exist yet, and says so row by row.
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]
    if path.name not in {"CHANGELOG.md", "seed-contract.md"} and "build" not in path.parts
)
NOT_RUN = re.compile(r"^<!-- not run: (.+) -->$")
SAGE = Path(sys.executable).with_name("sage")


class Block(NamedTuple):
    """A fenced block of a page; ``prints`` is the text block that follows the word "prints"."""

    page: Path
    line: int
    language: str
    code: str
    not_run: str | None
    prints: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    lines = page.read_text("utf-8").splitlines()
    found: list[Block] = []
    index = 0
    while index < len(lines):
        if not (fence := re.match(r"^```(\w*)", lines[index])):
            index += 1
            continue
        end = next(i for i in range(index + 1, len(lines)) if lines[i].startswith("```"))
        code = "\n".join(lines[index + 1 : end]) + "\n"
        before = [line.strip() for line in lines[:index] if line.strip()]
        if fence[1] == "text" and before[-1:] == ["prints"]:
            found[-1] = found[-1]._replace(prints=code)
        else:
            reason = NOT_RUN.match(before[-1]) if before else None
            found.append(
                Block(page, index + 1, fence[1], code, reason[1] if reason else None, None)
            )
        index = end + 1
    return found


ALL = [block for page in PAGES for block in blocks(page)]
PYTHON = [block for block in ALL if block.language == "python"]
SHELL = [block for block in ALL if block.language in {"bash", "sh", "console"}]


def test_there_is_something_to_run() -> None:
    assert any(block.page.name == "README.md" for block in PYTHON)
    assert len([block for block in PYTHON if block.prints]) >= 3
    assert SHELL


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_block_runs_and_prints_what_it_says(block: Block, tmp_path: Path) -> None:
    if block.not_run:
        pytest.skip(block.not_run)
    # A fresh interpreter, a fresh folder and an empty home: what a reader who pastes it has.
    script = tmp_path / "block.py"
    script.write_text(block.code, "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{block}:\n{done.stderr}"
    if block.prints is not None:
        assert done.stdout == block.prints


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command in a shell block, without comments and prompts."""
    for line in block.code.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|\||;|\|", line.removeprefix("$ ")):
            if words := shlex.split(part, comments=True):
                yield words


SAGE_COMMANDS = sorted(
    {
        " ".join(words[1:])
        for block in SHELL
        for words in commands(block)
        if Path(words[0]).name == "sage"
    }
)
SCRIPT_COMMANDS = sorted(
    {
        " ".join(words)
        for block in SHELL
        for words in commands(block)
        if re.match(r"^(\./|scripts/|tools/|\.ci/)", words[0])
    }
)


@pytest.mark.parametrize("command", SAGE_COMMANDS)
def test_sage_command_exists(command: str, tmp_path: Path) -> None:
    # `--help` after the words of the command proves that each of them is known, at no cost;
    # files are left out, they are not here.
    words = [word for word in command.split() if word != "--help" and "." not in word]
    done = subprocess.run(
        [str(SAGE), *words, "--help"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    leading = next(iter(words), "")
    assert f"sage {leading}".strip() in done.stdout, "the help shown is not of this command"


@pytest.mark.parametrize("command", SCRIPT_COMMANDS)
def test_script_and_its_flags_exist(command: str) -> None:
    words = command.split()
    script = ROOT / words[0]
    assert script.is_file()
    assert os.access(script, os.X_OK)
    if script.name != "quickstart.sh":
        return
    shown = subprocess.run(
        [str(script), "--help"], capture_output=True, text=True, check=True
    ).stdout
    own = words[1 : words.index("--")] if "--" in words else words[1:]
    for word in own:
        if word.startswith("-"):
            assert word in shown, f"quickstart.sh has no {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, _ = target.partition("#")
        if path and not (page.parent / path).exists():
            broken.append(target)
    assert broken == []


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120
    assert "SageMath" in (ROOT / "README.md").read_text("utf-8")


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs/adr").glob("[0-9]*.md")]
    assert len(numbers) == len(set(numbers)) > 0
