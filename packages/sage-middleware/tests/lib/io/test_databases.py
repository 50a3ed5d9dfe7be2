import json
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, TaskFailedError
from sage.lib.io.databases import DatabaseError
from sage.lib.io.sink import DatabaseSink
from sage.lib.io.source import DatabaseSource
from sage.lib.types import Answer, Query

pytest.importorskip("sqlalchemy")


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "a.db"

    def run(*statements):
        with sqlite3.connect(path) as connection:
            result = [connection.execute(each).fetchall() for each in statements][-1]
        connection.close()
        return result

    run.url = f"sqlite:///{path}"
    return run


def read(url, **options):
    return list(DatabaseSource({"url": url, **options}).run())


def write(url, items, **options):
    step = {k: options.pop(k) for k in ("on_error", "concurrency") if k in options}
    env = LocalEnvironment("write")
    env.from_collection(items).sink(DatabaseSink, {"url": url, **options}, **step)
    job = env.submit()
    job.wait()
    return job


def test_rows_come_in_the_order_of_the_key_whatever_the_page(database):
    database("create table t (id integer primary key, v text)")
    database("insert into t values (3,'c'),(1,'a'),(2,'b')")
    for size in (1, 2, 3, 100):
        assert [r["v"] for r in read(database.url, table="t", page_size=size)] == ["a", "b", "c"]
    assert read(database.url, table="t", limit=1) == [{"id": 1, "v": "a"}]
    assert read(database.url, table="t", columns=["v"], where={"id": [2, 3]}) == [
        {"v": "b"}, {"v": "c"},
    ]  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), unique=True, max_size=20),
    st.integers(1, 4),
    st.integers(0, 20),
)
@settings(max_examples=25, deadline=None)
def test_composite_keys_and_going_on_lose_nothing(tmp_path_factory, rows, size, stop):
    path = tmp_path_factory.mktemp("db") / "a.db"
    connection = sqlite3.connect(path)
    connection.execute("create table t (a integer, b integer, primary key (a, b))")
    connection.executemany("insert into t values (?, ?)", rows)
    connection.commit()
    connection.close()
    config = {"url": f"sqlite:///{path}", "table": "t", "page_size": size}
    first = DatabaseSource(config)
    items = first.run()
    found = [row for row, _ in zip(items, range(stop), strict=False)]
    offset = tuple(found[-1].values()) if found else None
    items.close()
    again = DatabaseSource(config)
    again.seek(offset)
    found += again.run()
    assert [tuple(row.values()) for row in found] == sorted(rows)


def test_names_never_reach_a_statement(database):
    database("create table t (id integer primary key)", "create table k (v text)")
    for options, match in [
        ({"table": "t; drop table t"}, "no table"),
        ({"table": "t", "columns": ["id; --"]}, "no column"),
        ({"table": "t", "where": {"1=1 or id": 1}}, "no column"),
        ({"table": "k"}, "no primary key"),
        ({"table": "t", "after": [1, 2]}, "after"),
    ]:
        with pytest.raises(ConfigError, match=match):
            read(database.url, **options)
    with pytest.raises(ConfigError, match="URL"):
        read("nonsense", table="t")
    with pytest.raises(ConfigError, match="NO_SUCH_URL"):
        read("env:NO_SUCH_URL", table="t")


def test_writing_twice_is_writing_once(database):
    database("create table t (id text primary key, n integer, more text)")
    items = [{"id": str(i), "n": i, "more": {"x": [i]}, "other": 1} for i in range(300)]
    for _ in range(2):
        write(database.url, items, table="t")
    rows = database("select id, n, more from t order by n")
    assert rows == [(str(i), i, json.dumps({"x": [i]}, separators=(",", ":"))) for i in range(300)]
    write(database.url, [{"id": "5", "n": -5}], table="t")
    assert database("select n, more from t where id = '5'") == [(-5, '{"x":[5]}')]
    write(database.url, [{"id": "5", "n": 0}], table="t", on_conflict="ignore")
    assert database("select n from t where id = '5'") == [(-5,)]


def test_answers_by_columns_with_paths(database):
    database("create table a (qid text unique, text text, tokens integer)")
    answer = Answer(text="Ada", query=Query(text="Who?", id="7"))
    columns = {"qid": "id", "text": "answer", "tokens": "usage.input_tokens"}
    write(database.url, [answer], table="a", key=["qid"], columns=columns)
    assert database("select * from a") == [("7", "Ada", None)]


def test_a_refused_row_fails_alone(database):
    database("create table t (id integer primary key, n integer check (n < 10) not null)")
    job = write(
        database.url,
        [{"id": i, "n": 99 if i == 7 else 1} for i in range(20)] + [{"n": 1}],
        table="t",
        on_error="skip",
    )
    assert job.status == "FINISHED"
    assert [row[0] for row in database("select id from t order by id")] == [
        i for i in range(20) if i != 7
    ]


def test_failures_name_the_table_and_not_the_values(database):
    database("create table t (id integer primary key, n integer not null)")
    with pytest.raises(TaskFailedError) as caught:
        write(database.url, [{"id": 1, "n": None}], table="t")
    cause = caught.value.__cause__
    assert isinstance(cause, DatabaseError)
    assert "'t'" in str(cause)
    with pytest.raises(TaskFailedError, match="no table"):
        write(database.url, [{"id": 1}], table="nope")
