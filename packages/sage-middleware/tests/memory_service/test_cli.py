"""``sage memory`` as users run it: processes, exit codes, a server that is killed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sage.common.cli.entry import main
from sage.common.errors import AuthError, UnreachableError
from sage.middleware.services.memory import MemoryClient, MemoryService

SAGE = Path(sys.executable).with_name("sage")


class Cli:
    """Runs the command in a home of its own: in this process, or as a process."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self._patch = monkeypatch
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "SAGE_HOME": str(home / "sage"),
            "PYTHONUTF8": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    def __call__(self, *args: Any, code: int = 0, stdin: str = "", **env: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with self._patch.context() as patch:
            for key in ("SAGE_MEMORY_TOKEN", "SAGE_MEMORY_URL", "SAGE_MEMORY_DIR"):
                patch.delenv(key, raising=False)
            for key, value in {**self.env, **env}.items():
                patch.setenv(key, value)
            patch.chdir(self.home)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                found = main(["memory", *map(str, args)])
        done = Done(out.getvalue(), err.getvalue())
        assert found == code, f"{args}: {found}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def process(self, *args: Any, code: int = 0, stdin: str = "", **env: str) -> Done:
        ran = subprocess.run(
            [str(SAGE), "memory", *map(str, args)],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.home,
            env={**self.env, **env},
            timeout=100,
        )
        assert ran.returncode == code, f"{args}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        return Done(ran.stdout, ran.stderr)

    def json(self, *args: Any, **options: Any) -> Any:
        return json.loads(self(*args, "-o", "json", **options).stdout)


class Done(NamedTuple):
    """What a command wrote."""

    stdout: str
    stderr: str


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(tmp_path, monkeypatch)


def test_as_a_process_results_are_on_stdout_and_the_rest_is_not(cli: Cli) -> None:
    cli.process("create", "facts", "--model", "hash")
    made = cli.process("insert", "facts", "-", "-o", "json", stdin="one\ntwo\n")
    assert (len(json.loads(made.stdout)), made.stderr) == (2, "")
    found = cli.process("query", "facts", "one", "-k", "1", "-o", "json")
    assert json.loads(found.stdout)[0]["text"] == "one"
    failed = cli.process("show", "nobody", code=4)
    assert failed.stdout == ""
    assert failed.stderr.startswith("error: there is no collection 'nobody'")
    assert "Say --yes" in cli.process("delete", "facts", code=2).stderr


def test_a_collection_from_creation_to_deletion(cli: Cli) -> None:
    assert cli.json("create", "facts", "--model", "hash", "--description", "d")["rows"] == 0
    cli("create", "facts", code=1)
    made = cli.json(
        "insert", "facts", "The Nile is a river", "Tea is a drink", "-m", '{"year": 2021}'
    )
    assert len(made) == 2
    cli("insert", "facts", "-", stdin="The Danube is a river\n\nRice is a plant\n")
    cli("insert", "facts", "Lyon is a town", "--id", "lyon")
    hits = cli.json("query", "facts", "which river", "-k", "2")
    assert {hit["text"] for hit in hits} == {"The Nile is a river", "The Danube is a river"}
    where = cli.json("query", "facts", "river", "--where", '{"year": {"$gt": 2020}}')
    assert len(where) == 2
    table = cli("query", "facts", "Lyon", "-k", "1", "--mode", "bm25").stdout
    assert table.splitlines()[0].split() == ["SCORE", "ID", "TEXT", "METADATA"]
    assert "lyon" in table
    listed = cli.json("list")
    assert [(row["name"], row["entries"]) for row in listed] == [("facts", 5)]
    assert "facts" in cli("list", "-o", "yaml").stdout
    assert cli.json("show", "facts")["description"] == "d"
    cli("index", "create", "facts", "new", "--where", '{"year": {"$exists": true}}')
    assert len(cli.json("query", "facts", "x", "--index", "new")) == 2
    assert [i["name"] for i in cli.json("index", "list", "facts")] == ["new"]
    cli("index", "rebuild", "facts")
    cli("index", "optimize", "facts", "new")
    cli("index", "drop", "facts", "new")
    cli("rename", "facts", "things")
    assert cli.json("optimize")[0]["rows"] == 5
    assert cli.json("doctor")[-1] == {"name": "things", "status": "ok", "detail": "5 entries"}
    cli("delete", "things", code=2)
    cli("delete", "things", "--yes")
    assert cli.json("list") == []


def test_a_bad_line_is_named_by_its_number_in_the_file(cli: Cli) -> None:
    cli("create", "a", "--model", "none")
    lines = "".join(json.dumps({"id": str(i), "text": "t"}) + "\n" for i in range(1500))
    (cli.home / "rows.jsonl").write_text(lines + "oops\n")
    assert "'rows.jsonl', line 1501" in cli("import", "a", "rows.jsonl", code=1).stderr
    assert "'-', line 2" in cli("import", "a", "-", code=1, stdin='{"text": "x"}\n{}\n').stderr


def test_nodes_of_a_graph_from_the_command_line(cli: Cli) -> None:
    cli("create", "g", "--type", "Graph")
    assert cli.json("insert", "g", "Lisbon", "Porto", "-m", '{"in": "Portugal"}') == [
        {"id": "Lisbon"},
        {"id": "Porto"},
    ]
    assert "'Lisbon'" in cli("insert", "g", "Lisbon", code=1).stderr
    cli("insert", "g", "x", "--value", "1", code=2)
    assert cli.json("optimize")[0]["rows"] == 2
    assert cli.json("doctor")[-1]["detail"] == "2 entries"
    cli("export", "g", "g.jsonl")
    assert json.loads((cli.home / "g.jsonl").read_text().splitlines()[0])["node"] == {
        "id": "Lisbon",
        "label": "",
        "properties": {"in": "Portugal"},
    }


def test_failures_have_words_and_codes(cli: Cli) -> None:
    assert "'nobody'" in cli("show", "nobody", code=4).stderr
    assert "Traceback" not in cli("query", "nobody", "x", code=4).stderr
    cli("create", "../x", code=1)
    cli("query", code=2)
    cli("create", "a", "--dim", "3")
    assert "not JSON" in cli("query", "a", "x", "--where", "{", code=2).stderr
    cli("forget", "a", code=2)
    assert "is not there" in cli("import", "a", "missing.jsonl", code=2).stderr
    assert "is a directory" in cli("import", "a", ".", code=2).stderr
    cli("diff", "a", "nowhere", code=4)
    assert "SAGE_MEMORY_TOKEN" in cli("list", "--url", "http://127.0.0.1:1", code=5).stderr
    token = {"SAGE_MEMORY_TOKEN": "x" * 20}
    assert "no answer" in cli("list", "--url", "http://127.0.0.1:1", code=7, **token).stderr
    assert "without TLS" in cli("serve", "--host", "0.0.0.0", code=1).stderr


def test_import_export_diff_and_forget(cli: Cli, tmp_path: Path) -> None:
    rows = [{"id": f"r{i}", "text": f"text {i}", "metadata": {"n": i}} for i in range(2500)]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cli("create", "a", "--model", "none")
    done = cli("import", "a", source)
    assert "2500" in done.stdout
    assert done.stderr == ""  # no bar where nobody looks
    cli("import", "a", source, code=1)
    assert cli.json("import", "a", source, "--on-conflict", "skip")["imported"] == 0
    assert cli.json("export", "a", "out.jsonl")["exported"] == 2500
    assert "no difference" in cli("diff", "a", "out.jsonl").stderr
    assert json.loads(cli("export", "a", "-", "--where", '{"n": 7}').stdout)["id"] == "r7"
    cli("create", "b", "--model", "none")
    cli("import", "b", "out.jsonl")
    cli("insert", "b", "more", "--id", "new")
    assert cli.json("forget", "b", "--where", '{"n": {"$lt": 2}}', "--yes")["forgotten"] == 2
    changes = cli.json("diff", "a", "b", code=8)
    assert [(c["change"], c["id"]) for c in changes] == [
        ("added", "new"),
        ("removed", "r0"),
        ("removed", "r1"),
    ]
    (tmp_path / "table.csv").write_text("id,text,year\nx,first,1\ny,second,2\n")
    cli("import", "c", "table.csv", "--create")
    assert cli.json("query", "c", "second", "--mode", "bm25")[0]["metadata"] == {"year": "2"}
    (tmp_path / "lines.txt").write_text("one\n\ntwo\n")
    assert cli.json("import", "c", "lines.txt")["imported"] == 2
    (tmp_path / "bad.jsonl").write_text('{"text": 1}\n')
    assert "line 1" in cli("import", "c", "bad.jsonl", code=1).stderr
    cli("create", "kv", "-t", "KV")
    cli("insert", "kv", "k", "--value", '{"v": 1}')
    cli("export", "kv", "kv.jsonl")
    assert "no difference" in cli("diff", "kv", "kv.jsonl").stderr


def test_audit_finds_what_is_wrong(cli: Cli, tmp_path: Path) -> None:
    directory = tmp_path / "sage" / "data" / "memory"
    with MemoryService(data_dir=str(directory), embedding_model="hash") as service:
        clean = service.remember("Water boils at 100 degrees", provenance={"source": "user"})
        service.recall("water boils", 1)
        service.remember("Nobody asks for this", provenance={"source": "user"})
        collection = service.collection("long_term")
        collection.insert("my password is hunter2x", {"_source": "user"}, "secret")
        collection.insert("water boils at  100 degrees", {"_source": "user"}, "same")
        collection.insert("Water boils at 100 degrees!", {}, "near")
        service.supersede(clean["id"], "Water boils at 99 degrees up here")
    findings = cli.json("audit", "long_term", code=8)
    found = {(f["finding"], f["id"]) for f in findings}
    assert ("secret", "secret") in found
    assert ("no provenance", "near") in found
    assert ("near-duplicate", "near") in found or ("near-duplicate", "same") in found
    assert ("expired", clean["id"]) in found
    assert ("never recalled", clean["id"]) not in found
    assert sum(f["finding"] == "never recalled" for f in findings) >= 3
    assert "hunter2" not in json.dumps(findings)
    cli("forget", "long_term", "--id", "secret", "--id", "near", "--id", "same", "--yes")
    remaining = {f["finding"] for f in cli.json("audit", "long_term", code=8)}
    assert "secret" not in remaining
    cli("create", "kv", "-t", "KV")
    cli("insert", "kv", "k", "--value", '"AKIAIOSFODNN7EXAMPLE"')
    assert cli.json("audit", "kv", code=8)[0]["finding"] == "secret"


def test_the_standalone_form_is_the_same_command(cli: Cli) -> None:
    done = subprocess.run(
        [str(SAGE.with_name("sage-memory")), "list", "-o", "json"],
        capture_output=True,
        text=True,
        env=cli.env,
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]")


# -- the server as a process -----------------------------------------------------------------------


@pytest.fixture
def serve(cli: Cli) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str, str | None]]]:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    started: list[subprocess.Popen[str]] = []

    def start(*args: str) -> tuple[subprocess.Popen[str], str, str | None]:
        process = subprocess.Popen(
            [str(SAGE), "memory", "serve", "--port", "0", *args],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            cwd=cli.home,
            env=cli.env,
        )
        started.append(process)
        token = None
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"token \(shown only now\): (\S+)", line):
                token = found[1]
            if found := re.search(r"at (http://\S+);", line):
                return process, found[1], token
        raise AssertionError(f"the server ended with {process.wait()}")

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def test_a_killed_server_loses_nothing_and_starts_again(serve: Any, cli: Cli) -> None:
    process, url, token = serve()
    assert token is not None
    with MemoryClient(url, token) as client:
        collection = client.create_collection("kept", embedding_model={"name": "hash", "dim": 64})
        acknowledged = [collection.insert(f"row {i}", {"n": i}) for i in range(50)]
        client.add_turn("s", "user", "hello")
        large = client.create_collection("large")
        for _ in range(3):
            large.insert_many(["x" * 4000] * 1000)
        reading = large.scan()
        next(reading)
        process.kill()
        process.wait()
        with pytest.raises(UnreachableError):
            list(reading)
    process, url, shown = serve()
    assert shown is None  # the first token holds; only its hash was kept
    with MemoryClient(url, token) as client:
        collection = client.get_collection("kept")
        assert [row["id"] for row in collection.get(acknowledged)] == acknowledged
        assert collection.retrieve("row 7", topk=1, mode="bm25")[0]["text"] == "row 7"
        assert client.history("s")["messages"] == [{"role": "user", "content": "hello"}]
    remote = {"SAGE_MEMORY_TOKEN": token, "SAGE_MEMORY_URL": url}
    assert [row["entries"] for row in cli.json("list", **remote) if row["name"] == "kept"] == [50]
    assert cli.json("query", "kept", "row 9", "--mode", "bm25", "-k", "1", **remote)[0]["text"] == (
        "row 9"
    )
    cli("list", "--url", url, code=5, SAGE_MEMORY_TOKEN="wrong-wrong-wrong-wrong")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    process, url, _ = serve()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130


def test_tokens_are_made_and_revoked_while_the_server_runs(serve: Any, cli: Cli) -> None:
    _, url, _ = serve()
    token = cli("token", "new", "ci").stdout.strip()
    assert [row["name"] for row in cli.json("token", "list")] == ["default", "ci"]
    with MemoryClient(url, token) as client:
        assert client.list_collections() == []
        cli("token", "revoke", "ci")
        with pytest.raises(AuthError, match="refused the token"):
            client.list_collections()
    cli("token", "revoke", "ci", code=4)
    file = cli.home / "sage" / "config" / "memory-tokens.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert token not in file.read_text()


def test_a_port_that_is_taken_is_said(serve: Any, cli: Cli) -> None:
    _, url, _ = serve()
    port = url.rpartition(":")[2]
    done = cli("serve", "--port", port, code=1)
    assert "cannot listen" in done.stderr
