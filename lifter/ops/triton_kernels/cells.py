"""What both passes share: which rows a tile has, and which cells of a map a point lies between.

Cells are held inside the map, and rows beyond the last repeat it: no load leaves a tensor, whatever
the points are.
"""

import triton
import triton.language as tl


@triton.jit
def locate(point, SIZE: tl.constexpr, ZEROS: tl.constexpr, ALIGN_CORNERS: tl.constexpr):
    """Two neighbouring cells of an axis, their shares, and the shares' slopes."""
    STEP: tl.constexpr = (SIZE - 1) * 0.5 if ALIGN_CORNERS else SIZE * 0.5
    # Beyond these bounds nothing new is read, and nothing changes.
    LOW: tl.constexpr = -1.0 if ZEROS else 0.0
    HIGH: tl.constexpr = SIZE * 1.0 if ZEROS else (SIZE - 1) * 1.0
    cell = (point + 1.0) * STEP
    if not ALIGN_CORNERS:
        cell -= 0.5
    free = (cell >= LOW) & (cell <= HIGH) if ZEROS else (cell > LOW) & (cell < HIGH)
    # Comparisons leave a NaN as it is; minimum and maximum need not.
    held = tl.where(cell < LOW, LOW, tl.where(cell > HIGH, HIGH, cell))
    first = tl.floor(held)
    far = held - first
    near = 1.0 - far
    left = tl.where(first == first, first, 0.0).to(tl.int32)
    slope = tl.where(free, STEP, 0.0)
    near_slope = -slope
    far_slope = slope
    if ZEROS:
        left_exists = (left >= 0) & (left < SIZE)
        right_exists = left < SIZE - 1
        near = tl.where(left_exists, near, 0.0)
        far = tl.where(right_exists, far, 0.0)
        near_slope = tl.where(left_exists, near_slope, 0.0)
        far_slope = tl.where(right_exists, far_slope, 0.0)
    right = tl.minimum(left + 1, SIZE - 1)
    left = tl.minimum(tl.maximum(left, 0), SIZE - 1)
    return left, right, near, far, near_slope, far_slope


@triton.jit
def read(pointers, columns, CHANNELS: tl.constexpr, WIDE: tl.constexpr):
    """A tile of a map or gradient as float32; columns beyond CHANNELS are 0."""
    if CHANNELS % WIDE == 0:
        tile = tl.load(pointers)
    else:
        tile = tl.load(pointers, mask=columns < CHANNELS, other=0)
    return tile.to(tl.float32)


@triton.jit
def corners(maps, left, right, above, below, WIDTH: tl.constexpr, CHANNELS: tl.constexpr):
    """Pointers to the four cells of each row, given those to cell (0, 0); 64 bit, for any size."""
    return (
        maps + ((above * WIDTH + left).to(tl.int64) * CHANNELS)[:, None],
        maps + ((above * WIDTH + right).to(tl.int64) * CHANNELS)[:, None],
        maps + ((below * WIDTH + left).to(tl.int64) * CHANNELS)[:, None],
        maps + ((below * WIDTH + right).to(tl.int64) * CHANNELS)[:, None],
    )


@triton.jit
def tile_rows(block, num_rows, JOINTS: tl.constexpr, HEADS: tl.constexpr, ROWS: tl.constexpr):
    """Rows of a tile, which of them exist, their samples, and their place in the sample."""
    rows = block * ROWS + tl.arange(0, ROWS)
    exists = rows < num_rows
    rows = tl.minimum(rows, num_rows - 1)
    return rows, exists, (rows // (JOINTS * HEADS)).to(tl.int64), rows % (JOINTS * HEADS)
