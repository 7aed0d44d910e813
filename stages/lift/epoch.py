"""One pass over the training rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lifter.losses import mpjpe
from stages.lift.batches import Batch, LiftData
from stages.lift.config import TrainConfig
from stages.lift.errors import NotFiniteLoss
from stages.lift.optimizer import set_lr
from stages.lift.prefetch import Prefetch
from stages.lift.samples import METRES_PER_MM
from stages.lift.schedule import lr_factor
from stages.lift.state import TrainState

REPORT_EVERY_S = 5.0
# On a GPU, looking at the loss stops the queue of kernels: look rarely.
CHECK_EVERY_STEPS = {"cpu": 1}
CHECK_EVERY_STEPS_ELSEWHERE = 25


@dataclass(frozen=True)
class EpochReport:
    """The epoch so far."""

    steps: int
    loss_mm: float
    lr: float
    samples_per_s: float
    wait_fraction: float
    ended: bool


def run_epoch(
    state: TrainState,
    data: LiftData,
    *,
    config: TrainConfig,
    device: torch.device,
    steps_per_epoch: int,
    num_steps: int,
) -> Iterator[EpochReport]:
    """Trains one epoch, yields a report every few seconds and one at the end.

    Raises `NotFiniteLoss` as soon as a NaN or infinite loss is seen.
    """
    model, optimizer = state.model, state.optimizer
    first_step = state.epoch * steps_per_epoch
    # All that is random in an epoch follows from the seed and its number: a resumed run needs no
    # saved random state.
    order_seed, torch_seed = np.random.SeedSequence([config.seed, state.epoch]).spawn(2)
    torch.manual_seed(int(torch_seed.generate_state(1, np.uint64)[0] >> 1))
    batches = data.training_batches(
        batch_size=config.batch_size, rng=np.random.default_rng(order_seed)
    )
    check_every = CHECK_EVERY_STEPS.get(device.type, CHECK_EVERY_STEPS_ELSEWHERE)
    all_valid = bool(data.samples.valid.all())
    loss_sum_m = torch.zeros((), dtype=torch.float64, device=device)
    num_samples, lr = 0, 0.0
    model.train()
    began = reported = time.perf_counter()
    with Prefetch(
        batches,
        depth=config.prefetch_batches,
        threads=config.loader_threads,
        recycle=data.recycle,
    ) as ahead:

        def report(steps: int, *, ended: bool) -> EpochReport:
            elapsed_s = time.perf_counter() - began
            return EpochReport(
                steps=steps,
                loss_mm=float(loss_sum_m) / max(num_samples, 1) / METRES_PER_MM,
                lr=lr,
                samples_per_s=num_samples / elapsed_s,
                wait_fraction=ahead.wait_s / elapsed_s,
                ended=ended,
            )

        for index, host_batch in enumerate(ahead):
            batch = host_batch.to(device)
            step = first_step + index
            lr = config.lr * lr_factor(
                step, config=config, steps_per_epoch=steps_per_epoch, num_steps=num_steps
            )
            set_lr(optimizer, lr)
            optimizer.zero_grad(set_to_none=True)
            loss_m = mpjpe(
                batch.lifted_by(model), batch.target_m, None if all_valid else batch.valid
            )
            loss_m.backward()  # type: ignore[no-untyped-call]
            if config.grad_clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
            optimizer.step()
            if state.average is not None:
                state.average.update(model)
            loss_sum_m += loss_m.detach() * len(batch)
            num_samples += len(batch)
            if (index + 1) % check_every == 0 or index + 1 == steps_per_epoch:
                _require_finite(loss_sum_m, state, data, batch, step=step, lr=lr)
            now = time.perf_counter()
            if now - reported > REPORT_EVERY_S and index + 1 < steps_per_epoch:
                reported = now
                yield report(index + 1, ended=False)
        yield report(steps_per_epoch, ended=True)


def _require_finite(
    loss_sum_m: Tensor, state: TrainState, data: LiftData, batch: Batch, *, step: int, lr: float
) -> None:
    if bool(torch.isfinite(loss_sum_m)):
        return
    rows = data.samples.rows[batch.samples]
    maps_ok = torch.ones(len(batch), dtype=torch.bool)
    for level in batch.levels:
        maps_ok &= torch.isfinite(level.float()).flatten(1).all(1).cpu()
    if bool(maps_ok.all()):
        cause = f"Lower train.lr (now {lr:.2e}) or set train.grad_clip=1.0."
    else:
        bad = rows[~maps_ok.numpy()]
        cause = (
            f"The maps of {len(bad)} of its rows are not finite (store rows {bad[:5].tolist()});"
            " 'posecache cache verify' checks the store."
        )
    raise NotFiniteLoss(
        f"The loss became {float(loss_sum_m)} in epoch {state.epoch + 1}, at or shortly before step"
        f" {step + 1}. {cause} The state of epoch {state.epoch} is kept."
    )
