"""The items of a source step, whatever it was declared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sage.api.functions import StopSignal
from sage.kernel.runtime.chunks import RangeItems


def iterate(source: Any, job: Any) -> Iterator[Any]:
    """An iterator over whatever a source step is: function object, callable or iterable.

    Asynchronous ones are pulled through the job's event loop.
    """
    if hasattr(source, "run") and hasattr(source, "open"):
        source = source.run()
    elif hasattr(source, "execute") and not hasattr(source, "__iter__"):
        return _until_stop(source.execute)
    elif callable(source) and not hasattr(source, "__iter__"):
        made = source()
        if not (hasattr(made, "__iter__") or hasattr(made, "__aiter__")) or isinstance(
            made, (str, bytes, dict)
        ):
            return _first_then(made, source)
        source = made
    if hasattr(source, "__aiter__"):
        return _pull_async(source, job)
    return RangeItems(source) if type(source) is range else iter(source)


def _pull_async(source: Any, job: Any) -> Iterator[Any]:
    iterator = source.__aiter__()
    try:
        while True:
            try:
                item = job.pull(_next_of(iterator))
            except StopAsyncIteration:
                return
            yield item
    finally:
        if hasattr(iterator, "aclose"):
            job.loop().run(iterator.aclose())


async def _next_of(iterator: Any) -> Any:
    return await iterator.__anext__()


def _first_then(first: Any, call: Any) -> Iterator[Any]:
    item = first
    while not (isinstance(item, StopSignal) or item is StopSignal):
        if item is not None:
            yield item
        item = call()


def _until_stop(call: Any) -> Iterator[Any]:
    return _first_then(call(), call)
