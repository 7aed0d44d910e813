"""One optimiser step after the other, without waiting for the device between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lifter.losses import mpjpe
from lifter.models.base import Lifter, Outputs, prediction
from stages.lift.config import TrainConfig
from stages.lift.feed.batch import Batch
from stages.lift.fit.optimizer import set_lr
from stages.lift.processes.world import ALONE, World
from stages.lift.runs.state import TrainState

# How often the totals on a GPU are sent to the host; they arrive some steps later.
SEND_EVERY_STEPS = 25


@dataclass(frozen=True)
class Totals:
    """What is known of an epoch's steps."""

    loss_sum_m: float  # of the samples
    num_samples: int
    failed_step: int | None  # the first whose loss or gradient was not finite
    failed_loss_m: float  # of that step

    @property
    def mean_loss_m(self) -> float:
        """Mean loss of a sample; 0 before the first is known."""
        return self.loss_sum_m / max(self.num_samples, 1)


class TrainStep:
    """Forward pass, loss, backward pass, guard, clipping, update, average.

    The guard works on the device: from the first loss or gradient that is not finite, no update
    changes the weights any more, so that nothing has to be looked at in every step. Losses are
    float32 in every precision.
    """

    def __init__(
        self,
        state: TrainState,
        config: TrainConfig,
        device: torch.device,
        *,
        all_valid: bool,
        world: World = ALONE,
    ) -> None:
        self.state, self.config, self.device, self.world = state, config, device, world
        self._all_valid = all_valid
        self._parameters = [p for p in state.model.parameters() if p.requires_grad]
        self._forward: Callable[..., Outputs] = world.wrap(state.model)
        self._criterion = state.model.loss if isinstance(state.model, Lifter) else _mpjpe
        if config.compile:
            # The parts of several processes are of a new size in every step, and so are the frames
            # that windows do not share.
            is_windowed = isinstance(state.model, Lifter) and state.model.reads_windows
            is_dynamic = False if world.size == 1 and not is_windowed else None
            self._forward = torch.compile(self._forward, dynamic=is_dynamic)
        self._mirror = _Mirror(device)
        self.start_epoch()

    def start_epoch(self) -> None:
        """Forgets the totals of the last epoch."""
        self._broken = torch.zeros((), device=self.device)  # 1 once a step was not finite
        # Sum of losses, number of samples, failed step or -1, its loss.
        self._totals = torch.zeros(4, dtype=torch.float64, device=self.device)
        self._totals[2] = -1.0
        self._num_steps = 0
        self._mirror.start(self._totals)

    def __call__(self, batch: Batch, *, step: int, lr: float) -> None:
        """Queues a step on a batch of the device; `step` is its number in the run."""
        optimizer, config = self.state.optimizer, self.config
        set_lr(optimizer, lr)
        optimizer.zero_grad(set_to_none=True)
        loss_m = self.loss(batch)
        loss_m.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients, foreach=True)
        if config.grad_clip is not None:
            nn.utils.clip_grads_with_norm_(self._parameters, config.grad_clip, norm, foreach=True)
        self._guard(loss_m.detach(), norm, batch.rows_of_all, step)
        optimizer.step()
        if self.state.average is not None:
            self.state.average.update(self.state.model)

    def loss(self, batch: Batch) -> Tensor:
        """Returns what the lifter minimises, float32: MPJPE in metres, or a loss of its own.

        Of several processes, each has a loss of its own; their mean is that of the whole batch.
        """
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.config.precision == "bfloat16"
        ):
            outputs = batch.lifted_by(self._forward)
        valid = None if self._all_valid else batch.valid
        loss_m = self._criterion(outputs, batch.target_m, valid)
        return loss_m if self.world.size == 1 else loss_m * batch.loss_weight

    def seen(self) -> Totals:
        """Returns the latest totals that have reached the host, without waiting for newer ones.

        Those of this process: the loss of its own samples, which is that of all but for chance.
        """
        return _as_totals(self._mirror.latest())

    def finished(self) -> Totals:
        """Returns the totals of all steps and processes so far, once they are done."""
        totals = self.world.gather(self._totals.tolist())
        failed = totals[totals[:, 2] >= 0]
        _, *rest = (failed if len(failed) else totals)[0].tolist()
        return _as_totals([float(totals[:, 0].mean()), *rest])

    def _guard(self, loss_m: Tensor, norm: Tensor, num_samples: int, step: int) -> None:
        finite = loss_m.isfinite() & norm.isfinite()
        failed_now = ~finite & (self._broken == 0)
        torch.maximum(self._broken, (~finite).float(), out=self._broken)
        # torch's own way to skip an update on the device, meant for scaled gradients: the fused
        # optimisers leave weights, moments and step counts as they are where it is 1.
        self.state.optimizer.found_inf = self._broken  # type: ignore[attr-defined]
        totals = self._totals
        totals[0] += torch.where(self._broken == 0, loss_m, 0.0) * num_samples
        totals[1] += num_samples
        totals[2] = torch.where(failed_now, float(step), totals[2])
        totals[3] = torch.where(failed_now, loss_m, totals[3])
        self._num_steps += 1
        if self._num_steps % SEND_EVERY_STEPS == 1:
            self._mirror.send(totals)


class _Mirror:
    """The totals as the host knows them: on the CPU the totals, on a GPU an earlier copy."""

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        self._known = [0.0, 0.0, -1.0, 0.0]

    def start(self, totals: Tensor) -> None:
        self._known = [0.0, 0.0, -1.0, 0.0]
        self._totals = totals
        if self._is_cuda:
            self._arriving = torch.empty(4, dtype=torch.float64, pin_memory=True)
            self._arrived: torch.cuda.Event | None = None

    def send(self, totals: Tensor) -> None:
        """Sends a copy on its way, unless one is under way."""
        if self._is_cuda and self._arrived is None:
            self._arriving.copy_(totals, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def latest(self) -> list[float]:
        if not self._is_cuda:
            return list(self._totals.tolist())
        if self._arrived is not None and self._arrived.query():  # type: ignore[no-untyped-call]
            self._known = self._arriving.tolist()
            self._arrived = None
        return self._known


def _mpjpe(outputs: Outputs, target_m: Tensor, valid: Tensor | None) -> Tensor:
    return mpjpe(prediction(outputs).float(), target_m, valid)


def _as_totals(known: list[float]) -> Totals:
    loss_sum_m, num_samples, failed_step, failed_loss_m = known
    return Totals(
        loss_sum_m=loss_sum_m,
        num_samples=int(num_samples),
        failed_step=None if failed_step < 0 else int(failed_step),
        failed_loss_m=failed_loss_m,
    )
