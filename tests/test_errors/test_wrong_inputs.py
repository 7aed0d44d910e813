from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.test_errors.page import PAGE, message, row, run
from tests.test_errors.place import Place, tree
from tests.test_errors.table import ENTRIES, TABLE
from tests.test_errors.wrong import Wrong

NAMES = [wrong.name for wrong in ENTRIES]
OF_THE_PARSER = ("A mistyped command",)
TRACED = [wrong for wrong in ENTRIES if wrong.name not in OF_THE_PARSER]
FIRST = [next(wrong for wrong in group if wrong in TRACED) for group in TABLE.values()]
OWN_PROCESS = (
    "A Zarr group of someone else",
    pytest.param("Four wrong settings at once", marks=pytest.mark.slow),
    pytest.param("The run is not there", marks=pytest.mark.slow),
    pytest.param("A folder that is no store", marks=pytest.mark.slow),
    pytest.param("An unknown kind of device", marks=pytest.mark.slow),
)


def named(name: str) -> Wrong:
    return ENTRIES[NAMES.index(name)]


def faults(wrong: Wrong, code: int, out: str, said: str) -> list[str]:
    """What is not as the table has it; empty if a command said all that it must."""
    _, _, text = said.partition(": ")
    checks = {
        f"exit code {code} instead of {wrong.code}": code == wrong.code,
        f"says no {wrong.what!r}": wrong.what in text,
        f"says no {wrong.rule!r}": wrong.rule in text,
        f"says no {wrong.step!r}": wrong.step in text,
        f"has {len(said.splitlines())} lines": len(said.splitlines()) == wrong.lines,
        "shows a traceback": "Traceback" not in said,
        "was not expected": not said.startswith("unexpected"),
        f"writes {out!r} to the standard output": out == wrong.out,
    }
    return [fault for fault, is_right in checks.items() if not is_right]


def changes(
    wrong: Wrong, before: Mapping[str, int | None], after: Mapping[str, int | None]
) -> list[str]:
    """What a command has left behind that it must not."""
    changed = {name for name in {*before, *after} if before.get(name, -1) != after.get(name, -1)}
    if wrong.begins is not None:
        whole = {name for name in changed if name.startswith(wrong.begins)}
        changed -= {*whole, os.path.dirname(wrong.begins)}
        half = {name for name in whole if "/.tmp" in name}
        chunks = {name for name in whole if "/commit/c." in name}
        changed |= half if wrong.fills else half | chunks
    return sorted(changed)


@pytest.mark.parametrize("wrong", ENTRIES, ids=NAMES)
def test_a_wrong_input_is_one_message_and_leaves_everything_as_it_was(
    wrong: Wrong, place: Place
) -> None:
    wrong.given(place)
    before = tree(place.root)
    code, out, err = run(wrong, place)
    said = message(err, place.root)
    assert faults(wrong, code, out, said) == [], said
    assert changes(wrong, before, tree(place.root)) == []
    if not wrong.varies:
        assert row(wrong, said) in PAGE.read_text(), "run: python -m tests.test_errors.page"


@pytest.mark.parametrize("wrong", FIRST, ids=[wrong.name for wrong in FIRST])
def test_with_debug_the_error_comes_with_its_traceback(wrong: Wrong, place: Place) -> None:
    wrong.given(place)
    with pytest.raises(Exception, match=r".") as caught:
        run(replace(wrong, words=f"--debug {wrong.words}"), place)
    kind = type(caught.value).__name__
    assert f"`{kind}: " in PAGE.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("wrong", TRACED, ids=[wrong.name for wrong in TRACED])
def test_with_debug_every_error_comes_with_its_traceback(wrong: Wrong, place: Place) -> None:
    wrong.given(place)
    with pytest.raises(Exception, match=r"."):
        run(replace(wrong, words=f"--debug {wrong.words}"), place)


@pytest.mark.parametrize("name", OWN_PROCESS)
def test_a_process_of_its_own_writes_nothing_but_the_message(name: str, place: Place) -> None:
    wrong = named(name)
    wrong.given(place)
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline", *wrong.words.split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=place.root,
        env={**os.environ, "PYTHONPATH": str(PAGE.parents[1])},
    )
    said = message(ended.stderr, place.root)
    assert faults(wrong, ended.returncode, ended.stdout, said) == [], said


def test_the_page_has_every_entry_once_and_nothing_else() -> None:
    page = PAGE.read_text()
    rows = [line for line in page.splitlines() if "<br>`posecache " in line]
    assert [line.split("<br>")[0].removeprefix("| ") for line in rows] == NAMES
    assert len(set(NAMES)) == len(NAMES)
    assert [line.removeprefix("## ") for line in page.splitlines() if line[:3] == "## "] == [*TABLE]


def test_a_message_that_lacks_a_part_is_noticed() -> None:
    wrong = Wrong("a name", "lift", 3, "a.zarr", "is damaged", "extract again")
    right = "CacheError: a.zarr: is damaged; extract again"
    assert faults(wrong, 3, "", right) == []
    for code, out, said in (
        (1, "", right),
        (3, "loss 3\n", right),
        (3, "", right.replace("a.zarr", "it")),
        (3, "", right.replace("damaged", "bad")),
        (3, "", right.replace("; extract again", "")),
        (3, "", f"{right}\n{right}"),
        (3, "", f"unexpected {right}"),
        (3, "", f"Traceback (most recent call last): {right}"),
    ):
        assert faults(wrong, code, out, said) != []


def test_what_a_command_leaves_behind_is_noticed() -> None:
    wrong = Wrong("a name", "lift", 3, "a", "b", "c")
    store = replace(wrong, begins="data/a.zarr")
    assert changes(wrong, {"a": 1, "b": None}, {"a": 1, "b": None}) == []
    assert changes(wrong, {"a": 1, "b": 1}, {"b": 2, "c": None}) == ["a", "b", "c"]
    assert changes(store, {}, {"data": None, "data/a.zarr/zarr.json": 1}) == []
    assert changes(store, {}, {"data/a.zarr/commit/c.0": 1, "data/a.zarr/.tmp-x": 1, "a": 0}) == [
        "a",
        "data/a.zarr/.tmp-x",
        "data/a.zarr/commit/c.0",
    ]
    filled = replace(store, fills=True)
    assert changes(filled, {}, {"data/a.zarr/commit/c.0": 1, "data/a.zarr/.tmp-x": 1}) == [
        "data/a.zarr/.tmp-x"
    ]
