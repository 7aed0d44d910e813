from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from cache import CacheReader
from stages.lift import DataConfig, EvaluateConfig, evaluate, plot_curves, plot_frames
from stages.lift.feed.batches import LiftData
from stages.lift.figures import LEFT, RIGHT, describe_row
from tests.test_lift.oracles import Oracle
from tests.test_lift.stores import IMAGE_SIZE

HISTORY = [
    {
        "epoch": epoch,
        "loss_mm": 100.0 / epoch,
        "validation_mpjpe_mm": 120.0 / epoch if epoch % 2 else None,
        "best": epoch == 5,
        "lr": 1e-3 * 0.9**epoch,
    }
    for epoch in range(1, 7)
]


def shares_of(picture: np.ndarray, colour: str) -> float:
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return float((np.abs(picture[..., ::-1].astype(int) - rgb).max(axis=-1) < 12).mean())


def test_curves_show_every_run(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    plot_curves({"a": HISTORY, "b": HISTORY[:3]}, path)
    picture = cv2.imread(str(path))
    assert min(picture.shape[:2]) > 400
    for colour in ("#1f77b4", "#ff7f0e"):
        assert shares_of(picture, colour) > 1e-4


def test_the_frames_are_the_best_the_median_and_the_worst(
    store: CacheReader, tmp_path: Path
) -> None:
    data = DataConfig(keypoint_source="gt")
    samples = LiftData(store, "test", config=data, level_names=(), flipped=True).samples
    offset_m = torch.zeros(8, 17, 3)
    offset_m[..., 0] = torch.tensor([5.0, 3.0, 8.0, 1.0, 2.0, 7.0, 6.0, 4.0])[:, None] * 0.02
    result = evaluate(
        Oracle(samples, offset_m=offset_m),
        store,
        "test",
        EvaluateConfig(flip_average=False),
        data=data,
        level_names=(),
    )
    asked: list[int] = []

    def load_image(row: int) -> np.ndarray:
        asked.append(row)
        return np.full((*IMAGE_SIZE, 3), 128, dtype=np.uint8)

    path = tmp_path / "frames.png"
    rows = plot_frames(result, store, load_image, path)
    assert rows == (35, 32, 34)  # test begins at row 32
    assert asked == [35, 32, 34]
    picture = cv2.imread(str(path))
    assert shares_of(picture, LEFT) > 1e-3
    assert shares_of(picture, RIGHT) > 1e-3


def test_a_row_is_described_by_the_words_of_the_store(store: CacheReader) -> None:
    assert describe_row(store, 34) == "only Walking only frame 2"
