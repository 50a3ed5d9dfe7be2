"""Who may ask what: every route closed without a token, hosts, origins, sizes, paths, archives."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import re
import stat
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sage.common.errors import ConfigError, NotFoundError, ServiceError
from sage.common.serving.guard import OPEN_PATHS
from sage.common.serving.routing import all_routes
from sage.kernel.jobmanager.app import create_app
from sage.kernel.jobmanager.bundle import check_archive, digest_of, pack_files, pack_program, unpack
from sage.kernel.jobmanager.client import JobManagerClient
from sage.kernel.jobmanager.launch import start_daemon
from sage.kernel.jobmanager.layout import Home, token_path
from sage.kernel.jobmanager.manager import JobManager
from sage.kernel.jobmanager.settings import JobManagerSettings

Answer = tuple[int, bytes]


def ask(
    daemon: Any,
    method: str,
    path: str,
    body: bytes | None = None,
    **headers: str,
) -> Answer:
    parts = urlsplit(daemon.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, given)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def bearer() -> str:
    return f"Bearer {token_path().read_text().strip()}"


def listed_routes(tmp_path: Path) -> list[tuple[str, str]]:
    """Method and path of everything the application answers."""
    manager = JobManager(JobManagerSettings(data_dir=tmp_path / "listed"))
    try:
        app = create_app(manager, lambda _: False, lambda _: None)
        found = all_routes(app)
        documented = {(m.upper(), p) for p, ms in app.openapi()["paths"].items() for m in ms}
        assert documented <= set(found)
        job = "job-00000000000-0000000000"
        return [(method, re.sub(r"\{[^}]+\}", job, path)) for method, path in found]
    finally:
        manager.database.close()


def test_every_route_is_closed_without_a_token(daemon: Any, tmp_path: Path) -> None:
    daemon.start()
    listed = listed_routes(tmp_path)
    assert len({path for _, path in listed}) > 30
    closed = 0
    for method, path in listed:
        if path in OPEN_PATHS and method in ("GET", "HEAD"):
            assert ask(daemon, method, path)[0] == 200, path
            continue
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic Og=="}):
            status, answer = ask(daemon, method, path, b"{}", **given)
            assert status == 401, (method, path)
            assert method == "HEAD" or json.loads(answer)["error"]["type"] == "AuthError"
        closed += 1
    assert closed > 30


@pytest.mark.parametrize(
    "path",
    ["/healthz/", "/xhealthz", "/v1/healthz", "/healthz/../v1/jobs", "//healthz", "/HEALTHZ"],
)
def test_only_the_exact_health_paths_are_open(daemon: Any, path: str) -> None:
    daemon.start()
    assert ask(daemon, "GET", path)[0] == 401


def test_foreign_hosts_and_origins_are_refused(daemon: Any) -> None:
    daemon.start()
    own = daemon.url.partition("://")[2]
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        path = "/v1/jobs"
        for host in ("evil.example", "127.0.0.1.evil.example", ""):
            assert ask(daemon, method, path, Host=host, Authorization=bearer())[0] == 400
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
            status, _ = ask(daemon, method, path, Origin=origin, Authorization=bearer())
            assert status == 403, (method, origin)
    for stream in ("/v1/events/stream", "/v1/jobs/x/logs/stream"):
        status, _ = ask(
            daemon, "GET", stream, Origin="https://evil.example", Authorization=bearer()
        )
        assert status == 403
    status, _ = ask(daemon, "GET", "/v1/jobs", Origin=f"http://{own}", Authorization=bearer())
    assert status == 200


def test_the_token_is_kept_as_a_hash_and_in_a_private_file(daemon: Any, home: Path) -> None:
    daemon.start()
    token = token_path().read_text().strip()
    assert len(token) > 40
    assert stat.S_IMODE(token_path().stat().st_mode) == 0o600
    data = home / "data/jobmanager"
    for path in data.rglob("*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes(), path
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert token_path().parent not in data.parents


def test_bodies_have_a_bound(daemon: Any) -> None:
    daemon.start(max_upload=20_000)
    client = daemon.client()
    with pytest.raises(ConfigError, match="larger than 20000 bytes"):
        client.submit_spec({"version": 1, "name": "x" * 30_000, "steps": []})
    status, _ = ask(
        daemon, "POST", "/v1/jobs", Content_Length="999999999999", Authorization=bearer()
    )
    assert status == 413
    assert client.health()


def test_what_is_too_large_is_told_as_such(daemon: Any, tmp_path: Path) -> None:
    client = daemon.start(max_upload=20_000)
    (tmp_path / "big").mkdir()
    (tmp_path / "big/job.py").write_text("print(1)\n")
    (tmp_path / "big/data.bin").write_bytes(b"\1" * 30_000_000)
    with pytest.raises(ConfigError, match="larger than 20000 bytes"):
        client.submit_program(tmp_path / "big/job.py", include=["data.bin"])


def test_ids_never_become_paths(daemon: Any, home: Path) -> None:
    client = daemon.start()
    (home / "data/jobmanager/secret").write_text("secret")
    hostile = ["..", "../..", "%2e%2e", "/etc/passwd", "job-*", "a" * 500, "job-\0", "", "."]
    for name in hostile:
        for method in (client.job, client.logs, client.graph, client.dead_letters, client.cancel):
            with pytest.raises((NotFoundError, ServiceError, ConfigError)):
                method(name)
    for digest in ("..", "../jobs.sqlite", "A" * 64):
        assert ask(daemon, "GET", f"/v1/bundles/{digest}", Authorization=bearer())[0] == 404
    layout = Home(home)
    for name in hostile:
        with pytest.raises(NotFoundError):
            layout.job(name)
        with pytest.raises(NotFoundError):
            layout.bundle(name)


def test_what_is_malformed_is_refused_with_the_key(daemon: Any) -> None:
    daemon.start()
    token = bearer()

    def refused(body: Any, path: str = "/v1/jobs") -> str:
        status, answer = ask(
            daemon,
            "POST",
            path,
            json.dumps(body).encode(),
            Authorization=token,
            Content_Type="application/json",
        )
        assert status == 422, answer
        return str(json.loads(answer)["error"]["message"])

    spec = {"kind": "spec", "name": "n", "spec": {"steps": []}}
    assert "kind" in refused({"name": "n"})
    assert "steals" in refused({**spec, "steals": 1})
    assert "name must be" in refused({**spec, "name": "a\x1b[31m"})
    assert "bundle" in refused({"kind": "program", "name": "n", "entry": "a.py"})
    assert "entry" in refused(
        {"kind": "program", "name": "n", "bundle": "0" * 64, "entry": "../a.py"}
    )
    assert "environment" in refused({**spec, "environment": {"A=B": "c"}})
    assert "working_dir" in refused({**spec, "working_dir": "/no/such/folder"})
    assert "parent" in refused({**spec, "action": "fork"})
    assert "jobs" in refused({"jobs": "explode"}, "/v1/shutdown")
    assert "surprise" in refused({"jobs": "keep", "surprise": 1}, "/v1/shutdown")
    old = {"kind": "program", "name": "n", "bundle": "0" * 64, "entry": "a.py", "python": "2.7"}
    assert re.search(r"Python 2\.7.*Python 3\.", refused(old))
    same = {**old, "python": ".".join(map(str, __import__("sys").version_info[:2]))}
    assert "SAGE 0.0.1" in refused({**same, "sage": "0.0.1"})


def test_an_open_network_needs_tls_or_a_word() -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0.*token"):
        start_daemon(host="0.0.0.0", port=0)


# ------------------------------------------------------------------ archives


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def named(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = link
    return member, b"x" if kind == tarfile.REGTYPE else b""


HOSTILE = {
    "parent": named("../escape.py"),
    "deep parent": named("a/../../escape.py"),
    "absolute": named("/tmp/escape.py"),
    "drive": named("C:escape.py"),
    "backslash": named("..\\escape.py"),
    "control": named("a\nb.py"),
    "dot": named("./a.py"),
    "long": named("a/" * 300 + "b.py"),
    "symlink": named("link", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": named("link", tarfile.LNKTYPE, "../../secret"),
    "device": named("null", tarfile.CHRTYPE),
    "pipe": named("pipe", tarfile.FIFOTYPE),
    "folder": named("folder", tarfile.DIRTYPE),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_archives_are_refused(what: str, tmp_path: Path) -> None:
    data = archive(named("good.py"), HOSTILE[what])
    with pytest.raises(ConfigError, match="member"):
        check_archive(data, digest_of(data))
    path = tmp_path / "archive.tar"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="member"):
        unpack(path, digest_of(data), tmp_path / "code")
    assert [each.name for each in tmp_path.iterdir()] == ["archive.tar"]


def test_archives_are_what_they_say(tmp_path: Path) -> None:
    data = pack_files([("a.py", b"1"), ("b/c.py", b"2")])
    assert data == pack_files([("b/c.py", b"2"), ("a.py", b"1")])
    assert check_archive(data, digest_of(data)) == ["a.py", "b/c.py"]
    with pytest.raises(ConfigError, match="SHA-256"):
        check_archive(data, "0" * 64)
    with pytest.raises(ConfigError, match="at most"):
        check_archive(data, digest_of(data), max_bytes=100)
    twice = archive(named("a.py"), named("a.py"))
    with pytest.raises(ConfigError, match="twice"):
        check_archive(twice, digest_of(twice))
    for junk in (b"not a tar at all", b"\x1f\x8b" + b"\0" * 100, data[:300]):
        with pytest.raises(ConfigError):
            check_archive(junk, digest_of(junk))
    huge = tarfile.TarInfo("huge")
    huge.size = 10**12
    head = huge.tobuf() + b"\0" * 1024
    with pytest.raises(ConfigError):
        check_archive(head, digest_of(head))
    path = tmp_path / "archive.tar"
    path.write_bytes(data)
    unpack(path, digest_of(data), tmp_path / "code")
    assert (tmp_path / "code/b/c.py").read_bytes() == b"2"


def test_uploads_are_checked_by_the_daemon(daemon: Any, home: Path) -> None:
    client = daemon.start()
    for what, member in HOSTILE.items():
        data = archive(named("good.py"), member)
        digest = digest_of(data)
        status, answer = ask(daemon, "PUT", f"/v1/bundles/{digest}", data, Authorization=bearer())
        assert status == 422, what
        assert b"member" in answer
    data = archive(named("good.py"))
    other = hashlib.sha256(b"other").hexdigest()
    assert ask(daemon, "PUT", f"/v1/bundles/{other}", data, Authorization=bearer())[0] == 422
    assert list((home / "data/jobmanager/bundles").iterdir()) == []
    assert client.health()


def test_what_a_program_takes_with_it(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("outside")
    folder = tmp_path / "project"
    for name in (
        "main.py",
        "pkg/mod.py",
        ".venv/lib/x.py",
        "env2/pyvenv.cfg",
        "env2/y.py",
        "d.txt",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("pass")
    (folder / "link.py").symlink_to(tmp_path / "secret.txt")
    data, entry = pack_program(folder / "main.py", ["d.txt"])
    assert entry == "main.py"
    assert check_archive(data, digest_of(data)) == ["d.txt", "main.py", "pkg/mod.py"]
    with pytest.raises(ConfigError, match="outside"):
        pack_program(folder / "main.py", ["../secret.txt"])
    with pytest.raises(NotFoundError, match="absent"):
        pack_program(folder / "main.py", ["absent"])
    with pytest.raises(NotFoundError, match="no such file"):
        pack_program(folder / "absent.py")
    (folder / "big.py").write_text("#" * 5_000)
    with pytest.raises(ConfigError, match="larger than 4,000 bytes"):
        pack_program(folder / "main.py", max_bytes=4_000)


def test_the_daemon_imports_no_user_code_and_never_unpickles(
    daemon: Any, tmp_path: Path, until: Any
) -> None:
    """A module and a pickle that would leave a trace of whoever loads them."""
    import cloudpickle

    client = daemon.start()
    trace = tmp_path / "trace"
    program = tmp_path / "evil" / "main.py"
    program.parent.mkdir()
    program.write_text(f"import os\nopen({str(trace)!r}, 'a').write(f'{{os.getpid()}}\\n')\n")

    class Bomb:
        def __reduce__(self) -> Any:
            code = f"import os; open({str(trace)!r}, 'a').write(f'{{os.getpid()}}\\n')"
            return (exec, (code,))

    first = client.wait(client.submit_program(program).id, 60)
    data = pack_files([("graph.pkl", cloudpickle.dumps(Bomb()))])
    from sage.kernel.jobmanager.submission import versions

    digest = client._upload(data)
    raw = {"kind": "graph", "name": "bomb", "bundle": digest, **versions()}
    second = client.wait(client._submit(raw, None, None).id, 60)
    assert second.status == "FAILED"
    pids = {int(pid) for pid in trace.read_text().split()}
    assert pids == {first.attempts[0].pid, second.attempts[0].pid}
    assert daemon.pid not in pids


def test_the_memory_server_is_mounted_behind_the_same_guard(daemon: Any, tmp_path: Path) -> None:
    pytest.importorskip("sage.middleware")
    client: JobManagerClient = daemon.start(mounts={"memory": {"data_dir": str(tmp_path / "mem")}})
    assert client.status().mounts == ("/memory",)
    assert ask(daemon, "GET", "/memory/v1/collections")[0] == 401
    assert ask(daemon, "GET", "/memory/healthz")[0] == 401
    status, answer = ask(daemon, "GET", "/memory/v1/collections", Authorization=bearer())
    assert (status, json.loads(answer)) == (200, {"collections": []})


def test_a_link_is_sent_by_the_name_of_its_program(tmp_path: Path) -> None:
    (tmp_path / "real.py").write_text("print(1)\n")
    (tmp_path / "link.py").symlink_to("real.py")
    archive, entry = pack_program(tmp_path / "link.py")
    assert entry in check_archive(archive, digest_of(archive))


def test_only_virtual_environments_are_left_out(tmp_path: Path) -> None:
    for name in ("env/game.py", "venv/game.py", "conda/lib/a.py", "box/lib/a.py", "job.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "box/pyvenv.cfg").write_text("")
    (tmp_path / "conda/conda-meta").mkdir()
    archive, _ = pack_program(tmp_path / "job.py")
    names = check_archive(archive, digest_of(archive))
    assert sorted(names) == ["env/game.py", "job.py", "venv/game.py"]


def test_what_is_too_much_is_not_even_read(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("")
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(2**40)  # a hole: nothing has the memory for it
    with pytest.raises(ConfigError, match=r"huge\.bin"):
        pack_program(tmp_path / "job.py", ["huge.bin"])


@pytest.mark.parametrize("given", ["", "   ", "short"])
def test_a_token_that_is_none_is_not_accepted(
    daemon: Any, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_path().parent.mkdir(parents=True)
    token_path().write_text(f"{given}\n")
    if given.strip():
        with pytest.raises(ConfigError, match="at least 16 characters"):
            daemon.start()
        return
    monkeypatch.setenv("SAGE_JOBMANAGER_TOKEN", given)
    client = daemon.start()
    assert len(token_path().read_text()) > 40
    assert ask(daemon, "GET", "/v1/status", Authorization=f"Bearer {given}")[0] == 401
    assert client.status().pid == daemon.pid


def test_without_allow_code_nothing_else_is_a_way_to_run_some(daemon: Any, tmp_path: Path) -> None:
    client = daemon.start(allow_code=False)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("attrs", "attr", "sage", "traceback", "sitecustomize"):
        (folder / f"{name}.py").write_text("open('ran', 'w')\n")
    spec = {
        "version": 1,
        "name": "small",
        "steps": [
            {"id": "s", "kind": "source", "op": "builtin:collection", "items": [1]},
            {"id": "p", "kind": "sink", "op": "builtin:print", "inputs": ["s"]},
        ],
    }
    for name in ("PYTHONPATH", "LD_PRELOAD", "SAGE_HOME", "PATH"):
        with pytest.raises(ConfigError, match=f"{name}.*allow_code"):
            client.submit_spec(spec, environment={name: str(folder)})
    job = client.submit_spec(spec, working_dir=folder, environment={"MODEL_API_KEY": "abcdefgh"})
    assert client.wait(job.id, 60).status == "FINISHED"
    assert not (folder / "ran").exists()


def test_modules_that_are_allowed_may_run_again(daemon: Any) -> None:
    client = daemon.start(allow_code=False, allow=["textwrap"])
    job = client.submit_spec(
        {
            "version": 1,
            "name": "again",
            "steps": [
                {"id": "s", "kind": "source", "op": "builtin:collection", "items": [" a"]},
                {"id": "m", "kind": "map", "op": "textwrap:dedent", "inputs": ["s"]},
                {"id": "p", "kind": "sink", "op": "builtin:print", "inputs": ["m"]},
            ],
        }
    )
    assert client.wait(job.id, 60).status == "FINISHED"
    assert client.wait(client.restore(job.id).id, 60).status == "FINISHED"
    assert client.wait(client.replay(job.id).id, 60).status == "FINISHED"
