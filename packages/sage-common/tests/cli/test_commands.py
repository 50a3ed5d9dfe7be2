import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PLUGIN = """
    [sage.retrievers]
    Heavy = ops:Heavy
    Plain = ops:Plain
    Broken = ops_gone:X
    [sage.sinks]
    Drain = ops:Plain
"""
SOURCE = '''
    """Operators for tests."""
    import attrs

    @attrs.frozen(kw_only=True)
    class Inner:
        size: int = attrs.field(default=4, metadata={"unit": "MB", "help": "How large."})

    @attrs.frozen(kw_only=True)
    class Options:
        path: str
        top_k: int = attrs.field(default=5, validator=attrs.validators.ge(1))
        inner: Inner = Inner()

    class Heavy:
        """Search with a heavy package.

        Needs nothing until it is opened.
        """
        Config = Options
        def open(self, ctx):
            import torch
        def execute(self, item: "str | int", *, fast: bool = False) -> list[str]: ...

    class Plain:
        """Without configuration."""
'''


@pytest.fixture
def plugin(site):
    site.add("sage-ops", PLUGIN, {"ops.py": SOURCE})
    return [site.folder]


def test_list(sage, plugin):
    rows = json.loads(sage("operators", "list", "--json", path=plugin).stdout)
    mine = {row["name"]: row for row in rows if row["distribution"] == "sage-ops"}
    assert mine["Heavy"] == {
        "name": "Heavy",
        "kind": "retriever",
        "distribution": "sage-ops",
        "version": "1.0",
        "target": "ops:Heavy",
        "summary": "Search with a heavy package.",
    }
    assert set(mine) == {"Heavy", "Plain", "Broken", "Drain"}
    done = sage("operators", "list", "--kind", "sinks", "-o", "yaml", path=plugin)
    assert "Drain" in [row["name"] for row in yaml.safe_load(done.stdout)]
    assert "Heavy" not in done.stdout
    table = sage("operators", "list", "-k", "retriever", path=plugin).stdout.splitlines()
    assert table[0].split() == ["NAME", "KIND", "DISTRIBUTION", "SUMMARY"]
    assert any(line.startswith("Heavy ") for line in table)
    done = sage("operators", "list", "--kind", "retreiver")
    assert done.returncode == 2
    assert "did you mean 'retriever'" in done.stderr


def test_list_imports_no_operator(sage, site):
    site.add("trap", "[sage.sinks]\nTrap = trap:X\n", {"trap.py": "raise SystemExit('imported')"})
    done = sage("operators", "list", path=[site.folder])
    assert done.returncode == 0
    assert "Trap" in done.stdout


def test_show(sage, plugin):
    done = sage("operators", "show", "Heavy", "-o", "json", path=plugin)
    data = json.loads(done.stdout)
    assert data["doc"].startswith("Search with a heavy package.\n\nNeeds nothing")
    assert data["execute"] == "execute(item: str | int, fast: bool) -> list[str]"
    assert [field["name"] for field in data["config"]] == ["path", "top_k", "inner"]
    assert data["config"][2]["fields"][0]["unit"] == "MB"
    assert data["schema"]["required"] == ["path"]
    lines = sage("operators", "show", "Heavy", path=plugin).stdout.splitlines()
    assert any(line.split() == ["path", "str", "required", "-", "-"] for line in lines)
    assert any(line.split() == ["inner.size", "int", "4", "MB", "How", "large."] for line in lines)


def test_show_says_what_is_wrong(sage, plugin):
    done = sage("operators", "show", "Hevy", path=plugin)
    assert done.returncode == 4
    assert "did you mean 'Heavy'?" in done.stderr
    done = sage("operators", "show", "Broken", path=plugin)
    assert done.returncode == 1
    assert "of the distribution 'sage-ops' cannot be imported" in done.stderr
    assert "any mapping" in sage("operators", "show", "Drain", path=plugin).stdout


