"""The chromadb back end keeps the public contract, with files and with a server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.middleware.services.memory.errors import InvalidInputError, MemoryStoreError
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.testing.memory_backend import DIM, ROWS, VectorBackendSuite, sample_rows

pytest.importorskip("chromadb")
pytestmark = pytest.mark.heavy


class TestChromaFiles(VectorBackendSuite):
    backend = "chroma"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A chromadb server of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("chroma-server")
    process = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "chroma"),
            "run",
            "--path",
            str(folder),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "ANONYMIZED_TELEMETRY": "False"},
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/heartbeat", timeout=1)
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail("the chromadb server did not start")
                time.sleep(0.1)
        yield {"host": "127.0.0.1", "port": port}
    finally:
        process.terminate()
        process.wait()


def test_rows_live_on_the_server(tmp_path: Path, server: dict[str, Any]) -> None:
    texts, metadatas, vectors = sample_rows()
    with MemoryManager(tmp_path) as manager:
        rows = manager.create_collection("remote", backend="chroma", dim=DIM, server=server)
        rows.insert_many(texts, metadatas, [f"r{i}" for i in range(ROWS)], vectors=vectors)
    with MemoryManager(tmp_path) as manager:
        rows = manager.connect_collection("remote")
        hits = rows.retrieve(query_vector=vectors[8], topk=3, where={"kind": "c"})
        assert hits[0]["id"] == "r8"
        assert {h["metadata"]["kind"] for h in hits} == {"c"}
        rows.delete("r8")
        assert len(rows) == ROWS - 1
        with pytest.raises(InvalidInputError, match="chromadb server"):
            rows.forget(ids="r9")
        assert rows.get("r9") is not None
        assert rows.check() == []
        assert rows.explain(where={"kind": "c"})["strategy"] == "hnsw"
        manager.delete_collection("remote")
        fresh = manager.create_collection("remote", backend="chroma", dim=DIM, server=server)
        assert len(fresh) == 0


def files_with(folder: Path, word: bytes) -> list[str]:
    return [str(p) for p in folder.rglob("*") if p.is_file() and word in p.read_bytes()]


def test_forget_leaves_nothing_in_chromadbs_files(tmp_path: Path) -> None:
    texts, metadatas, vectors = sample_rows()
    with MemoryManager(tmp_path) as manager:
        rows = manager.create_collection("r", backend="chroma", dim=DIM)
        rows.insert_many(texts, metadatas, [f"r{i}" for i in range(ROWS)], vectors=vectors)
        secret = {"note": "hiddenword"}
        rows.insert("xylophonesecret", secret, id="secretid", vector=[0.5] * DIM)
        rows.create_index("c", where={"kind": "c"})
        assert files_with(tmp_path, b"xylophonesecret")
        assert rows.forget(ids="secretid") == 1
        for word in (b"xylophonesecret", b"hiddenword", b"secretid"):
            assert files_with(tmp_path, word) == []
        assert rows.retrieve(query_vector=vectors[8], topk=1, index_name="c")[0]["id"] == "r8"
        assert rows.optimize()["rows"] == ROWS


def test_an_interrupted_forget_is_completed_at_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(self: Any) -> None:
        raise KeyboardInterrupt

    with MemoryManager(tmp_path) as manager:
        rows = manager.create_collection("r", backend="chroma", dim=2)
        rows.insert_many(["xylophonesecret", "kept"], ids=["a", "b"], vectors=[[1, 0], [0, 1]])
        with monkeypatch.context() as patch:
            patch.setattr(type(rows), "_rewrite", crash)
            with pytest.raises(KeyboardInterrupt):
                rows.forget(ids="a")
    with MemoryManager(tmp_path) as manager:
        rows = manager.connect_collection("r")
        assert files_with(tmp_path, b"xylophonesecret") == []
        assert [row["text"] for row in rows.scan()] == ["kept"]


def test_a_missing_server_is_named(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with MemoryManager(tmp_path) as manager:
        with pytest.raises(MemoryStoreError, match=f"127.0.0.1:{port}"):
            manager.create_collection(
                "remote", backend="chroma", server={"host": "127.0.0.1", "port": port}
            )
        assert manager.list_collections() == []
