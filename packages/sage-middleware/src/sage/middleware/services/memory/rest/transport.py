"""HTTP to the memory server: errors come back as the classes they were."""

from __future__ import annotations

from typing import Any

import orjson

from sage.common.errors import AuthError, ServiceError, UnreachableError
from sage.common.serving import transport
from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.rest.failures import from_wire


class Transport(transport.Transport):
    """Connections to one memory server."""

    what = "the memory server"
    example = "http://127.0.0.1:19002"
    raw_type = "application/x-ndjson"

    def _encode(self, body: Any) -> bytes:
        try:
            return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as exc:
            raise InvalidInputError(f"what was given cannot be sent as JSON: {exc}") from exc

    def _unreachable(self, cause: Exception) -> ServiceError:
        reason = str(cause) or type(cause).__name__
        return UnreachableError(
            f"no answer from the memory server at {self.base_url}: {reason}; is it running "
            "(sage memory serve)? What was asked may have been done or not",
            url=self.base_url,
        )

    def _failure(self, status: int, body: bytes) -> Exception:
        if status == 401:
            return AuthError(
                f"the memory server at {self.base_url} refused the token; set SAGE_MEMORY_TOKEN to "
                "one it knows (sage memory token new)",
                url=self.base_url,
            )
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError:
            data = None
        return from_wire(status, data)
