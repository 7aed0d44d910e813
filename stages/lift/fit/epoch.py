"""One pass over the training rows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from stages.lift.errors import NotFiniteLoss
from stages.lift.feed.batch import Batch
from stages.lift.feed.batches import LiftData
from stages.lift.feed.prefetch import Prefetch
from stages.lift.feed.samples import METRES_PER_MM
from stages.lift.feed.transfer import on_device
from stages.lift.fit.schedule import lr_factor
from stages.lift.fit.step import Totals, TrainStep

REPORT_EVERY_S = 5.0


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
    train_step: TrainStep, data: LiftData, *, steps_per_epoch: int, num_steps: int
) -> Iterator[EpochReport]:
    """Trains one epoch, yields a report every few seconds and one at the end.

    On a GPU the host queues steps and waits for none of them; what it reports, and the failure it
    raises, are then some steps old.

    Raises `NotFiniteLoss` for a loss or gradient that is NaN or infinite; the weights are then
    those before that step.
    """
    state, config = train_step.state, train_step.config
    first_step = state.epoch * steps_per_epoch
    # All that is random in an epoch follows from the seed and its number: a resumed run needs no
    # saved random state.
    order_seed, torch_seed = np.random.SeedSequence([config.seed, state.epoch]).spawn(2)
    torch.manual_seed(data.world.seed(torch_seed))
    batches = data.training_batches(
        batch_size=config.batch_size, rng=np.random.default_rng(order_seed)
    )

    def lr_of(step: int) -> float:
        factor = lr_factor(
            step, config=config, steps_per_epoch=steps_per_epoch, num_steps=num_steps
        )
        return config.lr * factor

    def require_finite(totals: Totals) -> None:
        if totals.failed_step is not None:
            if math.isfinite(totals.failed_loss_m):
                data.world.give_way()  # to the process whose own loss is not finite
            failed = batches[totals.failed_step - first_step]
            raise _not_finite(totals, data, failed, epoch=state.epoch, lr=lr_of(totals.failed_step))

    train_step.start_epoch()
    state.model.train()
    num_samples = 0
    began = reported = time.perf_counter()
    with Prefetch(
        batches,
        depth=config.prefetch_batches,
        threads=config.loader_threads,
        recycle=data.recycle,
    ) as ahead:

        def report(steps: int, totals: Totals, *, ended: bool) -> EpochReport:
            elapsed_s = time.perf_counter() - began
            return EpochReport(
                steps=steps,
                loss_mm=totals.mean_loss_m / METRES_PER_MM,
                lr=lr_of(first_step + steps - 1),
                samples_per_s=num_samples / elapsed_s,
                wait_fraction=ahead.wait_s / elapsed_s,
                ended=ended,
            )

        for index, batch in enumerate(on_device(ahead, train_step.device)):
            step = first_step + index
            train_step(batch, step=step, lr=lr_of(step))
            num_samples += batch.rows_of_all
            require_finite(train_step.seen())
            now = time.perf_counter()
            if now - reported > REPORT_EVERY_S and index + 1 < steps_per_epoch:
                reported = now
                yield report(index + 1, train_step.seen(), ended=False)
        totals = train_step.finished()
        require_finite(totals)
        yield report(steps_per_epoch, totals, ended=True)


def _not_finite(
    totals: Totals, data: LiftData, batch: Batch, *, epoch: int, lr: float
) -> NotFiniteLoss:
    frames = batch.samples if batch.map_frames is None else batch.map_frames
    rows = data.frames.rows[frames]
    maps_ok = torch.ones(len(frames), dtype=torch.bool)
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
    assert totals.failed_step is not None
    what = f"The loss became {totals.failed_loss_m}"
    if math.isfinite(totals.failed_loss_m):
        what = "The gradient became infinite or NaN"
    return NotFiniteLoss(
        f"{what} in epoch {epoch + 1}, at step {totals.failed_step + 1}. {cause} The state of epoch"
        f" {epoch} is kept."
    )
