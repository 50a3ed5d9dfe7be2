"""Memory as a service: collections and the three tiers behind one name.

``env.set_memory(config)`` and ``env.register_service("memory_service", …)`` register it; steps call
it as ``ctx.service("memory_service").retrieve(…)``. Predecessors: ``memory_manager`` and ``tiers``;
successors: ``sage.lib.rag.retriever`` and ``sage.lib.memory``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import attrs

from sage.api.service import BaseService
from sage.common.config import structure_config
from sage.middleware.services.memory import journaled
from sage.middleware.services.memory.errors import (
    CollectionExistsError,
    InvalidInputError,
)
from sage.middleware.services.memory.journal import Journal
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.services.memory.settings import MemoryConfig
from sage.middleware.services.memory.tiers.echo import RecallLog
from sage.middleware.services.memory.tiers.long_term import LongTermMemory
from sage.middleware.services.memory.tiers.provenance import Provenance
from sage.middleware.services.memory.tiers.session import SessionMemory
from sage.middleware.services.memory.tiers.summary import make_summariser
from sage.middleware.services.memory.tiers.task import TaskMemory
from sage.middleware.tokens import get_tokenizer

__all__ = ["MemoryService"]

Hit = dict[str, Any]


class MemoryService(BaseService):
    """Collections, sessions, tasks and long-term memory for all steps of a job.

    It may be used before it is started and outside of a job. All methods may be called from any
    thread. Stopping closes every collection; using the service again opens them again.

    Args:
        config: A mapping or ``MemoryConfig``; see there for the keys.
        overrides: Single keys of ``config``, given as keywords.

    Raises:
        ConfigError: A key is not known or has a wrong value.
    """

    Config = MemoryConfig

    def __init__(
        self,
        config: MemoryConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        **overrides: Any,
    ) -> None:
        if isinstance(config, str | os.PathLike):
            overrides, config = {"data_dir": os.fspath(config), **overrides}, None
        self.config: MemoryConfig = structure_config(
            config, MemoryConfig, name="memory", overrides=overrides or None
        )
        self._lock = threading.RLock()
        self._manager: MemoryManager | None = None
        self._handles: dict[str, Any] = {}
        self._parts: dict[str, Any] = {}

    @classmethod
    def over(
        cls, manager: MemoryManager, config: MemoryConfig | Mapping[str, Any] | None = None
    ) -> Self:
        """A service on a manager that exists; stopping the service closes the manager."""
        service = cls(config, data_dir=manager.data_dir)
        service._manager = manager
        return service

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the collections of the configuration that are not there. The engine calls this."""
        for name, wanted in self.config.collections.items():
            collection = self.create_collection(
                name,
                wanted.backend_type,
                wanted.description,
                wanted.embedding_model,
                wanted.dim,
                **wanted.options,
            )
            there = {index["name"] for index in collection.list_indexes()}
            for index, where in wanted.indexes.items():
                if index not in there:
                    collection.create_index(index, where=dict(where) or None)

    def stop(self) -> None:
        """Close every collection. The engine calls this after the last task ended."""
        with self._lock:
            manager, self._manager = self._manager, None
            self._handles.clear()
            self._parts.clear()
        if manager is not None:
            manager.close()

    def close(self) -> None:
        """The same as ``stop``."""
        self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def manager(self) -> MemoryManager:
        """The manager behind the service."""
        with self._lock:
            if self._manager is None:
                self._manager = MemoryManager(self.config.data_dir)
            return self._manager

    @property
    def data_dir(self) -> str:
        """The directory of the collections, absolute."""
        return self.manager.data_dir

    # -- collections -----------------------------------------------------------------------------

    def create_collection(
        self,
        name: str,
        backend_type: str = "VDB",
        description: str = "",
        embedding_model: Any = None,
        dim: int | None = None,
        **options: Any,
    ) -> Any:
        """Make a collection, or open it if it is there: a pipeline may be run again.

        Args:
            name: Its name.
            backend_type: ``VDB``, ``KV``, ``Graph`` or a plugin's name.
            description: Free text for listings.
            embedding_model: As for ``MemoryManager``; ``VDB`` collections made with neither model
                nor ``dim`` get the ``embedding_model`` of the service.
            dim: Elements of a vector, when vectors come ready.
            options: What the back end takes.

        Returns:
            The collection.

        Raises:
            CollectionExistsError: A collection of that name is there and is of another type.
            EmbeddingMismatchError: It was built with another embedding model than the one given.
            DimensionError: Its vectors have another dimension.
        """
        if str(backend_type).upper() == "VDB" and embedding_model is None and dim is None:
            chosen: Any = self.config.embedding_model
        else:
            chosen = embedding_model
        with self._lock:
            if not self.manager.has_collection(name):
                options.setdefault("durability", self.config.durability)
                try:
                    made = self.manager.create_collection(
                        name, backend_type, description, chosen, dim, **options
                    )
                except CollectionExistsError:  # another process was faster
                    if not self.manager.has_collection(name):
                        raise
                else:
                    self._handles[name] = made
                    return made
            return self._existing(name, backend_type, embedding_model, dim)

    def _existing(self, name: str, backend_type: str, model: Any, dim: int | None) -> Any:
        listed = next(c for c in self.manager.list_collections() if c["name"] == name)
        kinds = {str(listed["backend_type"]).lower(), str(listed["backend"]).lower()}
        if str(backend_type).lower() not in kinds:
            raise CollectionExistsError(
                f"there is a collection {name!r} already, and it is of type "
                f"{listed['backend_type']!r}, not {backend_type!r}; choose another name or delete "
                "it first",
                name=name,
            )
        if model is None:
            collection = self.collection(name)
        else:
            self.manager.connect_collection(name, embedding_model=model)
            collection = self._handles[name] = self.manager.connect_collection(name)
        found = getattr(collection, "dim", None)
        if dim is not None and found is not None and found != dim:
            from sage.middleware.services.memory.errors import DimensionError  # noqa: PLC0415

            raise DimensionError(
                f"there is a collection {name!r} with vectors of {found} elements, not {dim}",
                found=dim,
                expected=found,
            )
        return collection

    def collection(self, name: str) -> Any:
        """A collection by name, opened once.

        Raises:
            CollectionNotFoundError: There is none of that name.
        """
        found = self._handles.get(name)
        if found is None or getattr(found, "closed", False):
            with self._lock:
                found = self._handles[name] = self.manager.connect_collection(name)
        return found

    def connect_collection(self, name: str, embedding_model: Any = None, **options: Any) -> Any:
        """Open a collection; see ``MemoryManager.connect_collection``."""
        with self._lock:
            found = self.manager.connect_collection(name, embedding_model, **options)
            self._handles[name] = found
            return found

    def get_collection(self, name: str) -> Any:
        """A collection by name."""
        return self.collection(name)

    def has_collection(self, name: str) -> bool:
        """Whether there is a collection of that name."""
        return self.manager.has_collection(name)

    def list_collections(self) -> list[dict[str, Any]]:
        """Name, kind and description of every collection, by name."""
        return self.manager.list_collections()

    def info(self, collection: str) -> dict[str, Any]:
        """Facts about a collection."""
        facts: dict[str, Any] = self.collection(collection).info()
        return facts

    def delete_collection(self, name: str) -> None:
        """Delete a collection with everything it has on disk."""
        with self._lock:
            self._handles.pop(name, None)
            self._parts.clear()
            self.manager.delete_collection(name)

    def rename_collection(self, name: str, new_name: str) -> None:
        """Give a collection another name."""
        with self._lock:
            self._handles.pop(name, None)
            self._parts.clear()
            self.manager.rename_collection(name, new_name)

    def store_collection(self, name: str | None = None) -> None:
        """Write the caches of one collection, or of all that are open."""
        self.manager.store_collection(name)

    # -- rows ------------------------------------------------------------------------------------

    def insert(
        self,
        collection: str,
        text: str,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,  # noqa: A002 - the word of the collections
        *,
        vector: Any = None,
    ) -> str:
        """Add one row to a ``VDB`` collection; its id."""
        return self.insert_many(
            collection,
            [text],
            None if metadata is None else [metadata],
            None if id is None else [id],
            vectors=None if vector is None else [vector],
        )[0]

    def insert_many(
        self,
        collection: str,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        ids: Iterable[str] | None = None,
        *,
        vectors: Any = None,
    ) -> list[str]:
        """Add rows, all or none; their ids."""
        return journaled.insert_many(
            self.journal, self.collection(collection), texts, metadatas, ids, vectors=vectors
        )

    def upsert(self, collection: str, *args: Any, **options: Any) -> list[str]:
        """Add rows or replace those whose id is there; as ``upsert`` of the collection."""
        return journaled.upsert(self.journal, self.collection(collection), *args, **options)

    def update(self, collection: str, *args: Any, **options: Any) -> Any:
        """Change one row; as ``update`` of the collection."""
        return journaled.update(self.journal, self.collection(collection), *args, **options)

    def delete(self, collection: str, *args: Any, **options: Any) -> Any:
        """Delete rows, keys or nodes; as ``delete`` of the collection."""
        return journaled.delete(self.journal, self.collection(collection), *args, **options)

    def get(self, collection: str, *args: Any, **options: Any) -> Any:
        """Rows by id, or a value by key; as ``get`` of the collection."""
        return self.collection(collection).get(*args, **options)

    def put(self, collection: str, key: str, value: Any, ttl: float | None = None) -> None:
        """Set a key of a ``KV`` collection; ``ttl`` in seconds."""
        journaled.put(self.journal, self.collection(collection), key, value, ttl)

    def count(self, collection: str, *args: Any, **options: Any) -> int:
        """How many rows match, or how many keys begin so; as ``count`` of the collection."""
        chosen = self.collection(collection)
        counted: int = chosen.count(*args, **options) if args or options else len(chosen)
        return counted

    def scan(self, collection: str, *args: Any, **options: Any) -> list[Any]:
        """Rows or pairs one after the other, as a list; as ``scan`` of the collection."""
        return list(self.collection(collection).scan(*args, **options))

    def retrieve(
        self, collection: str, query: str | None = None, topk: int = 10, **options: Any
    ) -> list[Hit]:
        """The best rows for a query; as ``retrieve`` of the collection."""
        hits: list[Hit] = self.collection(collection).retrieve(query, topk=topk, **options)
        return hits

    def retrieve_many(
        self, collection: str, queries: Sequence[str], topk: int = 10, **options: Any
    ) -> list[list[Hit]]:
        """``retrieve`` for several queries, all answered from one state."""
        hits: list[list[Hit]] = self.collection(collection).retrieve_many(
            queries, topk=topk, **options
        )
        return hits

    def search(
        self,
        query: str,
        collections: str | Sequence[str] | None = None,
        topk: int = 10,
        **options: Any,
    ) -> list[Hit]:
        """Search several collections at once; hits say their ``collection``.

        ``None`` searches every ``VDB`` collection but long-term memory.
        """
        if collections is None:
            collections = [
                c["name"]
                for c in self.list_collections()
                if c["backend_type"] == "VDB" and c["name"] != self.config.long_term.collection
            ]
        return self.manager.search(collections, query, topk, **options)

    def create_index(self, collection: str, name: str, *args: Any, **options: Any) -> None:
        """Make an index; as ``create_index`` of the collection."""
        self.collection(collection).create_index(name, *args, **options)

    def forget(self, collection: str, *args: Any, **options: Any) -> int:
        """Delete so that nothing is left on disk; as ``forget`` of the collection."""
        if collection == self.config.long_term.collection:
            return self.long_term.forget(*args, **options)
        return journaled.forget(self.journal, self.collection(collection), *args, **options)

    def process(self, query: str, collection: str | None = None, **options: Any) -> list[Hit]:
        """What ``call_service("memory_service", query)`` does: ``retrieve``, or ``recall``."""
        if collection is None:
            return self.recall(query, **options)
        return self.retrieve(collection, query, **options)

    # -- tiers -----------------------------------------------------------------------------------

    @property
    def sessions(self) -> SessionMemory:
        """The short-term tier."""
        return self._part("sessions", self._make_sessions)  # type: ignore[no-any-return]

    @property
    def tasks(self) -> TaskMemory:
        """The task tier."""
        return self._part("tasks", lambda: TaskMemory(self._tiers(), self.journal))  # type: ignore[no-any-return]

    @property
    def long_term(self) -> LongTermMemory:
        """The long-term tier."""
        return self._part("long_term", self._make_long_term)  # type: ignore[no-any-return]

    def add_turn(
        self,
        session: str,
        role: str,
        text: str,
        *,
        turn_id: str | None = None,
        provenance: Provenance | Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Add a turn to a session; the turn as plain values."""
        turn = self.sessions.add(session, role, text, turn_id=turn_id, provenance=provenance)
        return attrs.asdict(turn)

    def history(self, session: str, max_tokens: int | None = None) -> dict[str, Any]:
        """The window of a session: ``turns, summary, tokens, dropped, messages``."""
        window = self.sessions.window(session, max_tokens)
        return {**attrs.asdict(window), "messages": window.messages()}

    def list_sessions(self) -> list[str]:
        """Names of all sessions."""
        return self.sessions.sessions()

    def clear_session(self, session: str) -> bool:
        """Forget a session and what it has recalled; whether it was there."""
        self._recall_log().clear(session)
        return self.sessions.clear(session)

    def remember(
        self,
        text: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        scope: str | None = None,
        provenance: Provenance | Mapping[str, Any] | None = None,
        valid_from: float | None = None,
        valid_to: float | None = None,
    ) -> dict[str, Any]:
        """Write to long-term memory through its gate: ``status, id, reason, score``."""
        return self.long_term.write(
            text,
            metadata,
            scope=scope,
            provenance=provenance,
            valid_from=valid_from,
            valid_to=valid_to,
        ).to_dict()

    def recall(self, query: str, topk: int = 5, **options: Any) -> list[Hit]:
        """The facts of long-term memory that answer a query; see ``LongTermMemory.recall``."""
        return self.long_term.recall(query, topk, **options)

    def supersede(self, old: str, text: str, *args: Any, **options: Any) -> dict[str, Any]:
        """Replace a fact by a newer one; see ``LongTermMemory.supersede``."""
        return self.long_term.supersede(old, text, *args, **options).to_dict()

    def promote(self, session: str, turn: int | str, **options: Any) -> dict[str, Any]:
        """Write a turn of a session's window to long-term memory; as ``remember``.

        Args:
            session: The conversation.
            turn: Number or id of the turn.
            options: ``metadata``, ``scope``, ``valid_from``, ``valid_to``.

        Raises:
            InvalidInputError: The window has no such turn.
        """
        turns = self.sessions.window(session).turns
        found = next((t for t in turns if turn in (t.number, t.id)), None)
        if found is None:
            raise InvalidInputError(
                f"the window of session {session!r} has no turn {turn!r}; it has "
                f"{', '.join(str(t.number) for t in turns) or 'none'}"
            )
        origin = {"source": found.role, **found.provenance, "session": session, "turn": found.id}
        return self.remember(found.text, provenance=origin, **options)

    def task_set(self, task: str, key: str, value: Any) -> None:
        """Keep a value for a task."""
        self.tasks.set(task, key, value)

    def task_get(self, task: str, key: str, default: Any = None) -> Any:
        """A value of a task."""
        return self.tasks.get(task, key, default)

    def task_note(self, task: str, text: str, **options: Any) -> int:
        """Add a note to a task; its number."""
        return self.tasks.note(task, text, **options)

    def task_state(self, task: str) -> dict[str, Any]:
        """``values`` and ``notes`` of a task."""
        return {"values": self.tasks.values(task), "notes": self.tasks.notes(task)}

    def end_task(
        self, task: str, promote: bool = False, scope: str | None = None
    ) -> dict[str, Any]:
        """Forget a task; with ``promote`` its notes pass the gate to long-term memory first.

        Returns:
            ``promoted``: what became of each note; ``cleared``: how many entries were forgotten.
        """

        def keep(note: dict[str, Any]) -> dict[str, Any]:
            origin = {k.removeprefix("_"): v for k, v in note["provenance"].items()}
            return self.remember(
                note["text"],
                note["metadata"],
                scope=scope,
                provenance={"source": "task", **origin, "task": task},
            )

        promoted, cleared = self.tasks.end(task, keep if promote else None)
        return {"promoted": promoted, "cleared": cleared}

    # -- checkpoints -----------------------------------------------------------------------------

    @property
    def journal(self) -> Journal:
        """What steps of jobs with checkpoints replaced."""
        made: Journal = self._part(
            "journal",
            lambda: Journal(
                self.manager, durability=self.config.durability, keep=self.config.keep_undo
            ),
        )
        return made

    def roll_back(self, run: str, checkpoint: int) -> int:
        """Undo what a run has written since a checkpoint; 0: all of it. The engine calls this.

        Returns:
            How many changes there were.
        """
        from sage.middleware.services.memory.rollback import roll_back  # noqa: PLC0415 - NumPy

        count = roll_back(self.manager, self.journal, run, checkpoint)
        with self._lock:
            self._parts.clear()  # they know what was recalled
        return count

    # -- inside ----------------------------------------------------------------------------------

    def _part(self, name: str, make: Callable[[], Any]) -> Any:
        part = self._parts.get(name)
        if part is None:
            with self._lock:
                part = self._parts.get(name)
                if part is None:
                    part = self._parts[name] = make()
        return part

    def _tiers(self) -> Any:
        return self.create_collection(self.config.tiers, "KV", "Sessions, tasks, use of memories")

    def _make_sessions(self) -> SessionMemory:
        settings = self.config.session
        tokenizer = get_tokenizer(settings.tokenizer)
        return SessionMemory(
            self._tiers(),
            tokenizer,
            max_tokens=settings.max_tokens,
            summariser=(
                make_summariser(settings.summariser, tokenizer)
                if settings.policy == "summarise"
                else None
            ),
            summary_tokens=settings.summary_tokens,
            ttl=settings.ttl,
            journal=self.journal,
        )

    def _recall_log(self) -> RecallLog:
        settings = self.config.session
        made: RecallLog = self._part(
            "log", lambda: RecallLog(self._tiers(), settings.recall_log, settings.ttl, self.journal)
        )
        return made

    def _make_long_term(self) -> LongTermMemory:
        settings = self.config.long_term
        return LongTermMemory(
            self.create_collection(settings.collection, "VDB", "Long-term memory"),
            self._tiers(),
            self._recall_log(),
            duplicate_threshold=settings.duplicate_threshold,
            echo_threshold=settings.echo_threshold,
            refuse_secrets=settings.refuse_secrets,
            mode=settings.mode,
            journal=self.journal,
        )

    def __repr__(self) -> str:
        return f"MemoryService({self.config.data_dir!r})"
