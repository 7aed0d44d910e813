"""Learned sampling points, against maps that hold where each of their cells is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache import CacheReader, LevelSpec
from cache.coords import apply_affine, invert_affine, mirror_affine
from lifter.blocks import DeformableBlock
from lifter.ops import deform_sample
from lifter.sampled_points import BlockSampling, recorded_sampling, samples_around_joints
from pipeline.report.evaluating import read_run
from pipeline.report.frames import shown_frames
from pipeline.report.pictures import Pictures
from pipeline.report.sampling import sampling_section, worst_joints
from stages.lift import EvaluateConfig, load_run
from stages.lift.sampled_pictures import SampledPicture, places_px, sampled_pictures

LEVELS = (
    LevelSpec(name="x8", channels=2, height=8, width=6, stride=8),
    LevelSpec(name="x16", channels=2, height=4, width=3, stride=16),
)
AFFINE = np.array([[[0.4, 0.1, -8.0], [-0.05, 0.5, 3.0]]])  # picture -> crop of 64 x 48
HEADS, POINTS, JOINTS, WIDTH = 2, 3, 4, 8


class OneBlock(nn.Module):
    """A deformable block with known offsets and weights, and what it is called with."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.block = DeformableBlock(
            WIDTH,
            level_channels=(2, 2),
            num_heads=HEADS,
            num_points=POINTS,
            mlp_ratio=1.0,
            drop_path=0.0,
        ).eval()
        self.offsets = torch.rand(HEADS, POINTS, 2, generator=generator) * 0.6 - 0.3
        self.logits = torch.randn(HEADS, POINTS, generator=generator)
        self.joints = torch.rand(1, JOINTS, 2, generator=generator) * 1.6 - 0.8
        with torch.no_grad():
            self.block.sampling_offsets.bias.copy_(self.offsets.atanh().flatten())
            self.block.attention_weights.bias.copy_(self.logits.flatten())

    def forward(self, levels: Sequence[Tensor], shifts: Tensor | None = None) -> Tensor:
        context, pose = torch.zeros(1, 2, JOINTS, WIDTH), torch.zeros(1, 1, JOINTS, WIDTH)
        found: Tensor = self.block(context, pose, self.joints, levels, shifts=shifts)
        return found


def maps_of_places(affine: NDArray[np.float64]) -> list[Tensor]:
    """Returns maps [1, H, W, 2] in which every cell holds the px of the picture that it shows."""
    maps = []
    for level in LEVELS:
        y, x = np.mgrid[: level.height, : level.width]
        crop_px = np.stack([x, y], axis=-1) * float(level.stride)
        maps.append(torch.from_numpy(apply_affine(invert_affine(affine), crop_px[None])))
    return maps


def recorded(shifts: Tensor | None = None) -> tuple[OneBlock, BlockSampling]:
    model = OneBlock()
    with torch.no_grad(), recorded_sampling(model) as found:
        model([torch.zeros(1, level.height, level.width, 2) for level in LEVELS], shifts)
    (sampling,) = found
    return model, sampling


def mean_place_px(sampling: BlockSampling, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the attention-weighted mean of the drawn points, [L, J, M, 2]."""
    weights = sampling.weights.double().numpy()[..., None]
    return np.asarray((places * weights).sum(axis=-2)[0])


def read_place_px(sampling: BlockSampling, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns what the op reads in maps of places, [L, J, M, 2]."""
    joints = torch.zeros(1, JOINTS, 2)
    sums = deform_sample(
        [level.float() for level in maps_of_places(affine)],
        joints,
        sampling.points.float(),
        sampling.weights.float(),
        backend="reference",
    )
    return torch.stack([each[0] for each in sums]).double().numpy()


def test_a_block_with_known_offsets_is_recorded_as_it_is() -> None:
    model, sampling = recorded()
    expected = model.joints[:, None, :, None, None] + model.offsets
    assert sampling.points.shape == (1, 2, JOINTS, HEADS, POINTS, 2)
    torch.testing.assert_close(sampling.points, expected.expand_as(sampling.points))
    torch.testing.assert_close(
        sampling.weights, model.logits.softmax(-1).expand_as(sampling.weights)
    )


def test_attention_sums_to_one_for_every_head() -> None:
    _, sampling = recorded()
    sums = sampling.weights.sum(dim=-1)
    torch.testing.assert_close(sums, torch.ones_like(sums))


def test_shifts_move_the_recorded_points() -> None:
    shifts = torch.rand(1, 2, JOINTS, 1, 1, 2)
    _, plain = recorded()
    _, moved = recorded(shifts)
    torch.testing.assert_close(moved.points, plain.points + shifts)


def test_recording_ends_with_its_block_and_finds_nothing_in_other_networks() -> None:
    model = OneBlock()
    with recorded_sampling(model) as found:
        pass
    model([torch.zeros(1, level.height, level.width, 2) for level in LEVELS])
    assert found == []
    assert samples_around_joints(model)
    assert not samples_around_joints(nn.Linear(2, 2))


def test_points_are_drawn_where_the_op_reads_the_maps() -> None:
    _, sampling = recorded()
    places = places_px(sampling.points.double().numpy(), LEVELS, AFFINE)
    np.testing.assert_allclose(
        mean_place_px(sampling, places), read_place_px(sampling, AFFINE), atol=1e-3
    )


@pytest.mark.parametrize("fault", ["stride", "view", "level order"])
def test_a_wrong_stride_view_or_level_is_found_out(fault: str) -> None:
    _, sampling = recorded()
    levels, affine = LEVELS, AFFINE
    if fault == "stride":
        levels = (replace(LEVELS[0], stride=16), LEVELS[1])
    elif fault == "view":
        affine = mirror_affine(AFFINE, 48)
    else:
        levels = (LEVELS[1], LEVELS[0])
    places = places_px(sampling.points.double().numpy(), levels, affine)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            mean_place_px(sampling, places), read_place_px(sampling, AFFINE), atol=1.0
        )


