from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import FrameStatus, RowPlan
from cache.coords import apply_affine, invert_affine
from stages.extract.crops import CropConfig, box_for_row, crop_affine, warp
from stages.extract.datasets import FrameError
from stages.extract.datasets.human36m.mmpose import Human36m

boxes = st.tuples(
    st.floats(-200, 800), st.floats(-200, 800), st.floats(5, 700), st.floats(5, 700)
).map(lambda b: np.array([b[0], b[1], b[0] + b[2], b[1] + b[3]]))


@given(box=boxes, kind=st.sampled_from(["mmpose", "mmpose-udp"]))
def test_padded_box_fills_one_side_of_the_crop(box: np.ndarray, kind: str) -> None:
    config = CropConfig(kind=kind)  # type: ignore[arg-type]
    affine = crop_affine(box, config)
    centre = (box[:2] + box[2:]) / 2
    reach = 0.625 * (box[2:] - box[:2])
    corners = apply_affine(affine, np.stack([centre, centre - reach, centre + reach]))
    edge = np.array([192.0, 256.0]) - (kind == "mmpose-udp")
    np.testing.assert_allclose(corners[0], edge / 2, atol=0.05)
    spans = (corners[2] - corners[1]) / edge
    assert spans.max() == pytest.approx(1.0, abs=1e-3)


@given(box=boxes)
def test_published_crop_maps_the_boxs_width_onto_pixel_centres(box: np.ndarray) -> None:
    affine = crop_affine(box, CropConfig(kind="capf"))
    centre = (box[:2] + box[2:]) / 2
    half = np.array([(box[2] - box[0] - 1) / 2, 0])
    moved = apply_affine(affine, np.stack([centre, centre - half, centre + half]))
    np.testing.assert_allclose(moved, [[95.5, 127.5], [0, 127.5], [191, 127.5]], atol=1e-6)


@given(box=boxes, x=st.floats(-500, 500), y=st.floats(-500, 500))
def test_crop_then_uncrop_is_identity(box: np.ndarray, x: float, y: float) -> None:
    affine = crop_affine(box, CropConfig())
    there = apply_affine(affine, np.array([x, y]))
    np.testing.assert_allclose(apply_affine(invert_affine(affine), there), [x, y], atol=1e-6)


def test_a_dot_lands_where_the_affine_says() -> None:
    image = np.zeros((200, 300, 3), dtype=np.uint8)
    image[80:83, 120:123] = 255
    affine = crop_affine(np.array([60.0, 20.0, 200.0, 160.0]), CropConfig())
    crop = warp(image, affine, (256, 192)).astype(float).sum(axis=-1)
    ys, xs = np.nonzero(crop)
    weights = crop[ys, xs]
    found = [(xs * weights).sum() / weights.sum(), (ys * weights).sum() / weights.sum()]
    np.testing.assert_allclose(found, apply_affine(affine, np.array([121.0, 81.0])), atol=0.1)


def test_box_sources(dataset: Human36m) -> None:
    plan = dataset.plan()
    points = plan.joints_2d_px[0]
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.1 * (high - low).max()
    np.testing.assert_allclose(box_for_row(plan, 0, "gt2d"), [*(low - margin), *(high + margin)])
    np.testing.assert_allclose(box_for_row(plan, 0, "full"), [0, 0, 160, 120])
    box = box_for_row(plan, 0, "gt3d")
    assert box[2] - box[0] == pytest.approx(300 * 2000 / plan.joints_3d_mm[0, 0, 2], rel=1e-6)
    assert box[3] - box[1] == pytest.approx(box[2] - box[0])
    assert plan.boxes_px is not None
    np.testing.assert_allclose(box_for_row(plan, 0, "imported"), plan.boxes_px[0])


def test_impossible_boxes_are_frame_errors(dataset: Human36m) -> None:
    plan = dataset.plan()
    assert plan.joints_3d_mm is not None
    assert plan.boxes_px is not None
    behind = plan.joints_3d_mm.copy()
    behind[0, :, 2] = -10
    cases: list[tuple[RowPlan, str, FrameStatus]] = [
        (replace(plan, joints_3d_mm=behind), "gt3d", FrameStatus.BAD_BOX),
        (replace(plan, boxes_px=None), "imported", FrameStatus.BAD_BOX),
        (replace(plan, boxes_px=plan.boxes_px + np.float32(500)), "imported", FrameStatus.BAD_BOX),
        (replace(plan, joints_2d_px=plan.joints_2d_px - 500), "gt2d", FrameStatus.BAD_BOX),
        (replace(plan, valid=np.zeros_like(plan.valid)), "gt2d", FrameStatus.NO_PERSON),
        (replace(plan, image_size=np.zeros_like(plan.image_size)), "full", FrameStatus.BAD_BOX),
    ]
    for damaged, source, status in cases:
        with pytest.raises(FrameError) as caught:
            box_for_row(damaged, 0, source)  # type: ignore[arg-type]
        assert caught.value.status == status
