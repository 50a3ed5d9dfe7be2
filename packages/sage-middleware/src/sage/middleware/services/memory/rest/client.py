"""``MemoryClient``: the manager of a memory server, used like a local one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sage.common.config import Secret
from sage.common.errors import AuthError
from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.rest.remote_calls import RemoteCalls, RemoteKVCollection
from sage.middleware.services.memory.rest.remote_graph import RemoteGraphCollection
from sage.middleware.services.memory.rest.remote_vdb import RemoteCollection
from sage.middleware.services.memory.rest.tokens import VARIABLE
from sage.middleware.services.memory.rest.transport import Transport
from sage.middleware.services.memory.storage.layout import check_name

Hit = dict[str, Any]
_KINDS: Mapping[str, type[RemoteCalls]] = {"KV": RemoteKVCollection, "Graph": RemoteGraphCollection}


class MemoryClient:
    """Collections, sessions and long-term memory of a server.

    The methods of ``MemoryManager`` have its names, arguments, results and errors; collections come
    as ``RemoteCollection`` (``VDB``), ``RemoteKVCollection`` and ``RemoteGraphCollection``. Any
    number of threads may use one client.

    Args:
        base_url: ``http://127.0.0.1:19002``, with the prefix where the server is mounted.
        token: What the server showed when it first started; default: the environment variable
            ``SAGE_MEMORY_TOKEN``.
        timeout: Seconds without a byte from the server.
        cafile: PEM file of the authority that signed the server's certificate.

    Raises:
        AuthError: There is no token.
        ConfigError: The URL is none.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:19002",
        token: str | Secret | None = None,
        *,
        timeout: float = 60.0,
        cafile: str | Path | None = None,
    ) -> None:
        chosen = token if token is not None else os.environ.get(VARIABLE)
        if not chosen:
            raise AuthError(
                f"no token for the memory server: set {VARIABLE}, or give token=…; the server "
                "shows it when it starts for the first time (sage memory token new makes another)"
            )
        self._transport = Transport(base_url, chosen, timeout=timeout, cafile=cafile)

    @property
    def data_dir(self) -> str:
        """Where the collections are: the server's address."""
        return self._transport.base_url

    # -- collections -----------------------------------------------------------------------------

    def create_collection(
        self,
        name: str,
        backend_type: str = "VDB",
        description: str = "",
        embedding_model: Any = None,
        dim: int | None = None,
        *,
        backend: str | None = None,
        **options: Any,
    ) -> Any:
        """Make a new collection on the server.

        Args:
            name: Its name.
            backend_type: ``VDB``, ``KV``, ``Graph`` or a plugin's name.
            description: Free text for listings.
            embedding_model: A name, or a model with a ``spec``: the server makes its own.
            dim: Elements of a vector.
            backend: Another implementation of the type.
            options: What the back end takes.

        Raises:
            CollectionExistsError: There is one of that name.
            InvalidInputError: The server cannot make the embedding model, or an option is unknown.
        """
        check_name(name)
        body = {
            "name": name,
            "backend_type": backend or backend_type,
            "description": description,
            "embedding_model": _spec(embedding_model),
            "dim": dim,
            "options": options,
        }
        return self._handle(name, self._transport.request("POST", ("collections",), body))

    def connect_collection(self, name: str, embedding_model: Any = None) -> Any:
        """A collection of the server.

        Raises:
            CollectionNotFoundError: There is none of that name.
            InvalidInputError: A model was given: the server has its own.
        """
        if embedding_model is not None:
            raise InvalidInputError(
                "the server embeds with the model the collection was made with; leave "
                "embedding_model out"
            )
        check_name(name)
        return self._handle(name, self._transport.request("GET", ("collections", name)))

    def get_collection(self, name: str) -> Any:
        """A collection of the server."""
        return self.connect_collection(name)

    def list_collections(self) -> list[dict[str, Any]]:
        """Name, kind and description of every collection, by name."""
        found: list[dict[str, Any]] = self._transport.request("GET", ("collections",))[
            "collections"
        ]
        return found

    def has_collection(self, name: str) -> bool:
        """Whether there is a collection of that name."""
        return any(entry["name"] == name for entry in self.list_collections())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.has_collection(name)

    def store_collection(self, name: str | None = None) -> None:
        """Write the caches of one collection, or of all."""
        names = [name] if name is not None else [c["name"] for c in self.list_collections()]
        for each in names:
            self._transport.request("POST", ("collections", check_name(each), "store"))

    def rename_collection(self, name: str, new_name: str) -> None:
        """Give a collection another name."""
        body = {"new_name": check_name(new_name)}
        self._transport.request("PATCH", ("collections", check_name(name)), body)

    def delete_collection(self, name: str) -> None:
        """Delete a collection with everything it has on the server's disk."""
        self._transport.request("DELETE", ("collections", check_name(name)))

    def search(
        self,
        names: str | Sequence[str] | None,
        query: str | None = None,
        topk: int = 10,
        **options: Any,
    ) -> list[Hit]:
        """Search several collections at once; every ``VDB`` collection if ``None``."""
        body = {
            "names": [names] if isinstance(names, str) else None if names is None else list(names),
            "query": query,
            "topk": topk,
            "options": options,
        }
        hits: list[Hit] = self._transport.request("POST", ("search",), body)["hits"]
        return hits

    # -- tiers -----------------------------------------------------------------------------------

    def add_turn(
        self,
        session: str,
        role: str,
        text: str,
        *,
        turn_id: str | None = None,
        provenance: Mapping[str, str | None] | None = None,
    ) -> dict[str, Any]:
        """Add a turn to a session."""
        body = {
            "session": session,
            "role": role,
            "text": text,
            "turn_id": turn_id,
            "provenance": None if provenance is None else dict(provenance),
        }
        turn: dict[str, Any] = self._transport.request("POST", ("sessions", "turns"), body)
        return turn

    def history(self, session: str, max_tokens: int | None = None) -> dict[str, Any]:
        """The window of a session: ``turns, summary, tokens, dropped, messages``."""
        window: dict[str, Any] = self._transport.request(
            "GET", ("sessions", "history"), query={"session": session, "max_tokens": max_tokens}
        )
        return window

    def list_sessions(self) -> list[str]:
        """Names of all sessions."""
        found: list[str] = self._transport.request("GET", ("sessions",))["sessions"]
        return found

    def clear_session(self, session: str) -> bool:
        """Forget a session; whether it was there."""
        answer = self._transport.request("DELETE", ("sessions",), query={"session": session})
        return bool(answer["deleted"])

    def remember(
        self, text: str, metadata: Mapping[str, Any] | None = None, **options: Any
    ) -> dict[str, Any]:
        """Write to long-term memory through its gate: ``status, id, reason, score``."""
        body = {"text": text, "metadata": None if metadata is None else dict(metadata), **options}
        written: dict[str, Any] = self._transport.request("POST", ("memories",), body)
        return written

    def supersede(
        self, old: str, text: str, metadata: Mapping[str, Any] | None = None, **options: Any
    ) -> dict[str, Any]:
        """Replace a fact by a newer one; ``at`` and ``provenance`` as in the service."""
        if "at" in options:
            options["valid_from"] = options.pop("at")
        return self.remember(text, metadata, supersedes=old, **options)

    def recall(self, query: str, topk: int = 5, **options: Any) -> list[Hit]:
        """The facts of long-term memory that answer a query."""
        body = {"query": query, "topk": topk, **options}
        hits: list[Hit] = self._transport.request("POST", ("memories", "recall"), body)["hits"]
        return hits

    # -- life ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections; the client can still be used."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"MemoryClient({self._transport.base_url!r})"

    def _handle(self, name: str, facts: Mapping[str, Any]) -> Any:
        kind = str(facts["backend_type"])
        if kind == "VDB":
            return RemoteCollection(self._transport, name, facts)
        remote = _KINDS.get(kind)
        if remote is None:
            raise InvalidInputError(f"the client knows no collections of the type {kind!r}")
        return remote(self._transport, name, facts)


def _spec(model: Any) -> Any:
    if model is None or isinstance(model, str):
        return model
    spec = model if isinstance(model, Mapping) else getattr(model, "spec", None)
    if not isinstance(spec, Mapping):
        raise InvalidInputError(
            f"the embedding model {model!r} cannot be made again by the server; give a name, or "
            "ready vectors and dim"
        )
    return dict(spec)
