"""Operators inside of an operator: made from a configuration, opened, called in any colour."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sage.api.functions import BaseFunction
from sage.common.errors import ConfigError
from sage.common.plugins import find_operator

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


class InnerStep:
    """One operator.

    Args:
        given: A registered name, a class, an instance or a function; or a mapping with
            ``operator`` (one of these), ``config`` and ``name``.
        where: What errors call it.

    Raises:
        ConfigError: It is something else, or its configuration is wrong.
        UnknownNameError: No operator has that name.
    """

    def __init__(self, given: Any, where: str) -> None:
        config: Any = None
        name: Any = None
        if isinstance(given, Mapping):
            unknown = set(given) - {"operator", "config", "name"}
            if unknown or "operator" not in given:
                raise ConfigError(
                    f"{where} must be a mapping with 'operator' and optionally 'config' and "
                    f"'name', got the keys {sorted(given)}"
                )
            config, name = given.get("config"), given.get("name")
            given = given["operator"]
        found = find_operator(given) if isinstance(given, str) else given
        if isinstance(found, type):
            found = found(config) if config is not None else found()
        elif config is not None:
            raise ConfigError(f"{where}: only a name or a class takes a config, got {found!r:.80}")
        self._target = found
        call: Any = getattr(found, "execute", found)
        if not callable(call):
            raise ConfigError(f"{where} must be an operator or a function, got {found!r:.80}")
        self._call = call
        self._async = inspect.iscoroutinefunction(call)
        self._alone = asyncio.Lock()
        self._is_open = False
        self.name = str(name or getattr(given, "__name__", None) or given)

    def open(self, ctx: RuntimeContext) -> None:
        """Open the operator."""
        if isinstance(self._target, BaseFunction):
            self._target.ctx = ctx
            self._target.open(ctx)
        self._is_open = True

    def close(self) -> None:
        """Close the operator, if it was opened."""
        if self._is_open and isinstance(self._target, BaseFunction):
            self._target.close()
        self._is_open = False

    async def run(self, item: Any, within: float | None = None) -> Any:
        """Its result for one item.

        A synchronous operator runs in a thread, one item at a time. After a timeout its thread
        goes on to its own end, and what it says is not heard.

        Args:
            item: What it is given.
            within: Seconds; ``None``: no limit.

        Raises:
            TimeoutError: It took longer.
        """
        if self._async:
            return await asyncio.wait_for(self._call(item), within)
        async with self._alone:
            if within is None:
                return await asyncio.to_thread(self._call, item)
            return await asyncio.wait_for(self._in_thread(item), within)

    def _in_thread(self, item: Any) -> asyncio.Future[Any]:
        # Not the loop's executor: a job could not end before a call that nobody waits for.
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def tell(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def work() -> None:
            result, failure = None, None
            try:
                result = self._call(item)
            except Exception as error:  # noqa: BLE001 - handed to who waits
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(tell, result, failure)

        threading.Thread(target=work, name=f"step-{self.name}", daemon=True).start()
        return future
