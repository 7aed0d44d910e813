"""Which sequences of S9 and S11 are used, in every layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.extract.datasets import Dataset, DatasetError, build_dataset
from stages.extract.datasets.human36m.names import BASE_NAMES
from stages.extract.datasets.human36m.protocol import DAMAGED, WITHOUT_VIDEO
from tests.test_extract.layouts.human36m_mmpose import write_mmpose
from tests.test_extract.layouts.human36m_raw import write_raw
from tests.test_extract.layouts.human36m_toolbox import write_toolbox
from tests.test_extract.layouts.human36m_videopose3d import write_videopose3d
from tests.test_extract.layouts.human36m_world import SCENES

TEST_SCENES = SCENES[3:]
WRITERS: dict[str, tuple[Callable[..., None], dict[str, Any]]] = {
    "human36m": (write_mmpose, {"fps": 50}),
    "human36m-raw": (write_raw, {"incomplete": True}),
    "human36m-toolbox": (write_toolbox, {}),
    "human36m-videopose3d": (write_videopose3d, {}),
}


def sequences(dataset: Dataset) -> set[str]:
    """Names of the clips, spelt alike, without cameras."""
    plan = dataset.plan()
    layout = dataset.content_identity()["adapter"]
    words = zip(
        plan.index["subject"].words(),
        plan.index["action"].words(),
        plan.index["subaction"].words(),
        strict=True,
    )
    numbers = {" ".join(parts) for parts in words}
    if layout != "human36m":  # subaction is the metadata's there
        return numbers
    of_name = {
        "S9 SittingDown 0": "S9 SittingDown 1",
        "S9 SittingDown 1": "S9 SittingDown 2",
        "S11 Directions 1": "S11 Directions 1",
        "S11 Directions 0": "S11 Directions 2",
    }
    return {of_name[name] for name in numbers}


@pytest.fixture(params=WRITERS)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Dataset]:
    write, options = WRITERS[request.param]
    write(tmp_path, (SCENES[0], *TEST_SCENES))

    def build(**more: Any) -> Dataset:
        return build_dataset(
            request.param, root=tmp_path, subjects=["S9", "S11"], **options, **more
        )

    return build


ALL = {"S9 SittingDown 1", "S9 SittingDown 2", "S11 Directions 1", "S11 Directions 2"}


def test_damaged_sequences_stay_or_go_by_the_metadatas_numbers(
    layout: Callable[..., Dataset],
) -> None:
    keep = {"s11_directions": "keep"}
    assert sequences(layout(**keep)) == ALL
    # "SittingDown 1" is the damaged one, "SittingDown" is not.
    assert sequences(layout(protocol="drop-damaged", **keep)) == ALL - {"S9 SittingDown 2"}


def test_directions_of_s11_stays_or_goes_for_all_cameras(layout: Callable[..., Dataset]) -> None:
    dropped = layout(s11_directions="drop")
    assert sequences(dropped) == ALL - {"S11 Directions 2"}
    assert dropped.content_identity() != layout(s11_directions="keep").content_identity()


def test_unknown_choices_are_refused(layout: Callable[..., Dataset]) -> None:
    with pytest.raises(DatasetError, match="protocol is 'drop'; it must be one of keep, drop-dam"):
        layout(protocol="drop")
    with pytest.raises(DatasetError, match="s11_directions is True"):
        layout(s11_directions=True)


def test_damaged_sequences_have_these_file_names() -> None:
    assert {BASE_NAMES[take] for take in DAMAGED} == {"Greeting", "SittingDown 1", "Waiting 1"}
    assert {take.subject for take in DAMAGED} == {"S9"}
    assert (WITHOUT_VIDEO.subject, BASE_NAMES[WITHOUT_VIDEO]) == ("S11", "Directions")


def test_stores_made_before_there_was_a_protocol_keep_their_identity(tmp_path: Path) -> None:
    write_mmpose(tmp_path, SCENES[:1])
    identity = build_dataset("human36m", root=tmp_path, fps=50).content_identity()
    assert set(identity) == {
        "adapter", "fps", "validation_subjects", "subjects", "stride", "limit",
        "annotations", "rows", "pictures",
    }  # fmt: skip
