import json

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


@pytest.fixture
def several(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "several"
    configs = []
    for name in ("en", "de"):
        (folder / name).mkdir(parents=True)
        rows = (
            json.dumps({"question": f"{name} {n}?", "key": n, "other": "x"}) + "\n"
            for n in range(3)
        )
        (folder / name / "rows.jsonl").write_text("".join(rows), encoding="utf-8")
        files = f"  data_files:\n  - split: test\n    path: {name}/rows.jsonl\n"
        configs.append(f"- config_name: {name}\n{files}")
    (folder / "README.md").write_text(f"---\nconfigs:\n{''.join(configs)}---\n", encoding="utf-8")
    return str(folder)


def in_a_job(name, **options):
    found = []
    env = LocalEnvironment("hf")
    env.from_batch("HFDatasetBatch", {"hf_dataset_name": name, **options}).sink(found.append)
    env.submit().wait(60)
    return found


@pytest.mark.parametrize("streaming", [False, True])
def test_a_configuration_of_several_is_read(several, streaming):
    options = {"hf_split": "test", "streaming": streaming, "id_field": "key"}
    for name in ("de", "en"):
        found = in_a_job(several, hf_dataset_config=name, **options)
        assert [(q.id, q.text) for q in found] == [(str(n), f"{name} {n}?") for n in range(3)]
        assert found[0].metadata == {"other": "x"}
    with pytest.raises(ConfigError, match=r"(?s)no data set.*'en', 'de'"):
        read(several, **options)
    with pytest.raises(ConfigError, match="'fr'"):
        read(several, hf_dataset_config="fr", **options)
    with pytest.raises(InputFileError, match=r"row 0.*no column 'number'.*key"):
        read(several, hf_dataset_config="de", **{**options, "id_field": "number"})


def test_streaming_goes_on_at_an_offset(several):
    options = {"hf_split": "test", "hf_dataset_config": "de", "streaming": True}
    source = HFDatasetBatch({"hf_dataset_name": several, **options})
    source.seek(2)
    assert [(q.id, q.text) for q in source.run()] == [("test:2", "de 2?")]


def test_a_saved_data_set_is_of_one_configuration(saved):
    assert len(in_a_job(saved, hf_split="dev", hf_dataset_config="default")) == 10
    with pytest.raises(ConfigError, match=r"configuration default, and hf_dataset_config is 'de'"):
        read(saved, hf_split="dev", hf_dataset_config="de")


def test_an_id_that_is_missing_is_that_of_the_row(tmp_path):
    path = str(tmp_path / "ids")
    rows = [{"question": "A?", "key": 7}, {"question": "B?", "key": None}]
    datasets.Dataset.from_list(rows).save_to_disk(path)
    assert [q.id for q in in_a_job(path, id_field="key")] == ["7", "train:1"]
    found = in_a_job(path, id_field="key", text_field="question", item_type="document")
    assert [d.id for d in found] == ["7", "train:1"]


def test_what_is_not_there_is_named(saved, tmp_path):
    with pytest.raises(ConfigError, match=r"no split 'test'.*dev"):
        read(saved, hf_split="test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no data set"):
        read(str(tmp_path / "empty"))
