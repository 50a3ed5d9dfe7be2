"""What can go wrong with a collection, one class per thing the caller can do about it."""

from __future__ import annotations

from sage.common.errors import NotFoundError, ServiceError


class MemoryStoreError(ServiceError):
    """Base of every error of collections and their manager."""


class CollectionExistsError(MemoryStoreError):
    """A collection of that name is there already; ``name``."""


class CollectionNotFoundError(MemoryStoreError, NotFoundError, KeyError):
    """No collection has that name; ``name``, ``known``."""

    __str__ = MemoryStoreError.__str__


class CollectionClosedError(MemoryStoreError):
    """The collection was closed, cleared or deleted; ``name``."""


class CollectionNameError(MemoryStoreError, ValueError):
    """The name cannot be a collection's name; ``name``."""


class CollectionLockedError(MemoryStoreError, TimeoutError):
    """Another writer held the collection longer than the busy timeout; ``path``, ``seconds``."""


class CollectionDamagedError(MemoryStoreError):
    """The files of a collection contradict each other or cannot be read; ``path``."""


class SchemaVersionError(MemoryStoreError):
    """A newer SAGE wrote this collection; ``found``, ``supported``."""


class RowNotFoundError(MemoryStoreError, NotFoundError, KeyError):
    """No row has one of these ids; ``ids``."""

    __str__ = MemoryStoreError.__str__


class DuplicateIdError(MemoryStoreError, ValueError):
    """A row of that id is there already, or one batch names an id twice; ``ids``."""


class DimensionError(MemoryStoreError, ValueError):
    """A vector has the wrong number of elements; ``found``, ``expected``."""


class EmbeddingMismatchError(MemoryStoreError):
    """The collection was built with another embedding model; ``found``, ``expected``."""


class InvalidInputError(MemoryStoreError, ValueError):
    """An argument cannot be stored or asked for: wrong type, not JSON, lists of unequal length."""


class FilterError(MemoryStoreError, ValueError):
    """A ``where`` filter is malformed; ``where``."""


class IndexExistsError(MemoryStoreError):
    """The collection has an index of that name already; ``index``."""


class IndexNotFoundError(MemoryStoreError, NotFoundError, KeyError):
    """The collection has no index of that name; ``index``, ``known``."""

    __str__ = MemoryStoreError.__str__


class IndexDetachedError(MemoryStoreError):
    """An index made with a Python callable missed rows written without it; ``index``."""
