"""Pictures that are not of the size their calibration is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.extract.datasets.human36m.mmpose import Human36m
from stages.extract.picture_fit import picture_warning


def test_pictures_of_the_calibrations_size_say_nothing(dataset: Human36m) -> None:
    plan = dataset.plan()
    assert picture_warning(plan) is None
    missing = plan.image_size.copy()
    missing[::2] = 0
    assert picture_warning(replace(plan, image_size=missing)) is None
    assert picture_warning(replace(plan, image_size=np.zeros_like(missing))) is None
    assert picture_warning(replace(plan, image_size=missing // 2, cameras=())) is None


@pytest.mark.parametrize("factor", [0.5, 2.5])
def test_pictures_that_were_scaled_are_said(dataset: Human36m, factor: float) -> None:
    plan = dataset.plan()
    scaled = replace(plan, image_size=(plan.image_size * factor).astype(np.int32))
    said = str(picture_warning(scaled))
    width, height = int(160 * factor), int(120 * factor)
    assert f"are {width} x {height} px (W x H), but its calibration has their centre" in said
    assert "(80, 60) px" in said
