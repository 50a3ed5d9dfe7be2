"""Runs a server: binds, refuses what is unsafe, ends cleanly.

uvicorn (extra ``server``) is imported when a server is made.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from sage.common.errors import ConfigError, MissingExtraError, ServiceError

_STOP_SECONDS = 5


@attrs.frozen(kw_only=True)
class Address:
    """Where to listen.

    Attributes:
        host: Name or address to bind.
        port: Port; 0 for any.
        what: What listens there, for messages.
        certfile, keyfile: PEM files for TLS.
        plaintext: Whether another than a loopback address may be bound without TLS.
    """

    host: str = "127.0.0.1"
    port: int = 0
    what: str = "the server"
    certfile: Path | None = None
    keyfile: Path | None = None
    plaintext: bool = False

    def check(self) -> None:
        """Refuse an address that would send tokens in clear over a network.

        Raises:
            ConfigError: It is no loopback address, there is no TLS, and nobody asked for that.
        """
        if (self.certfile is None) != (self.keyfile is None):
            raise ConfigError("TLS needs a certificate and its key: give both")
        if self.certfile is None and not self.plaintext and not is_loopback(self.host):
            raise ConfigError(
                f"{self.host!r} is reachable from other machines, and without TLS everyone between "
                "could read the token: give --ssl-certfile and --ssl-keyfile, listen on 127.0.0.1, "
                "or say --allow-plaintext where a proxy in front does TLS"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def serve(app: Any, address: Address, ready: Callable[[str], object]) -> None:
    """Serve until SIGINT (raises ``KeyboardInterrupt``) or SIGTERM (exits with 143).

    Args:
        app: The application.
        address: Where to listen.
        ready: Called with the URL once connections are accepted.

    Raises:
        ConfigError: The address is refused.
        ServiceError: It cannot be bound.
    """
    server, listener, url = prepare(app, address)
    came: list[int] = []

    def stop(number: int, frame: object) -> None:
        # Raising here could happen inside of a finalizer or an import, where exceptions are
        # swallowed: the signal would be lost, and the server would go on.
        came.append(number)
        server.should_exit = True

    # uvicorn has handlers of its own while it serves, and raises the signal again when it has
    # ended; these are for the time before, from the moment that others are told of the server.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ready(url)  # the socket listens already: connections wait until they are accepted
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        listener.close()
    if signal.SIGTERM in came:
        raise SystemExit(128 + signal.SIGTERM)
    if came:
        raise KeyboardInterrupt


@contextlib.contextmanager
def running(app: Any, address: Address | None = None) -> Iterator[str]:
    """Serve in a thread as long as the block runs; gives the URL. For tests and notebooks."""
    server, listener, url = prepare(app, address or Address())
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="sage-server", daemon=True
    )
    thread.start()
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def prepare(
    app: Any, address: Address, *, lifespan: bool = False
) -> tuple[Any, socket.socket, str]:
    """A uvicorn server, the listening socket for it, and the URL it will have.

    Args:
        app: The application.
        address: Where to listen.
        lifespan: Whether the application wants to be told of start and end.

    Raises:
        ConfigError: The address is refused.
        ServiceError: It cannot be bound.
        MissingExtraError: uvicorn is not installed.
    """
    address.check()
    try:
        import uvicorn
    except ImportError as exc:
        raise MissingExtraError("uvicorn", "server", address.what) from exc
    config = uvicorn.Config(
        app,
        loop="asyncio",  # the work is done in threads
        log_config=None,  # its own would close the handlers of the program around it
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on" if lifespan else "off",
        ws="none",
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        ssl_certfile=None if address.certfile is None else str(address.certfile),
        ssl_keyfile=None if address.keyfile is None else str(address.keyfile),
    )
    listener, url = listen(address)
    return uvicorn.Server(config), listener, url


def listen(address: Address) -> tuple[socket.socket, str]:
    """A listening socket and the URL of it.

    Raises:
        ServiceError: It cannot be bound; says what to try.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host.strip("[]"), address.port))
        listener.listen(128)
    except OSError as exc:
        listener.close()
        hint = "choose another --port, or stop what listens there"
        if isinstance(exc, PermissionError):
            hint = "ports below 1024 belong to the system administrator: choose a --port above"
        elif isinstance(exc, socket.gaierror) or exc.errno == errno.EADDRNOTAVAIL:
            hint = "this machine has no such address"
        place = f"{address.host}:{address.port}"
        raise ServiceError(
            f"{address.what} cannot listen on {place}: {exc.strerror}; {hint}",
            errno=exc.errno,
        ) from exc
    scheme = "http" if address.certfile is None else "https"
    host = f"[{address.host.strip('[]')}]" if family == socket.AF_INET6 else address.host
    return listener, f"{scheme}://{host}:{listener.getsockname()[1]}"
