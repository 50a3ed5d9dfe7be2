"""Connections to chromadb: files of this process, or a server."""

from __future__ import annotations

import contextlib
import importlib
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sage.common.errors import MissingExtraError
from sage.middleware.services.memory.errors import InvalidInputError, MemoryStoreError

FOLDER = "chroma"
"""Where chromadb's files are at first; ``forget`` moves them."""
_CONNECT_SECONDS = 5.0
_SPACES = {"cosine": "cosine", "dot": "ip", "l2": "l2"}


def _module() -> Any:
    try:
        return importlib.import_module("chromadb")
    except ImportError as exc:
        raise MissingExtraError("chromadb", "chroma", "the memory back end 'chroma'") from exc


def open_client(path: Path, server: Mapping[str, Any] | None, folder: str = FOLDER) -> Any:
    """A client for the files in ``path / folder``, or for the server ``{host, port, ssl}``.

    Raises:
        MissingExtraError: chromadb is not installed.
        MemoryStoreError: The server does not answer.
    """
    chromadb = _module()
    settings = chromadb.Settings(anonymized_telemetry=False)
    if server is None:
        return chromadb.PersistentClient(str(path / folder), settings=settings)
    unknown = sorted(set(server) - {"host", "port", "ssl"})
    if unknown or "host" not in server:
        raise InvalidInputError(
            f"server is {dict(server)!r}; expected host, and optionally port and ssl"
        )
    host, port = server["host"], int(server.get("port", 8000))
    try:
        # chromadb's client leaves its connections open when the server is not there.
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
        return chromadb.HttpClient(
            host=host, port=port, ssl=bool(server.get("ssl", False)), settings=settings
        )
    except Exception as exc:  # chromadb raises bare ValueError and its transport's errors
        hint = "start one with 'chroma run --path DIR --port PORT'"
        if (refused := _tls_error(exc)) is not None:
            hint = f"the TLS connection failed: {refused}; SSL_CERT_FILE names who is to be trusted"
        raise MemoryStoreError(
            f"no chromadb server answers at {host}:{port}: {exc}; {hint}"
        ) from exc


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    # chromadb's own words for every failure are that the server may not be running.
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


def create(client: Any, name: str, metric: str, ef_search: int) -> Any:
    """A new chromadb collection; ``ef_search`` acts only when set at creation."""
    hnsw = {"space": _SPACES[metric], "ef_search": ef_search}
    return client.create_collection(name, embedding_function=None, configuration={"hnsw": hnsw})


def close_client(client: Any) -> None:
    """Release the client's files or connections."""
    with contextlib.suppress(RuntimeError):
        client.close()
    # chromadb 1.5 does not close the HTTP sessions of a client and its administrator.
    for part in (client, getattr(client, "_admin_client", None)):
        session = getattr(getattr(part, "_server", None), "_session", None)
        if session is not None:
            session.close()
