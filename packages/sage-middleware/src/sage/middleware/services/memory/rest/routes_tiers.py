"""Routes of sessions and of long-term memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sage.common.serving.routing import Router
from sage.middleware.services.memory.rest.bodies import MemoryBody, RecallBody, TurnBody
from sage.middleware.services.memory.rest.limits import Limits
from sage.middleware.services.memory.rest.replies import reply

if TYPE_CHECKING:
    from sage.middleware.services.memory.service import MemoryService


def add_tier_routes(router: Router, service: MemoryService, limits: Limits) -> None:
    """Add them to a FastAPI router."""

    @router.get("/sessions")
    def list_sessions() -> Any:
        """Names of all sessions."""
        return reply({"sessions": service.list_sessions()})

    @router.post("/sessions/turns", status_code=201)
    def add_turn(body: TurnBody) -> Any:
        """Add a turn to a session."""
        turn = service.add_turn(
            body.session,
            body.role,
            body.text,
            turn_id=body.turn_id,
            provenance=body.provenance,
        )
        return reply(turn, 201)

    @router.get("/sessions/history")
    def history(session: str, max_tokens: int | None = None) -> Any:
        """The window of a session."""
        return reply(service.history(session, max_tokens))

    @router.delete("/sessions")
    def clear_session(session: str) -> Any:
        """Forget a session."""
        return reply({"deleted": service.clear_session(session)})

    @router.post("/memories")
    def remember(body: MemoryBody) -> Any:
        """Write to long-term memory through its gate."""
        if body.supersedes is not None:
            written = service.supersede(
                body.supersedes,
                body.text,
                body.metadata,
                provenance=body.provenance,
                at=body.valid_from,
            )
        else:
            written = service.remember(
                body.text,
                body.metadata,
                scope=body.scope,
                provenance=body.provenance,
                valid_from=body.valid_from,
                valid_to=body.valid_to,
            )
        return reply(written)

    @router.post("/memories/recall")
    def recall(body: RecallBody) -> Any:
        """The facts that answer a question."""
        limits.check_query(body.topk, 1)
        hits = service.recall(
            body.query,
            body.topk,
            session=body.session,
            scope=body.scope,
            where=body.where,
            as_of=body.as_of,
            superseded=body.superseded,
            threshold=body.threshold,
            mode=body.mode,
        )
        return reply({"hits": hits})

    @router.get("/memories/history")
    def memory_history(id: str) -> Any:  # noqa: A002 - the word of the API
        """A fact with all it superseded and all that superseded it."""
        return reply({"entries": service.long_term.history(id)})
