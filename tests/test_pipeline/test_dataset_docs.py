"""docs/datasets.md: its options and defaults are those of the code."""

from __future__ import annotations

import importlib
import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from ruamel.yaml import YAML

from pipeline.config import load_config
from stages.extract.boxes.people import PeopleConfig
from stages.extract.crops import BoxSource
from stages.extract.datasets import DATASETS, build_dataset
from stages.extract.datasets.mpi_inf_3dhp.facts import CHEST_HIGH_CAMERAS, SEQUENCES
from stages.extract.datasets.synthetic import Synthetic
from tests.test_docs import pages
from tests.test_docs.commands import config_of
from tests.test_extract.layouts import LayoutCase, all_cases
from tests.test_extract.presets import read_preset

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "datasets.md").read_text()
CONFIGS = Path(__file__).parents[2] / "pipeline" / "configs" / "datasets"
SAME_OPTIONS = {"studio": "human36m", "studio-detector": "human36m"}
NOT_IN_TABLES = {"root", "name"}
"""`root` is `dataset.root`; `name` is what `dataset.label` is for."""
NO_OPTION, IN_WORDS = "-", "built in"
MPI_TEST_FRAMES, H36M_FRAMES = 2929, 1_560_516 + 568_040

Table = tuple[list[str], list[list[str]]]


