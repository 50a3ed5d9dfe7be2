"""The example plugin is built, installed into a folder of its own and used from there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "sage-example-plugin"

pytest.importorskip("hatchling")
pytest.importorskip("sage.lib.types")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLE, folder / "source")
    target = folder / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--disable-pip-version-check", "--target", str(target), str(source)],
        check=True,
    )  # fmt: skip
    return target


def python(code, path, **env):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), **env},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_list_and_show(sage, example):
    done = sage("operators", "list", "--kind", "retriever", "--json", path=[example])
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["KeywordRetriever"]["distribution"] == "sage-example-plugin"
    assert rows["KeywordRetriever"]["summary"].startswith("Rank the lines of a file")
    done = sage("operators", "show", "KeywordRetriever", "--json", path=[example])
    config = {field["name"]: field for field in json.loads(done.stdout)["config"]}
    assert config["top_k"]["unit"] == "passages"
    assert config["file_path"]["required"]


def test_show_loads_nothing_heavy(example):
    code = """
import sys
from sage.common.cli import main
assert main(["operators", "show", "KeywordRetriever"]) == 0
heavy = {"torch", "transformers", "chromadb", "ray", "evaluate", "onnxruntime", "openai", "numpy"}
print("loaded:", sorted(heavy & set(sys.modules)))
"""
    assert python(code, [example]).splitlines()[-1] == "loaded: []"


def test_its_own_tests_pass(example):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")],
        env={**os.environ, "PYTHONPATH": str(example)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_broken_and_duplicate_beside_it_are_skipped_by_name(sage, example, site, tmp_path):
    site.add(
        "zz-copycat",
        "[sage.retrievers]\nKeywordRetriever = copycat:X\n[sage.plugins]\nbad = copycat:Bad\n",
        {"copycat.py": "X = 1\n"},
    )
    path = [example, site.folder]
    done = sage("operators", "list", "--json", path=path)
    assert done.returncode == 0
    assert "of the distribution 'zz-copycat' is skipped" in done.stderr
    rows = [row for row in json.loads(done.stdout) if row["name"] == "KeywordRetriever"]
    assert [row["distribution"] for row in rows] == ["sage-example-plugin"]
    journal = tmp_path / "jobs.jsonl"
    code = """
import warnings
from sage.common.hooks import create_hook_manager
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    hooks = create_hook_manager()
hooks.notify("job_submitted", job_id="1", name="n", graph={})
print(*[w.message for w in caught], sep=" | ")
"""
    shown = python(code, path, SAGE_EXAMPLE_JOURNAL=str(journal))
    assert "'bad' of the distribution 'zz-copycat' is not there" in shown
    assert json.loads(journal.read_text())["event"] == "submitted"