def test_config_show_and_get(sage, tmp_path):
    (tmp_path / "config.yaml").write_text(
        "include: base.yaml\nretriever: {top_k: 5}\ngenerator: {api_key: env:TEST_CLI_KEY}\n"
    )
    (tmp_path / "base.yaml").write_text("retriever: {name: kb}\n")
    done = sage("config", "show", "config.yaml", "--origin", "-o", "json", SAGE_SINK__A="1")
    rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)}
    assert rows == {
        "retriever.name": ("kb", "base.yaml"),
        "retriever.top_k": (5, "config.yaml"),
        "generator.api_key": ("env:TEST_CLI_KEY", "config.yaml"),
        "sink.a": (1, "environment variable SAGE_SINK__A"),
    }
    shown = sage("config", "show", "config.yaml", "-o", "yaml", TEST_CLI_KEY="sk-canary-cli")
    assert yaml.safe_load(shown.stdout)["generator"] == {"api_key": "env:TEST_CLI_KEY"}
    assert sage("config", "get", "retriever.top_k", "config.yaml").stdout == "5\n"
    done = sage("config", "get", "retriever.nope", "config.yaml")
    assert done.returncode == 4
    assert "no key 'retriever.nope'" in done.stderr


def test_config_init_show_and_validate(sage, tmp_path, plugin):
    assert sage("config", "init").returncode == 0
    assert sage("config", "init").returncode == 1
    assert sage("config", "init", "--force").returncode == 0
    done = sage("config", "validate", "config.yaml")
    assert done.returncode == 8
    assert "generator.local.api_key: the secret 'env:OPENAI_API_KEY'" in done.stderr
    assert sage("config", "validate", "config.yaml", OPENAI_API_KEY="sk-x").returncode == 0
    (tmp_path / "ops.yaml").write_text("a: {path: x, topk: 1}\nb: {path: 1}\n")
    done = sage(
        "config",
        "validate",
        "ops.yaml",
        "--as",
        "a=Heavy",
        "--as",
        "b=Heavy",
        "--as",
        "c=Heavy",
        path=plugin,
    )
    assert done.returncode == 8
    assert "ops.yaml: a.topk: unknown key; did you mean 'top_k'?" in done.stderr
    assert "ops.yaml: b.path: must be a str, got 1" in done.stderr
    assert "there is no section 'c'" in done.stderr
    assert sage("show", "ops.yaml", program="sage-config").returncode == 0


def test_config_of_user_and_project(sage, tmp_path):
    done = sage("config", "show")
    assert done.returncode == 0
    assert "no settings file" in done.stderr
    (tmp_path / "sage.yaml").write_text("server: {port: 1}")
    assert sage("config", "get", "server.port").stdout == "1\n"
    assert sage("config", "get", "server.port", SAGE_SERVER__PORT="2").stdout == "2\n"
    data = json.loads(sage("config", "path", "-o", "json").stdout)
    assert data["settings"] == ["sage.yaml"]
    assert data["data"] == str(tmp_path / "home" / "data")


def test_doctor(sage, site):
    site.add("sick", "[sage.sinks]\nA = sick_gone:A\nB = sick:B\n", {"sick.py": "raise ValueError"})
    done = sage("doctor", "--json", path=[site.folder])
    assert done.returncode == 8
    problems = [row for row in json.loads(done.stdout) if row["status"] == "problem"]
    assert len(problems) == 1
    assert "'sick': there is no module 'sick_gone'" in problems[0]["detail"]
    done = sage("doctor", "--load", "--json", path=[site.folder])
    details = [r["detail"] for r in json.loads(done.stdout) if r["status"] == "problem"]
    assert sum("'sick'" in detail for detail in details) == 2


def test_config_set(sage, tmp_path):
    assert sage("config", "init").returncode == 0
    done = sage("config", "set", "retriever.top_k", "9", "config.yaml", "-o", "json")
    assert json.loads(done.stdout) == {"file": "config.yaml", "key": "retriever.top_k", "value": 9}
    assert "2000 # tokens" in (tmp_path / "config.yaml").read_text()
    assert sage("config", "get", "retriever.top_k", "config.yaml").stdout == "9\n"
    done = sage("config", "set", "server.port", "1", SAGE_SERVER__PORT="2")
    assert done.returncode == 0
    assert "another value takes effect, from environment variable SAGE_SERVER__PORT" in done.stderr
    assert sage("config", "get", "server.port").stdout == "1\n"
    assert sage("config", "set", "server.port", "3", "--project").returncode == 0
    assert (tmp_path / "sage.yaml").read_text() == "server:\n  port: 3\n"
    done = sage("config", "set", "a.api_key", "sk-canary-cli")
    assert "env:NAME or file:PATH keeps it out of the file" in done.stderr
    assert "canary" not in done.stdout + done.stderr
    done = sage("config", "set", "server.port.x", "3")
    assert done.returncode == 1
    assert "server.port is a value, not a section" in done.stderr


