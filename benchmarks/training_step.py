"""A training step and an epoch from a cache against the published design, network in the loop.

Run: `python -m benchmarks.training_step [--device cpu|cuda] [--quick] [--threads N]`.
The baseline, `published`, runs a frozen HRNet-W32 on the crops of every batch and trains the
published lifter on its maps; of both memory formats for `F.grid_sample` it gets the faster.
`published lifter on cached maps` leaves the network out: what remains to be gained there is the
sampling alone. All share optimiser, loss, guard, threads and batch, and are compared within one
precision; on a GPU the convolutions of the network may use TF32 in every row. Weights and pictures
are noise: time does not depend on them.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.devices import bfloat16_is_fast, device_name
from benchmarks.epochs import Epoch, EpochFeed, Place
from benchmarks.harness import RESULTS, Row, append_rows, arguments, compared, seconds_of, show
from benchmarks.made_store import write_made_store
from benchmarks.published.design import Layout
from benchmarks.rate_plot import plot_rates
from benchmarks.steps import (
    EIGHT_BIT,
    POSECACHE,
    PUBLISHED,
    Input,
    ReadySteps,
    contenders,
    layout_trials,
    made_batch,
)
from cache import CacheReader
from cache.derived.recode import recode
from stages.lift.config import DataConfig, Precision, TrainConfig
from stages.lift.feed.batch import Batch

PACKAGES = ("numpy", "torch", "triton", "mmpose")
STEP, COMPILED = "training step", ", compiled"


@dataclass(frozen=True)
class Plan:
    """What is measured on one kind of device."""

    batch: int  # of the rows with a goal
    goal: float | None
    batches: tuple[int, ...]  # of frames/s against batch size
    precisions: tuple[Precision, ...]
    precision: Precision  # of compiled rows, batch sizes and epochs
    steps: int  # per measurement
    rounds: int
    epoch_steps: int
    places: tuple[Place, ...]


PLANS = {
    "cpu": Plan(
        batch=64,
        goal=5.0,
        batches=(1, 8, 32),
        precisions=("float32",),
        precision="float32",
        steps=1,
        rounds=5,
        epoch_steps=4,
        places=("disk",),
    ),
    "cuda": Plan(
        batch=512,
        goal=15.0,
        batches=(64, 256, 1024, 2048),
        precisions=("float32", "tf32", "bfloat16"),
        precision="bfloat16",
        steps=10,
        rounds=7,
        epoch_steps=8,
        places=("disk", "device"),
    ),
}
QUICK = replace(PLANS["cpu"], batch=2, goal=None, batches=(1,), rounds=1, epoch_steps=1)


class Bench:
    """The rows, one kind of work after the other."""

    def __init__(self, plan: Plan, device: torch.device, *, compiled: tuple[str, ...]) -> None:
        self.plan, self.device, self.compiled = plan, device, compiled
        self.where = "" if device.type == "cuda" else f", {torch.get_num_threads()} threads"
        self.layouts: dict[str, Layout] = {}
        self.rows: list[Row] = []
        self.rates: dict[str, dict[int, float]] = {}  # frames/s by contender and batch size

    def choose_layouts(self) -> None:
        """Gives the published contenders the faster memory format of their maps."""
        plan, config = self.plan, self._config(self.plan.precision)
        trials = layout_trials(plan.batch, config, self.device, steps=plan.steps)
        for name, by_layout in trials.items():
            times = seconds_of(dict(by_layout), repeats=2)
            work = f"memory format, {name}, B={plan.batch}, {plan.precision}{self.where}"
            self.rows += compared(
                work,
                times,
                amount=plan.batch * plan.steps,
                unit="frames/s",
                baseline=next(iter(times)),
            )
            self.layouts[name] = min(times, key=lambda each: statistics.median(times[each]))

    def steps(self) -> None:
        """Steps of all contenders in all precisions, and the peak memory of one step."""
        plan = self.plan
        runs: dict[str, ReadySteps] = {}
        baselines: dict[str, str] = {}
        batches = self._made_batches(plan.batch)
        for precision in plan.precisions:
            for name in contenders(self.layouts):
                label = _label(name, precision)
                runs[label] = self._ready(name, batches, self._config(precision))
                baselines[label] = _label(PUBLISHED, precision)
        for name in self.compiled:
            label = _label(name, plan.precision) + COMPILED
            config = self._config(plan.precision, compile=True)
            runs[label] = self._ready(name, batches, config)
            baselines[label] = _label(PUBLISHED, plan.precision)
        times = seconds_of(dict(runs), repeats=plan.rounds)
        self._compare(STEP, times, baselines, batch=plan.batch)
        self._compare_memory({name: run.peak_bytes() for name, run in runs.items()}, baselines)

    def bfloat16(self) -> None:
        """bfloat16 where the processor only imitates it: a small batch, against float32."""
        batch = min(8, self.plan.batch)
        batches = self._made_batches(batch)
        label = _label(POSECACHE, "bfloat16")
        runs = {
            PUBLISHED: self._ready(PUBLISHED, batches, self._config("float32")),
            label: self._ready(POSECACHE, batches, self._config("bfloat16")),
        }
        times = seconds_of(dict(runs), repeats=min(3, self.plan.rounds))
        work = "training step, no bfloat16 arithmetic in this processor"
        self._compare(work, times, dict.fromkeys(runs, PUBLISHED), batch=batch)

    def batch_sizes(self) -> None:
        """Frames/s against batch size."""
        plan, config = self.plan, self._config(self.plan.precision)
        for batch in plan.batches:
            batches = self._made_batches(batch)
            labels = {name: _label(name, plan.precision) for name in (PUBLISHED, POSECACHE)}
            runs = {label: self._ready(name, batches, config) for name, label in labels.items()}
            times = seconds_of(dict(runs), repeats=plan.rounds)
            baselines = dict.fromkeys(runs, labels[PUBLISHED])
            self._compare(STEP, times, baselines, batch=batch)

    def epochs(self, folder: Path) -> None:
        """Steps fed by the loader, and the share of the time that is spent waiting for it."""
        plan = self.plan
        size = plan.batch * plan.epoch_steps
        half = write_made_store(folder / "made.zarr", size)
        recode(half, folder / "uint8.zarr", dtype="uint8")
        readers = {"float16": CacheReader(half), "uint8": CacheReader(folder / "uint8.zarr")}
        split = readers["float16"].index("split").vocabulary[0]
        config = self._config(plan.precision, data=DataConfig(train_split=split))
        for place in plan.places:
            runs: dict[str, Epoch] = {}
            for name, contender in contenders(self.layouts, plan.precision).items():
                feed = EpochFeed(
                    readers.get(contender.reads, readers["float16"]),
                    config,
                    steps=plan.epoch_steps,
                    device=self.device,
                    place=place,
                    pictures=contender.reads == "crops",
                )
                label = _label(name, plan.precision)
                runs[label] = Epoch(contender.build(), feed, config, self.device)
            times = seconds_of(dict(runs), repeats=min(3, plan.rounds))
            what = "maps or pictures on the device"
            if place == "disk":
                what = "maps from disk, pictures from memory"
            work = f"epoch of {plan.epoch_steps} steps, {what}"
            baselines = dict.fromkeys(runs, _label(PUBLISHED, plan.precision))
            self._compare(work, times, baselines, batch=plan.batch, steps=plan.epoch_steps)
            for name, run in runs.items():
                share = 100 * statistics.median(run.waits)
                self.rows.append(Row(f"waiting for data, {work}", name, share, "% of the time"))

    def _config(self, precision: Precision, **more: Any) -> TrainConfig:
        return TrainConfig(batch_size=self.plan.batch, precision=precision, **more)

    def _made_batches(self, batch: int) -> dict[Input, Batch]:
        kinds: tuple[Input, ...] = ("crops", "float16", "uint8")
        return {kind: made_batch(batch, kind, self.device) for kind in kinds}

    def _ready(self, name: str, batches: dict[Input, Batch], config: TrainConfig) -> ReadySteps:
        contender = contenders(self.layouts, config.precision)[name]
        model = contender.build()
        return ReadySteps(model, batches[contender.reads], config, steps=self.plan.steps)

    def _compare(
        self,
        work: str,
        times: dict[str, list[float]],
        baselines: dict[str, str],
        *,
        batch: int,
        steps: int | None = None,
    ) -> None:
        """Adds rows of frames/s, each against its own baseline."""
        for baseline in dict.fromkeys(baselines.values()):
            mine = {name: times[name] for name, base in baselines.items() if base == baseline}
            goals = {}
            if work == STEP and batch == self.plan.batch and self.plan.goal is not None:
                goals = {name: self.plan.goal for name in mine if name.startswith(POSECACHE)}
            self.rows += compared(
                f"{work}, B={batch}{self.where}",
                mine,
                amount=batch * (steps or self.plan.steps),
                unit="frames/s",
                baseline=baseline,
                goals=goals,
            )
        if work == STEP:
            for name, seconds in times.items():
                rate = batch * self.plan.steps / statistics.median(seconds)
                self.rates.setdefault(name, {})[batch] = rate

    def _compare_memory(self, peaks: dict[str, int], baselines: dict[str, str]) -> None:
        work = f"peak memory of a step, B={self.plan.batch}"
        for name, peak in peaks.items():
            base = baselines[name]
            ratio = peaks[base] / peak
            self.rows.append(Row(work, name, peak / 1e6, "MB", ratio=ratio, baseline=base))


def _label(name: str, precision: Precision) -> str:
    return name if precision == "float32" else f"{name}, {precision}"


def main() -> None:
    """Print and record the rows, and draw frames/s against batch size."""
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-compile", action="store_true", help="Leave compiled rows out.")
    parser.add_argument(
        "--compile-published", action="store_true", help="Compile the baseline, too: minutes."
    )
    parser.add_argument("--folder", type=Path, help="For the store of made-up maps.")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    # Lets cuDNN choose the fastest convolutions: a speed-up of the baseline that costs nothing.
    torch.backends.cudnn.benchmark = True
    device = torch.device(chosen.device)
    compiled = () if chosen.quick or chosen.no_compile else (POSECACHE, EIGHT_BIT)
    if compiled and chosen.compile_published:
        compiled = (PUBLISHED, *compiled)
    bench = Bench(QUICK if chosen.quick else PLANS[device.type], device, compiled=compiled)
    bench.choose_layouts()
    bench.steps()
    if device.type == "cpu" and not bfloat16_is_fast():
        bench.bfloat16()
    bench.batch_sizes()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        bench.epochs(Path(folder))
    name = f"training_step-{device_name(device)}"
    show(f"Training against the published design, {device_name(device)}", bench.rows)
    if not chosen.quick:
        append_rows(name, bench.rows, packages=PACKAGES)
        plot_rates(bench.rates, RESULTS / f"{name}.png", title=device_name(device))


if __name__ == "__main__":
    main()
