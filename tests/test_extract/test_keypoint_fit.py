from __future__ import annotations

from dataclasses import replace

import pytest

from cache import get_skeleton
from stages.extract.keypoint_fit import keypoint_warning
from tests.test_cache.factory import make_plan
from tests.test_extract.studio import DotDetector


def finding(name: str | None) -> DotDetector:
    detector = DotDetector()
    detector.skeleton = None if name is None else get_skeleton(name)  # type: ignore[assignment]
    return detector


@pytest.mark.parametrize("joints", ["H36M17", "COCO17", None])
def test_joints_that_can_be_used_need_no_warning(joints: str | None) -> None:
    assert keypoint_warning(finding(joints), make_plan(4)) is None


def test_joints_that_nothing_turns_into_the_labels_are_named() -> None:
    plan = replace(make_plan(4), skeleton="MPI17")
    warning = keypoint_warning(finding("COCO17"), plan)
    assert warning is not None
    assert "COCO17" in warning
    assert "MPI17" in warning
    assert keypoint_warning(finding("COCO17"), replace(plan, joints_3d_mm=None)) is None