def tables(page: str) -> Iterator[Table]:
    """Yield header and rows of every table."""
    for block in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        lines = [
            [cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()
        ]
        yield [cell.strip() for cell in lines[0]], lines[2:]


def value_of(cell: str) -> Any:
    return YAML(typ="safe", pure=True).load(cell.strip().strip("`"))


def documented_options(page: str) -> dict[str, dict[str, str]]:
    """Return dataset -> option -> cell of its default."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for header, rows in tables(page):
        if header[0] != "option":
            continue
        for row in rows:
            for title, cell in zip(header[1:-1], row[1:-1], strict=True):
                if cell != NO_OPTION:
                    found[title.strip("`")][row[0].strip("`")] = cell
    return found


def adapter_of(dataset: str) -> Callable[..., Any]:
    module, _, attribute = DATASETS[dataset].partition(":")
    adapter: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    # `detector_people(**options)` hands its options on.
    return Synthetic if dataset.startswith("synthetic") else adapter


def adapter_options(dataset: str) -> dict[str, Any]:
    """Return the adapter's options and their defaults, as a config file would have them."""
    parameters = inspect.signature(adapter_of(dataset)).parameters.values()
    return {
        parameter.name: list(parameter.default)
        if isinstance(parameter.default, tuple)
        else parameter.default
        for parameter in parameters
        if parameter.name not in NOT_IN_TABLES
    }


def differences(page: str, dataset: str) -> list[str]:
    """Return what the page's options of a dataset lack, have too many, or say otherwise."""
    said = documented_options(page).get(SAME_OPTIONS.get(dataset, dataset), {})
    true = adapter_options(dataset)
    found = [f"{option} is no option" for option in said if option not in true]
    for option, default in true.items():
        if option not in said:
            found.append(f"{option} is not documented")
        elif said[option] == IN_WORDS:
            if not isinstance(default, Mapping):
                found.append(f"{option} has the default {default!r}")
        elif value_of(said[option]) != default:
            found.append(f"{option}: {said[option]} instead of {default!r}")
    return found


def commands() -> list[tuple[str, ...]]:
    found = [
        each.words for block in pages.blocks(DOCS / "datasets.md") for each in pages.commands(block)
    ]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_options_of_a_command_are_its_adapters(words: tuple[str, ...]) -> None:
    config = config_of(words)
    assert set(config.dataset.options) <= set(adapter_options(config.dataset.name))
    if "crop.kind=capf" in words:
        assert config.crop.box_source == "gt3d"


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_options_and_defaults_of_a_dataset_are_its_adapters(dataset: str) -> None:
    assert differences(PAGE, dataset) == []


@pytest.mark.parametrize("dataset", SAME_OPTIONS)
def test_sets_without_options_of_their_own_have_the_adapter_named(dataset: str) -> None:
    assert DATASETS[dataset] == DATASETS[SAME_OPTIONS[dataset]]
    assert "with the options of that column" in PAGE


@pytest.mark.parametrize(
    ("was", "planted", "dataset", "seen"),
    [
        ("| `protocol` | `keep`", "| `protocol` | `drop-damaged`", "human36m", "protocol: "),
        ("| `rows` | `evaluated`", "| `row` | `evaluated`", "3dpw", "rows is not documented"),
        ("| `min_score` | `0.0`", "| `min_scores` | `0.0`", "folder", "min_scores is no option"),
        ("| `seed` | `0`", "| `seed` | built in", "synthetic", "seed has the default 0"),
        ("| `limit` | `null`", "| `limit` | -", "coco", "limit is not documented"),
    ],
)
def test_a_planted_error_in_a_table_is_seen(
    was: str, planted: str, dataset: str, seen: str
) -> None:
    assert was in PAGE
    assert any(line.startswith(seen) for line in differences(PAGE.replace(was, planted), dataset))


def test_every_dataset_is_in_the_first_table_and_has_a_command() -> None:
    header, rows = next(tables(PAGE))
    assert header[0] == "name"
    named = [name for row in rows for name in re.findall(r"`([\w-]+)`", row[0])]
    assert sorted(named) == sorted(DATASETS)
    asked = {config_of(words).dataset.name for words in commands() if words[1] == "extract"}
    assert set(DATASETS) - asked == {"synthetic-detector", "studio-detector"}


@pytest.mark.parametrize("case", [case for case in all_cases() if not case.label], ids=str)
def test_what_the_first_table_says_of_labels_is_what_a_plan_has(
    case: LayoutCase, tmp_path: Path
) -> None:
    case.write(tmp_path)
    plan = build_dataset(case.dataset, root=tmp_path, **case.options).plan()
    _, rows = next(tables(PAGE))
    (_, _, in_2d, in_3d, cameras, splits) = next(r for r in rows if f"`{case.dataset}`" in r[0])
    assert (in_2d != NO_OPTION) == plan.valid.any()
    assert (in_3d != NO_OPTION) == (plan.joints_3d_mm is not None)
    assert cameras.startswith("yes") == bool(plan.cameras)
    assert set(splits.split(", ")) == set(plan.index["split"].words())
    boxes = next(row for _, all_rows in tables(PAGE) for row in all_rows if row[0] == "`imported`")
    if case.dataset != "folder":  # which has those of a file
        assert (f"`{case.dataset}`" in boxes[2]) == (plan.boxes_px is not None)


def test_every_dataset_has_a_config_that_loads_and_suits_its_adapter() -> None:
    assert sorted(path.stem for path in CONFIGS.glob("*.yaml")) == sorted(DATASETS)
    for dataset in DATASETS:
        config = load_config(dataset=dataset)
        assert config.dataset.name == dataset
        inspect.signature(adapter_of(dataset)).bind_partial(**config.dataset.options)
        assert config.detector.name


def test_options_that_a_config_speaks_of_are_its_adapters() -> None:
    spoken_of = 0
    for dataset in DATASETS:
        text = (CONFIGS / f"{dataset}.yaml").read_text()
        named = set(re.findall(r"dataset\.options\.(\w+)", text))
        spoken_of += len(named)
        assert named <= set(adapter_options(dataset)), dataset
    assert spoken_of


def test_the_settings_of_find_people_have_the_defaults_said() -> None:
    (rows,) = (rows for header, rows in tables(PAGE) if header[0] == "setting")
    defaults: dict[str, Any] = PeopleConfig().model_dump()
    for row in rows:
        value: Any = defaults
        for key in row[0].strip("`").split(".")[1:]:
            value = value[key]
        assert value_of(row[1]) == value
    assert len(rows) == 2 + len(defaults["tracks"])


def test_every_box_rule_is_on_the_page() -> None:
    (rows,) = (rows for header, rows in tables(PAGE) if header[0] == "`crop.box_source`")
    assert sorted(row[0].strip("`") for row in rows) == sorted(get_args(BoxSource))


def test_sizes_of_stores_are_frames_times_bytes_of_hrnet_w32() -> None:
    detector, crop = read_preset("hrnet-w32")
    assert detector.taps is not None
    height, width = crop.input_size
    values = sum(
        (height // t.stride) * (width // t.stride) * (t.channels or 0) for t in detector.taps
    )
    row_bytes = 2 * 2 * values  # float16, two views
    train = len(CHEST_HIGH_CAMERAS) * sum(frames for frames, _ in SEQUENCES.values())
    assert f"{train:,} rows" in PAGE
    frames = (
        H36M_FRAMES,
        H36M_FRAMES / 5,
        train + MPI_TEST_FRAMES,
        (train + MPI_TEST_FRAMES) / 10,
    )
    (rows,) = (rows for header, rows in tables(PAGE) if header[0] == "rows")
    for row, count in zip(rows, frames, strict=True):
        assert float(re.sub(r"[^\d]", "", row[1])) == pytest.approx(count, rel=1e-3)
        assert row[2] == f"{count * row_bytes / 1e12:.2f} TB"


def test_links_lead_to_pages_and_headings() -> None:
    links = re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", PAGE)
    assert links
    for page, anchor in links:
        headings = re.findall(r"^#+ (.*)$", (DOCS / page).read_text(), flags=re.MULTILINE)
        assert not anchor or anchor in [each.lower().replace(" ", "-") for each in headings]
