"""What overlays show: joints where they are, sides in their colours, films of every frame."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from cache import get_skeleton
from pipeline.errors import UnwritableTarget
from pipeline.predict.drawing import Person, Space, draw_people, place_people, write_banner
from pipeline.predict.film import Film
from stages.lift.figures import LEFT, RIGHT

SKELETON = get_skeleton("H36M17")


def near(picture: np.ndarray, colour: str) -> np.ndarray:
    """Return which px [H, W] are of a colour."""
    wanted = 255 * np.array(to_rgb(colour))
    return np.abs(picture.astype(float) - wanted).max(axis=-1) < 40


def standing() -> np.ndarray:
    """A pose of the camera frame whose left side is at x > 0, as of somebody who faces it."""
    joints = np.zeros((SKELETON.num_joints, 3))
    joints[:, 1] = np.linspace(-800, 800, SKELETON.num_joints)
    joints[list(SKELETON.left), 0] = 300.0
    joints[list(SKELETON.right), 0] = -300.0
    return joints


def test_bones_are_drawn_between_their_joints_in_the_colours_of_their_sides() -> None:
    points = np.full((SKELETON.num_joints, 3), 50.0)
    points[:, 2] = 1.0
    left = SKELETON.left[0]
    parent = SKELETON.parents[left]
    points[left, :2], points[parent, :2] = (30, 90), (30, 30)
    person = Person("0", points, np.array([20.0, 20, 80, 100]), standing())
    picture = np.zeros((120, 120, 3), dtype=np.uint8)
    drawn = draw_people(picture, [person], SKELETON, height=240, min_score=0.0)
    assert not picture.any()
    assert drawn.shape == (240, 240, 3)
    # Twice as large: the middle of the bone is at (60, 120).
    assert near(drawn, LEFT)[115:125, 57:65].any()
    assert not near(drawn, LEFT)[115:125, 150:].any()


def test_unsure_joints_are_not_drawn() -> None:
    points = np.full((SKELETON.num_joints, 3), 50.0)
    points[:, 2] = 0.1
    person = Person("0", points, np.zeros(4), standing())
    picture = np.full((100, 100, 3), 7, dtype=np.uint8)
    drawn = draw_people(picture, [person], SKELETON, height=100, min_score=0.5)
    assert (drawn[20:] == 7).all()


def test_the_view_of_the_camera_has_the_left_of_somebody_who_faces_it_on_the_right() -> None:
    space = Space(SKELETON, [standing()], size=240)
    front = space.draw([standing()], azimuth=0.0)
    back = space.draw([standing()], azimuth=180.0)
    for picture, sign in ((front, 1), (back, -1)):
        left, right = (np.nonzero(near(picture, colour))[1].mean() for colour in (LEFT, RIGHT))
        assert sign * (left - right) > 20
    assert not near(space.draw([], azimuth=0.0), LEFT).any()


def test_people_without_known_places_stand_in_the_order_of_their_boxes() -> None:
    poses = np.stack([standing()] * 3)
    boxes = np.array([[200.0, 0, 240, 9], [0, 0, 40, 9], [100, 0, 140, 9]])
    placed = place_people(poses, boxes, None)
    x = placed[:, SKELETON.root, 0] - poses[:, SKELETON.root, 0]
    np.testing.assert_allclose(x, [1300, -1300, 0])
    roots = np.array([[0.0, 0, 4000], [500, 0, 3000], [1000, 0, 2000]])
    known = place_people(poses, boxes, roots)
    np.testing.assert_allclose(known[:, 0] - known[0, 0], roots - roots[0])


def test_a_banner_goes_below_the_picture() -> None:
    picture = np.full((200, 400, 3), 9, dtype=np.uint8)
    found = write_banner(picture, "not for real people")
    assert (found[:200] == picture).all()
    assert found.shape[0] > 200
    assert found.shape[0] % 2 == 0
    assert near(found[200:], "#be1414").mean() > 0.5


def test_a_film_has_every_frame_in_order(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    levels = [20, 90, 160, 230]
    with Film(path, fps=12.5) as film:
        for level in levels:
            film.add(np.full((65, 96, 3), level, dtype=np.uint8))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert float(stream.average_rate) == pytest.approx(12.5)
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * 4
    np.testing.assert_allclose([frame.mean() for frame in frames], levels, atol=6)
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]


def test_a_film_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with Film(tmp_path / "film.mp4", fps=25) as film:
            film.add(np.zeros((64, 64, 3), dtype=np.uint8))
            raise KeyError("a frame cannot be made")

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_film_in_no_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    film = Film(tmp_path / "file" / "film.mp4", fps=25)
    with pytest.raises(UnwritableTarget, match=r"cannot be written.*Give --out"):
        film.add(np.zeros((64, 64, 3), dtype=np.uint8))
