"""What can go wrong in stage 2, by name."""

from __future__ import annotations


class LiftError(ValueError):
    """Stage 2 cannot go on; the message says what is wrong and what to do next."""


class EmptySplit(LiftError):
    """A split that is asked for holds no usable row."""


class RunMismatch(LiftError):
    """A run directory or its weights belong to other data or another configuration."""


class StoreMismatch(RunMismatch):
    """A store is not of the kind that a run was trained on."""


class RunMissing(LiftError, FileNotFoundError):
    """A run directory, or a file that a finished run holds, is not there."""


class RunCorrupt(LiftError):
    """A file of a run directory cannot be read back."""


class RunWriteError(LiftError, OSError):
    """A run directory cannot be written: a full disk, a missing right."""


class DoesNotFit(LiftError, MemoryError):
    """The maps were to be held in a memory that is too small for them."""


class NotFiniteLoss(LiftError, ArithmeticError):
    """The loss became NaN or infinite."""


class NotComparable(LiftError):
    """Two runs were not evaluated on the same frames, so they cannot be paired."""


class OtherProcessFailed(LiftError):
    """This process of several ends because another one failed; that one says why."""


class NotExportable(LiftError):
    """A lifter cannot be exported: it does what no graph holds, or a package is missing."""


class ExportMismatch(LiftError):
    """An exported lifter does not answer as the lifter does."""
