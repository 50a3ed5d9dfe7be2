"""Importing SAGE is cheap: nothing heavy is loaded before it is used.

Asserted on what is in ``sys.modules``, never on time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "transformers",
    "chromadb",
    "ray",
    "evaluate",
    "datasets",
    "onnxruntime",
    "openai",
    "fastapi",
    "starlette",
    "uvicorn",
    "pandas",
    "sentence_transformers",
    "tiktoken",
    "sqlalchemy",
}
# The cold-start budget of a pipeline: these alone cost more than all of `sage.api`.
NOT_FOR_THE_API = HEAVY | {
    "asyncio",
    "attr",
    "attrs",
    "cattrs",
    "dataclasses",
    "inspect",
    "logging",
    "pluggy",
    "numpy",
    "aiohttp",
    "yaml",
    "typer",
    "rich",
    "multiprocessing",
    "sqlite3",
}

PROBE = """
import importlib, json, sys
before = set(sys.modules)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
for expression in json.loads(sys.argv[2]):
    exec(expression)
print(json.dumps(sorted({m.partition(".")[0] for m in set(sys.modules) - before})))
"""


def loaded_by(*modules: str, then: tuple[str, ...] = ()) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(modules), json.dumps(then)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_no_module_loads_a_heavy_package(
    sources: list[Path], module_name: Callable[[Path], str]
) -> None:
    names = [module_name(path) for path in sources if path.name != "__main__.py"]
    assert loaded_by(*names) & HEAVY == set()


@pytest.mark.parametrize(
    "public",
    ["sage.api", "sage.api.local_environment", "sage.kernel.graph", "sage.kernel.compiler"],
)
def test_the_api_stays_light(public: str) -> None:
    assert loaded_by(public) & NOT_FOR_THE_API == set()


def test_building_a_pipeline_stays_light() -> None:
    build = (
        "from sage.api import LocalEnvironment",
        "LocalEnvironment('x').from_collection([1]).map(lambda x: x + 1).filter(bool)",
    )
    assert loaded_by(then=build) & (HEAVY | {"asyncio", "numpy", "cattrs", "pluggy"}) == set()


def test_importing_everything_starts_nothing(
    sources: list[Path], module_name: Callable[[Path], str], tmp_path: Path
) -> None:
    names = [module_name(path) for path in sources if path.name != "__main__.py"]
    code = (
        "import importlib, json, os, sys, threading, warnings\n"
        "warnings.simplefilter('error')\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert os.listdir('.') == [], os.listdir('.')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(names)],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
