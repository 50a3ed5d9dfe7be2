"""Sources: where the items of a pipeline come from."""

from sage.lib.io.source.changes import FileChange
from sage.lib.io.source.database import DatabaseSource
from sage.lib.io.source.directory import DirectorySource
from sage.lib.io.source.file import FileSource
from sage.lib.io.source.hf_dataset import HFDatasetBatch

__all__ = ["DatabaseSource", "DirectorySource", "FileChange", "FileSource", "HFDatasetBatch"]
