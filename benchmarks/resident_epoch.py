"""Seconds of an epoch of `capf` whose maps all lie on the GPU: Human3.6M at 10 frames/s.

Run: `python -m benchmarks.resident_epoch [--views 1|2] [--dtype uint8|float16] [--compile]
[--precision P] [--frames N] [--batch B] [--device cpu|cuda] [--quick]`.
312,000 frames of HRNet-W32's maps take 57.5 GB in 8 bits, and 115 GB in both views, of which every
sample then takes one by a coin. The maps are noise and come from no disk; everything else is what
`posecache lift` runs: samples, order, residency, gathering, step. The first epoch, in which kernels
are compiled and chosen, is a row of its own. `one batch, again and again` takes as many steps on
the same batch: what gathering costs is the difference. Without a CUDA device, nothing is measured.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import torch

from benchmarks.devices import device_name
from benchmarks.harness import Row, append_rows, arguments, seconds_of, show
from benchmarks.made_reader import SPLIT, MadeReader
from benchmarks.made_store import LEVELS
from benchmarks.steps import Input, ReadySteps, arithmetic, capf, made_batch, train_step
from stages.lift.config import DataConfig, TrainConfig
from stages.lift.feed.batches import LiftData
from stages.lift.feed.residency import place_maps
from stages.lift.fit.epoch import run_epoch

GOAL_S, GOAL_FRAMES = 6.0, 312_000
PACKAGES = ("numpy", "torch", "triton")


class ResidentTraining:
    """A run of `capf` on maps that are held on the device; calling it trains one epoch."""

    def __init__(self, reader: MadeReader, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.data = LiftData(
            reader,  # type: ignore[arg-type] - a stand-in
            SPLIT,
            config=config.data,
            level_names=tuple(reader.levels),
            flipped=config.flip,
            device=device,
        )
        began = time.perf_counter()
        place_maps([self.data], "device", device=device, passes=2)
        self.load_s = time.perf_counter() - began
        self.steps = -(-len(self.data) // config.batch_size)
        self.waits: list[float] = []
        self.step = train_step(capf(), config, device)

    def __call__(self) -> None:
        """Trains; the end of an epoch waits for the device."""
        with arithmetic(self.config):
            *_, ended = run_epoch(
                self.step, self.data, steps_per_epoch=self.steps, num_steps=self.steps
            )
        self.waits.append(100 * ended.wait_fraction)


def measure(
    frames: int, config: TrainConfig, device: torch.device, *, dtype: Input, rounds: int
) -> list[Row]:
    """Rows of the first and the later epochs, of the same steps without gathering, of memory."""
    training = ResidentTraining(MadeReader(frames, dtype=dtype), config, device)
    size_gb = training.data.maps_bytes / 1e9
    views = "both views" if config.flip else "one view"
    work = (
        f"epoch of {frames:,} frames, {dtype} maps, {views}, {size_gb:.3g} GB resident, "
        f"B={config.batch_size}, {config.precision}{', compiled' if config.compile else ''}"
    )
    began = time.perf_counter()
    training()
    first_s = time.perf_counter() - began
    batch = made_batch(config.batch_size, dtype, device)
    ready = ReadySteps(capf(), batch, config, steps=training.steps)
    times = seconds_of({"capf": training, "one batch, again and again": ready}, repeats=rounds)
    rows = []
    for name, seconds in times.items():
        median = statistics.median(seconds)
        spread = (max(seconds) - min(seconds)) / median
        row = Row(work, name, median, "s", spread=spread)
        if name == "capf" and frames == GOAL_FRAMES:
            row = replace(row, ratio=GOAL_S / median, baseline=f"{GOAL_S:g} s", goal=1.0)
        rows.append(row)
    epoch_s = statistics.median(times["capf"])
    rows += [
        Row(work, "capf: frames/s", frames / epoch_s, "frames/s"),
        Row(work, "capf: first epoch", first_s, "s"),
        Row(work, "capf: loading the maps", training.load_s, "s"),
        Row(work, "capf: waiting for data", statistics.median(training.waits), "% of the time"),
    ]
    if device.type == "cuda":
        peak_gb = torch.cuda.max_memory_allocated(device) / 1e9
        rows.append(Row(work, "capf: peak memory, maps included", peak_gb, "GB"))
    return rows


def row_bytes(dtype: Input) -> int:
    """Returns the bytes of one row's maps in one view."""
    cells = sum(level.height * level.width * level.channels for level in LEVELS)
    return cells * (1 if dtype == "uint8" else 2)


def main() -> None:
    """Print and record the rows."""
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=GOAL_FRAMES)
    parser.add_argument("--views", type=int, choices=(1, 2), default=1)
    parser.add_argument("--dtype", choices=("uint8", "float16"), default="uint8")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--precision", choices=("float32", "tf32", "bfloat16"), default="bfloat16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda", help="cuda; cpu only to try it")
    chosen = parser.parse_args()
    frames, batch, rounds, device = chosen.frames, chosen.batch, chosen.rounds, chosen.device
    has_cuda = torch.cuda.is_available()
    if chosen.quick:
        frames, batch, rounds, device = 20, 8, 1, "cuda" if has_cuda else "cpu"
    title = "Epoch of capf, all maps on the device"
    if device != "cpu" and not has_cuda:
        print("not measured: no CUDA device")
        size_gb = frames * chosen.views * row_bytes(chosen.dtype) / 1e9
        show(title, [Row(f"epoch of {frames:,} frames, {size_gb:.3g} GB", "capf", None, "s")])
        return
    config = TrainConfig(
        data=DataConfig(train_split=SPLIT),
        batch_size=batch,
        precision="float32" if device == "cpu" else chosen.precision,
        compile=chosen.compile,
        flip=chosen.views == 2,
    )
    where = torch.device(device)
    rows = measure(frames, config, where, dtype=chosen.dtype, rounds=rounds)
    show(f"{title}, {device_name(where)}", rows)
    if not chosen.quick and where.type == "cuda":
        append_rows(f"resident_epoch-{device_name(where)}", rows, packages=PACKAGES)


if __name__ == "__main__":
    main()
