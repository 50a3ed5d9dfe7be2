"""``CallbackSink``: hands every item to a function of yours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import to_dict
from sage.lib.contracts import SinkFunction
from sage.lib.streaming import listen
from sage.lib.types import Query

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


class CallbackSink(SinkFunction[Any]):
    """Calls ``callback(item)`` for every item; what it raises follows the step's ``on_error``.

    Example:
        >>> stream.sink(CallbackSink, {"callback": print})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            callback: Any callable of one argument.
            plain: Give it plain data (``to_dict``) instead of the typed item.
            on_token: Any callable of a ``Query`` and a text: called with each piece of an answer
                while a generator with ``stream`` receives it, on that generator's thread; it must
                be quick and may not raise. The whole answer still goes to ``callback``.
        """

        callback: Any
        plain: bool = False
        on_token: Any = None

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        if not callable(self.config.callback):
            raise ConfigError(
                f"CallbackSink: callback must be callable, got {self.config.callback!r}"
            )
        on_token = self.config.on_token
        if on_token is not None and not callable(on_token):
            raise ConfigError(f"CallbackSink: on_token must be callable, got {on_token!r}")
        self._stop: Callable[[], None] | None = None

    def open(self, ctx: RuntimeContext) -> None:
        """Listen to the pieces of answers, if they are wanted."""
        on_token = self.config.on_token
        if on_token is not None:

            def piece(query: Query, text: str | None) -> None:
                if text is not None:
                    on_token(query, text)

            self._stop = listen(ctx.job_id, piece)

    def execute(self, item: Any) -> None:
        """Call the callback."""
        self.config.callback(to_dict(item) if self.config.plain else item)

    def close(self) -> None:
        """Listen no longer."""
        if self._stop is not None:
            self._stop()
            self._stop = None
