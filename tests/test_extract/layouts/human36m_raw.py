"""Human3.6M's videos and cdf files in both spellings, with files that must not be read beside."""

from __future__ import annotations

from pathlib import Path

from tests.test_extract.layouts import LayoutCase
from tests.test_extract.layouts.human36m_world import (
    CAMERA_IDS,
    SCENES,
    VIDEO_FRAMES,
    Scene,
    metadata_xml,
    video_size,
    write_cdf,
    write_video,
)


def write_raw(
    root: Path,
    scenes: tuple[Scene, ...] = SCENES,
    *,
    cameras: tuple[int, ...] = (0, 1),
    poses: str = "MyPoseFeatures/",
) -> None:
    """Write labels, videos and metadata.xml; `poses` precedes the folders of the labels."""
    for scene in scenes:
        folder = root / scene.folder
        for camera in cameras:
            stem = f"{scene.base_name}.{CAMERA_IDS[camera]}"
            label = f"{stem}.cdf"
            write_cdf(folder / f"{poses}D2_Positions" / label, scene.px(camera))
            write_cdf(folder / f"{poses}D3_Positions_mono" / label, scene.camera_mm(camera))
            write_video(folder / "Videos" / f"{stem}.mp4", VIDEO_FRAMES[camera], video_size(camera))
            if camera == 0:
                universal = scene.camera_mm(camera) * 0.9
                write_cdf(folder / f"{poses}D3_Positions_mono_universal" / label, universal)
        (folder / "Videos" / "_ALL 1.54138969.mp4").write_bytes(b"not one of the sequences")
    (root / "metadata.xml").write_text(metadata_xml())


def write_some(root: Path) -> None:
    """One sequence of a subject of each split."""
    write_raw(root, (SCENES[0], SCENES[2], SCENES[4]))


def write_extracted(root: Path) -> None:
    """As h36m-fetch and the H36M-Toolbox unpack it."""
    write_raw(root / "extracted", SCENES[:2], cameras=(3,), poses="Poses_")
    (root / "extracted" / "metadata.xml").rename(root / "metadata.xml")


CASES = (
    LayoutCase(
        "human36m-raw",
        write_some,
        annotations=(
            "S1/MyPoseFeatures/D2_Positions/Eating 2.54138969.cdf",
            "S9/MyPoseFeatures/D3_Positions_mono/SittingDown 1.55011271.cdf",
            "metadata.xml",
        ),
        picture="S1/Videos/Eating 2.54138969.mp4",
        options={"incomplete": True},
    ),
    LayoutCase(
        "human36m-raw",
        write_extracted,
        annotations=("extracted/S1/Poses_D2_Positions/Eating 2.60457274.cdf", "metadata.xml"),
        picture="extracted/S1/Videos/Eating 2.60457274.mp4",
        options={"incomplete": True, "subjects": ["S1"]},
        label="extracted",
    ),
)
