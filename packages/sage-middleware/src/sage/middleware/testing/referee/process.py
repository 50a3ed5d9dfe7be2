"""A referee in a process of its own, for the time of a ``with`` block."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from types import TracebackType
from typing import Any, Self

from sage.middleware.testing.referee.settings import PRICES, RefereeSettings


class Referee:
    """Starts the server, asks it, and ends it; it ends with this process in any case.

    Args:
        port: Where it listens; 0: any free port.
        rules: Fields of ``RefereeSettings``.

    Attributes:
        url: Base URL, ends in ``/v1``.
        pid: Its process id.
    """

    def __init__(self, *, port: int = 0, **rules: Any) -> None:
        self.settings = RefereeSettings(**rules)
        self._port = port
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        self.pid = 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "sage.middleware.testing.referee", "--with-parent"]
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter
            [*command, "--port", str(self._port), *self._options()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        self.pid = self._process.pid
        if not self.url:
            raise RuntimeError(f"the referee did not start: status {self._process.wait()}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate()
            self._process = None

    def summary(self) -> dict[str, Any]:
        """What all calls so far add up to; money as text."""
        return self._ask("GET", "summary")  # type: ignore[no-any-return]

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """The calls from number ``since`` on."""
        return self._ask("GET", f"calls?since={since}")  # type: ignore[no-any-return]

    def wait(
        self, *, calls: int = 0, answered: int = 0, distinct: int = 0, timeout: float = 60.0
    ) -> dict[str, Any]:
        """Wait until so much has happened.

        Args:
            calls: Calls that came.
            answered: Calls that were worked on.
            distinct: Different ones among these.
            timeout: Seconds.

        Raises:
            TimeoutError: They did not come in time.
        """
        path = f"wait?calls={calls}&answered={answered}&distinct={distinct}"
        return self._ask("GET", path, timeout)  # type: ignore[no-any-return]

    def reset(self) -> dict[str, Any]:
        """Begin anew; returns the sums until now."""
        return self._ask("POST", "reset")  # type: ignore[no-any-return]

    def _ask(self, method: str, path: str, timeout: float = 30.0) -> Any:
        address = f"{self.url.removesuffix('/v1')}/control/{path}"
        request = urllib.request.Request(address, method=method)  # noqa: S310 - our own server
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=timeout) as reply:
            return json.load(reply)

    def _options(self) -> list[str]:
        rules = self.settings
        options = {
            "rpm": rules.rpm,
            "tpm": rules.tpm,
            "window": rules.window,
            "latency": rules.latency,
            "token-latency": rules.token_latency,
            "seed": rules.seed,
            "most-attempts": rules.most_attempts,
            "retry-after": rules.retry_after,
            "api-key": rules.api_key,
        }
        words = [f"--{name}={value}" for name, value in options.items() if value is not None]
        words += [f"--fault={kind}={share}" for kind, share in rules.faults.items()]
        if rules.prices is not PRICES:
            words += [f"--price={name}={a}/{b}" for name, (a, b) in rules.prices.items()]
        return words
