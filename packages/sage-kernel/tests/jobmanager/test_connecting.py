"""Which JobManager is spoken to: arguments, variables, settings, the one of this machine."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.api import RemoteEnvironment
from sage.common.config.editing import set_value
from sage.common.errors import AuthError, ConfigError
from sage.common.paths import config_dir
from sage.kernel.jobmanager.client import DEFAULT_ADDRESS
from sage.kernel.jobmanager.connecting import connect
from sage.kernel.jobmanager.transport import Transport


class Listener(http.server.BaseHTTPRequestHandler):
    """Refuses everybody, and keeps what it was told."""

    told: list[str | None]

    def do_GET(self) -> None:
        self.told.append(self.headers["Authorization"])
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def listener() -> Iterator[Any]:
    handler = type("Handler", (Listener,), {"told": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", handler.told
        server.shutdown()
        thread.join()


def remote(**settings: str) -> None:
    for key, value in settings.items():
        set_value(config_dir() / "config.yaml", f"remote.{key}", value)


def heard(listener: Any, address: str | None = None, token: str | None = None) -> str | None:
    with pytest.raises(AuthError):
        RemoteEnvironment("e", jobmanager_address=address, token=token).client.jobs()
    found: str | None = listener[1].pop()
    return found


def test_an_environment_reads_the_settings(
    listener: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("token-of-the-settings\n")
    remote(address=listener[0], token=f"file:{tmp_path / 'token'}")
    assert RemoteEnvironment("e").jobmanager_address == listener[0]
    assert heard(listener) == "Bearer token-of-the-settings"
    assert heard(listener, listener[0]) == "Bearer token-of-the-settings"
    monkeypatch.setenv("SAGE_JOBMANAGER_TOKEN", "token-of-a-variable")
    assert heard(listener) == "Bearer token-of-a-variable"
    assert heard(listener, token="token-given") == "Bearer token-given"
    monkeypatch.setenv("SAGE_JOBMANAGER_ADDRESS", "localhost:1")
    assert connect().address == "localhost:1"
    assert connect(listener[0]).address == listener[0]


def test_a_token_of_the_settings_is_told_to_nobody_else(listener: Any) -> None:
    remote(address="example.org:19001", token="token-of-the-settings")
    assert heard(listener, listener[0]) is None


def test_a_stream_may_be_quiet_for_longer_than_an_answer_takes() -> None:
    class Slow(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b'd\r\ndata: "one"\n\n\r\n')
            threading.Event().wait(1.0)  # longer than the client's timeout
            self.wfile.write(b'd\r\ndata: "two"\n\n\r\n0\r\n\r\n')

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        transport = Transport(f"http://127.0.0.1:{server.server_port}", "token", timeout=0.2)
        assert [line for _, line in transport.events(("v1",))] == ["one", "two"]
        server.shutdown()
        thread.join()


def test_without_settings_it_is_the_one_here(daemon: Any) -> None:
    assert connect().address == DEFAULT_ADDRESS
    daemon.start()
    assert connect().status().url == RemoteEnvironment("e").jobmanager_address == daemon.url


def test_settings_that_are_none_are_refused() -> None:
    remote(adress="localhost:1")
    with pytest.raises(ConfigError, match=r"adress.*did you mean 'address'"):
        connect()
