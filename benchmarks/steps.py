"""Trainings that benchmarks compare: the published design and lifters on maps from a cache.

Every one is driven by the training step of `stages.lift`, with its optimiser, precision and guard;
they differ by the model and by what it is given.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.made_store import LEVELS
from benchmarks.memory import peak_bytes
from benchmarks.published.design import (
    LAYOUTS,
    W32_CHANNELS,
    FrozenHRNet,
    Layout,
    PublishedDesign,
    PublishedOnMaps,
)
from benchmarks.published.lifter import PublishedLifter
from lifter import build_lifter
from lifter.config import LifterConfig
from stages.lift.config import Precision, TrainConfig
from stages.lift.feed.batch import Batch
from stages.lift.fit.optimizer import build_optimizer
from stages.lift.fit.step import TrainStep
from stages.lift.runs.state import TrainState
from stages.lift.torch_settings import torch_settings

NUM_JOINTS, CROP_SIZE = 17, (256, 192)
PUBLISHED, ON_MAPS, POSECACHE, EIGHT_BIT = (
    "published",
    "published lifter on cached maps",
    "posecache",
    "posecache uint8",
)
Input = Literal["crops", "float16", "uint8"]


@dataclass(frozen=True)
class Contender:
    """A model and what it reads in every step."""

    build: Callable[[], nn.Module]
    reads: Input


@functools.cache
def network(precision: Precision = "float32") -> FrozenHRNet:
    """Returns HRNet-W32 for training in a precision; the same one for all that only read it."""
    return FrozenHRNet(half=precision == "bfloat16", folded=True)


def contenders(
    layouts: Mapping[str, Layout], precision: Precision = "float32"
) -> dict[str, Contender]:
    """Returns them by name; `layouts` says how the maps of a published lifter lie in memory."""

    def published() -> nn.Module:
        lifter = _published_lifter()
        return PublishedDesign(network(precision), lifter, layout=layouts[PUBLISHED])

    return {
        PUBLISHED: Contender(published, "crops"),
        ON_MAPS: Contender(
            lambda: PublishedOnMaps(_published_lifter(), layout=layouts[ON_MAPS]), "float16"
        ),
        POSECACHE: Contender(capf, "float16"),
        EIGHT_BIT: Contender(capf, "uint8"),
    }


def capf() -> nn.Module:
    """Returns the lifter of this project with the published sizes."""
    return build_lifter(
        LifterConfig(name="capf"), level_channels=W32_CHANNELS, num_joints=NUM_JOINTS
    )


def _published_lifter() -> PublishedLifter:
    return PublishedLifter(W32_CHANNELS, joints=NUM_JOINTS)


def made_batch(batch_size: int, reads: Input, device: torch.device) -> Batch:
    """Returns a batch of noise on the device; points lie everywhere in the crop."""
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return (torch.rand(shape, generator=generator) * 1.6 - 0.8).to(device)

    def noise(*shape: int) -> Tensor:
        if reads == "float16":
            # On the device: gigabytes, for large batches.
            return torch.rand(shape, device=device, dtype=torch.float32).half()
        return torch.randint(0, 256, shape, device=device, dtype=torch.uint8)

    shapes = [(*CROP_SIZE, 3)] if reads == "crops" else [level.map_shape for level in LEVELS]
    scales = None
    if reads == "uint8":
        scales = [torch.full((level.channels,), 1 / 255, device=device) for level in LEVELS]
    return Batch(
        keypoints_2d=uniform(batch_size, NUM_JOINTS, 2),
        reference_points=uniform(batch_size, NUM_JOINTS, 2),
        levels=[noise(batch_size, *shape) for shape in shapes],
        scales=scales,
        target_m=uniform(batch_size, NUM_JOINTS, 3),
        valid=torch.ones(batch_size, NUM_JOINTS, dtype=torch.bool, device=device),
        samples=np.arange(batch_size),
        rows_of_all=batch_size,
    )


def train_step(model: nn.Module, config: TrainConfig, device: torch.device) -> TrainStep:
    """Returns the step that trains the model, on the device."""
    model = model.to(device)
    state = TrainState(model, build_optimizer(model, config), None)
    return TrainStep(state, config, device, all_valid=True)


@contextmanager
def arithmetic(config: TrainConfig) -> Iterator[None]:
    """Sets what a training run sets for its precision."""
    with torch_settings(None, tf32=config.precision == "tf32"):
        yield


class ReadySteps:
    """Training steps on one batch that lies ready on the device; calling it takes so many."""

    def __init__(self, model: nn.Module, batch: Batch, config: TrainConfig, *, steps: int) -> None:
        self.batch, self.config, self.steps = batch, config, steps
        self.step = train_step(model, config, batch.keypoints_2d.device)

    def __call__(self) -> None:
        """Trains, and waits for the device at the end."""
        with arithmetic(self.config):
            self.step.start_epoch()
            self.step.state.model.train()
            for number in range(self.steps):
                self.step(self.batch, step=number, lr=self.config.lr)
            assert self.step.finished().failed_step is None

    def peak_bytes(self) -> int:
        """Returns the peak memory of one step, gradients among it; optimiser state is not."""
        self.step.state.optimizer.zero_grad(set_to_none=True)
        with arithmetic(self.config):
            return peak_bytes(
                lambda: self.step(self.batch, step=0, lr=self.config.lr), self.step.device
            )


def layout_trials(
    batch_size: int, config: TrainConfig, device: torch.device, *, steps: int
) -> dict[str, dict[Layout, ReadySteps]]:
    """Returns steps of both published contenders by name and by memory format of their maps."""
    found: dict[str, dict[Layout, ReadySteps]] = {}
    for name in (PUBLISHED, ON_MAPS):
        found[name] = {}
        for layout in LAYOUTS:
            contender = contenders({name: layout}, config.precision)[name]
            batch = made_batch(batch_size, contender.reads, device)
            found[name][layout] = ReadySteps(contender.build(), batch, config, steps=steps)
    return found
