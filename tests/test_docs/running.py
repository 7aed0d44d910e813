"""Runs a page: what it shows is written, and its marked commands are run, from top to bottom."""

from __future__ import annotations

import glob
import re
import shlex
from pathlib import Path
from typing import Any

from tests.test_docs.commands import SHELL, posecache_commands
from tests.test_docs.pages import Block, blocks, commands, write_files
from tests.test_pipeline.commands import CommandLine

SMALL = """
    --set 'dataset.options.pools={
        train: {prefix: T, num_subjects: 2, clips_each: 1, frames: 4},
        validation: {prefix: V, num_subjects: 1, clips_each: 1, frames: 2},
        test: {prefix: E, num_subjects: 2, clips_each: 1, frames: 3}}'
    --set train.steps=4 --set train.warmup_steps=1 --set train.batch_size=8
    --set 'comparison.seeds=[0]' --set comparison.workers=1 --set extract.workers=1
"""
"""Sizes with which every command takes seconds; what the page says is left as it is."""
_SIZED = ("ablate", "demo", "extract", "lift", "train-detector")
"""Commands to which the words of a comment are added; all others read what these have made."""
_NOTE = re.compile(r"run(?: exit (?P<code>\d+))?(?:: (?P<words>.*))?")


def run_page(page: Path, folder: Path, posecache: CommandLine) -> list[str]:
    """Return the commands that were run; raises AssertionError for one that ends otherwise."""
    write_files(page, folder)
    done, names = [], {}  # type: ignore[var-annotated]
    for block in blocks(page):
        if marked := _NOTE.fullmatch(block.note):
            added = _words(marked["words"] or "")
            done += _run_block(block, added, int(marked["code"] or 0), posecache)
        elif is_run_here(block):
            execute(block, names)
    return done


def is_run_here(block: Block) -> bool:
    """Whether tests execute the block where they come across it."""
    return block.language == "python" and not block.title and not block.note


def execute(block: Block, names: dict[str, Any]) -> None:
    """Run the block's code; `names` are those of the blocks before."""
    exec(compile(block.text, str(block), "exec"), names)


def _run_block(block: Block, added: list[str], code: int, posecache: CommandLine) -> list[str]:
    done = []
    for command in commands(block):
        if command.words[0] in SHELL:
            continue
        for words in posecache_commands(_expanded(command.words)):
            words = [*words, *(added if words[1] in _SIZED else ())]
            ended, line = posecache(*words[1:]), " ".join(words)
            assert ended.code == code, f"{block}: {line}\n{ended.out[-2000:]}\n{ended.err[-2000:]}"
            done.append(line)
    return done


def _words(note: str) -> list[str]:
    words = []
    for word in shlex.split(note):
        words += (
            [" ".join(each.split()) for each in shlex.split(SMALL)] if word == "small" else [word]
        )
    return words


def _expanded(words: tuple[str, ...]) -> list[str]:
    """Put in what a shell would for patterns and for $PWD."""
    found = []
    for word in words:
        word = word.replace("$PWD", str(Path.cwd()))
        found += sorted(glob.glob(word)) if "*" in word and "=" not in word else [word]
    return found
