"""Draws docs/images/store-format.svg: where each byte of a small store is.

Run `python -m docs.figures.store_format`. The numbers follow from the sizes below by the rules that
the page states; a test writes such a store and compares every one with its files.
"""

from __future__ import annotations

from pathlib import Path

NUM_ROWS, NUM_VIEWS, SHARD_ROWS = 6, 2, 4
HEIGHT, WIDTH, CHANNELS, ITEM_BYTES = 8, 6, 4, 2  # level x4, float16

MAP_BYTES = HEIGHT * WIDTH * CHANNELS * ITEM_BYTES
CRC_BYTES, ENTRY_BYTES = 4, 16
CHUNK_BYTES = MAP_BYTES + CRC_BYTES
NUM_ENTRIES = SHARD_ROWS * NUM_VIEWS
INDEX_OFFSET = NUM_ENTRIES * CHUNK_BYTES
FILE_BYTES = INDEX_OFFSET + NUM_ENTRIES * ENTRY_BYTES + CRC_BYTES
COMMIT_BYTES = 1 + CRC_BYTES

PICTURE = Path(__file__).parents[1] / "images" / "store-format.svg"

_INK, _FAINT = "#263238", "#78909c"
_MAP, _CRC, _INDEX, _COMMIT = "#bbdefb", "#ffcc80", "#c8e6c9", "#f8bbd0"
_VIEWS = ("plain", "flipped")


def chunk_offset(row_in_shard: int, view: int) -> int:
    """Return the first byte of a map in its shard file."""
    return (row_in_shard * NUM_VIEWS + view) * CHUNK_BYTES


