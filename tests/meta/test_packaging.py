"""Names, versions, pins and locks agree with one another."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

VERSION = "0.1.0+src"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def third_party(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("third_party", root / "tools/third_party.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def projects(third_party: ModuleType) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = third_party.projects()
    return found


def pins(lock: Path) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in PIN.findall(lock.read_text())}


def test_versions_move_in_lockstep(projects: dict[str, dict[str, Any]]) -> None:
    assert {name: table["version"] for name, table in projects.items()} == dict.fromkeys(
        projects, VERSION
    )
    assert {table["requires-python"] for table in projects.values()} == {">=3.11"}
    assert {table["license"] for table in projects.values()} == {"MIT"}


def test_our_packages_are_pinned_to_a_version_only_this_checkout_has(
    projects: dict[str, dict[str, Any]],
) -> None:
    # No index accepts an upload with a local version: `==0.1.0+src` cannot be met by a stranger.
    seen = 0
    for name, table in projects.items():
        required = list(table.get("dependencies", []))
        for extra in table.get("optional-dependencies", {}).values():
            required += extra
        for requirement in map(Requirement, required):
            if canonicalize_name(requirement.name) in projects:
                assert str(requirement.specifier) == f"=={VERSION}", f"{name}: {requirement}"
                seen += 1
    assert seen >= 6


def test_every_portion_is_typed(root: Path) -> None:
    portions = [path for path in root.glob("packages/*/src/sage/*") if path.is_dir()]
    portions = [path for path in portions if path.name != "__pycache__"]
    assert [path for path in portions if not (path / "py.typed").exists()] == []


def test_locks_hold_hashes_and_no_address_and_none_of_our_names(root: Path) -> None:
    locks = sorted(root.glob("requirements/**/*.lock"))
    assert {"base.lock", "test.lock", "all.lock", "minilm.lock"} <= {lock.name for lock in locks}
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text, f"{lock.name} holds an address"
        assert not re.search(r"^(-e|-i|--\w*index|isage)", text, re.MULTILINE), lock.name
        # A requirement is one logical line: each must carry at least one hash.
        for requirement in text.replace("\\\n", " ").splitlines():
            if requirement and not requirement.startswith("#"):
                assert "--hash=sha256:" in requirement, f"{lock.name}: {requirement[:60]}"


def test_locks_agree_with_one_another(root: Path) -> None:
    everything = pins(root / "requirements/all.lock")
    for lock in root.glob("requirements/**/*.lock"):
        if lock.name == "minilm.lock" and lock.parent.name == "requirements":
            continue  # the model on its own, installed without dependencies
        different = {k: v for k, v in pins(lock).items() if everything.get(k) != v}
        assert different == {}, f"{lock.name} disagrees with all.lock; run tools/lock.sh"


def test_locks_satisfy_what_the_packages_declare(root: Path, third_party: ModuleType) -> None:
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    cases = [("base.lock", [])] + [
        ("all.lock" if extra == "all" else f"extras/{extra}.lock", [extra]) for extra in extras
    ]
    for lock, chosen in cases:
        locked = pins(root / "requirements" / lock)
        for requirement in map(Requirement, third_party.third_party(chosen)):
            version = locked.get(canonicalize_name(requirement.name))
            assert version is not None, f"{lock} lacks {requirement}; run tools/lock.sh"
            assert requirement.specifier.contains(version), f"{lock}: {requirement} vs {version}"


def test_heavy_packages_are_not_in_the_base(root: Path) -> None:
    heavy = {"torch", "transformers", "chromadb", "ray", "evaluate", "onnxruntime", "openai"}
    heavy |= {"fastapi", "uvicorn", "pandas", "pyarrow", "sentence-transformers"}
    assert heavy.isdisjoint(pins(root / "requirements/base.lock"))


def test_torch_is_pinned_in_one_place_and_in_no_lock(root: Path) -> None:
    for lock in root.glob("requirements/**/*.lock"):
        assert "torch" not in pins(lock), lock.name
    assert "torch_pin=torch==2.13.0" in (root / "quickstart.sh").read_text()


def test_the_extras_the_quickstart_names_exist(root: Path) -> None:
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    text = (root / "quickstart.sh").read_text()
    listed = text.split("(repeatable): ")[1].split(";")[0].split()
    assert sorted(listed) == sorted(set(declared) - {"all"})


def test_every_error_about_a_missing_package_names_an_extra_that_exists(
    sources: list[Path], tree: Callable[[Path], ast.Module], root: Path
) -> None:
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    seen = 0
    for path in sources:
        constants = {
            target.id: node.value.value
            for node in tree(path).body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id != "MissingExtraError" or len(node.args) < 2:
                continue
            extra = node.args[1]
            name = extra.value if isinstance(extra, ast.Constant) else None
            if isinstance(extra, ast.Name):
                name = constants.get(extra.id)
            if name is not None:
                seen += 1
                assert name in declared, f"{path.name}:{node.lineno} names the extra {name!r}"
    assert seen
