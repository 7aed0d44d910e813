"""What an entry of the table of errors says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.test_errors.place import Place


def nothing(_: object) -> None:
    """All is as it is."""


@dataclass(frozen=True)
class Wrong:
    """One wrong input of a command, and what must be said about it.

    Args:
        name: what is wrong, as the page says it.
        words: the command line after `posecache`.
        code: exit code.
        what: the offending name or path; part of the message, as the two that follow.
        rule: what is wrong with it.
        step: what to do next.
        given: makes what the command finds in its folder.
        while_it_runs: what fails under it, e.g. a full disk.
        lines: of the message: more than one where several things are named.
        out: what a command that writes no JSON had said before.
        begins: store that the command has begun by then, whole but for its chunks.
        fills: that store has its chunks, too.
        varies: machines have other words for a part of the message.
    """

    name: str
    words: str
    code: int
    what: str
    rule: str
    step: str
    given: Callable[[Place], object] = nothing
    while_it_runs: Callable[[pytest.MonkeyPatch], object] = nothing
    lines: int = 1
    out: str = ""
    begins: str | None = None
    fills: bool = False
    varies: bool = False
