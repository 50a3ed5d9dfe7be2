import codecs

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, JobFailedError
from sage.lib.errors import InputFileError
from sage.lib.io.source import FileSource
from sage.lib.types import Document, Query


def read(path, **options):
    return list(FileSource({"file_path": str(path), **options}).run())


def test_each_line_that_is_not_blank_is_a_question(tmp_path):
    path = tmp_path / "q.txt"
    path.write_text("One?\n\n  Two?  \r\nThree?", encoding="utf-8")
    assert read(path, batch_size=2) == [
        Query(text="One?", id="q:1"), Query(text="Two?", id="q:3"), Query(text="Three?", id="q:4"),
    ]  # fmt: skip
    assert [q.text for q in read(path, limit=2)] == ["One?", "Two?"]


def test_jsonl_and_csv_carry_ids_and_answers(tmp_path):
    lines = tmp_path / "q.jsonl"
    lines.write_text('{"question": "A?", "id": 5, "answers": ["x"]}\n"B?"\n', encoding="utf-8")
    assert read(lines) == [Query(text="A?", id="5", answers=("x",)), Query(text="B?", id="q:2")]
    table = tmp_path / "q.csv"
    table.write_text('frage,gold\n"A,\nB?","[""x"", ""y""]"\nC?,\n', encoding="utf-8")
    found = read(table, text_field="frage", answers_field="gold")
    assert [(q.text, q.answers) for q in found] == [("A,\nB?", ("x", "y")), ("C?", ())]


@pytest.mark.parametrize(
    ("name", "content"),
    [("q.jsonl", '{"question": "A?", "key": 7, "id": "x"}\n{"question": "B?", "key": null}\n'),
     ("q.csv", "question,key,id\nA?,7,x\nB?,,\n")],
)  # fmt: skip
def test_ids_are_in_the_field_that_is_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")

    def ids(**options):
        found = []
        env = LocalEnvironment("ids")
        env.from_source("FileSource", {"file_path": str(path), **options}).sink(found.append)
        env.submit().wait(60)
        return [item.id for item in found]

    line = 2 if name == "q.jsonl" else 3
    assert ids(id_field="key") == ["7", f"q:{line}"]
    assert ids() == ["x", f"q:{line}"]
    documents = {"item_type": "document", "text_field": "question"}
    assert ids(id_field="key", **documents) == ["7", f"q:{line}"]
    with pytest.raises(JobFailedError, match=r"no field 'number'; the record has .*key"):
        ids(id_field="number")


def test_a_byte_order_mark_is_skipped_and_other_encodings_work(tmp_path):
    path = tmp_path / "q.txt"
    path.write_bytes(codecs.BOM_UTF8 + "Über?".encode())
    assert read(path)[0].text == "Über?"
    path.write_text("Über?", encoding="latin-1")
    assert read(path, encoding="latin-1")[0].text == "Über?"


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [("a.txt", b"ok\n\xff\xfe\n", 2), ("a.jsonl", b'{"query": "x"}\n{oops\n', 2),
     ("a.jsonl", b"[1]\n", 1), ("a.jsonl", b'{"q": "x"}\n', 1), ("a.csv", b"query\na\nb,c\n", 3),
     ("a.jsonl", b'{"query": " "}\n', 1), ("a.csv", b'query\n"open\n', 2)],
)  # fmt: skip
def test_errors_name_file_and_line(tmp_path, name, content, line):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=f"{name}, line {line}") as caught:
        read(path)
    assert (caught.value.path, caught.value.line) == (str(path), line)


def test_good_items_come_before_the_broken_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"query": "x"}\n{oops\n', encoding="utf-8")
    items = FileSource({"file_path": str(path), "batch_size": 1}).run()
    assert next(items).text == "x"
    with pytest.raises(InputFileError):
        next(items)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputFileError, match=f"nowhere.*{tmp_path.name}"):
        read("nowhere.txt")


def test_formats_and_settings_are_checked_when_it_is_made(tmp_path):
    with pytest.raises(ConfigError, match="format"):
        FileSource({"file_path": "a.parquetish"})
    with pytest.raises(ConfigError, match="batch_size"):
        FileSource({"file_path": "a.txt", "batch_size": 0})
    with pytest.raises(ConfigError, match="file_path"):
        FileSource({"file_pat": "a.txt"})


def test_records_and_documents(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "T", "lang": "en"}\n', encoding="utf-8")
    assert read(path, item_type="record") == [{"text": "T", "lang": "en"}]
    assert read(path, item_type="document") == [Document(id="d:1", text="T")]


def test_reading_goes_on_at_an_offset(tmp_path):
    path = tmp_path / "q.txt"
    path.write_text("a\nb\nc\nd\n", encoding="utf-8")
    first = FileSource({"file_path": str(path)})
    items = first.run()
    assert [next(items).text, next(items).text, first.offset] == ["a", "b", 2]
    again = FileSource({"file_path": str(path)})
    again.seek(first.offset)
    assert [(q.text, q.id) for q in again.run()] == [("c", "q:3"), ("d", "q:4")]
    assert again.offset == 4


def test_no_more_than_a_batch_is_read_ahead(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"query": "a"}\n{"query": "b"}\n{broken\n', encoding="utf-8")
    items = FileSource({"file_path": str(path), "batch_size": 2}).run()
    assert [next(items).text, next(items).text] == ["a", "b"]
