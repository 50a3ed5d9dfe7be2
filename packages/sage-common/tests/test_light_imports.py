import subprocess
import sys

import pytest


def loaded(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import sage.common.errors", {"attr", "typer", "yaml", "logging", "dataclasses"}),
        ("import sage.common.plugins", {"attr", "importlib.metadata", "pluggy", "typer"}),
        (
            "from sage.common.plugins import has_listeners; has_listeners()",
            {"attr", "importlib.metadata", "pluggy", "difflib", "logging", "inspect"},
        ),
        ("from sage.common.secrets import Secret", {"attr", "cattrs", "yaml"}),
        ("import sage.common.config", {"typer", "rich", "pluggy", "numpy"}),
        ("import sage.common.cli", {"typer", "rich", "attr", "yaml"}),
    ],
)
def test_imports_stay_light(code, absent):
    assert not absent & loaded(code)
