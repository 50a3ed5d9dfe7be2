"""``CallbackSink``: hands every item to a function of yours."""

from __future__ import annotations

from typing import Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import to_dict
from sage.lib.contracts import SinkFunction


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
        """

        callback: Any
        plain: bool = False

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        if not callable(self.config.callback):
            raise ConfigError(
                f"CallbackSink: callback must be callable, got {self.config.callback!r}"
            )

    def execute(self, item: Any) -> None:
        """Call the callback."""
        self.config.callback(to_dict(item) if self.config.plain else item)