def test_config_validate_for_programs(sage, tmp_path):
    (tmp_path / "bad.yaml").write_text("a: {b: env:TEST_CLI_NOT_SET}\n")
    done = sage("config", "validate", "bad.yaml", "-o", "json")
    assert done.returncode == 8
    rows = json.loads(done.stdout)
    assert [row["file"] for row in rows] == ["bad.yaml"]
    assert "TEST_CLI_NOT_SET" in rows[0]["problem"]
    (tmp_path / "good.yaml").write_text("a: 1\n")
    done = sage("config", "validate", "good.yaml", "-o", "yaml")
    assert (done.returncode, yaml.safe_load(done.stdout)) == (0, [])


def test_license(sage, tmp_path):
    done = sage("license", "check", "-o", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["key_required"] is False
    assert "MIT license: no key is needed, and no license server exists" in done.stderr
    done = sage("license", "activate", "--key", "KEY-canary-1234567")
    assert done.returncode == 0
    assert "it was not verified, there is no license server" in done.stderr
    assert "canary" not in done.stdout + done.stderr
    shown = yaml.safe_load(sage("show", "-o", "yaml", program="sage-license").stdout)
    assert shown["key"] == "********4567"
    assert sage("license", "activate").returncode == 2
    assert sage("license", "activate", "--key", " ").returncode == 1
    (tmp_path / "home/config/license.key").chmod(0o644)
    done = sage("license", "check")
    assert done.returncode == 8
    assert "chmod 600" in done.stderr
    assert "license key" in sage("doctor").stdout
    assert sage("license", "deactivate").returncode == 0
    assert json.loads(sage("license", "show", "-o", "json").stdout)["key"] is None


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion_of_all_programs(sage, shell):
    done = sage("completion", shell)
    assert done.returncode == 0
    for program in ("sage", "sage-config", "sage-license", "sage-memory"):
        variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
        assert variable in done.stdout
    assert f"sage completion {shell}" in done.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_completion_in_bash(sage):
    script = sage("completion", "bash").stdout + (
        "\nCOMP_WORDS=(sage-config s); COMP_CWORD=1; _sage_config_completion sage-config\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
        "COMP_WORDS=(sage license sh); COMP_CWORD=2; _sage_completion sage\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    programs = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": os.pathsep.join([programs, os.environ["PATH"]])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["show", "set", "show"]


def test_certificates(sage, tmp_path):
    pytest.importorskip("cryptography")
    done = sage("ssl-cert", "verify")
    assert done.returncode == 4
    assert "sage ssl-cert generate" in done.stderr
    done = sage("ssl-cert", "generate", "--host", "sage.example", "-o", "json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert Path(made["key"]).stat().st_mode & 0o777 == 0o600
    assert f"sage config set jobmanager.certfile {made['certificate']}" in done.stderr
    assert sage("verify", "--host", "sage.example", program="sage-ssl-cert").returncode == 0
    done = sage("ssl-cert", "verify", "--host", "other.example", "-o", "json")
    assert done.returncode == 8
    assert "is not for 'other.example'" in json.loads(done.stdout)[0]["problem"]
    assert "sage ssl-cert generate --force" in done.stderr
    shown = yaml.safe_load(sage("ssl-cert", "show", "-o", "yaml").stdout)
    assert "sage.example" in shown["hosts"]
    assert shown["authority"] is False
    assert yaml.safe_load(sage("ssl-cert", "show", made["ca"], "-o", "yaml").stdout)["authority"]
    done = sage("ssl-cert", "generate")
    assert done.returncode == 1
    assert "--force" in done.stderr
    assert sage("ssl-cert", "generate", "--force").returncode == 0
