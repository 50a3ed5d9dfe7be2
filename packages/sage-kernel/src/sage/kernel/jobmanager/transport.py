"""HTTP to a JobManager: its address, its token, its errors.

Predecessor: ``sage.kernel.jobmanager.client``; successor: ``sage.common.serving.transport``.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from sage.common.errors import AuthError, ConfigError, ServiceError, UnreachableError
from sage.common.secrets import Secret
from sage.common.serving import transport
from sage.kernel.jobmanager.failures import from_wire
from sage.kernel.jobmanager.layout import token_path

TOKEN_VARIABLE = "SAGE_JOBMANAGER_TOKEN"  # noqa: S105 - the name of a variable
DEFAULT_PORT = 19001


class Transport(transport.Transport):
    """Connections to one JobManager."""

    what = "the JobManager"
    prefix = "/"
    quiet = 30.0  # a daemon that lives says so every ten seconds

    def _headers(self) -> dict[str, str]:
        token = self._token.reveal()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _unreachable(self, cause: Exception) -> ServiceError:
        address = self.base_url.partition("://")[2]
        if isinstance(cause, TimeoutError):
            return UnreachableError(
                f"the JobManager at {address} has not answered within {self._timeout:g} s; what "
                "was asked of it may still be done; see: sage jobmanager status",
                url=self.base_url,
            )
        reason = str(cause) or type(cause).__name__
        hint = "start it with: sage jobmanager start"
        if isinstance(cause, ssl.SSLCertVerificationError):
            hint = (
                "give the ca.pem of `sage ssl-cert generate` as cafile=..., or as the setting "
                "remote.cafile"
            )
        return UnreachableError(
            f"Failed to connect to JobManager at {address}: {reason}; {hint}",
            url=self.base_url,
        )

    def _failure(self, status: int, body: bytes) -> Exception:
        if status == 401:
            return AuthError(
                f"the JobManager at {self.base_url} refused the token; give the one it made at its "
                f"first start ({token_path()} on its machine) as token=..., {TOKEN_VARIABLE}, as "
                "remote.token of the settings or in that file here",
                url=self.base_url,
            )
        try:
            sent = json.loads(body).get("error")
        except (ValueError, AttributeError):
            return ServiceError(
                f"what listens at {self.base_url} answered with status {status} and is no "
                "JobManager",
                status=status,
            )
        return from_wire(sent)

    def events(
        self,
        path: tuple[str, ...],
        query: Mapping[str, Any] | None = None,
        end: float | None = None,
    ) -> Iterator[tuple[int | None, Any]]:
        """Server-sent events with their ids, until the server ends the stream.

        Args:
            path, query: The stream.
            end: Time (``time.monotonic``) at which to stop.

        Raises:
            UnreachableError: The stream broke off.
        """
        number: int | None = None
        for line in self.stream("GET", path, query=query, end=end):
            if line.startswith(b"id: "):
                number = int(line[4:])
            elif line.startswith(b"data: "):
                yield number, json.loads(line[6:])


def base_url(address: str) -> str:
    """``localhost:19001`` as a URL.

    Raises:
        ConfigError: It is no address.
    """
    if "://" in address:
        return address
    host, _, port = address.rpartition(":")
    if not host:
        host, port = address, str(DEFAULT_PORT)
    if not port.isdigit() or not host or any(c in host for c in "/ @?#"):
        raise ConfigError(
            f"the address of a JobManager is {address!r}; expected host:port such as "
            "localhost:19001, or https://host:port"
        )
    return f"http://{host}:{port}"


def default_token() -> Secret:
    """The token of the environment, else of the file of this user; empty without one."""
    given = os.environ.get(TOKEN_VARIABLE, "").strip()
    if given:
        return Secret(given)
    path = token_path()
    try:
        return Secret(path.read_text("utf-8").strip())
    except FileNotFoundError:
        return Secret("")
    except OSError as exc:
        raise ConfigError(
            f"the token of the JobManager cannot be read from {str(path)!r}: {exc.strerror}"
        ) from exc
