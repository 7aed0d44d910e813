"""Where the time of a training step goes, for the published design and for this project.

Run: `python -m benchmarks.step_profile [--device cpu|cuda] [--label after] [--batch B] [--steps N]
[--precision P] [--compile] [--only CONTENDER ...] [--quick]`.
torch's profiler records some steps of an epoch from a made-up store; tables of shares and of the
longest operators replace those of the same label in `benchmarks/results/step_profile-<device>.md`,
whose other text is kept. The profiler slows steps of many small operators down: the time without
it is given, too.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.devices import device_name
from benchmarks.epochs import EpochFeed
from benchmarks.harness import RESULTS, arguments, machine
from benchmarks.made_store import write_made_store
from benchmarks.profile_table import NETWORK, STEP, WAIT, Clock, markdown, with_section
from benchmarks.steps import (
    EIGHT_BIT,
    ON_MAPS,
    POSECACHE,
    PUBLISHED,
    ReadySteps,
    arithmetic,
    contenders,
    made_batch,
    network,
    train_step,
)
from cache import CacheReader
from cache.derived.recode import recode
from stages.lift.config import DataConfig, Precision, TrainConfig
from stages.lift.feed.prefetch import Prefetch

NAMES = (PUBLISHED, ON_MAPS, POSECACHE, EIGHT_BIT)
WARM_UP = 2
LAYOUTS = {PUBLISHED: "channels_last", ON_MAPS: "channels_last"}


def profiled_steps(
    name: str, reader: CacheReader, config: TrainConfig, device: torch.device, *, steps: int
) -> tuple[list[Any], float]:
    """Returns the events of the steps, and their wall time in microseconds."""
    contender = contenders(LAYOUTS, config.precision)[name]
    feed = EpochFeed(
        reader,
        config,
        steps=WARM_UP + steps,
        device=device,
        place="device" if device.type == "cuda" else "disk",
        pictures=contender.reads == "crops",
    )
    step = train_step(contender.build(), config, device)
    step.state.model.train()
    batches = feed.training_batches(
        batch_size=config.batch_size, rng=np.random.default_rng(config.seed)
    )
    ahead = Prefetch(
        batches,
        depth=config.prefetch_batches,
        threads=config.loader_threads,
        recycle=feed.recycle,
    )
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with arithmetic(config), ahead:
        source = iter(ahead)
        for number in range(WARM_UP):
            step(next(source).to(device), step=number, lr=config.lr)
        step.finished()
        with profile(activities=activities) as profiled:
            began = time.perf_counter()
            for number in range(steps):
                with record_function(STEP):
                    with record_function(WAIT):
                        batch = next(source)
                    step(batch.to(device), step=number, lr=config.lr)
            step.finished()
            wall_us = (time.perf_counter() - began) * 1e6
    # The kernels themselves are events, too; their time is in the operators that launched them.
    events = [event for event in profiled.events() if event.device_type == DeviceType.CPU]
    return events, wall_us


def section(
    name: str, reader: CacheReader, config: TrainConfig, device: torch.device, *, steps: int
) -> str:
    """Returns the tables of one contender."""
    contender = contenders(LAYOUTS, config.precision)[name]
    batch = made_batch(config.batch_size, contender.reads, device)
    ready = ReadySteps(contender.build(), batch, config, steps=steps)
    ready()
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        ready()
        seconds.append((time.perf_counter() - began) / steps)
    step_ms, peak_mb = 1e3 * statistics.median(seconds), ready.peak_bytes() / 1e6
    del ready
    events, wall_us = profiled_steps(name, reader, config, device, steps=steps)
    clocks: tuple[Clock, ...] = ("device", "host") if device.type == "cuda" else ("host",)
    return markdown(
        name,
        events,
        steps=steps,
        wall_us=wall_us,
        clocks=clocks,
        facts={
            "step without the profiler, batch in memory": f"{step_ms:.1f} ms",
            "step with the profiler and the loader": f"{wall_us / steps / 1e3:.1f} ms",
            "peak memory of a step": f"{peak_mb:,.0f} MB",
        },
    )


@contextmanager
def marked_network(precision: Precision) -> Iterator[None]:
    """Marks what HRNet does as a range."""
    ranges: list[record_function] = []

    def enter(*_: object) -> None:
        ranges.append(record_function(NETWORK))
        ranges[-1].__enter__()

    def leave(*_: object) -> None:
        ranges.pop().__exit__(None, None, None)

    handles = (
        network(precision).register_forward_pre_hook(enter),
        network(precision).register_forward_hook(leave),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def main() -> None:
    """Print the tables and put them into the result file."""
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--label", default="now", help="Of the tables, e.g. before, after.")
    parser.add_argument("--batch", type=int, help="Default: 64 on a CPU, 512 on a GPU.")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="CONTENDER")
    parser.add_argument("--precision", choices=("float32", "tf32", "bfloat16"), default="float32")
    parser.add_argument("--compile", action="store_true", help="The lifters of this project.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--folder", type=Path, help="For the store of made-up maps.")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.backends.cudnn.benchmark = True
    device = torch.device(chosen.device)
    batch = chosen.batch or (512 if device.type == "cuda" else 64)
    steps, names = chosen.steps, chosen.only
    if chosen.quick:
        batch, steps, names = 2, 1, (PUBLISHED, POSECACHE)
    host = machine(("torch", "triton"))
    title = f"B={batch}, {chosen.precision}, {steps} steps, {device_name(device)}"
    if device.type == "cpu":
        title += f", {chosen.threads} threads"
    parts = [f"## {chosen.label}: {title}", "", ", ".join(f"{k} {v}" for k, v in host.items()), ""]
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder, marked_network(chosen.precision):
        half = write_made_store(Path(folder) / "made.zarr", batch * (WARM_UP + steps))
        recode(half, Path(folder) / "uint8.zarr", dtype="uint8")
        for name in names:
            reader = CacheReader(Path(folder) / "uint8.zarr" if name == EIGHT_BIT else half)
            config = TrainConfig(
                data=DataConfig(train_split="made"),
                batch_size=batch,
                precision=chosen.precision,
                compile=chosen.compile and name in (POSECACHE, EIGHT_BIT),
            )
            parts.append(section(name, reader, config, device, steps=steps))
    text = "\n".join(parts)
    print(text)
    if not chosen.quick:
        path = RESULTS / f"step_profile-{device_name(device)}.md"
        old = path.read_text() if path.exists() else "# Where the time of a training step goes\n"
        path.write_text(with_section(old, chosen.label, text))


if __name__ == "__main__":
    main()
