"""Functions for processes that may lack this package, and what is said when they do."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

from pipeline.errors import PipelineError


class SchedulerError(PipelineError):
    """A cluster cannot be used: nobody answers, or its workers lack this package or the store."""


def portable(function: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[..., Any]:
    """Return `partial(function, ...)` that fails where it is called, not where it arrives.

    A worker that cannot import this package would otherwise die of the message that holds a task,
    without a word to the client.
    """
    content = pickle.dumps(partial(function, *arguments, **options))

    # An inner function travels as its code; it names nothing of this package.
    def call(*more: Any) -> Any:
        return pickle.loads(content)(*more)

    return call


def not_importable(who: str, error: ImportError) -> SchedulerError:
    """Return what to raise when `who` failed to import something."""
    return SchedulerError(
        f"{who} cannot import posecache ({error}). Install the same checkout there (make setup), "
        "or start it in the project's folder"
    )
