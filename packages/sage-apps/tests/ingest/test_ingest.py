"""``sage app run ingest``: a directory becomes a collection and stays one."""

import json

import pytest

from sage.apps.ingest.passages import Passages
from sage.common.cli import main
from sage.lib.types import Document
from sage.middleware.services.memory.memory_manager import MemoryManager

NILE = "# Rivers\n\n## Nile\n\nIt is 6650 km long.\n\n## Rhine\n\nIt is 1230 km long.\n"


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "rivers.md").write_text(NILE, encoding="utf-8")
    (folder / "sub" / "tea.txt").write_text("Tea is brewed below boiling.", encoding="utf-8")
    return folder


@pytest.fixture
def ingest(docs, tmp_path, capsys):
    def call(*arguments, folder=docs, embedder=("--embedder", "hash")):
        given = [str(folder), "--data-dir", str(tmp_path / "memory"), *embedder, *arguments]
        code = main(["app", "run", "ingest", *given, "--json"])
        shown = capsys.readouterr()
        return code, json.loads(shown.out) if shown.out else shown.err

    return call


@pytest.fixture
def rows(tmp_path):
    def read():
        with MemoryManager(tmp_path / "memory") as manager:
            return {row["id"]: row for row in manager.get_collection("knowledge_base").scan()}

    return read


def test_files_become_passages_that_know_where_they_are_from(ingest, rows, docs):
    code, facts = ingest()
    assert code == 0
    assert (facts["added"], facts["passages"]) == (2, 3)
    found = rows()
    assert set(found) == {"rivers.md#0", "rivers.md#1", "sub/tea.txt#0"}
    nile = found["rivers.md#0"]
    assert nile["text"] == "Rivers > Nile\nIt is 6650 km long."
    metadata = nile["metadata"]
    assert metadata["source"] == "rivers.md"
    assert metadata["title"] == "Rivers > Nile"
    assert NILE[metadata["start"] : metadata["end"]] == "It is 6650 km long."


def test_a_pdf_file_becomes_passages_that_know_their_page(ingest, rows, docs, write_pdf):
    write_pdf(docs / "atlas.pdf", "The Nile is long.", "The Rhine is shorter.", title="Atlas")
    code, facts = ingest()
    assert (code, facts["added"], facts["failed"]) == (0, 3, 0)
    found = {name: row for name, row in rows().items() if name.startswith("atlas.pdf#")}
    said = " ".join(row["text"] for row in found.values())
    assert "The Nile is long." in said
    assert "The Rhine is shorter." in said
    first = found["atlas.pdf#0"]["metadata"]
    assert (first["source"], first["page"], first["title"]) == ("atlas.pdf", 1, "Atlas")
    # The other pages are as long as a passage each.
    write_pdf(docs / "atlas.pdf", *(f"Page {n}. {'River. ' * 150}" for n in (1, 2)))
    code, facts = ingest()
    assert (code, facts["changed"], facts["unchanged"]) == (0, 1, 2)
    pages = {
        row["metadata"]["page"] for name, row in rows().items() if name.startswith("atlas.pdf#")
    }
    assert pages == {1, 2}


def test_only_what_changed_is_done_again(ingest, rows, docs):
    ingest()
    before = rows()
    (docs / "rivers.md").write_text("# Rivers\n\nThe Elbe is 1094 km long.", encoding="utf-8")
    (docs / "new.md").write_text("New.", encoding="utf-8")
    (docs / "sub" / "tea.txt").touch()
    code, facts = ingest()
    assert code == 0
    assert (facts["added"], facts["changed"], facts["unchanged"]) == (1, 1, 1)
    after = rows()
    assert set(after) == {"rivers.md#0", "new.md#0", "sub/tea.txt#0"}
    assert after["rivers.md#0"]["text"].endswith("The Elbe is 1094 km long.")
    assert after["sub/tea.txt#0"] == before["sub/tea.txt#0"]
    assert ingest()[1]["unchanged"] == 3


def test_what_vanished_is_deleted(ingest, rows, docs):
    ingest()
    (docs / "sub" / "tea.txt").unlink()
    code, facts = ingest()
    assert code == 0
    assert facts["removed"] == 1
    assert set(rows()) == {"rivers.md#0", "rivers.md#1"}


