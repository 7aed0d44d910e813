"""The embedded dataset: labels, pictures and people, against oracles that share no code with it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.cameras import project
from stages.extract.datasets.synthetic import DETECTOR_POOLS, LIFTER_POOLS, Pool, Synthetic
from stages.extract.datasets.synthetic.kinematics import DOFS, joint_limits
from stages.extract.datasets.synthetic.render import hit_distances, shadow
from stages.extract.datasets.synthetic.rig import pixel_rays

TINY = {
    "train": Pool("T", 3, 2, 3),
    "validation": Pool("V", 2, 1, 3),
    "test": Pool("E", 2, 2, 3),
    "test_new_cameras": Pool("E", 2, 1, 3, unseen_cameras=True),
}


@pytest.fixture(scope="module")
def tiny() -> Synthetic:
    return Synthetic(pools=TINY)


def test_pictures_are_the_same_in_any_order_and_after_pickling(tiny: Synthetic) -> None:
    rows = [0, 17, 3, len(tiny.plan()) - 1]
    first = {row: tiny.load_image(row) for row in rows}
    copy = pickle.loads(pickle.dumps(tiny))
    for row in reversed(rows):
        np.testing.assert_array_equal(copy.load_image(row), first[row])
    assert first[0].shape == (256, 256, 3)
    assert first[0].dtype == np.uint8


def test_another_seed_gives_other_people_and_pictures(tiny: Synthetic) -> None:
    other = Synthetic(pools=TINY, seed=1)
    assert np.abs(tiny.plan().joints_3d_mm - other.plan().joints_3d_mm).max() > 100
    assert (tiny.load_image(0) != other.load_image(0)).mean() > 0.5


def test_labels_project_onto_each_other_through_the_stored_camera(tiny: Synthetic) -> None:
    plan = tiny.plan()
    codes = plan.index["camera"].codes
    for code in np.unique(codes):
        rows = codes == code
        px = project(plan.joints_3d_mm[rows].astype(np.float64), plan.cameras[code])
        np.testing.assert_allclose(px, plan.joints_2d_px[rows], atol=1e-3)


def test_bones_keep_their_length_through_all_clips_of_a_person(tiny: Synthetic) -> None:
    plan = tiny.plan()
    parents = [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15]
    for name in ("T001", "E002"):
        code = plan.index["subject"].vocabulary.index(name)
        joints = plan.joints_3d_mm[plan.index["subject"].codes == code].astype(np.float64)
        bones = np.linalg.norm(joints[:, 1:] - joints[:, parents[1:]], axis=-1)
        np.testing.assert_allclose(bones.std(axis=0), 0, atol=1e-2)
        np.testing.assert_allclose(joints[:, 0], (joints[:, 1] + joints[:, 4]) / 2, atol=1e-2)


def test_the_four_cameras_see_the_same_body(tiny: Synthetic) -> None:
    plan = tiny.plan()
    world = [
        (plan.joints_3d_mm[row].astype(np.float64) - camera.t_mm) @ camera.R
        for row in (0, 3, 6, 9)
        for camera in [plan.cameras[plan.index["camera"].codes[row]]]
    ]
    np.testing.assert_allclose(world, np.broadcast_to(world[0], (4, 17, 3)), atol=1e-2)


def test_people_of_the_pools_are_disjoint_and_test_cameras_are_new() -> None:
    # Not `plan()`, which moves every body through every frame.
    lifter, detector = Synthetic()._index(), Synthetic(pools=DETECTOR_POOLS)._index()
    splits = lifter["split"]
    people, cameras = {}, {}
    for code, split in enumerate(splits.vocabulary):
        rows = splits.codes == code
        people[split] = set(lifter["subject"].codes[rows])
        cameras[split] = set(lifter["camera"].codes[rows])
    assert not people["train"] & people["validation"]
    assert not people["train"] & people["test"]
    assert not people["validation"] & people["test"]
    assert people["test_new_cameras"] == people["test"]
    assert not cameras["test_new_cameras"] & cameras["test"]
    assert not set(lifter["subject"].vocabulary) & set(detector["subject"].vocabulary)
    assert LIFTER_POOLS["train"].num_subjects >= 40
    assert DETECTOR_POOLS["train"].num_subjects >= 60


def test_left_joints_are_on_the_left_of_a_person_who_faces_away(tiny: Synthetic) -> None:
    plan = tiny.plan()
    joints = plan.joints_3d_mm.astype(np.float64)
    across = joints[:, 4] - joints[:, 1]  # right hip -> left hip
    up = joints[:, 8] - joints[:, 0]
    forward = np.cross(across, up)  # left x up = forward, in camera axes as in world axes
    nose = joints[:, 9] - joints[:, 8]
    facing = np.sum(forward * nose, axis=1)
    upright = up[:, 1] < -0.8 * np.linalg.norm(up, axis=1)
    away = upright & (forward[:, 2] > 0.7 * np.linalg.norm(forward, axis=1))
    assert away.any()
    assert (joints[away, 4, 0] < joints[away, 1, 0]).all()
    assert np.median(facing[upright]) > 0


def _round_cone(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    start = np.array((0, 0, 3000.0)) + rng.uniform(-200, 200, size=3)
    end = start + rng.uniform(-300, 300, size=3)
    return start, end, *rng.uniform(20, 120, size=2)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_ray_hits_agree_with_a_row_of_many_spheres(seed: int) -> None:
    start, end, first, second = _round_cone(seed)
    rng = np.random.default_rng(seed)
    target = start + rng.uniform(-0.3, 1.3) * (end - start) + rng.normal(0, 60, size=(40, 3))
    rays = target / np.linalg.norm(target, axis=1, keepdims=True)
    place = np.linspace(0, 1, 4001)[:, None]
    centres, radii = start + place * (end - start), first + place[:, 0] * (second - first)
    along = rays @ centres.T
    inside = along**2 - (centres**2).sum(axis=1) + radii**2
    spheres = np.where(inside >= 0, along - np.sqrt(np.maximum(inside, 0)), np.inf).min(axis=1)
    found = hit_distances(start, end, first, second, rays)
    grazing = np.isfinite(found) != np.isfinite(spheres)
    assert grazing.mean() <= 0.05
    both = np.isfinite(found) & np.isfinite(spheres)
    assert (found[both] <= spheres[both] + 1e-6).all()
    assert np.median(spheres[both] - found[both]) < 0.5 if both.any() else True


def test_a_ray_that_misses_gives_infinity() -> None:
    far = hit_distances(
        np.array((0, 0, 3000.0)), np.array((0, 300.0, 3000.0)), 50.0, 50.0, np.array((0.6, 0, 0.8))
    )
    assert np.isinf(far)


def test_pixel_rays_project_back_onto_the_pixel_centres(tiny: Synthetic) -> None:
    camera = tiny.plan().cameras[0]
    px = project(pixel_rays(camera, 256), camera)
    columns, rows = np.meshgrid(np.arange(256), np.arange(256))
    assert np.abs(px - np.stack((columns, rows), axis=-1)).max() < 1e-3


def test_joints_lie_inside_the_drawn_body(tiny: Synthetic) -> None:
    """The pixel of a visible joint differs from the picture of the same room without a body."""
    view = tiny._view_of_take(0)
    plan = tiny.plan()
    room = view._background.colour.reshape(256, 256, 3)
    picture = tiny.load_image(0).astype(float)
    empty = np.sqrt(np.clip(room * view._clip.scene.exposure, 0, 1)) * 255
    hits = []
    for joint in range(17):
        x, y = np.rint(plan.joints_2d_px[0, joint]).astype(int)
        hits.append(np.abs(picture[y, x] - empty[y, x]).sum() > 15)
    assert np.mean(hits) > 0.8


def test_visibility_flags_a_joint_behind_the_body() -> None:
    plan = Synthetic(pools={"test": Pool("E", 6, 3, 3)}).plan()
    share = plan.visible.mean(axis=0)
    assert (share > 0.3).all()
    assert share[[13, 16]].max() < 0.99  # wrists go behind the body now and then


def test_a_point_below_a_cone_is_in_shadow_and_one_beside_it_is_not(tiny: Synthetic) -> None:
    view = tiny._view_of_take(0)
    cones = view._clip._world_cones[0]
    light = np.array((0.0, 0.0, 1.0))
    under, beside = np.array((*cones.start[0, :2], 0.0)), np.array((5000.0, 5000.0, 0.0))
    dark = shadow(cones, np.stack((under, beside)), light, clearance=0.0)
    assert dark[0] == 1.0
    assert dark[1] == 0.0


def test_angles_stay_within_the_limits_of_the_joints() -> None:
    from stages.extract.datasets.synthetic.actions import ACTIONS, move

    lower, upper = joint_limits()
    for action in ACTIONS.values():
        angles, position = move(action, np.arange(50) / 10, np.random.default_rng(3))
        assert angles.shape == (50, len(DOFS))
        assert (angles >= lower).all()
        assert (angles <= upper).all()
        assert np.isfinite(position).all()
        moving = np.ptp(angles, axis=0) > 0
        assert moving.sum() > 20
        assert np.abs(np.diff(angles, axis=0)).max() < 1.6  # radians in 0.1 s: no jumps


def test_a_row_outside_the_dataset_is_an_index_error(tiny: Synthetic) -> None:
    with pytest.raises(IndexError, match="row 999999 is outside"):
        tiny.load_image(999_999)
