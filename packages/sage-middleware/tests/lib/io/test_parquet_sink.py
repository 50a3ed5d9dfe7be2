import errno
import io

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, JobFailedError
from sage.lib.io.sink import FileSink
from sage.lib.io.sink.parquet import ROWS, ParquetWriter
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


@pytest.mark.parametrize("last", [{"n": "text"}, {"n": 1, "m": 2}, {"n": 2**63}, {}])
def test_items_that_do_not_fit_the_columns_are_named(tmp_path, last):
    with pytest.raises(JobFailedError, match="use jsonl"):
        write(tmp_path / "a.parquet", [{"n": 1}] * ROWS + [last])


@pytest.mark.parametrize("at", [5, ROWS + 5])
@pytest.mark.parametrize(
    "misfit", [{"n": "text", "f": 0.5}, {"n": 2**63}, {"n": 1, "f": 2**53 + 1}, {}]
)
def test_an_item_that_does_not_fit_is_lost_alone(tmp_path, at, misfit):
    path, items = tmp_path / "a.parquet", [{"n": n, "f": n / 2} for n in range(ROWS + 9)]
    env = LocalEnvironment("parquet")
    given = env.from_collection([*items[:at], misfit, *items[at:]])
    given.sink(FileSink, {"file_path": str(path)}, on_error="dead_letter")
    job = env.submit()
    job.wait()
    assert [letter["item"] for letter in job.dead_letters()] == [misfit]
    assert parquet.read_table(path).to_pylist() == items


def test_a_column_of_the_first_group_takes_whole_and_broken_numbers(tmp_path):
    write(tmp_path / "a.parquet", [{"n": None}, {"n": 1}, {"n": 2.5}, {"n": 2**53}])
    assert parquet.read_table(tmp_path / "a.parquet")["n"].to_pylist() == [None, 1, 2.5, 2**53]
    write(tmp_path / "b.parquet", [{"n": 2**53 + 1}, {"n": -1}, {"n": 2**63 - 1}])
    assert parquet.read_table(tmp_path / "b.parquet")["n"].to_pylist()[0] == 2**53 + 1
    with pytest.raises(JobFailedError, match=r"\(float\).*is long"):
        write(tmp_path / "c.parquet", [{"n": 2**53 + 1}, {"n": 0.5}])


def test_half_a_surrogate_pair_is_replaced(tmp_path):
    write(tmp_path / "a.parquet", [{"a": "\ud800"}, {"a": "\u00e9"}])
    assert parquet.read_table(tmp_path / "a.parquet")["a"].to_pylist() == ["?", "\u00e9"]


class FullDisk(io.BytesIO):
    """A file that takes nothing but its first bytes."""

    def write(self, data):
        if self.tell() > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_rows_that_the_disk_does_not_take_are_not_passed_over(tmp_path):
    writer = ParquetWriter(FullDisk())
    for n in range(ROWS):
        writer.write({"n": n})
    with pytest.raises(OSError, match="No space"):
        writer.write({"n": ROWS})
    with pytest.raises(Exception, match="closed"):
        writer.close()


def test_without_any_item_it_is_an_empty_table(tmp_path):
    path = tmp_path / "a.parquet"
    write(path, [])
    assert parquet.read_table(path).shape == (0, 0)
    assert list(FileSource({"file_path": str(path)}).run()) == []


def test_it_cannot_be_appended_to(tmp_path):
    path = tmp_path / "a.parquet"
    write(path, [{"n": 1}])
    with pytest.raises(JobFailedError, match="append"):
        write(path, [{"n": 2}], append=True)


@pytest.mark.parametrize("interval", [None, 10])
def test_a_job_with_checkpoints_is_refused_before_it_writes(tmp_path, interval):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"of an earlier run")
    env = LocalEnvironment("parquet").enable_checkpoints(interval, store=tmp_path / "runs")
    env.from_collection(range(3)).sink(FileSink, {"file_path": str(path)})
    with pytest.raises(JobFailedError, match=r"a\.parquet.*write jsonl, or run without"):
        env.submit().wait()
    assert path.read_bytes() == b"of an earlier run"
    sink = FileSink({"file_path": str(tmp_path / "b.parquet")})
    with pytest.raises(ConfigError, match="checkpoint"):
        sink.snapshot()
    sink.close()