def test_rows_of_others_stay(ingest, rows, docs, tmp_path):
    ingest()
    with MemoryManager(tmp_path / "memory") as manager:
        manager.get_collection("knowledge_base").insert("mine", {"source": "tea"}, "mine")
    (docs / "sub" / "tea.txt").unlink()
    ingest()
    assert "mine" in rows()


def test_other_settings_cut_again(ingest, rows, docs):
    (docs / "rivers.md").write_text("word " * 40, encoding="utf-8")
    ingest()
    assert sum(name.startswith("rivers") for name in rows()) == 1
    facts = ingest("--chunk-size", "100")[1]
    assert facts["changed"] == 2
    assert sum(name.startswith("rivers") for name in rows()) == 2


def test_a_run_that_was_killed_between_writing_and_deleting_is_mended(ingest, rows, docs, tmp_path):
    ingest()
    # What a kill leaves: new rows are there, an old one of the same file is too.
    with MemoryManager(tmp_path / "memory") as manager:
        collection = manager.get_collection("knowledge_base")
        collection.insert("old", {"source": "rivers.md", "content_hash": "0" * 24}, "rivers.md#9")
    facts = ingest()[1]
    assert facts["changed"] == 1
    assert set(rows()) == {"rivers.md#0", "rivers.md#1", "sub/tea.txt#0"}


def test_a_broken_file_is_named_keeps_what_it_had_and_the_others_go_on(ingest, rows, docs):
    ingest()
    (docs / "rivers.md").write_bytes(b"\xff\xfe\x00")
    (docs / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    (docs / "new.md").write_text("New.", encoding="utf-8")
    code, facts = ingest()
    assert code == 3
    assert facts["failed"] == len(facts["failures"]) >= 1
    assert any("broken.pdf" in line for line in facts["failures"])
    assert "new.md#0" in rows()
    assert "rivers.md#1" in rows()
    (docs / "broken.pdf").unlink()
    (docs / "rivers.md").write_text(NILE, encoding="utf-8")
    assert ingest()[0] == 0


def test_dry_run_changes_nothing(ingest, docs, tmp_path):
    code, facts = ingest("--dry-run")
    assert code == 0
    assert [each["change"] for each in facts["files"]] == ["added", "added"]
    with MemoryManager(tmp_path / "memory") as manager:
        assert not manager.has_collection("knowledge_base")


def test_a_wrong_directory_deletes_nothing(ingest, rows, tmp_path):
    ingest()
    other = tmp_path / "other"
    other.mkdir()
    (other / "else.md").write_text("Else.", encoding="utf-8")
    code, said = ingest(folder=other)
    assert code != 0
    assert "--replace" in said
    assert len(rows()) == 3
    assert ingest("--replace", folder=other)[0] == 0
    assert set(rows()) == {"else.md#0"}


def test_another_embedding_model_is_refused(ingest, docs):
    ingest()
    (docs / "rivers.md").write_text("changed", encoding="utf-8")
    code, said = ingest(embedder=("--embedder", "mock"))
    assert code != 0
    assert "embedding" in said


def test_no_directory_and_no_files_say_so(ingest, tmp_path):
    assert "no directory" in ingest(folder=tmp_path / "none")[1]
    (tmp_path / "empty").mkdir()
    assert "no file matches" in ingest(folder=tmp_path / "empty")[1]


def test_long_sections_are_cut_and_pages_are_known():
    first, second = "One is here. " * 30, "Two is there. " * 30
    text = f"{first}\n\n{second}"
    document = Document(
        id="a.pdf",
        text=text,
        metadata={"page_offsets": [0, len(first) + 2], "title": "Numbers"},
    )
    found = Passages({"chunk_size": 200, "overlap": 40}).execute(document)
    assert all(len(passage.text) <= 200 for passage in found)
    assert all(passage.text == text[passage.start : passage.end] for passage in found)
    assert {passage.metadata["page"] for passage in found} == {1, 2}
    assert all(("One" in p.text) == (p.metadata["page"] == 1) for p in found)
    assert {passage.metadata["title"] for passage in found} == {"Numbers"}
    assert all("page_offsets" not in passage.metadata for passage in found)
    assert len({passage.id for passage in found}) == len(found)