def svg() -> str:
    """Return the picture."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 520" font-family="sans-serif">',
        '<rect width="960" height="520" rx="8" fill="#ffffff"/>',
        *_shard(),
        *_map(),
        *_index(),
        *_commit(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _shard() -> list[str]:
    """The file of rows 0 to 3: a box per row and view, then the index."""
    left, top, wide, high = 20, 70, 92, 46
    parts = [
        _text(20, 30, "features/x4/c.0.0.0.0.0", size=17, mono=True),
        _text(285, 30, f"rows 0 to {SHARD_ROWS - 1}, both views: {FILE_BYTES:,} bytes", size=15),
    ]
    for entry in range(NUM_ENTRIES):
        row, view = divmod(entry, NUM_VIEWS)
        x = left + entry * wide
        parts += [
            _box(x, top, wide - 12, high, _MAP),
            _box(x + wide - 12, top, 10, high, _CRC),
            _text(x + 40, top + 20, f"row {row}", size=13, anchor="middle"),
            _text(x + 40, top + 37, _VIEWS[view], size=12, anchor="middle"),
            _text(x, top + high + 16, f"{chunk_offset(row, view):,}", size=12, colour=_FAINT),
        ]
    x = left + NUM_ENTRIES * wide
    parts += [
        _box(x, top, 170, high, _INDEX),
        _box(x + 170, top, 10, high, _CRC),
        _text(x + 85, top + 28, "index", size=14, anchor="middle"),
        _text(x, top + high + 16, f"{INDEX_OFFSET:,}", size=12, colour=_FAINT),
        _text(x + 180, top + high + 16, f"{FILE_BYTES:,}", size=12, colour=_FAINT, anchor="end"),
        # What the two boxes below enlarge.
        _line(left, top + high + 24, 20, 196),
        _line(left + wide - 2, top + high + 24, 560, 196),
        _line(x, top + high + 24, 590, 196),
        _line(x + 180, top + high + 24, 940, 196),
    ]
    return parts


def _map() -> list[str]:
    """One map: values in C order, then the checksum."""
    values = ("y 0, x 0", "y 0, x 1", "…", f"y {HEIGHT - 1}, x {WIDTH - 1}")
    parts = [_text(30, 190, "a map: float16, little-endian, channels last", size=14)]
    for i, value in enumerate(values):
        x = 20 + i * 115
        parts.append(_box(x, 200, 115, 62, _MAP))
        parts.append(_text(x + 57, 222, value, size=13, anchor="middle"))
        if value != "…":
            channels = f"{CHANNELS} channels, {CHANNELS * ITEM_BYTES} B"
            parts.append(_text(x + 57, 244, channels, size=12, anchor="middle"))
    total = f"{HEIGHT} × {WIDTH} × {CHANNELS} × {ITEM_BYTES} B = {MAP_BYTES} bytes"
    parts += [
        _box(480, 200, 80, 62, _CRC),
        _text(520, 226, "crc32c", size=13, anchor="middle"),
        _text(520, 244, f"{CRC_BYTES} B", size=12, anchor="middle"),
        _text(20, 282, f"{total}, with its checksum {CHUNK_BYTES}", size=12, colour=_FAINT),
    ]
    return parts


def _index() -> list[str]:
    """The table at the end: offset and size, uint64 each."""
    parts = [
        _text(660, 190, "the index: uint64, little-endian", size=14),
        _box(590, 200, 350, 24, "#eceff1"),
        _text(600, 217, "row, view", size=12),
        _text(780, 217, "offset", size=12, anchor="end"),
        _text(920, 217, "size", size=12, anchor="end"),
    ]
    for entry in range(NUM_ENTRIES):
        row, view = divmod(entry, NUM_VIEWS)
        y = 224 + 24 * entry
        parts += [
            _box(590, y, 350, 24, _INDEX),
            _text(600, y + 17, f"{row}, {_VIEWS[view]}", size=12),
            _text(780, y + 17, f"{chunk_offset(row, view):,}", size=12, anchor="end"),
            _text(920, y + 17, f"{CHUNK_BYTES}", size=12, anchor="end"),
        ]
    y = 224 + 24 * NUM_ENTRIES
    entries = f"{NUM_ENTRIES} × {ENTRY_BYTES} B + {CRC_BYTES} B"
    parts += [
        _box(590, y, 350, 24, _CRC),
        _text(600, y + 17, f"crc32c of the index; in all {entries}", size=12),
        _text(590, y + 44, "A map that a last, shorter shard lacks:", size=12, colour=_FAINT),
        _text(590, y + 60, "offset and size 2⁶⁴ - 1.", size=12, colour=_FAINT),
    ]
    return parts


def _commit() -> list[str]:
    """What is written last, when all arrays of the rows are on disk."""
    return [
        _text(20, 350, "commit/c.0", size=17, mono=True),
        _text(140, 350, f"written last: {COMMIT_BYTES} bytes", size=15),
        _box(20, 364, 60, 46, _COMMIT),
        _text(50, 392, "01", size=14, anchor="middle", mono=True),
        _box(80, 364, 80, 46, _CRC),
        _text(120, 392, "crc32c", size=13, anchor="middle"),
        _text(180, 384, "Its presence is the commit of rows 0 to 3 in every array:", size=13),
        _text(180, 402, "maps, keypoints, crop/affine, status.", size=13),
        _text(20, 448, f"Rows {SHARD_ROWS} to {NUM_ROWS - 1}:", size=13),
        _text(120, 448, "features/x4/c.1.0.0.0.0, commit/c.1", size=13, mono=True),
    ]


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<rect {place} fill="{colour}" stroke="{_INK}" stroke-width="0.8"/>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f'x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"'
    return f'<line {ends} stroke="{_FAINT}" stroke-dasharray="4 3"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int,
    colour: str = _INK,
    anchor: str = "start",
    mono: bool = False,
) -> str:
    family = ' font-family="monospace"' if mono else ""
    style = f'font-size="{size}" fill="{colour}" text-anchor="{anchor}"{family}'
    return f'<text x="{x:g}" y="{y:g}" {style}>{text}</text>'


if __name__ == "__main__":
    PICTURE.write_text(svg(), "utf-8")
