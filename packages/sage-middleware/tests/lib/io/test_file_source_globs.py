import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.errors import InputFileError
from sage.lib.io.source import FileSource
from sage.lib.types import Query


def read(path, **options):
    return list(FileSource({"file_path": str(path), **options}).run())


@pytest.fixture
def files(tmp_path):
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / "x" / "b.txt").write_text("B1\nB2\n", encoding="utf-8")
    (tmp_path / "x" / "a.jsonl").write_text('{"query": "A"}\n', encoding="utf-8")
    (tmp_path / "x" / "y" / "b.txt").write_text("C\n", encoding="utf-8")
    return tmp_path / "x"


def test_a_glob_reads_all_files_in_order_in_a_job(files):
    seen = []
    env = LocalEnvironment("glob")
    env.from_source(FileSource, {"file_path": f"{files}/**/*.*", "batch_size": 2}).sink(seen.append)
    env.submit().wait()
    assert seen == [
        Query(text="A", id="a.jsonl:1"), Query(text="B1", id="b.txt:1"),
        Query(text="B2", id="b.txt:2"), Query(text="C", id="y/b.txt:1"),
    ]  # fmt: skip


def test_offset_and_limit_count_over_all_files(files):
    pattern = f"{files}/**/*.txt"
    first = FileSource({"file_path": pattern})
    items = first.run()
    assert [next(items).text, next(items).text, first.offset] == ["B1", "B2", 2]
    again = FileSource({"file_path": pattern})
    again.seek(first.offset)
    assert [q.text for q in again.run()] == ["C"]
    assert [q.text for q in read(pattern, limit=1)] == ["B1"]


def test_errors_name_the_file_that_is_broken(files):
    (files / "y" / "bad.jsonl").write_text("{oops\n", encoding="utf-8")
    with pytest.raises(InputFileError, match=r"bad\.jsonl, line 1"):
        read(f"{files}/**/*.jsonl")
    with pytest.raises(InputFileError, match="no file matches"):
        read(f"{files}/*.csv")
    (files / "z.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match="format"):
        read(f"{files}/z.*")


def test_a_name_with_brackets_is_a_file_when_there_is_one(tmp_path):
    path = tmp_path / "q[1].txt"
    path.write_text("Q\n", encoding="utf-8")
    assert read(path) == [Query(text="Q", id="q[1]:1")]


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "q.parquet"
    rows = [{"question": f"Q{i}", "answers": [f"a{i}"]} for i in range(3_000)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    found = read(path)
    assert len(found) == 3_000
    assert found[2_999] == Query(text="Q2999", id="q:3000", answers=("a2999",))
    path.write_bytes(b"PAR1 broken")
    with pytest.raises(InputFileError, match="Parquet"):
        read(path)
