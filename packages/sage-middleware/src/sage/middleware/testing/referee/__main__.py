"""``python -m sage.middleware.testing.referee``: a referee in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from decimal import Decimal

from sage.middleware.testing.referee.server import RefereeServer
from sage.middleware.testing.referee.settings import PRICES, RefereeSettings


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(
        prog="referee", description="An OpenAI-compatible test server that counts and enforces."
    )
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--rpm", type=float, help="requests per minute")
    parser.add_argument("--tpm", type=float, help="tokens per minute")
    parser.add_argument("--window", type=float, default=60.0, help="seconds a limit may save up")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before an answer")
    parser.add_argument("--token-latency", type=float, default=0.0, help="seconds per token")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND=SHARE", help="for example 500=0.05"
    )
    parser.add_argument(
        "--price",
        action="append",
        default=[],
        metavar="MODEL=INPUT/OUTPUT",
        help="per million tokens; '*' is any model",
    )
    parser.add_argument("--most-attempts", type=int, default=3, help="that faults may meet")
    parser.add_argument("--retry-after", type=float, default=0.1, help="of injected refusals")
    parser.add_argument("--api-key", help="refuse requests without it")
    parser.add_argument(
        "--with-parent", action="store_true", help="end when the standard input is closed"
    )
    given = parser.parse_args()
    try:
        settings = RefereeSettings(
            rpm=given.rpm,
            tpm=given.tpm,
            window=given.window,
            latency=given.latency,
            token_latency=given.token_latency,
            seed=given.seed,
            faults={kind: float(share) for kind, share in map(_pair, given.fault)},
            most_attempts=given.most_attempts,
            retry_after=given.retry_after,
            prices={**PRICES, **dict(map(_price, given.price))},
            api_key=given.api_key,
        )
    except (ValueError, ArithmeticError) as error:
        parser.error(str(error))
    try:
        asyncio.run(_serve(settings, given.port, with_parent=given.with_parent))
    except KeyboardInterrupt:
        return


async def _serve(settings: RefereeSettings, port: int, *, with_parent: bool) -> None:
    stop = asyncio.Event()
    if with_parent:
        loop = asyncio.get_running_loop()

        def wait_for_parent() -> None:
            sys.stdin.buffer.read()  # ends when the last holder of the other end has died
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=wait_for_parent, daemon=True).start()
    server = RefereeServer(settings, port)
    await server.serve(lambda: print(server.url, flush=True), stop)  # noqa: T201


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark:
        raise ValueError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def _price(text: str) -> tuple[str, tuple[Decimal, Decimal]]:
    model, value = _pair(text)
    into, _, out = value.partition("/")
    return model, (Decimal(into), Decimal(out or into))


if __name__ == "__main__":
    main()
