"""docs/explanation/store-format.md: every number of its picture is that of a store's files."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr

from cache import LevelSpec
from docs.figures import store_format as drawn
from tests.test_docs.pages import DOCS, blocks
from tests.test_lift.stores import write_store

PAGE = DOCS / "explanation" / "store-format.md"
LEVEL = LevelSpec(
    name="x4", channels=drawn.CHANNELS, height=drawn.HEIGHT, width=drawn.WIDTH, stride=4
)
ABSENT = 2**64 - 1


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The store of the picture."""
    folder = tmp_path / "small.zarr"
    layout = {"dtype": "float16", "shard_rows": drawn.SHARD_ROWS}
    write_store(folder, {"train": drawn.NUM_ROWS}, levels=(LEVEL,), layout=layout)
    return folder


def crc_fits(content: bytes) -> bool:
    return google_crc32c.value(content[:-4]) == int.from_bytes(content[-4:], "little")


def entries_of(content: bytes) -> list[tuple[int, int]]:
    index = content[drawn.INDEX_OFFSET :]
    assert crc_fits(index)
    return list(struct.iter_unpack("<QQ", index[:-4]))


def test_a_shard_has_its_bytes_where_the_picture_says(store: Path) -> None:
    content = (store / "features/x4/c.0.0.0.0.0").read_bytes()
    maps = zarr.open_group(store, mode="r")["features/x4"]
    assert len(content) == drawn.FILE_BYTES
    for entry, (offset, size) in enumerate(entries_of(content)):
        row, view = divmod(entry, drawn.NUM_VIEWS)
        assert (offset, size) == (drawn.chunk_offset(row, view), drawn.CHUNK_BYTES)
        chunk = content[offset : offset + size]
        assert crc_fits(chunk)
        assert chunk[:-4] == np.asarray(maps[row, view]).astype("<f2").tobytes()


def test_a_changed_byte_does_not_fit_its_checksum(store: Path) -> None:
    content = bytearray((store / "features/x4/c.0.0.0.0.0").read_bytes())
    content[100] ^= 1
    assert not crc_fits(bytes(content[: drawn.CHUNK_BYTES]))


def test_maps_that_the_last_shard_lacks_have_no_place(store: Path) -> None:
    content = (store / "features/x4/c.1.0.0.0.0").read_bytes()
    index = content[-drawn.NUM_ENTRIES * drawn.ENTRY_BYTES - 4 : -4]
    entries = list(struct.iter_unpack("<QQ", index))
    present = (drawn.NUM_ROWS - drawn.SHARD_ROWS) * drawn.NUM_VIEWS
    assert all(offset != ABSENT for offset, _ in entries[:present])
    assert entries[present:] == [(ABSENT, ABSENT)] * (drawn.NUM_ENTRIES - present)


def test_a_commit_is_a_byte_and_its_checksum(store: Path) -> None:
    content = (store / "commit/c.0").read_bytes()
    assert (len(content), content[0], crc_fits(content)) == (drawn.COMMIT_BYTES, 1, True)
    assert (store / "commit/c.1").exists()


def test_the_picture_is_what_its_script_draws() -> None:
    assert drawn.PICTURE.read_text("utf-8") == drawn.svg()
    shown = re.findall(r">([\d,]+)</text>", drawn.svg())
    assert {f"{drawn.INDEX_OFFSET:,}", f"{drawn.FILE_BYTES:,}", "1,940", "388"} <= set(shown)


def test_the_pages_reading_without_zarr_reads_the_map(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.parent)
    (code,) = (block.text for block in blocks(PAGE) if block.language == "python")
    names: dict[str, object] = {}
    exec(code, names)
    maps = zarr.open_group(store, mode="r")["features/x4"]
    np.testing.assert_array_equal(names["cells"], maps[2, 1])
    assert (names["offset"], names["size"]) == (1940, 388)
    assert "# 1,940 and 388" in code
