from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from sage.kernel.checkpoint.savepoint import export_savepoint
from sage.kernel.checkpoint.store import CheckpointError, CheckpointStore, open_savepoint

PARTS = {"a/0/source": b"offset", "b": b"same" * 20, "c": b"same" * 20, "empty": b""}
FACTS = {"run": "r1", "steps": {"a": 1}}


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with CheckpointStore(tmp_path / "checkpoints") as opened:
        opened.write(1, {"b": PARTS["b"]}, {})
        opened.write(2, PARTS, FACTS)
        yield opened


def test_a_savepoint_needs_nothing_else(store, tmp_path):
    to = tmp_path / "deep" / "savepoint"
    assert store.export(store.load(), to) == to
    store.close()
    shutil.rmtree(store.path)
    moved = tmp_path / "moved"
    to.rename(moved)
    opened = open_savepoint(str(moved))
    assert (opened.id, opened.facts, dict(opened.parts)) == (2, FACTS, PARTS)
    assert sorted(p.name for p in moved.iterdir()) == ["savepoint.json", "savepoint.pack"]
    assert (moved / "savepoint.pack").stat().st_size < 110
    again = export_savepoint(opened, tmp_path / "again")
    assert dict(open_savepoint(again).parts) == PARTS


def test_an_empty_folder_may_be_there_but_nothing_else(store, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    store.export(store.load(), empty)
    assert dict(open_savepoint(empty).parts) == PARTS
    with pytest.raises(CheckpointError, match=r"'.*empty': it exists already"):
        store.export(store.load(), empty)
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(CheckpointError, match="exists already"):
        store.export(store.load(), file)


def test_a_savepoint_that_cannot_be_written_leaves_nothing(store, tmp_path):
    loaded = store.load()
    for pack in store.path.glob("*.pack"):
        pack.write_bytes(b"damaged")
    target = tmp_path / "out" / "savepoint"
    with pytest.raises(CheckpointError, match="is damaged"):
        store.export(loaded, target)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_not_a_savepoint_is_named(store, tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        open_savepoint(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no file 'savepoint.json' \(it holds nothing\)"):
        open_savepoint(tmp_path / "empty")
    with pytest.raises(CheckpointError, match=r"it holds .*checkpoint-00000001.json"):
        open_savepoint(store.path)
    with pytest.raises(CheckpointError, match="is a file; a savepoint is a folder"):
        open_savepoint(next(store.path.glob("*.json")))


@pytest.mark.parametrize("name", ["savepoint.json", "savepoint.pack"])
@pytest.mark.parametrize("how", ["flip", "cut", "gone", "folder"])
def test_damage_is_named(store, tmp_path, name, how):
    folder = store.export(store.load(), tmp_path / "savepoint")
    file = folder / name
    data = bytearray(file.read_bytes())
    if how == "flip":
        data[-3] ^= 1
        file.write_bytes(data)
    elif how == "cut":
        file.write_bytes(data[:-1])
    else:
        file.unlink()
        if how == "folder":
            file.mkdir()
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")) as caught:
        open_savepoint(folder)
    assert str(folder) in str(caught.value)
