"""The chromadb back end keeps the public contract, with files and with a server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from sage.api import LocalEnvironment
from sage.common import tls
from sage.common.errors import JobFailedError
from sage.lib.rag.retriever import ChromaRetriever
from sage.middleware.services.memory.chroma import clients
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


@pytest.fixture
def behind_tls(tmp_path: Path, server: dict[str, Any]) -> Iterator[tuple[int, Path]]:
    """A port whose TLS connections lead to the server, and the authority to trust."""
    pytest.importorskip("cryptography")
    files = tls.generate(tmp_path / "tls", hosts=["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_connection(server["host"], server["port"])
        await asyncio.gather(copy(reader, inner[1]), copy(inner[0], writer))

    started: Future[int] = Future()
    ended = asyncio.Event()

    async def serve() -> None:
        proxy = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
        started.set_result(proxy.sockets[0].getsockname()[1])
        await ended.wait()
        proxy.close()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    yield started.result(30), files.ca
    loop.call_soon_threadsafe(ended.set)
    thread.join()
    for task in asyncio.all_tasks(loop):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
    loop.close()


def test_a_retriever_asks_a_server_behind_tls(
    server: dict[str, Any], behind_tls: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, authority = behind_tls
    client = clients.open_client(Path(), server)
    rows = client.create_collection("tls", embedding_function=None)
    rows.add(ids=["n", "r"], documents=["nile", "rhine"], embeddings=[[1.0, 0.0], [0.0, 1.0]])
    clients.close_client(client)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    config = {"host": "127.0.0.1", "port": port, "ssl": True, "collection_name": "tls",
              "embed": lambda text: [1.0, 0.1], "top_k": 1}  # fmt: skip
    found: list[Any] = []

    def ask(**changes: Any) -> None:
        env = LocalEnvironment("tls")
        env.from_collection(["?"]).map(ChromaRetriever, {**config, **changes}).sink(found.append)
        env.submit().wait(60)

    ask()
    assert [d.text for d in found[0].passages] == ["nile"]
    with pytest.raises(JobFailedError, match=f"no chromadb server answers at 127.0.0.1:{port}"):
        ask(ssl=False)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(JobFailedError, match=r"no chromadb server answers.*(?i:certificate)"):
        ask()


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
