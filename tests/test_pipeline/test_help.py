from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest

from pipeline.cli.panels import ORDER, USUAL, examples, examples_in
from pipeline.config import RunConfig
from pipeline.settings import dotted_keys, parse_set, shipped
from tests.test_pipeline.command_tree import ROOT, commands, groups
from tests.test_pipeline.commands import CommandLine

EXAMPLES = sorted(
    {
        (example, words)
        for words, one in (*groups(), *commands())
        for example in examples_in(one.epilog)
    }
)
NAMED = {"preset": "presets", "dataset": "datasets", "detector": "detectors", "ladder": "ladders"}
HEAVY = ("torch", "zarr", "numpy", "pydantic", "rich", "ruamel", "matplotlib", "cv2", "scipy")


def parsed(example: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the command that an example ends at and what it gives it; raises as the parser."""
    program, *rest = shlex.split(example)
    assert program == "posecache"
    context = ROOT.make_context("posecache", list(rest))
    words: tuple[str, ...] = ()
    command = ROOT
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, rest)
        words = (*words, name)
        context = command.make_context(name, list(rest), parent=context)
    return words, context.params


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_a_command_has_a_worked_example(words: tuple[str, ...]) -> None:
    command = dict(commands())[words]
    shown = examples_in(command.epilog)
    assert shown, f"posecache {' '.join(words)} has no epilog=panels.examples(...)"
    assert all(parsed(example)[0] == words for example in shown)


@pytest.mark.parametrize(
    ("example", "words"), EXAMPLES, ids=[f"{' '.join(words)}: {text}" for text, words in EXAMPLES]
)
def test_an_example_uses_options_settings_and_names_that_there_are(
    example: str, words: tuple[str, ...]
) -> None:
    found, given = parsed(example)
    assert found[: len(words)] == words
    for key, value in map(parse_set, given.get("sets") or ()):
        free = key.startswith(("dataset.options.", "dataset.keypoints."))
        assert free or key in dotted_keys(RunConfig), key
        assert value is not None
    for parameter, kind in NAMED.items():
        name = given.get(parameter)
        assert name is None or str(name).endswith(".yaml") or name in shipped(kind), name


def test_an_example_with_a_wrong_option_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option: --datset"):
        parsed("posecache extract --datset synthetic")


def test_examples_survive_being_written_into_a_help_page(posecache: CommandLine) -> None:
    assert examples_in(examples("posecache a", "posecache b")) == ("posecache a", "posecache b")
    page = posecache("extract", "--help").out
    assert all(example in page for example, words in EXAMPLES if words == ("extract",))


@pytest.mark.parametrize("words", [words for words, _ in groups()], ids=" ".join)
def test_no_text_in_a_list_of_commands_is_cut(
    words: tuple[str, ...], posecache: CommandLine
) -> None:
    ended = posecache(*words, "--help")
    assert ended.code == 0
    listed = " ".join(ended.out.split())
    assert "..." not in listed.replace("[ARGS]...", "")
    for name, command in dict(groups())[words].commands.items():
        assert f"{name} {command.get_short_help_str(1000)}" in listed


def test_the_help_has_its_sections_in_order_and_every_command_in_one(
    posecache: CommandLine,
) -> None:
    page = posecache("--help").out
    places = [page.index(f"\n{panel}:") for panel in ORDER]
    assert places == sorted(places)
    assert "\nCommands:" not in page, "a command has no rich_help_panel of pipeline.cli.panels"


def test_without_arguments_the_usual_commands_come_with_examples_and_exit_code_0(
    posecache: CommandLine,
) -> None:
    ended = posecache()
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    named = [line.split()[0] for line in lines if re.match(r"  [a-z]", line)]
    assert named == list(USUAL)
    shown = [line.split("$ ", 1)[1] for line in lines if "$ " in line]
    assert [parsed(example)[0] for example in shown] == [(name,) for name in USUAL]
    assert "posecache --help" in ended.out
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("group", ["cache", "config"])
def test_a_group_alone_prints_its_help_with_exit_code_0(group: str, posecache: CommandLine) -> None:
    ended = posecache(group)
    assert ended.code == 0
    assert f"Usage: posecache {group}" in ended.out


@pytest.mark.parametrize("words", ["", "--help", "lift --help", "cache --help", "extrct"])
def test_help_and_usage_errors_import_nothing_heavy(words: str) -> None:
    probe = (
        "import sys; from pipeline.cli import main\n"
        f"sys.argv = ['posecache', *{words.split()!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert ended.stderr.splitlines()[-1] == "[]"
