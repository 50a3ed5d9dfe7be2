import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, JobFailedError
from sage.lib.io.sink import FileSink
from sage.lib.io.sink.parquet import ROWS
from sage.lib.io.source import FileSource

parquet = pytest.importorskip("pyarrow.parquet")


def write(path, items, **settings):
    env = LocalEnvironment("parquet")
    env.from_collection(items).sink(FileSink, {"file_path": str(path), **settings})
    env.submit().wait()


def test_rows_come_back_with_their_types(tmp_path):
    path = tmp_path / "out" / "a.parquet"
    items = [{"id": n, "score": n / 2, "text": f"é{n}", "none": None} for n in range(ROWS + 5)]
    write(path, items)
    assert parquet.read_table(path).to_pylist() == items
    assert parquet.ParquetFile(path).num_row_groups == 2
    source = FileSource({"file_path": str(path), "item_type": "record"})
    assert list(source.run()) == items


def test_nested_values_are_json_and_other_items_one_column(tmp_path):
    write(tmp_path / "a.parquet", [{"a": {"b": [1, 2]}}, {"c": "later key"}])
    assert parquet.read_table(tmp_path / "a.parquet").to_pylist() == [
        {"a": '{"b":[1,2]}', "c": None}, {"a": None, "c": "later key"},
    ]  # fmt: skip
    write(tmp_path / "b", ["x", "y"], output_format="parquet")
    assert parquet.read_table(tmp_path / "b").to_pylist() == [{"value": "x"}, {"value": "y"}]


@pytest.mark.parametrize("last", [{"n": "text"}, {"n": 1, "m": 2}])
def test_items_that_do_not_fit_the_columns_are_named(tmp_path, last):
    items = [{"n": 1}] * ROWS + [last] * ROWS
    with pytest.raises(JobFailedError, match="use jsonl"):
        write(tmp_path / "a.parquet", items)


def test_it_cannot_be_appended_to_nor_cut_back(tmp_path):
    path = tmp_path / "a.parquet"
    write(path, [{"n": 1}])
    with pytest.raises(JobFailedError, match="append"):
        write(path, [{"n": 2}], append=True)
    sink = FileSink({"file_path": str(tmp_path / "b.parquet")})
    with pytest.raises(ConfigError, match="checkpoint"):
        sink.snapshot()
    sink.close()
