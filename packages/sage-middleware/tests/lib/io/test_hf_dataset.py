import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.errors import InputFileError
from sage.lib.io.source import HFDatasetBatch
from sage.lib.types import Document, Query

datasets = pytest.importorskip("datasets")

ROWS = [
    {"id": str(i), "question": f"Q{i}?", "answers": {"text": [f"a{i}"], "answer_start": [0]}}
    for i in range(10)
]


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = tmp_path / "saved"
    datasets.DatasetDict({"dev": datasets.Dataset.from_list(ROWS)}).save_to_disk(str(path))
    return str(path)


def read(name, **options):
    return list(HFDatasetBatch({"hf_dataset_name": name, **options}).run())


def test_a_saved_data_set_gives_questions_with_answers(saved):
    found = []
    env = LocalEnvironment("hf")
    env.from_batch(HFDatasetBatch, {"hf_dataset_name": saved, "hf_split": "dev"}).sink(found.append)
    env.submit().wait()
    assert found[:2] == [
        Query(text="Q0?", id="0", answers=("a0",)), Query(text="Q1?", id="1", answers=("a1",)),
    ]  # fmt: skip
    assert len(found) == 10


def test_reading_goes_on_at_an_offset(saved):
    first = HFDatasetBatch({"hf_dataset_name": saved, "hf_split": "dev", "limit": 8})
    items = first.run()
    assert [next(items).id, next(items).id, first.offset] == ["0", "1", 2]
    again = HFDatasetBatch({"hf_dataset_name": saved, "hf_split": "dev", "limit": 8})
    again.seek(first.offset)
    assert [q.id for q in again.run()] == ["2", "3", "4", "5", "6", "7"]


def test_a_directory_of_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"body": "x"}\n{"body": "y"}\n', encoding="utf-8")
    assert read(str(folder), item_type="record") == [{"body": "x"}, {"body": "y"}]
    assert read(str(folder), item_type="document", text_field="body") == [
        Document(id="train:0", text="x"), Document(id="train:1", text="y"),
    ]  # fmt: skip
    with pytest.raises(InputFileError, match=r"row 0.*no column 'text'"):
        read(str(folder), text_field="text")


def test_what_is_not_there_is_named(saved, tmp_path):
    with pytest.raises(ConfigError, match=r"no split 'test'.*dev"):
        read(saved, hf_split="test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no data set"):
        read(str(tmp_path / "empty"))
