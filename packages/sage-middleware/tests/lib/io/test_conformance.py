"""The built-in sources and sinks keep the public contracts."""

import json
import sqlite3

import pytest

from sage.lib.io.sink import CallbackSink, DatabaseSink, FileSink, MemorySink, TerminalSink
from sage.lib.io.source import DatabaseSource, DirectorySource, FileSource, HFDatasetBatch
from sage.middleware.testing.sinks import SinkSuite
from sage.middleware.testing.sources import SourceSuite


class TestFileSource(SourceSuite):
    @pytest.fixture
    def make(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / f"{name}.txt").write_text("x\n\ny\nz\n", encoding="utf-8")
        return lambda: FileSource({"file_path": f"{tmp_path}/*.txt", "batch_size": 2})


class TestDirectorySource(SourceSuite):
    @pytest.fixture
    def make(self, tmp_path):
        for name in "abcd":
            (tmp_path / name).write_text(name, encoding="utf-8")
        return lambda: DirectorySource({"path": str(tmp_path)})


class TestDatabaseSource(SourceSuite):
    @pytest.fixture
    def make(self, tmp_path):
        pytest.importorskip("sqlalchemy")
        connection = sqlite3.connect(tmp_path / "a.db")
        connection.execute("create table t (id text primary key)")
        connection.executemany("insert into t values (?)", [(c,) for c in "cabed"])
        connection.commit()
        connection.close()
        url = f"sqlite:///{tmp_path / 'a.db'}"
        return lambda: DatabaseSource({"url": url, "table": "t", "page_size": 2})


class TestHFDatasetBatch(SourceSuite):
    @pytest.fixture
    def make(self, tmp_path):
        datasets = pytest.importorskip("datasets")
        path = str(tmp_path / "d")
        datasets.Dataset.from_list([{"question": c} for c in "abcd"]).save_to_disk(path)
        return lambda: HFDatasetBatch({"hf_dataset_name": path})


class TestFileSink(SinkSuite):
    @pytest.fixture
    def make(self, tmp_path):
        return lambda: FileSink({"file_path": str(tmp_path / "a.json")})

    @pytest.fixture
    def written(self, tmp_path):
        return lambda: json.loads((tmp_path / "a.json").read_bytes())


class TestDatabaseSink(SinkSuite):
    idempotent = True

    @pytest.fixture
    def make(self, tmp_path):
        pytest.importorskip("sqlalchemy")
        connection = sqlite3.connect(tmp_path / "a.db")
        connection.execute("create table if not exists t (id text primary key, text text)")
        connection.commit()
        connection.close()
        return lambda: DatabaseSink({"url": f"sqlite:///{tmp_path / 'a.db'}", "table": "t"})

    @pytest.fixture
    def written(self, tmp_path):
        def read():
            connection = sqlite3.connect(tmp_path / "a.db")
            rows = connection.execute("select id, text from t").fetchall()
            connection.close()
            return [{"id": i, "text": t} for i, t in rows]

        return read


class TestMemorySink(SinkSuite):
    @pytest.fixture
    def sinks(self):
        return []

    @pytest.fixture
    def make(self, sinks):
        def make():
            sinks.append(MemorySink())
            return sinks[-1]

        return make

    @pytest.fixture
    def written(self, sinks):
        return lambda: [item for sink in sinks for item in sink.items]


class TestCallbackSink(SinkSuite):
    @pytest.fixture
    def found(self):
        return []

    @pytest.fixture
    def make(self, found):
        return lambda: CallbackSink({"callback": found.append})

    @pytest.fixture
    def written(self, found):
        return lambda: found


class TestTerminalSink(SinkSuite):
    @pytest.fixture(params=["json", "jsonl"])
    def make(self, request):
        return lambda: TerminalSink({"output_format": request.param})

    @pytest.fixture
    def written(self, capsys):
        return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


class TestTerminalSinkWithAFile(SinkSuite):
    @pytest.fixture
    def make(self, tmp_path):
        settings = {"output_format": "text", "file_path": str(tmp_path / "a.json")}
        return lambda: TerminalSink(settings)

    @pytest.fixture
    def written(self, tmp_path):
        return lambda: json.loads((tmp_path / "a.json").read_bytes())
