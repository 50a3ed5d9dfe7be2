"""What runs in the reading process: bytes of one file in, text and facts out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage.api.functions import MapFunction
from sage.common.errors import SageError
from sage.lib.transform.parser.docx import parse_docx
from sage.lib.transform.parser.html import parse_html
from sage.lib.transform.parser.limits import Limits, ParseError
from sage.lib.transform.parser.pdf import parse_pdf

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

Parsed = tuple[str, dict[str, Any]]
PARSERS: Mapping[str, Callable[[bytes, str, Limits], Parsed]] = {
    "docx": parse_docx,
    "html": parse_html,
    "pdf": parse_pdf,
}


class ParseInWorker(MapFunction[Any, Any]):
    """Reads one file per item, in a process that may use ``memory`` bytes more than it starts with.

    Args:
        limits: Fields of ``Limits``.
        memory: Bytes; enforced where the system has RLIMIT_AS (Linux).
    """

    def __init__(self, limits: Mapping[str, Any], memory: int) -> None:
        super().__init__()
        self._limits = Limits(**{**limits, "skip_tags": tuple(limits["skip_tags"])})
        self._memory = memory

    def open(self, ctx: RuntimeContext) -> None:
        """Bound the address space of this process."""
        if sys.platform == "linux":
            import resource  # noqa: PLC0415 - not on every system

            pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
            bound = pages * resource.getpagesize() + self._memory
            resource.setrlimit(resource.RLIMIT_AS, (bound, bound))

    def execute(self, item: Any) -> Any:
        """``[text, facts]`` of ``[format, source, data]``.

        Raises:
            ParseError: The file cannot be read, whatever its reader says.
            MissingExtraError: A package is not installed.
        """
        fmt, source, data = item
        try:
            return list(PARSERS[fmt](data, source, self._limits))
        except SageError:
            raise
        except MemoryError as error:
            raise ParseError(
                f"{source}: needs more memory than max_memory_mb allows",
                source=source,
                reason="memory",
            ) from error
        except Exception as error:
            raise ParseError(
                f"{source}: not readable as {fmt}: {type(error).__name__}: {error}"[:500],
                source=source,
                reason="broken",
            ) from error
