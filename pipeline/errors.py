"""Errors of the command line and the exit code of every error."""

from __future__ import annotations

UNEXPECTED, USAGE, DATA, CACHE_MISMATCH = 1, 2, 3, 4

_CODES_BY_NAME = {
    # A cache of another detector, crop or data, a cache of another format.
    "CacheMismatch": CACHE_MISMATCH,
    "SchemaMismatch": CACHE_MISMATCH,
    "StoreMismatch": CACHE_MISMATCH,
    # Settings that only the place where they are used can judge.
    "DeviceError": USAGE,
    "LifterConfigError": USAGE,
    "OptionError": USAGE,
    # Everything else that a user, a disk or a dataset can cause.
    "CacheError": DATA,
    "ChunksFailed": DATA,
    "DatasetError": DATA,
    "DetectorError": DATA,
    "FrameError": DATA,
    "LiftError": DATA,
    "LifterError": DATA,
    "PipelineError": DATA,
}


_SILENT_BY_NAME = frozenset({"OtherProcessFailed"})


class PipelineError(ValueError):
    """A command cannot go on; the message says what is wrong, where, and what to do next."""


class ConfigError(PipelineError):
    """The configuration is wrong; every wrong key is named."""


class UnwritableTarget(PipelineError, OSError):
    """A folder that a command must write into cannot be written."""


class StoreMissing(PipelineError, FileNotFoundError):
    """A store that a command needs is not there."""


class NoUsableFrames(PipelineError):
    """An extraction has recorded every frame as unusable."""


class Stopped(PipelineError):
    """A signal asked to stop; what was finished by then is kept."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def is_silent(error: BaseException) -> bool:
    """Return whether another process says what is wrong, so that this one has only to end."""
    return any(kind.__name__ in _SILENT_BY_NAME for kind in type(error).__mro__)


def exit_code(error: BaseException) -> int:
    """Return the exit code of `error`: 2 usage or config, 3 data, 4 cache mismatch, 1 unexpected.

    After a signal it is 128 plus the signal's number, as shells have it.

    The packages below are told apart by the names of their error classes, so that naming an exit
    code imports none of them.
    """
    if isinstance(error, ConfigError):
        return USAGE
    if isinstance(error, Stopped):
        return 128 + error.signal_number
    for kind in type(error).__mro__:
        if kind.__name__ in _CODES_BY_NAME:
            return _CODES_BY_NAME[kind.__name__]
    return UNEXPECTED
