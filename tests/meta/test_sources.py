"""House rules that a reader can rely on, for every module that is shipped."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

LONGEST = 600
# A module of one of these names collects what has no home. `utils` is in paths that are older
# than this code base and are kept for their users.
HOMELESS = {"utils", "util", "helpers", "helper", "misc", "common_utils"}
KEPT_PATHS = ("sage/utils/", "sage/middleware/utils/")

# Ways to run code while reading data. Each exception is one (module, call) with its reason.
UNSAFE = {
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "cloudpickle.load",
    "cloudpickle.loads",
    "dill.load",
    "dill.loads",
    "marshal.load",
    "marshal.loads",
    "shelve.open",
    "joblib.load",
    "torch.load",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "eval",
    "exec",
}
ALLOWED: dict[tuple[str, str], str] = {
    ("sage/kernel/compiler/writer.py", "exec"): "runs the source this module generated itself",
    ("sage/common/config/reading.py", "yaml.load"): "with a subclass of yaml's SafeLoader",
    ("sage/kernel/graph/spec.py", "yaml.load"): "with a subclass of yaml's SafeLoader",
    # Workers of the process executor are children of the job: nothing that was stored, and nobody
    # else, is at the other end of their socket pair.
    ("sage/kernel/runtime/process/client.py", "pickle.loads"): "from the job's own worker",
    ("sage/kernel/runtime/process/codec.py", "pickle.loads"): "from the job's own process",
    ("sage/kernel/runtime/process/remote.py", "pickle.loads"): "from the job's own worker",
    ("sage/kernel/runtime/process/worker.py", "pickle.loads"): "from the job itself",
    # Functions by value, in the process that runs the user's code and nowhere else: whoever may
    # submit may run code there anyway, and the daemon never loads them (test_security.py).
    ("sage/kernel/jobmanager/runner/execute.py", "cloudpickle.loads"): "in the job's own process",
}


def short(path: Path) -> str:
    return "/".join(path.parts[path.parts.index("src") + 1 :])


def test_modules_stay_readable(sources: list[Path]) -> None:
    lengths = {short(path): len(path.read_text("utf-8").splitlines()) for path in sources}
    assert {name: count for name, count in lengths.items() if count > LONGEST} == {}


def test_every_module_says_what_it_is(
    sources: list[Path], tree: Callable[[Path], ast.Module]
) -> None:
    assert [short(path) for path in sources if not ast.get_docstring(tree(path))] == []


def test_no_module_is_a_drawer(sources: list[Path]) -> None:
    drawers = [
        short(path)
        for path in sources
        if HOMELESS.intersection(part.removesuffix(".py") for part in short(path).split("/"))
        and not short(path).startswith(KEPT_PATHS)
    ]
    assert drawers == []


def calls(module: ast.Module) -> Iterator[str]:
    """Yield the dotted name of each call, with `from x import y` and `as` resolved."""
    names: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names.update({a.asname or a.name: a.name for a in node.names})
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        func = node.func
        if isinstance(func, ast.Name):
            yield names.get(func.id, func.id)
        elif isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name):
            yield f"{names.get(func.value.id, func.value.id)}.{func.attr}"


def test_no_code_is_run_from_stored_or_received_bytes(
    sources: list[Path], tree: Callable[[Path], ast.Module]
) -> None:
    found = {
        (short(path), call) for path in sources for call in calls(tree(path)) if call in UNSAFE
    }
    assert found - set(ALLOWED) == set()
    assert set(ALLOWED) - found == set(), "an exception that is no longer needed: remove it"


def test_arrays_are_loaded_without_pickles(
    sources: list[Path], tree: Callable[[Path], ast.Module]
) -> None:
    found = [
        f"{short(path)}:{node.lineno}"
        for path in sources
        for node in ast.walk(tree(path))
        if isinstance(node, ast.keyword)
        and node.arg == "allow_pickle"
        and not (isinstance(node.value, ast.Constant) and node.value.value is False)
    ]
    assert found == []


def test_the_gate_sees_through_renamed_imports() -> None:
    hidden = "import pickle as p\nfrom yaml import load as y\np.loads(b'')\ny('')\neval('1')"
    assert set(calls(ast.parse(hidden))) & UNSAFE == {"pickle.loads", "yaml.load", "eval"}


def test_the_runtime_core_does_not_know_its_back_ends(
    root: Path, tree: Callable[[Path], ast.Module]
) -> None:
    core = root / "packages/sage-kernel/src/sage/kernel/runtime"
    modules = [p for p in core.glob("*.py") if p.name != "__init__.py"]
    assert modules
    for path in modules:
        for node in ast.walk(tree(path)):
            imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            for name in imported:
                assert not name.startswith("sage.kernel.runtime.local"), short(path)


def texts(files: list[Path]) -> Iterator[tuple[Path, str]]:
    for path in files:
        try:
            yield path, path.read_text("utf-8")
        except UnicodeDecodeError:
            continue


def test_no_file_names_a_package_registry(tracked: list[Path]) -> None:
    # Built from parts, so that this file holds none of the names either.
    hosts = [
        "py" + r"pi\.(python\.)?org",
        "python" + "hosted" + r"\.org",
        "registry" + r"\.npm" + "js",
        "registry" + r"\.yarn" + "pkg",
        "conda" + r"\.ana" + "conda",
        "proxy" + r"\.gol" + "ang",
        r"download\.py" + "torch",
        "index" + r"\.crates",
    ]
    pattern = re.compile("|".join(hosts), re.IGNORECASE)
    hits = [f"{path}: {hit[0]}" for path, text in texts(tracked) if (hit := pattern.search(text))]
    assert hits == []


def test_no_file_holds_a_path_of_somebodys_machine(tracked: list[Path]) -> None:
    places = ["home", "Users", "root", "work", "opt/" + "pypi"]
    pattern = re.compile(r"(?<![\w.$}{*~/-])/(" + "|".join(places) + r")/[\w.]")
    hits = [
        f"{path}: {hit[0]}"
        for path, text in texts(tracked)
        if path.suffix != ".lock" and (hit := pattern.search(text))
    ]
    assert hits == []
