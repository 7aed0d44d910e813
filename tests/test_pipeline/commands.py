"""Runs the command line in this process."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from pipeline.cli import main


@dataclass(frozen=True)
class Ended:
    """Exit code and output of one command."""

    code: int
    out: str
    err: str


class CommandLine:
    """`posecache` as a callable."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: str) -> Ended:
        self._monkeypatch.setattr(sys, "argv", ["posecache", *words])
        self._capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        output = self._capsys.readouterr()
        return Ended(code, output.out, output.err)
