"""Frames/s that the loader delivers into the training of `capf`, and the share spent waiting.

Run: `python -m benchmarks.loader [--quick] [--store STORE] [--batch B] [--steps N] [--threads N]`.
Without a store, one with made-up maps in the sizes of HRNet-W32 is written to a temporary folder.
The baseline is the same training step, fed with one batch that is in memory already (and, if it is
small, in the processor's caches).
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from benchmarks.harness import Row, append_rows, arguments, compared, seconds_of, show
from benchmarks.made_store import write_made_store
from cache import CacheReader
from lifter import build_lifter
from lifter.config import LifterConfig
from stages.lift.config import DataConfig, TrainConfig
from stages.lift.errors import DoesNotFit
from stages.lift.feed.batch import Batch
from stages.lift.feed.batches import LiftData
from stages.lift.feed.prefetch import Prefetch, Source
from stages.lift.feed.residency import place_maps
from stages.lift.feed.samples import splits_of
from stages.lift.fit.epoch import run_epoch
from stages.lift.fit.optimizer import build_optimizer
from stages.lift.fit.step import TrainStep
from stages.lift.runs.state import TrainState

CPU = torch.device("cpu")
GOAL = 0.95
Place = Literal["disk", "host"]


class Steps:
    """The first batches of a pass."""

    def __init__(self, batches: Source[Batch], count: int) -> None:
        self._batches, self._count = batches, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Batch:
        return self._batches[index]


class Repeated(Steps):
    """The first batch, again and again."""

    def __init__(self, batches: Source[Batch], count: int) -> None:
        super().__init__(batches, count)
        self._first = batches[0]

    def __getitem__(self, index: int) -> Batch:
        return self._first


class Feed(LiftData):
    """The training rows of a store, so many steps of them."""

    def __init__(
        self,
        reader: CacheReader,
        config: TrainConfig,
        *,
        steps: int,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(
            reader,
            config.data.train_split,
            config=config.data,
            level_names=tuple(reader.levels),
            flipped=config.flip,
            device=device,
        )
        self.steps = min(steps, len(self) // config.batch_size)

    def training_batches(self, *, batch_size: int, rng: np.random.Generator) -> Steps:
        """The first batches of an epoch."""
        return Steps(super().training_batches(batch_size=batch_size, rng=rng), self.steps)


class Memory(Feed):
    """One batch that is never read again: what no loader can beat."""

    def training_batches(self, *, batch_size: int, rng: np.random.Generator) -> Steps:
        """The first batch of an epoch, as often."""
        batches = super().training_batches(batch_size=batch_size, rng=rng)
        return Repeated(batches, self.steps)

    def recycle(self, batch: Batch) -> None:
        """Keeps the batch."""


class Training:
    """A run of `capf` that is fed by one contender; calling it trains so many steps."""

    def __init__(self, data: Feed, config: TrainConfig, lifter: LifterConfig) -> None:
        self.data, self.config = data, config
        self.waits: list[float] = []
        torch.manual_seed(0)
        channels = tuple(level.channels for level in data.reader.levels.values())
        joints = data.reader.label_skeleton.num_joints
        model = build_lifter(lifter, level_channels=channels, num_joints=joints)
        state = TrainState(model, build_optimizer(model, config), None)
        self.step = TrainStep(state, config, CPU, all_valid=bool(data.samples.valid.all()))

    def __call__(self) -> None:
        """Trains one pass over the steps."""
        steps = self.data.steps
        *_, ended = run_epoch(self.step, self.data, steps_per_epoch=steps, num_steps=steps)
        self.waits.append(ended.wait_fraction)

    def deliver(self) -> None:
        """Takes the same batches without training on them."""
        batches = self.data.training_batches(
            batch_size=self.config.batch_size, rng=np.random.default_rng(0)
        )
        with Prefetch(
            batches,
            depth=self.config.prefetch_batches,
            threads=self.config.loader_threads,
            recycle=self.data.recycle,
        ) as ahead:
            for _ in ahead:
                pass


def contenders(
    reader: CacheReader, config: TrainConfig, lifter: LifterConfig, *, steps: int
) -> dict[str, Training]:
    memory = Memory(reader, config, steps=steps)
    found = {"one batch in memory": Training(memory, config, lifter)}
    places: tuple[Place, ...] = ("disk", "host")
    for place in places:
        data = Feed(reader, config, steps=steps)
        try:
            place_maps([data], place, device=CPU, passes=2)
        except DoesNotFit:
            continue
        for threads in (1, 2):
            settings = config.model_copy(update={"loader_threads": threads})
            plural = "s" if threads > 1 else ""
            found[f"{place}, {threads} thread{plural}"] = Training(data, settings, lifter)
    return found


def measure(ways: dict[str, Training], *, work: str, repeats: int) -> list[Row]:
    """Rows of training, of waiting, and of delivery without training."""
    baseline = next(iter(ways))
    frames = ways[baseline].data.steps * ways[baseline].config.batch_size
    loaders = {name: way for name, way in ways.items() if name != baseline}
    trained = seconds_of(dict(ways), repeats=repeats)
    rows = compared(
        f"training of capf, {work}",
        trained,
        amount=frames,
        unit="frames/s",
        baseline=baseline,
        goals=dict.fromkeys(loaders, GOAL),
        absent=() if any(name.startswith("host") for name in loaders) else ("host",),
    )
    rows += [
        Row(f"waiting for data, {work}", name, 100 * statistics.median(way.waits), "% of the time")
        for name, way in loaders.items()
    ]
    calls: dict[str, Callable[[], object]] = {name: way.deliver for name, way in loaders.items()}
    delivered = seconds_of(calls, repeats=repeats)
    return rows + compared(
        f"delivery alone, {work}",
        delivered,
        amount=frames,
        unit="frames/s",
        baseline=next(iter(calls)),
    )


def main() -> None:
    """Print and record one row per way to feed the lifter."""
    parser = arguments(__doc__)
    parser.add_argument("--store", type=Path, help="Its split 'train' is read, or its first one.")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    batch, steps, rounds = chosen.batch, chosen.steps, chosen.rounds
    if chosen.quick:
        batch, steps, rounds = 8, 2, 1
    with ExitStack() as stack:
        path = chosen.store
        if path is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            path = write_made_store(folder / "made.zarr", batch * steps * 2)
        reader = CacheReader(path)
        splits = splits_of(reader)
        data = DataConfig(train_split="train" if "train" in splits else splits[0])
        config = TrainConfig(data=data, batch_size=batch, flip="flipped" in reader.views)
        ways = contenders(reader, config, LifterConfig(name="capf"), steps=steps)
        work = f"B={batch}, {chosen.threads} threads, {reader.name}"
        rows = measure(ways, work=work, repeats=rounds)
    show("Batches from a store into the training of capf", rows)
    if not chosen.quick:
        append_rows("loader-cpu", rows, packages=("numpy", "torch", "zarr"))


if __name__ == "__main__":
    main()
