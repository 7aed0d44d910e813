"""Sums of weighted bilinear samples: gather, blend, attention and the sum over K in one pass."""

import triton
import triton.language as tl

from lifter.ops.triton_kernels.cells import corners, locate, read, tile_rows


@triton.jit
def _forward_tile(
    block,
    num_rows,
    level,
    scale,
    output,
    references,
    offsets,
    weights,
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
    PARTS: tl.constexpr = (CHANNELS + WIDE - 1) // WIDE
    rows, exists, samples, places = tile_rows(block // PARTS, num_rows, JOINTS, HEADS, ROWS)
    channels = (block % PARTS) * WIDE + tl.arange(0, WIDE)
    columns = tl.broadcast_to(channels[None, :], (ROWS, WIDE))
    n = ((samples * NUM_LEVELS + INDEX) * (JOINTS * HEADS) + places) * POINTS
    x_reference = tl.load(references + 2 * (rows // HEADS))
    y_reference = tl.load(references + 2 * (rows // HEADS) + 1)
    maps = level + (samples * (HEIGHT * WIDTH * CHANNELS))[:, None] + columns
    sums = tl.zeros((ROWS, WIDE), dtype=tl.float32)
    for start in range(0, POINTS, GROUP):
        for member in tl.static_range(GROUP):
            k = tl.minimum(start + member, POINTS - 1)
            x = x_reference + tl.load(offsets + 2 * (n + k))
            y = y_reference + tl.load(offsets + 2 * (n + k) + 1)
            weight = tl.load(weights + n + k)
            if POINTS % GROUP != 0:  # the last group repeats the last point
                weight = tl.where(start + member < POINTS, weight, 0.0)
            left, right, x_near, x_far, _, _ = locate(x, WIDTH, ZEROS, ALIGN_CORNERS)
            above, below, y_near, y_far, _, _ = locate(y, HEIGHT, ZEROS, ALIGN_CORNERS)
            # All four loads before their first use.
            maps_0, maps_1, maps_2, maps_3 = corners(
                maps, left, right, above, below, WIDTH, CHANNELS
            )
            tile_0 = read(maps_0, columns, CHANNELS, WIDE)
            tile_1 = read(maps_1, columns, CHANNELS, WIDE)
            tile_2 = read(maps_2, columns, CHANNELS, WIDE)
            tile_3 = read(maps_3, columns, CHANNELS, WIDE)
            upper = y_near * weight
            lower = y_far * weight
            sums += (upper * x_near)[:, None] * tile_0
            sums += (upper * x_far)[:, None] * tile_1
            sums += (lower * x_near)[:, None] * tile_2
            sums += (lower * x_far)[:, None] * tile_3
    if SCALED:
        factors = tl.load(scale + channels, mask=channels < CHANNELS, other=0.0)
        sums *= factors.to(tl.float32)[None, :]
    tl.store(
        output + rows.to(tl.int64)[:, None] * CHANNELS + columns,
        sums,
        mask=exists[:, None] & (columns < CHANNELS),
    )


@triton.jit(do_not_specialize=["num_rows"])
def forward(
    levels,  # L maps [B, H, W, C]
    scales,  # L tensors [C], read if SCALED
    outputs,  # L tensors [B, J, M, C] float32
    references,  # [B, J, 2]
    offsets,  # [B, L, J, M, K, 2]
    weights,  # [B, L, J, M, K]
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
    """Writes the outputs of all levels; one program per tile, those of level 0 first."""
    block = tl.program_id(0)
    for index in tl.static_range(NUM_LEVELS):
        blocks = tl.cdiv(num_rows, ROWS[index]) * tl.cdiv(CHANNELS[index], WIDES[index])
        if (block >= 0) & (block < blocks):
            _forward_tile(
                block, num_rows, levels[index], scales[index], outputs[index],
                references, offsets, weights, index, NUM_LEVELS, JOINTS, HEADS, POINTS, GROUP,
                HEIGHTS[index], WIDTHS[index], CHANNELS[index], ROWS[index], WIDES[index],
                ZEROS, ALIGN_CORNERS, SCALED,
            )  # fmt: skip
        block -= blocks
