"""Gradients of points and weights: four dot products per point, for the maps are frozen."""

import triton
import triton.language as tl

from lifter.ops.triton_kernels.cells import corners, locate, read, tile_rows


@triton.jit
def _read_gradient(
    gradients,  # [ROWS, WIDE] pointers
    scale,
    columns,
    CHANNELS: tl.constexpr,
    WIDE: tl.constexpr,
    SCALED: tl.constexpr,
):
    """A tile of the gradient of unscaled sums."""
    tile = read(gradients, columns, CHANNELS, WIDE)
    if SCALED:
        tile *= read(scale + columns, columns, CHANNELS, WIDE)
    return tile


@triton.jit
def _backward_tile(
    block,
    num_rows,
    gradient,
    level,
    scale,
    references,
    offsets,
    weights,
    offsets_grad,
    weights_grad,
    INDEX: tl.constexpr,
    NUM_LEVELS: tl.constexpr,
    JOINTS: tl.constexpr,
    HEADS: tl.constexpr,
    POINTS: tl.constexpr,
    GROUP: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    WIDE: tl.constexpr,
    ZEROS: tl.constexpr,
    ALIGN_CORNERS: tl.constexpr,
    SCALED: tl.constexpr,
):
    rows, exists, samples, places = tile_rows(block, num_rows, JOINTS, HEADS, ROWS)
    columns = tl.broadcast_to(tl.arange(0, WIDE)[None, :], (ROWS, WIDE))
    n = ((samples * NUM_LEVELS + INDEX) * (JOINTS * HEADS) + places) * POINTS
    x_reference = tl.load(references + 2 * (rows // HEADS))
    y_reference = tl.load(references + 2 * (rows // HEADS) + 1)
    maps = level + (samples * (HEIGHT * WIDTH * CHANNELS))[:, None] + columns
    gradients = gradient + rows.to(tl.int64)[:, None] * CHANNELS + columns
    first = _read_gradient(gradients, scale, columns, CHANNELS, WIDE, SCALED)
    # What is found per point is gathered, and stored by the group: a store of one value per row
    # passes through shared memory.
    members = tl.broadcast_to(tl.arange(0, GROUP)[None, :], (ROWS, GROUP))
    for start in range(0, POINTS, GROUP):
        found_w = tl.zeros((ROWS, GROUP), dtype=tl.float32)
        found_x = tl.zeros((ROWS, GROUP), dtype=tl.float32)
        found_y = tl.zeros((ROWS, GROUP), dtype=tl.float32)
        for member in tl.static_range(GROUP):
            k = tl.minimum(start + member, POINTS - 1)
            x = x_reference + tl.load(offsets + 2 * (n + k))
            y = y_reference + tl.load(offsets + 2 * (n + k) + 1)
            weight = tl.load(weights + n + k)
            left, right, x_near, x_far, x_near_slope, x_far_slope = locate(
                x, WIDTH, ZEROS, ALIGN_CORNERS
            )
            above, below, y_near, y_far, y_near_slope, y_far_slope = locate(
                y, HEIGHT, ZEROS, ALIGN_CORNERS
            )
            maps_0, maps_1, maps_2, maps_3 = corners(
                maps, left, right, above, below, WIDTH, CHANNELS
            )
            tile_0 = read(maps_0, columns, CHANNELS, WIDE)
            tile_1 = read(maps_1, columns, CHANNELS, WIDE)
            tile_2 = read(maps_2, columns, CHANNELS, WIDE)
            tile_3 = read(maps_3, columns, CHANNELS, WIDE)
            products_0 = first * tile_0
            products_1 = first * tile_1
            products_2 = first * tile_2
            products_3 = first * tile_3
            for part in range(WIDE, CHANNELS, WIDE):
                later = columns + part
                more = _read_gradient(gradients + part, scale, later, CHANNELS, WIDE, SCALED)
                products_0 += more * read(maps_0 + part, later, CHANNELS, WIDE)
                products_1 += more * read(maps_1 + part, later, CHANNELS, WIDE)
                products_2 += more * read(maps_2 + part, later, CHANNELS, WIDE)
                products_3 += more * read(maps_3 + part, later, CHANNELS, WIDE)
            dot_0 = tl.sum(products_0, axis=1)
            dot_1 = tl.sum(products_1, axis=1)
            dot_2 = tl.sum(products_2, axis=1)
            dot_3 = tl.sum(products_3, axis=1)
            upper = dot_0 * x_near + dot_1 * x_far
            lower = dot_2 * x_near + dot_3 * x_far
            to_left = dot_0 * y_near + dot_2 * y_far
            to_right = dot_1 * y_near + dot_3 * y_far
            along_x = (to_left * x_near_slope + to_right * x_far_slope) * weight
            along_y = (upper * y_near_slope + lower * y_far_slope) * weight
            along_w = upper * y_near + lower * y_far
            found_w = tl.where(members == member, along_w[:, None], found_w)
            found_x = tl.where(members == member, along_x[:, None], found_x)
            found_y = tl.where(members == member, along_y[:, None], found_y)
        points = n[:, None] + start + members
        inside = exists[:, None] & (start + members < POINTS)
        tl.store(weights_grad + points, found_w, mask=inside)
        tl.store(offsets_grad + 2 * points, found_x, mask=inside)
        tl.store(offsets_grad + 2 * points + 1, found_y, mask=inside)


@triton.jit(do_not_specialize=["num_rows"])
def backward(
    gradients,  # L tensors [B, J, M, C] float32, of the outputs
    levels,  # L maps [B, H, W, C]
    scales,  # L tensors [C], read if SCALED
    references,  # [B, J, 2]
    offsets,  # [B, L, J, M, K, 2]
    weights,  # [B, L, J, M, K]
    offsets_grad,  # as offsets
    weights_grad,  # as weights
    num_rows,  # B * J * M
    HEIGHTS: tl.constexpr,
    WIDTHS: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,  # of the tiles of each level
    WIDES: tl.constexpr,  # columns of the tiles of each level
    NUM_LEVELS: tl.constexpr,
    JOINTS: tl.constexpr,
    HEADS: tl.constexpr,
    POINTS: tl.constexpr,
    GROUP: tl.constexpr,  # points done together, a power of two: their loads are in flight at once
    ZEROS: tl.constexpr,
    ALIGN_CORNERS: tl.constexpr,
    SCALED: tl.constexpr,
):
    """Writes the gradients of offsets and weights; every element by one program, in one order."""
    block = tl.program_id(0)
    for index in tl.static_range(NUM_LEVELS):
        blocks = tl.cdiv(num_rows, ROWS[index])
        if (block >= 0) & (block < blocks):
            _backward_tile(
                block, num_rows, gradients[index], levels[index], scales[index],
                references, offsets, weights, offsets_grad, weights_grad,
                index, NUM_LEVELS, JOINTS, HEADS, POINTS, GROUP,
                HEIGHTS[index], WIDTHS[index], CHANNELS[index], ROWS[index], WIDES[index],
                ZEROS, ALIGN_CORNERS, SCALED,
            )  # fmt: skip
        block -= blocks
