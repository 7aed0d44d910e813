"""One step of training: precision, clipping, and the guard that works on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cache import CacheReader
from lifter.config import LifterConfig
from stages.lift import NotFiniteLoss, TrainConfig, load_run, train
from stages.lift.feed.batch import Batch
from stages.lift.feed.batches import LiftData
from stages.lift.fit.optimizer import build_optimizer
from stages.lift.fit.step import TrainStep
from stages.lift.runs.checkpoints import build_model
from stages.lift.runs.identity import describe
from stages.lift.runs.rundir import read_log
from stages.lift.runs.state import TrainState
from stages.lift.torch_settings import torch_settings

CPU = torch.device("cpu")
CAPF = LifterConfig(
    name="capf", width=16, depth=1, num_heads=2, deform_heads=2, num_points=2, drop_path=0.0
)


class Bench:
    """A lifter, a batch and the step between them."""

    def __init__(self, store: CacheReader, **options: Any) -> None:
        self.config = TrainConfig.model_validate({"lr": 1e-3, "batch_size": 8, **options})
        names = tuple(store.levels)
        data = LiftData(store, "train", config=self.config.data, level_names=names, flipped=False)
        batches = data.training_batches(batch_size=8, rng=np.random.default_rng(0))
        self.batch: Batch = batches[0]
        torch.manual_seed(0)
        model = build_model(CAPF, describe(store, self.config.data, names)).train()
        self.state = TrainState(model, build_optimizer(model, self.config), None)
        self.step = TrainStep(self.state, self.config, CPU, all_valid=True)

    def weights(self) -> list[torch.Tensor]:
        return [p.detach().clone() for p in self.state.model.parameters()]


def test_a_step_is_the_mean_distance_and_adamw(store: CacheReader) -> None:
    bench = Bench(store, weight_decay=0.1)
    model, batch = bench.state.model, bench.batch
    expected = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=False)
    predicted = model(batch.keypoints_2d, batch.reference_points, batch.levels)
    loss = (predicted - batch.target_m).norm(dim=-1).mean()
    start = bench.weights()
    loss.backward()
    expected.step()
    wanted = bench.weights()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), start, strict=True):
            parameter.copy_(value)
    bench.step(batch, step=0, lr=1e-3)
    torch.testing.assert_close(bench.weights(), wanted, rtol=1e-5, atol=1e-7)
    assert bench.step.finished().mean_loss_m == pytest.approx(float(loss.detach()), rel=1e-6)
    assert bench.step.finished() == bench.step.seen()


def test_a_long_gradient_is_cut_to_the_norm(store: CacheReader) -> None:
    bench = Bench(store, grad_clip=1e-3)
    bench.step(bench.batch, step=0, lr=1e-3)
    gradients = [p.grad.flatten() for p in bench.state.model.parameters() if p.grad is not None]
    assert float(torch.cat(gradients).norm()) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_after_a_step_that_is_not_finite_nothing_changes_any_more(
    store: CacheReader, where: str
) -> None:
    bench = Bench(store)
    bench.step(bench.batch, step=0, lr=1e-3)
    before = bench.weights()
    moments = [s["exp_avg"].clone() for s in bench.state.optimizer.state.values()]
    if where == "loss":
        bench.batch.target_m[0, 0, 0] = float("nan")
    else:  # a finite loss with an infinite slope
        parameter = next(bench.state.model.parameters())
        handle = parameter.register_hook(lambda grad: grad * float("inf"))
    bench.step(bench.batch, step=1, lr=1e-3)
    if where == "loss":
        bench.batch.target_m[0, 0, 0] = 0.0
    else:
        handle.remove()
    bench.step(bench.batch, step=2, lr=1e-3)
    assert all(map(torch.equal, before, bench.weights()))
    for old, state in zip(moments, bench.state.optimizer.state.values(), strict=True):
        assert torch.equal(old, state["exp_avg"])
        assert float(state["step"]) == 1
    totals = bench.step.finished()
    assert totals.failed_step == 1
    assert np.isfinite(totals.failed_loss_m) == (where == "gradient")
    assert np.isfinite(totals.loss_sum_m)


def test_a_gradient_that_is_not_finite_stops_training(
    store: CacheReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spoilt(nn.Linear):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            out = super().forward(rows)
            if out.requires_grad:
                out.register_hook(lambda grad: grad * float("nan"))
            return out

    monkeypatch.setattr("lifter.pyramid.nn.Linear", Spoilt)
    with pytest.raises(NotFiniteLoss, match=r"The gradient became .* in epoch 1, at step 1\. "):
        train(TrainConfig(epochs=1, batch_size=8), CAPF, store, tmp_path / "run")


def test_bfloat16_changes_products_and_nothing_else(store: CacheReader) -> None:
    seen: dict[str, torch.dtype] = {}
    bench = Bench(store, precision="bfloat16")
    model = bench.state.model
    model.decoder.position.register_forward_hook(
        lambda module, inputs, output: seen.update(products=output.dtype)  # noqa: ARG005
    )
    loss = bench.step.loss(bench.batch)
    exact = Bench(store).step.loss(bench.batch)
    assert seen == {"products": torch.bfloat16}
    assert loss.dtype == torch.float32
    loss, exact = loss.detach(), exact.detach()
    assert float(loss) != float(exact)
    assert float(loss) == pytest.approx(float(exact), rel=2e-2)
    bench.step(bench.batch, step=0, lr=1e-3)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.slow
def test_a_run_in_bfloat16_learns_like_one_in_float32(store: CacheReader, tmp_path: Path) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        config = TrainConfig.model_validate(
            {"epochs": 8, "batch_size": 8, "lr": 2e-3, "flip": False, "precision": precision}
        )
        train(config, CAPF, store, tmp_path / precision)
        losses[precision] = [entry["loss_mm"] for entry in read_log(tmp_path / precision)]
        assert load_run(tmp_path / precision).config.precision == precision
    first, last = losses["float32"][0], losses["float32"][-1]
    assert losses["bfloat16"][-1] == pytest.approx(last, abs=0.1 * (first - last))


def test_settings_of_a_job_are_given_back() -> None:
    before = torch.get_float32_matmul_precision()
    with torch_settings(None, tf32=True):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")  # torch's compiler uses torch.jit
def test_a_compiled_run_follows_the_plain_one(store: CacheReader, tmp_path: Path) -> None:
    losses = []
    for compiled in (False, True):
        config = TrainConfig(epochs=2, batch_size=8, flip=False, compile=compiled)
        train(config, CAPF, store, tmp_path / str(compiled))
        losses.append([entry["loss_mm"] for entry in read_log(tmp_path / str(compiled))])
        weights = load_run(tmp_path / str(compiled), weights="last").model.state_dict()
        assert not any("_orig_mod" in name for name in weights)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
