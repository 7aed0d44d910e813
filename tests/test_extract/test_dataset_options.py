"""What a user is told who gives a dataset an option that it has not, or none that it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.extract.datasets import DATASETS, DatasetError, build_dataset

ON_DISK = sorted(name for name in DATASETS if not name.startswith("synthetic"))


@pytest.mark.parametrize("name", ON_DISK)
def test_a_dataset_without_its_folder_asks_for_it(name: str) -> None:
    with pytest.raises(DatasetError, match=f"{name}' needs its folder: --set dataset.root=DIR"):
        build_dataset(name)


@pytest.mark.parametrize("name", ON_DISK)
def test_an_unknown_option_is_named_with_the_nearest_one(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no option 'strid'. Did you mean 'stride'\?"):
        build_dataset(name, root=tmp_path, strid=5)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("human36m", "subjects"),
        ("human36m-raw", "validation_subjects"),
        ("human36m-videopose3d", "detections"),
        ("mpi-inf-3dhp", "subjects"),
        ("3dpw", "sequences"),
    ],
)
def test_one_word_where_a_list_belongs_is_not_read_letter_by_letter(
    name: str, option: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=rf"{option}.*must be a list, got 'S1'.*=\[S1\]"):
        build_dataset(name, root=tmp_path, **{option: "S1"})


def test_words_of_options_that_are_no_lists_are_taken(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="files are missing"):  # and not: must be a list
        build_dataset("coco", root=tmp_path, train="a.json", skeleton="COCO17")


def test_drawn_people_have_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"has no folder; leave out dataset\.root"):
        build_dataset("synthetic", root=tmp_path)


def test_options_that_an_adapter_hands_on_are_its_own_to_check() -> None:
    assert build_dataset("synthetic-detector", seed=1).name == "synthetic-detector"
    with pytest.raises(DatasetError, match=r"does not take these options.*sead"):
        build_dataset("synthetic-detector", sead=1)
