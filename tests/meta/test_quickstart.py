"""``quickstart.sh`` and the scripts beside it, run for real on a copy of the checkout.

The copy's environment finds the third-party packages of the environment the tests run in, so that
only the second phase, the packages of the checkout, is installed: it needs no network.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

FLAGS = ["--dev", "--prod", "--reinstall", "--clean", "--test", "--all", "--with", "--setup-only"]


def run(script: Path, *arguments: str, cwd: Path, home: Path) -> subprocess.CompletedProcess[str]:
    # As on a fresh machine: an empty home, nothing inherited, no terminal.
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "SAGE_PYTHON": sys.executable}
    return subprocess.run(
        [str(script), *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def checkout(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("checkout with space")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy / name)
    return copy


def give_third_party_packages(checkout: Path) -> Path:
    """Make the copy's .venv as phase 1 leaves it; return its site-packages."""
    venv = checkout / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    (site / "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    digest = hashlib.sha256((checkout / "requirements/base.lock").read_bytes()).hexdigest()
    (venv / ".sage-stamp").write_text(f"{platform.python_version()} base.lock {digest}\n")
    return site


def origins(site: Path) -> dict[str, dict[str, object]]:
    found = {}
    for file in site.glob("isage*.dist-info/direct_url.json"):
        found[file.parent.name.split("-")[0]] = json.loads(file.read_text())
    return found


def test_help_lists_every_flag(root: Path, tmp_path: Path) -> None:
    done = run(root / "quickstart.sh", "--help", cwd=tmp_path, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for flag in [*FLAGS, "--yes", "--help", "--update-submodules"]:
        assert flag in done.stdout
    assert "\x1b" not in done.stdout


def test_an_unknown_option_or_extra_is_refused_before_anything_happens(
    checkout: Path, tmp_path: Path
) -> None:
    done = run(checkout / "quickstart.sh", "--develop", cwd=tmp_path, home=tmp_path)
    assert done.returncode == 2
    assert "unknown option --develop" in done.stderr
    done = run(checkout / "quickstart.sh", "--with", "gpu", cwd=tmp_path, home=tmp_path)
    assert done.returncode == 1
    assert "no extra 'gpu'" in done.stderr
    assert "openai" in done.stderr
    assert not (checkout / ".venv").exists()


def test_an_old_python_is_refused_with_the_way_out(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'Python 3.8.1'; fi\nexit 1\n")
    old.chmod(0o755)
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "SAGE_PYTHON": str(old)}
    done = subprocess.run(
        [str(checkout / "quickstart.sh")], env=env, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "is not a Python 3.11 or later" in done.stderr
    assert not (checkout / ".venv").exists()


def test_dev_prod_and_clean(checkout: Path, tmp_path: Path) -> None:
    site = give_third_party_packages(checkout)
    script = checkout / "quickstart.sh"

    done = run(script, "--setup-only", "--update-submodules", cwd=tmp_path, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no git submodules" in done.stderr
    assert "installing the base" not in done.stdout
    assert ": verified" in done.stdout
    found = origins(site)
    assert set(found) >= {"isage", "isage_common", "isage_kernel", "isage_middleware", "isage_apps"}
    for origin in found.values():
        assert origin["dir_info"] == {"editable": True}
        assert str(origin["url"]).startswith(checkout.as_uri())
    assert not (site / "sage").exists()

    again = run(script, "--setup-only", cwd=tmp_path, home=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "installing" not in again.stdout

    done = run(script, "--prod", "--setup-only", cwd=tmp_path, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all("editable" not in str(origin) for origin in origins(site).values())
    assert (site / "sage/api/__init__.py").is_file()
    assert not (site / "sage/__init__.py").exists()

    # A plain install is renewed when a source changes, and only then.
    again = run(script, "--prod", "--setup-only", cwd=tmp_path, home=tmp_path)
    assert "installing" not in again.stdout
    with (checkout / "packages/sage-apps/src/sage/apps/__init__.py").open("a") as module:
        module.write("\nMARK = 1\n")
    again = run(script, "--prod", "--setup-only", cwd=tmp_path, home=tmp_path)
    assert "installing" in again.stdout, again.stderr
    assert "MARK = 1" in (site / "sage/apps/__init__.py").read_text()

    done = run(script, "--clean", cwd=tmp_path, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (checkout / ".venv").exists()


def test_clean_does_not_remove_what_is_not_an_environment(checkout: Path, tmp_path: Path) -> None:
    precious = checkout / ".venv"
    precious.mkdir()
    (precious / "thesis.txt").write_text("mine")
    try:
        done = run(checkout / "quickstart.sh", "--clean", cwd=tmp_path, home=tmp_path)
        assert done.returncode == 1
        assert "is not a virtual environment" in done.stderr
        assert (precious / "thesis.txt").read_text() == "mine"
    finally:
        shutil.rmtree(precious)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("status", "no git submodules"),
        ("docs-update", "the documentation is docs/"),
        ("help", "Usage:"),
    ],
)
def test_the_submodule_script_says_there_are_none(
    root: Path, tmp_path: Path, command: str, says: str
) -> None:
    done = run(root / "scripts/submodule_manager.sh", command, cwd=tmp_path, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert says in done.stdout


def test_there_are_no_submodules(root: Path) -> None:
    assert not (root / ".gitmodules").exists()


@pytest.mark.parametrize(
    "script", ["quickstart.sh", ".ci/run", "tools/lock.sh", "scripts/submodule_manager.sh"]
)
def test_scripts_parse_and_are_executable(root: Path, script: str) -> None:
    assert os.access(root / script, os.X_OK)
    done = subprocess.run(["bash", "-n", str(root / script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_reinstall_makes_the_environment_anew(checkout: Path, tmp_path: Path) -> None:
    # Phase 1 needs the registry, so an empty lock stands for it: what is removed and made again,
    # and that nothing is taken for installed afterwards, is the subject here.
    site = give_third_party_packages(checkout)
    (site / "left_over.py").write_text("")
    (checkout / "requirements/base.lock").write_text("# nothing\n")
    done = run(
        checkout / "quickstart.sh", "--reinstall", "--setup-only", cwd=tmp_path, home=tmp_path
    )
    assert not (site / "left_over.py").exists()
    assert "creating .venv" in done.stdout
    assert "installing the base" in done.stdout
    # The second phase then fails for want of hatchling, with its output shown, and says so.
    assert done.returncode == 1
    assert "hatchling" in done.stderr
    assert not (site / "sage").exists()


def test_the_first_command_of_the_readme_answers_the_bundled_questions(
    checkout: Path, tmp_path: Path
) -> None:
    give_third_party_packages(checkout)
    done = run(checkout / "quickstart.sh", cwd=tmp_path, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ": verified" in done.stdout
    assert "running the main job" in done.stdout
    # Without a model server, and it says so; passages come with scores, answers with measures.
    assert "extractive" in done.stdout
    assert "F1:" in done.stdout
    assert "done. Next:" in done.stdout


def test_the_second_command_of_the_readme_runs_the_suite(checkout: Path, tmp_path: Path) -> None:
    give_third_party_packages(checkout)
    lock = hashlib.sha256((checkout / "requirements/test.lock").read_bytes()).hexdigest()
    with (checkout / ".venv/.sage-stamp").open("a") as stamp:
        stamp.write(f"{platform.python_version()} test.lock {lock}\n")
    # What follows -- is handed to pytest: one quick file stands for the suite this test is part of.
    arguments = ["--test", "--", "tests/meta/test_packaging.py", "-k", "lockstep"]
    done = run(checkout / "quickstart.sh", *arguments, cwd=tmp_path, home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
