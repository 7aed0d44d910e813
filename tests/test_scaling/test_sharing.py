"""The mark that tells one disk from another."""

from __future__ import annotations

from pathlib import Path

from cache.storage import open_storage
from pipeline.extraction.sharing import shared_mark


def test_a_mark_lives_as_long_as_its_process(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "a.zarr")
    with shared_mark(storage.location) as mark:
        assert mark is not None
        of_a_killed_one = Path(f"{mark[:-4]}dead")
        of_a_killed_one.mkdir()
        storage.sweep([])
        assert Path(mark).is_dir()
        assert not of_a_killed_one.exists()
    assert list(tmp_path.iterdir()) == []
