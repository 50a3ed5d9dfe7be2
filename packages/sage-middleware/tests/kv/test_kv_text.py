from __future__ import annotations

import subprocess
import sys

import pytest

from sage.middleware.services.memory.errors import (
    CollectionLockedError,
    IndexExistsError,
    IndexNotFoundError,
    InvalidInputError,
)
from sage.middleware.services.memory.memory_collection.kv_collection import KVMemoryCollection


def found(kv, query, **options):
    return [hit["key"] for hit in kv.search(query, **options)]


@pytest.fixture
def notes(kv):
    kv.put("early", {"title": "Written before the index", "body": "walrus"})
    kv.create_index(fields=["title", "author.name"], language="en")
    kv.put("n1", {"title": "Cats and dogs", "author": {"name": "Ann"}, "body": "walrus"})
    kv.put("n2", {"title": ["Running", "jumping cat"], "author": {"name": "Bob"}})
    return kv


def test_search_sees_every_write_at_once(notes):
    assert found(notes, "written") == ["early"]
    assert set(found(notes, "cat")) == {"n1", "n2"}
    assert found(notes, "bob runs") == ["n2"]
    assert found(notes, "walrus") == []
    notes.put("n1", {"title": "Only birds"})
    assert found(notes, "cat") == ["n2"]
    assert found(notes, "bird") == ["n1"]
    notes.delete("n2")
    assert found(notes, "cat") == []
    notes.put_many({"x1": {"title": "owl"}, "y1": {"title": "owl"}})
    assert set(found(notes, "owl")) == {"x1", "y1"}
    assert found(notes, "owl", prefix="y") == ["y1"]
    assert found(notes, "owl", topk=1) == ["x1"]
    notes.delete_prefix("x")
    assert found(notes, "owl") == ["y1"]


def test_a_failed_transaction_leaves_no_trace_in_the_index(notes):
    with pytest.raises(ZeroDivisionError):
        notes.update("n1", lambda _: 1 // 0)
    assert set(found(notes, "cat")) == {"n1", "n2"}


def test_hits_in_both_forms(notes):
    hit = notes.search("ann")[0]
    assert hit["value"]["body"] == "walrus"
    assert hit["score"] > 0
    general = notes.retrieve("ann", topk=1)[0]
    assert (general["id"], general["text"]) == ("n1", "Cats and dogs\nAnn")
    assert general["metadata"]["value"] == hit["value"]


def test_the_index_survives_a_reopen_with_and_without_its_snapshot(notes, reopen):
    again = reopen(notes)
    assert found(again, "cat jump") == ["n2", "n1"]
    again.put("n3", {"title": "cat"})
    third = reopen(again)
    assert set(found(third, "cat")) == {"n1", "n2", "n3"}
    third.close()
    for path in (third.path / "text").iterdir():
        path.write_bytes(b"broken")
    assert set(found(reopen(third), "cat")) == {"n1", "n2", "n3"}


def test_other_handles_and_processes_see_it(notes):
    other = KVMemoryCollection.connect(notes.path, name="kv")
    assert found(other, "bob") == ["n2"]
    other.put("n4", {"title": "zebra"})
    assert found(notes, "zebra") == ["n4"]
    code = (
        "import sys; from pathlib import Path\n"
        "from sage.middleware.services.memory.memory_collection.kv_collection import *\n"
        "kv = KVMemoryCollection.connect(Path(sys.argv[1]), name='kv')\n"
        "kv.put('p', {'title': 'process zebra'}); kv.close()"
    )
    subprocess.run([sys.executable, "-c", code, str(notes.path)], check=True, timeout=60)
    assert set(found(notes, "zebra")) == {"n4", "p"}
    assert set(found(other, "zebra")) == {"n4", "p"}
    other.close()


def test_an_index_made_by_another_handle(kv):
    other = KVMemoryCollection.connect(kv.path, name="kv")
    kv.create_index(fields=[""])
    other.put("a", "plain text value")
    assert found(kv, "plain") == found(other, "plain") == ["a"]
    with pytest.raises(IndexExistsError):
        other.create_index(fields=["x"])
    other.close()


def test_expired_values_are_not_found(timed_kv, clock):
    timed_kv.create_index(fields=[""])
    timed_kv.put("a", "walrus", ttl=5)
    timed_kv.put("b", "walrus")
    clock.now += 6
    assert found(timed_kv, "walrus") == ["b"]


def test_dropping(notes):
    notes.drop_index()
    assert notes.list_indexes() == []
    with pytest.raises(IndexNotFoundError, match="create_index"):
        notes.search("cat")
    notes.put("n9", {"title": "cat"})
    notes.create_index(fields=["body"])
    assert set(found(notes, "walrus")) == {"early", "n1"}


@pytest.mark.parametrize("fields", [[], "title", [1]])
def test_fields_must_be_named(kv, fields):
    with pytest.raises(InvalidInputError, match="fields"):
        kv.create_index(fields=fields)


def test_what_is_forgotten_is_in_no_file(notes):
    notes.put("secret:1", {"title": "xylophonesecret", "body": "hiddenbody"})
    notes.put("secret:2", {"title": "xylophonesecret other"})
    assert len(found(notes, "xylophonesecret")) == 2
    notes.store()
    assert any(b"xylophonesecret" in p.read_bytes() for p in (notes.path / "text").iterdir())
    assert notes.forget(prefix="secret:") == 2
    assert found(notes, "xylophonesecret") == []
    for path in notes.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for word in (b"xylophon", b"hiddenbody", b"secret:"):
                assert word not in content, path
    assert set(found(notes, "cat")) == {"n1", "n2"}


def files_with(collection, word):
    return [p.name for p in collection.path.rglob("*") if p.is_file() and word in p.read_bytes()]


def test_forget_says_when_a_reader_keeps_the_old_pages(tmp_path):
    with KVMemoryCollection.create(tmp_path, name="kv", busy_timeout=0.05) as kv:
        kv.put("k", "xylophonesecret")
        with kv._database.snapshot() as reader:
            assert reader.execute("SELECT count(*) FROM entries").fetchone() == (1,)
            with pytest.raises(CollectionLockedError, match="forget"):
                kv.forget(["k"])
        assert "k" not in kv
        assert kv.forget(["k"]) == 0
        assert files_with(kv, b"xylophonesecret") == []


def test_an_interrupted_forget_is_completed_at_open(notes, reopen, monkeypatch):
    notes.put("k", {"title": "xylophonesecret"})
    notes.store()

    def crash(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KVMemoryCollection, "_scrub", crash)
        with pytest.raises(KeyboardInterrupt):
            notes.forget(["k"])
    again = reopen(notes)
    assert files_with(again, b"xylophonesecret") == []
    assert set(found(again, "cat")) == {"n1", "n2"}


def test_optimize_gives_back_the_space_and_check_reads_the_file(kv):
    kv.put_many({f"k{i}": "x" * 1000 for i in range(500)})
    kv.store()
    kv.delete_prefix("k")
    done = kv.optimize()
    assert done["rows"] == 0
    assert done["bytes"] > 400_000
    assert kv.check() == []
    kv.put_many({f"k{i}": "x" * 1000 for i in range(500)})
    kv.store()
    size = (kv.path / "collection.db").stat().st_size
    with (kv.path / "collection.db").open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * 4096)
    assert kv.check() != []
