"""Names, numbers and joints of Human3.6M, by value."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.human36m.metadata import read_metadata
from stages.extract.datasets.human36m.names import (
    ACTIONS,
    BASE_NAMES,
    CAMERA_IDS,
    JOINTS_OF_32,
    SUBJECTS,
    Take,
    plain_name,
    takes_by_name,
)
from tests.test_extract.layouts.human36m_world import SCENES, metadata_xml


@pytest.mark.parametrize(
    ("take", "base_name"),
    [
        (("S1", 2, 1), "Directions 1"),
        (("S1", 2, 2), "Directions"),
        (("S5", 2, 2), "Directions 2"),
        (("S5", 3, 1), "Discussion 2"),
        (("S5", 3, 2), "Discussion 3"),
        (("S1", 4, 1), "Eating 2"),
        (("S1", 4, 2), "Eating"),
        (("S6", 4, 2), "Eating 2"),
        (("S9", 5, 2), "Greeting"),
        (("S11", 5, 1), "Greeting 2"),
        (("S11", 6, 1), "Phoning 3"),
        (("S11", 6, 2), "Phoning 2"),
        (("S7", 6, 1), "Phoning 2"),
        (("S6", 7, 1), "Posing 2"),
        (("S1", 9, 2), "Sitting 2"),
        (("S1", 10, 1), "SittingDown 2"),
        (("S1", 10, 2), "SittingDown"),
        (("S6", 10, 1), "SittingDown 1"),
        (("S9", 10, 1), "SittingDown"),
        (("S9", 10, 2), "SittingDown 1"),
        (("S11", 11, 1), "Smoking 2"),
        (("S1", 12, 1), "TakingPhoto 1"),
        (("S5", 12, 1), "Photo"),
        (("S7", 12, 2), "Photo 1"),
        (("S11", 12, 1), "Photo 1"),
        (("S6", 13, 1), "Waiting 3"),
        (("S9", 13, 1), "Waiting 1"),
        (("S7", 14, 2), "Walking 2"),
        (("S1", 15, 2), "WalkingDog"),
        (("S9", 15, 1), "WalkDog 1"),
        (("S8", 16, 2), "WalkTogether 2"),
    ],
)
def test_base_names_are_those_of_the_metadata(take: tuple[str, int, int], base_name: str) -> None:
    assert BASE_NAMES[Take(*take)] == base_name


def test_every_subject_has_30_sequences_of_different_names() -> None:
    assert len(BASE_NAMES) == len(SUBJECTS) * 30
    assert len(set(takes_by_name())) == len(BASE_NAMES)


def test_the_number_in_a_name_is_not_the_subaction() -> None:
    takes = takes_by_name()
    assert takes["S9", "SittingDown 1"].subaction == 2
    assert takes["S1", "Eating 2"].subaction == 1
    assert takes["S9", "Waiting 1"].subaction == 1


def test_names_of_mmpose_and_videopose3d_lead_to_the_same_sequence() -> None:
    takes = takes_by_name()
    assert plain_name("TakingPhoto_1") == "Photo 1"
    assert takes["S1", plain_name("TakingPhoto_1")] == Take("S1", 12, 1)
    assert takes["S1", plain_name("WalkingDog")] == takes["S1", "WalkDog"]


def test_actions_cameras_and_joints_by_value() -> None:
    assert [ACTIONS[i] for i in (2, 5, 10, 12, 16)] == [
        "Directions", "Greeting", "SittingDown", "Photo", "WalkTogether",
    ]  # fmt: skip
    assert set(ACTIONS) == set(range(2, 17))  # 1 is "_ALL"
    assert CAMERA_IDS == ("54138969", "55011271", "58860488", "60457274")
    assert JOINTS_OF_32 == (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)


def test_metadata_gives_names_and_leaves_out_what_is_no_action(tmp_path: Path) -> None:
    path = tmp_path / "metadata.xml"
    path.write_text(metadata_xml())
    names = read_metadata(path).base_names
    for scene in SCENES:
        assert names[Take(scene.folder, scene.action, scene.subaction)] == scene.base_name
    assert {take.action for take in names} == {scene.action for scene in SCENES}


def test_metadata_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metadata.xml"
    path.write_text("<a><b/></a>")
    with pytest.raises(DatasetError, match=r"metadata\.xml has no table `mapping`"):
        read_metadata(path)
    path.write_text(metadata_xml().replace("<w0>[", "<w0>[1.0 "))
    with pytest.raises(DatasetError, match=r"must hold 300 numbers.*it holds 301"):
        read_metadata(path)
    path.write_text("<a>")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_metadata(path)
