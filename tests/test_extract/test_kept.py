"""Kept pictures are the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.extract.datasets.kept import KeptPictures
from stages.extract.datasets.synthetic import Pool, Synthetic


def test_a_kept_picture_is_read_back_without_drawing_it_again(tmp_path: Path) -> None:
    drawn = Synthetic(pools={"train": Pool("T", 1, 1, 2)})
    kept = KeptPictures(drawn, tmp_path)
    first = kept.load_image(3)
    np.testing.assert_array_equal(first, drawn.load_image(3))
    (planted,) = tmp_path.glob("*.npy")
    np.save(planted, np.zeros_like(first))
    assert not kept.load_image(3).any()  # it came from the file
    assert not list(tmp_path.glob("*.partial"))


def test_it_is_the_same_dataset(tmp_path: Path) -> None:
    drawn = Synthetic(pools={"train": Pool("T", 1, 1, 2)})
    kept = KeptPictures(drawn, tmp_path)
    assert kept.content_identity() == drawn.content_identity()
    assert (kept.name, kept.cpu_bound, len(kept.plan())) == ("synthetic", True, 8)
