"""Raw Human3.6M: which files are read, how long clips are, and what is said when some lack."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import FrameStatus
from stages.extract.datasets import DatasetError, FrameError
from stages.extract.datasets.human36m.cdf import read_pose
from stages.extract.datasets.human36m.raw import Human36mRaw
from tests.test_extract.layouts.human36m_raw import write_raw
from tests.test_extract.layouts.human36m_world import (
    CAMERA_IDS,
    NUM_FRAMES,
    SCENES,
    VIDEO_FRAMES,
    metadata_xml,
    video_size,
    write_cdf,
    write_video,
)
from tests.test_extract.layouts.people import picture

SCENE = SCENES[0]
VIDEO = f"S1/Videos/Eating 2.{CAMERA_IDS[0]}.mp4"
POSES = "S1/MyPoseFeatures"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_raw(tmp_path, (SCENE,))
    return tmp_path


def build(root: Path, **options: Any) -> Human36mRaw:
    return Human36mRaw(root, incomplete=True, **options)


def test_clips_end_with_their_labels_though_videos_go_on(root: Path) -> None:
    assert len(set(VIDEO_FRAMES)) == 4  # and the four go on differently
    assert min(VIDEO_FRAMES) > NUM_FRAMES
    plan = build(root).plan()
    assert plan.index["frame"].codes.tolist() == [1, 2, 3, 4] * 2
    assert (plan.image_size > 0).all()


def test_frame_1_is_the_first_of_the_video(root: Path) -> None:
    dataset = build(root)
    for row in (0, 3):
        difference = dataset.load_image(row).astype(int) - picture(video_size(0), row)
        assert np.abs(difference).mean() < 10
    wrong = dataset.load_image(1).astype(int) - picture(video_size(0), 0)
    assert np.abs(wrong).mean() > 20


def test_sizes_are_those_of_the_videos_and_differ_by_camera(root: Path) -> None:
    sizes = build(root).plan().image_size
    assert sizes[0].tolist() == [50, 64]
    assert sizes[-1].tolist() == [48, 64]


def test_frames_after_an_early_end_are_bad_rows(root: Path) -> None:
    write_video(root / VIDEO, NUM_FRAMES - 1)
    dataset = build(root)
    assert dataset.plan().image_size[:NUM_FRAMES, 0].tolist() == [48, 48, 48, 0]
    with pytest.raises(FrameError) as caught:
        dataset.load_image(NUM_FRAMES - 1)
    assert caught.value.status == FrameStatus.MISSING


def test_a_corrupt_video_is_bad_rows(root: Path) -> None:
    (root / VIDEO).write_bytes(b"like that of S11 Directions, camera 54138969")
    dataset = build(root)
    assert not dataset.plan().image_size[:NUM_FRAMES].any()
    with pytest.raises(FrameError) as caught:
        dataset.load_image(0)
    assert caught.value.status == FrameStatus.UNREADABLE


def test_the_universal_skeleton_beside_is_not_read(root: Path) -> None:
    joints = build(root).plan().joints_3d_mm
    assert joints is not None
    np.testing.assert_allclose(joints[:NUM_FRAMES], SCENE.camera_mm(0), atol=1e-3)
    beside = f"{POSES}/D3_Positions_mono_universal/Eating 2.{CAMERA_IDS[0]}.cdf"
    universal = read_pose(root / beside, 3)
    assert np.abs(universal - joints[:NUM_FRAMES]).max() > 10


def test_labels_of_unequal_length_are_cut_to_the_shorter(root: Path) -> None:
    write_cdf(root / POSES / "D2_Positions" / f"Eating 2.{CAMERA_IDS[0]}.cdf", SCENE.px(0)[:3])
    assert build(root).plan().index["frame"].codes.tolist() == [1, 2, 3, 1, 2, 3, 4]


def test_a_joint_without_numbers_is_not_valid(root: Path) -> None:
    joints = SCENE.px(0)
    joints[1, 5] = np.nan
    write_cdf(root / POSES / "D2_Positions" / f"Eating 2.{CAMERA_IDS[0]}.cdf", joints)
    valid = build(root).plan().valid
    assert not valid[1, 5]
    assert valid.sum() == valid.size - 1


def test_names_come_from_the_metadata_where_it_is(root: Path) -> None:
    renumbered = metadata_xml().replace("<td>4</td><td>1</td>", "<td>4</td><td>2</td>")
    (root / "metadata.xml").write_text(renumbered)
    assert set(build(root).plan().index["subaction"].words()) == {"2"}


def test_names_come_from_the_table_built_in_without_metadata(root: Path) -> None:
    from tests.test_extract.test_human36m_cameras import write

    (root / "metadata.xml").unlink()
    write(root, "camera_data.pkl")
    plan = build(root).plan()
    assert set(plan.index["action"].words()) == {"Eating"}
    assert set(plan.index["subaction"].words()) == {"1"}


def test_every_missing_file_is_named_unless_some_may_lack(root: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        Human36mRaw(root)
    message = str(caught.value).replace("\\", "/")
    assert f"{POSES}/D2_Positions/Eating 2.{CAMERA_IDS[2]}.cdf" in message
    assert f"{POSES}/D3_Positions_mono/Eating 2.{CAMERA_IDS[3]}.cdf" in message
    assert f"Eating 2.{CAMERA_IDS[0]}.cdf" not in message
    assert "dataset.options.incomplete=true" in message
    assert len(build(root).plan()) == 2 * NUM_FRAMES


def test_all_30_sequences_of_4_cameras_are_wanted(root: Path) -> None:
    (root / "metadata.xml").unlink()
    # 2 x 120 without those of two cameras of one sequence, and the calibration
    with pytest.raises(DatasetError, match="237 files are missing"):
        Human36mRaw(root)


def test_no_calibration_is_said_with_the_files_that_would_do(root: Path) -> None:
    (root / "metadata.xml").unlink()
    with pytest.raises(DatasetError, match=r"(?s)metadata\.xml.*camera_data\.pkl or cameras\.pkl"):
        build(root)


def test_a_folder_of_something_else_shows_the_layout(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"(?s)no folder of any subject.*<root>/S1/Videos"):
        Human36mRaw(tmp_path)


def test_files_that_are_no_poses_are_named(root: Path) -> None:
    path = root / POSES / "D2_Positions" / f"Eating 2.{CAMERA_IDS[0]}.cdf"
    path.write_bytes(b"no cdf")
    with pytest.raises(DatasetError, match=r"D2_Positions.*does not hold Human3.6M's 32 joints"):
        build(root).plan()
    write_cdf(path, np.zeros((4, 17, 3)))
    with pytest.raises(DatasetError, match="32 joints of 5 coordinates"):
        read_pose(path, 5)


def test_without_cdflib_the_command_that_helps_is_given(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = builtins.__import__

    def refuse(name: str, *args: Any, **keywords: Any) -> Any:
        if name == "cdflib":
            raise ImportError(name)
        return found(name, *args, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DatasetError, match=r"pip install .*cdflib"):
        build(root).plan()
