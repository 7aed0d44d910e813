from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.coords import (
    apply_affine,
    crop_px_to_unit,
    invert_affine,
    mirror_affine,
    normalize_screen,
)


def test_screen_follows_videopose3d() -> None:
    corners = normalize_screen([[0, 0], [1000, 1002], [500, 501]], (1002, 1000))
    np.testing.assert_allclose(corners, [[-1, -1.002], [1, 1.002], [0, 0]], atol=1e-12)


def test_sizes_and_affines_go_with_leading_axes() -> None:
    random = np.random.default_rng(0)
    points, sizes = random.random((3, 17, 2)), np.array([[100, 200], [50, 60], [7, 9]])
    affines = random.random((3, 2, 3))
    screens, moved = normalize_screen(points, sizes), apply_affine(affines, points)
    for row in range(3):
        np.testing.assert_array_equal(screens[row], normalize_screen(points[row], sizes[row]))
        expected = points[row] @ affines[row][:, :2].T + affines[row][:, 2]
        np.testing.assert_allclose(moved[row], expected)


@given(st.floats(0.05, 20), st.floats(-3, 3), st.floats(-2000, 2000), st.floats(-2000, 2000))
def test_crop_then_uncrop_is_identity(scale: float, angle: float, x: float, y: float) -> None:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    affine = np.array([[c, -s, x], [s, c, y]])
    points = np.array([[0.0, 0], [191, 255], [-40, 1e3]])
    back = apply_affine(invert_affine(affine), apply_affine(affine, points))
    np.testing.assert_allclose(back, points, atol=1e-6)


def test_mirrored_affine_reads_the_crop_from_the_right() -> None:
    affine = np.array([[0.5, 0.1, 3], [0.2, 0.7, -4]])
    before = affine.copy()
    points = np.random.default_rng(0).random((5, 2)) * 100
    plain, mirrored = apply_affine(affine, points), apply_affine(mirror_affine(affine, 192), points)
    np.testing.assert_allclose(mirrored[:, 0], 191 - plain[:, 0])
    np.testing.assert_allclose(mirrored[:, 1], plain[:, 1])
    np.testing.assert_array_equal(affine, before)


def test_published_unit_frame_divides_by_half_the_crop() -> None:
    unit = crop_px_to_unit([[0, 0], [96, 128], [192, 256]], (256, 192))
    np.testing.assert_array_equal(unit, [[-1, -1], [0, 0], [1, 1]])


@pytest.mark.parametrize("stride", [1, 4, 8, 16, 32])
def test_geometric_unit_frame_puts_strided_pixels_on_cells(stride: int) -> None:
    height, width = 256 // stride, 192 // stride
    cell = np.array([[width - 1, height - 1], [2, 3]])
    unit = crop_px_to_unit(cell * stride, (256, 192), "geometric", stride=stride)
    # align_corners=True: -1 is the first cell and 1 the last.
    np.testing.assert_allclose((unit + 1) / 2 * [width - 1, height - 1], cell)


def test_geometric_frame_of_a_single_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="at most one cell"):
        crop_px_to_unit([[0, 0]], (256, 192), "geometric", stride=192)
