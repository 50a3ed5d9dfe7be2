"""Sources: where the items of a pipeline come from."""

from sage.lib.io.source.file import FileSource

__all__ = ["FileSource"]
