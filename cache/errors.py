"""Errors of the cache: one family, each kind also the builtin a caller would expect."""

from __future__ import annotations


class CacheError(ValueError):
    """Root of every error that a store, its plan or its settings can cause."""


class PlanError(CacheError):
    """A row plan breaks a rule: shapes, index columns, clip order."""


class CacheMissing(CacheError, FileNotFoundError):
    """There is no store at the path given."""


class CacheIncomplete(CacheError):
    """Rows were asked for that no task has committed yet."""


class CacheMismatch(CacheError):
    """A store belongs to another detector, crop, dataset or layout; lists every differing key."""


class CacheCorrupt(CacheError):
    """Stored bytes fail their checksum or length; names the chunk and its rows."""


class CacheWriteError(CacheError, OSError):
    """The disk refused a write: full, read-only, too large a file."""


class CacheUnreachable(CacheError):
    """A server did not answer or refused a read; says nothing about the store's bytes."""


class SchemaMismatch(CacheError):
    """A folder is not a store, or one of a format version that this release does not know."""


class SkeletonMismatch(CacheError):
    """A joint set is unknown, or no conversion between two joint sets is defined."""
