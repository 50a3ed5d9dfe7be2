"""Sinks: where the items of a pipeline go."""

from sage.lib.io.sink.api import APISink
from sage.lib.io.sink.callback import CallbackSink
from sage.lib.io.sink.collection import CollectionSink
from sage.lib.io.sink.database import DatabaseSink
from sage.lib.io.sink.file import FileSink
from sage.lib.io.sink.memory import MemorySink
from sage.lib.io.sink.terminal import TerminalSink

__all__ = [
    "APISink",
    "CallbackSink",
    "CollectionSink",
    "DatabaseSink",
    "FileSink",
    "MemorySink",
    "TerminalSink",
]
