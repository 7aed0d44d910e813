from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from cache import CacheReader
from lifter.uncertainty import ScaledLifter, laplace_nll
from stages.lift import DataConfig, EvaluateConfig, evaluate
from stages.lift.calibration import LEVELS, NUM_BINS, calibration, share_within, spearman
from stages.lift.calibration_figure import plot_calibration
from stages.lift.feed.batches import LiftData
from tests.test_lift.oracles import Oracle

DATA = DataConfig(keypoint_source="gt")


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns errors and the scales that they were drawn with, [n, J]."""
    rng = np.random.default_rng(seed)
    scale_mm = rng.uniform(5.0, 80.0, size=(4000, 16))
    return rng.gamma(3.0, scale_mm), scale_mm


def test_scales_that_errors_were_drawn_with_are_found_to_be_right() -> None:
    found = calibration(*drawn())
    assert found["best_factor"] == pytest.approx(1.0, abs=0.01)
    assert found["expected_calibration_error_mm"] < 2.0
    for each in found["coverage"]:
        assert each["observed"] == pytest.approx(each["level"], abs=0.01)
    assert [each["count"] for each in found["bins"]] == [6400] * NUM_BINS
    assert found["spearman"] > 0.5


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_scales_off_by_a_factor_of_two_are_found_out(factor: float) -> None:
    error_mm, scale_mm = drawn()
    right, wrong = calibration(error_mm, scale_mm), calibration(error_mm, factor * scale_mm)
    assert wrong["best_factor"] == pytest.approx(1 / factor, rel=0.01)
    assert wrong["nll"] > right["nll"] + 0.5
    assert wrong["expected_calibration_error_mm"] > 40.0
    middle = wrong["coverage"][LEVELS.index(0.5)]["observed"]
    assert middle < 0.2 if factor < 1 else middle > 0.85
    assert wrong["spearman"] == pytest.approx(right["spearman"])


def test_a_case_worked_out_by_hand() -> None:
    # Scales of 10 and 20 predict 30 and 60 mm; observed are 40 and 50.
    error_mm, scale_mm = np.array([[40.0, 50.0]] * 5), np.array([[10.0, 20.0]] * 5)
    found = calibration(error_mm, scale_mm)
    assert [each["predicted_mm"] for each in found["bins"]] == [30.0] * 5 + [60.0] * 5
    assert [each["observed_mm"] for each in found["bins"]] == [40.0] * 5 + [50.0] * 5
    assert found["expected_calibration_error_mm"] == pytest.approx(10.0)
    assert found["best_factor"] == pytest.approx((4.0 + 2.5) / 2 / 3)
    assert found["spearman"] == pytest.approx(1.0)
    assert found["spearman_of_frames"] is None
    # P(|e| <= 2.5 b) = 0.456, P(|e| <= 4 b) = 0.762, of a Gamma distribution of shape 3.
    observed = {each["level"]: each["observed"] for each in found["coverage"]}
    assert (observed[0.4], observed[0.5], observed[0.7], observed[0.8]) == (0.0, 0.5, 0.5, 1.0)


def test_likelihood_coverage_and_ranks_are_those_of_torch_and_scipy() -> None:
    error_mm, scale_mm = (values[:200] for values in drawn())
    directions = nn.functional.normalize(torch.randn(200, 16, 3, dtype=torch.float64), dim=-1)
    expected = laplace_nll(
        directions * torch.from_numpy(error_mm)[..., None],
        torch.from_numpy(np.log(scale_mm)),
        torch.zeros(200, 16, 3),
    )
    assert calibration(error_mm, scale_mm)["nll"] == pytest.approx(float(expected))
    ratio = np.linspace(0.0, 20.0, 50)
    np.testing.assert_allclose(share_within(ratio), stats.gamma(3).cdf(ratio), atol=1e-12)
    one, other = np.random.default_rng(0).integers(0, 9, size=(2, 300)).astype(float)
    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


class ScaledOracle(ScaledLifter):
    """Is off by the offset of its sample, and says a scale for the view that it sees."""

    def __init__(self, oracle: Oracle, scales_m: Tensor) -> None:
        nn.Module.__init__(self)
        self.oracle, self.scales_m = oracle, scales_m  # [V, J]

    def forward(  # type: ignore[override]
        self, keypoints_2d: Tensor, points: Tensor, levels: list[Tensor], *, with_scale: bool
    ) -> tuple[Tensor, ...]:
        assert with_scale
        known = self.oracle.keypoints
        view = torch.cdist(keypoints_2d.flatten(1), known.flatten(0, 1).flatten(1)).argmin(1)
        scales = self.scales_m[view // known.shape[1]]
        return self.oracle(keypoints_2d, points, levels), scales.log()


@pytest.mark.parametrize("flip_average", [False, True])
def test_an_evaluation_tells_the_scales_and_whether_they_hold(
    store: CacheReader, flip_average: bool
) -> None:
    samples = LiftData(store, "test", config=DATA, level_names=(), flipped=True).samples
    plain = torch.arange(1, 18) / 100
    # The mirrored person's left is the person's right: as the flipped view has it.
    flipped = (plain * 3)[torch.from_numpy(store.label_skeleton.swap)]
    model = ScaledOracle(
        Oracle(
            samples,
            offset_m=torch.tensor([0.03, 0.0, 0.0]),
            flipped_offset_m=torch.tensor([-0.03, 0.0, 0.0]),
        ),
        torch.stack([plain, flipped]),
    )
    config = EvaluateConfig(batch_size=3, flip_average=flip_average)
    found = evaluate(model, store, "test", config, data=DATA, level_names=())
    expected = 1000 * plain.numpy() * (2 if flip_average else 1)
    assert found.scale_mm is not None
    np.testing.assert_allclose(found.scale_mm, np.tile(expected, (8, 1)), rtol=1e-5)
    assert found.metrics["frame_wise"]["mpjpe_mm"] == pytest.approx(30.0, abs=1e-3)
    told = found.metrics["uncertainty"]
    assert sum(each["count"] for each in told["bins"]) == 8 * 16  # the root is left out
    by_hand = calibration(np.full((8, 16), 30.0), np.tile(expected[1:], (8, 1)))
    assert told["nll"] == pytest.approx(by_hand["nll"], abs=1e-4)
    assert told["best_factor"] == pytest.approx(by_hand["best_factor"], abs=1e-4)


def test_a_lifter_without_scales_tells_none(store: CacheReader) -> None:
    samples = LiftData(store, "test", config=DATA, level_names=(), flipped=True).samples
    found = evaluate(Oracle(samples), store, "test", EvaluateConfig(), data=DATA, level_names=())
    assert found.scale_mm is None
    assert "uncertainty" not in found.metrics


def test_a_picture_of_the_calibration_is_written(tmp_path: Path) -> None:
    for name, factor in (("right", 1.0), ("wrong", 2.0)):
        error_mm, scale_mm = drawn()
        plot_calibration(
            calibration(error_mm, factor * scale_mm), tmp_path / f"{name}.png", title=name
        )
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    assert len(sizes) == 2
    assert min(sizes) > 5000