def test_points_outside_the_crop_are_drawn_on_the_edge_they_read() -> None:
    points = np.full((1, 2, 1, 1, 1, 2), 7.0)
    places = places_px(points, LEVELS, AFFINE)
    corners = [
        ((level.width - 1) * level.stride, (level.height - 1) * level.stride) for level in LEVELS
    ]
    expected = apply_affine(invert_affine(AFFINE[0]), np.array(corners, dtype=np.float64))
    np.testing.assert_allclose(places.reshape(2, 2), expected)


def without_offsets(run_dir: Path) -> tuple[CacheReader, SampledPicture, NDArray[np.float64]]:
    """Returns where a run of the geometric rule looks if all its offsets are zero."""
    run = load_run(run_dir)
    for module in run.model.modules():
        if isinstance(module, DeformableBlock):
            nn.init.zeros_(module.sampling_offsets.weight)
            nn.init.zeros_(module.sampling_offsets.bias)
    reader = CacheReader(run_dir.parents[1] / "data" / "drawn.zarr")
    sample = 3
    (picture,) = sampled_pictures(run, reader, "test", [sample], EvaluateConfig())
    row = np.flatnonzero(
        reader.index("split").codes == (reader.index("split").vocabulary or ()).index("test")
    )[sample]
    keypoints = reader.keypoints("detector", rows=[row])[0, :, :2].astype(np.float64)
    return reader, picture, keypoints


def test_without_offsets_a_run_of_the_geometric_rule_looks_at_its_joints(trained: Path) -> None:
    reader, picture, joints_px = without_offsets(trained / "runs" / "capf")
    seen = apply_affine(reader.affine(0, rows=[0])[0], joints_px)
    for index, name in enumerate(picture.level_names):
        level = reader.levels[name]
        last = np.array([level.width - 1, level.height - 1]) * level.stride
        inside = ((seen >= 0) & (seen <= last)).all(axis=-1)
        assert inside.sum() > 3
        points = picture.points_px[:, index][:, inside]  # [blocks, J, M, K, 2]
        expected = np.broadcast_to(joints_px[inside][None, :, None, None], points.shape)
        np.testing.assert_allclose(points, expected, atol=1e-3)


def test_dots_are_brighter_where_attention_is_larger(trained: Path) -> None:
    run = read_run(trained / "runs" / "capf", progress=lambda *_: None)
    frames, _ = shown_frames([run], "test", Pictures(None))
    found = sampling_section(run, frames)
    joints = worst_joints(run, "test")
    names = run.reader.label_skeleton.joints
    assert [tile.joint for tile in found.rows[0]] == [names[joint] for joint in joints]
    per_joint = run.metrics["splits"]["test"]["per_joint"]
    assert per_joint[names[joints[0]]] == max(per_joint.values())
    for tile in found.rows[0]:
        assert len(tile.dots) == found.num_layers * len(found.levels) * 2 * 4
        weights = [dot.weight for dot in tile.dots]
        assert weights == sorted(weights)
        assert tile.dots[-1].opacity == 1.0
        heads = {(dot.layer, dot.level, dot.head) for dot in tile.dots}
        for head in heads:
            own = [d.weight for d in tile.dots if (d.layer, d.level, d.head) == head]
            assert sum(own) == pytest.approx(1.0, abs=1e-3)
