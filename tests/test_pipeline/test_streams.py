"""Standard output and error that are closed, full, or read no further."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_pipeline.written_runs import write_run

SOURCES = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a run in it."""
    write_run(tmp_path / "runs" / "made-capf-s0-11111111")
    return tmp_path


def shell(line: str, folder: Path, **environment: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a line of bash, in which `posecache` is the command."""
    program = f'posecache() {{ "{sys.executable}" -m pipeline "$@"; }}; {line}'
    ended = subprocess.run(
        ["bash", "-c", program],
        capture_output=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCES), **environment},
        check=False,
        timeout=120,
    )
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


@pytest.mark.parametrize("words", ["list-runs", "config schema", "--help"])
def test_a_reader_that_ends_early_ends_the_command_without_a_word(words: str, folder: Path) -> None:
    code, _, err = shell(f"posecache {words} | true; exit ${{PIPESTATUS[0]}}", folder)
    assert (code, err) == (128 + 13, "")


@pytest.mark.parametrize("words", ["list-runs", "list-runs --json", "config --help"])
def test_a_full_disk_under_the_output_is_one_message(words: str, folder: Path) -> None:
    code, _, err = shell(f"posecache {words} > /dev/full", folder)
    assert code == 3
    assert err == (
        "UnwritableTarget: standard output: cannot be written (No space left on device). "
        "Free some space, or send it elsewhere.\n"
    )


def test_closed_streams_stop_nothing(folder: Path) -> None:
    assert shell("posecache list-runs >&- <&- 2>&-", folder) == (0, "", "")
    assert (folder / "runs" / "index.csv").is_file()
    assert shell("posecache extrct >&- 2>&-", folder) == (2, "", "")


def test_an_error_that_cannot_be_said_keeps_its_exit_code(folder: Path) -> None:
    assert shell("posecache extrct 2> /dev/full", folder)[0] == 2


def test_a_name_that_is_no_text_is_listed_and_written_as_it_is(folder: Path) -> None:
    name = b"laut-\xfc"
    os.rename(
        os.fsencode(folder / "runs" / "made-capf-s0-11111111"),
        os.fsencode(folder / "runs") + b"/" + name,
    )
    code, out, err = shell("posecache list-runs", folder)
    assert (code, err) == (0, "")
    assert "laut-" in out
    assert name in (folder / "runs" / "index.csv").read_bytes()


def test_letters_that_a_terminal_lacks_stop_nothing(folder: Path) -> None:
    (folder / "runs" / "made-capf-s0-11111111").rename(folder / "runs" / "läuft")
    without = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, _, err = shell("posecache list-runs", folder, **without)
    assert (code, err) == (0, "")
