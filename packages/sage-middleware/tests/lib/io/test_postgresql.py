"""Database source and sink on a real PostgreSQL server, started for this module on loopback."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from sage.api import LocalEnvironment
from sage.lib.io.sink import DatabaseSink
from sage.lib.io.source import DatabaseSource

psycopg = pytest.importorskip("psycopg")
sqlalchemy = pytest.importorskip("sqlalchemy")


def programs():
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


@pytest.fixture(scope="module")
def url():
    folder = programs()
    if folder is None:
        pytest.skip("needs the PostgreSQL server (package postgresql)")
    # Not below pytest's own folder, which only its user can enter.
    data = Path(tempfile.mkdtemp(prefix="sage-pg-"))
    options = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        user = next(u for u in ("postgres", "nobody") if u in {p.pw_name for p in pwd.getpwall()})
        entry = pwd.getpwnam(user)
        options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        os.chown(data, entry.pw_uid, entry.pw_gid)
    subprocess.run(
        [folder / "initdb", "-D", data, "-U", "sage", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True, capture_output=True, cwd="/", **options,
    )  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [folder / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"],
        stderr=subprocess.PIPE, text=True, cwd="/", **options,
    )  # fmt: skip
    try:
        log = []
        for line in server.stderr:
            log.append(line)
            if "ready to accept connections" in line:
                break
        else:
            pytest.fail("".join(log))
        yield f"postgresql://sage@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.communicate(timeout=30)
        shutil.rmtree(data)


@pytest.fixture
def database(url):
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))

    def run(*statements):
        with engine.begin() as connection:
            results = [connection.execute(sqlalchemy.text(each)) for each in statements]
            return [tuple(r) for r in results[-1]] if results[-1].returns_rows else None

    yield run
    engine.dispose()


def write(url, items, **options):
    env = LocalEnvironment("write")
    step = {"on_error": options.pop("on_error")} if "on_error" in options else {}
    env.from_collection(items).sink(DatabaseSink, {"url": url, **options}, **step)
    job = env.submit()
    job.wait()
    return job


def test_rows_are_written_once_and_read_in_pages(url, database):
    database(
        "drop table if exists t",
        "create table t (a integer, b text, v jsonb, primary key (a, b))",
    )
    items = [{"a": i % 7, "b": f"k{i:03}", "v": {"n": [i]}} for i in range(200)]
    for _ in range(2):
        write(url, items, table="t")
    write(url, [{"a": 0, "b": "k000", "v": {"n": "new"}}], table="t")
    config = {"url": url, "table": "t", "page_size": 9}
    first = DatabaseSource(config)
    found = [row for row, _ in zip(first.run(), range(50), strict=False)]
    again = DatabaseSource(config)
    again.seek([found[-1]["a"], found[-1]["b"]])
    found += again.run()
    assert [(r["a"], r["b"]) for r in found] == sorted((i["a"], i["b"]) for i in items)
    assert found[0]["v"] == {"n": "new"}
    assert found[1]["v"] == {"n": [7]}


def test_a_refused_row_fails_alone(url, database):
    database("drop table if exists c", "create table c (id integer primary key, n integer)")
    database("alter table c add check (n < 10)")
    items = [{"id": i, "n": 99 if i == 3 else 1} for i in range(8)]
    write(url, [*items, {"id": "no number", "n": 1}], table="c", on_error="skip")
    assert database("select id from c order by id") == [(i,) for i in range(8) if i != 3]


def test_a_view_with_a_key_and_a_schema(url, database):
    database("drop schema if exists s cascade", "create schema s",
             "create table s.t (id integer primary key)", "insert into s.t values (1), (2)",
             "create view s.v as select id, id * 2 as twice from s.t")  # fmt: skip
    rows = list(DatabaseSource({"url": url, "table": "s.v", "key": ["id"]}).run())
    assert rows == [{"id": 1, "twice": 2}, {"id": 2, "twice": 4}]
