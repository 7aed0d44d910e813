"""What the precision of maps and of arithmetic costs a lifter that is trained with it, in MPJPE.

Run: `python -m benchmarks.training_precision [--quick] [--seeds N ...] [--steps N] [--folder DIR]`.
Drawn frames are extracted once in float32 and recoded. Per way and seed one `capf` is trained for
the same number of steps, with the settings of the demo, and evaluated on the maps it was trained
on. The table compares the mean of each way with that of float32, beside the spread of the seeds of
float32 (largest - smallest), and says whether the difference is within it. With `--folder` the runs
are kept, and the same command goes on where it was stopped.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Row, append_rows, arguments
from benchmarks.precision import PACKAGES, SMALL_TRAINING, evaluations, extract, recoded
from cache import CacheReader
from pipeline.config import RunConfig, load_config
from pipeline.runs.lifting import lift
from stages.lift import load_run
from stages.lift.config import Precision

BASELINE = "float32 maps, float32"


@dataclass(frozen=True)
class Way:
    """The precision of the maps and that of the lifter's products."""

    maps: str
    products: Precision

    @property
    def name(self) -> str:
        """Both, as in the table."""
        return f"{self.maps} maps, {self.products}"


WAYS = (
    Way("float32", "float32"),
    Way("float16", "float32"),
    Way("uint8", "float32"),
    Way("float16", "bfloat16"),
)


@dataclass(frozen=True)
class Comparison:
    """One way on one split against float32."""

    split: str
    way: str
    errors_mm: tuple[float, ...]  # per seed
    baseline_mm: tuple[float, ...]

    @property
    def difference_mm(self) -> float:
        """Of the means."""
        return statistics.mean(self.errors_mm) - statistics.mean(self.baseline_mm)

    @property
    def spread_mm(self) -> float:
        """Largest less smallest error of the seeds in float32."""
        return max(self.baseline_mm) - min(self.baseline_mm)

    @property
    def is_within(self) -> bool:
        """Whether the means are no farther apart than seeds are."""
        return abs(self.difference_mm) <= self.spread_mm


def trained(
    reader: CacheReader, way: Way, *, folder: Path, seed: int, sets: Sequence[str]
) -> dict[str, float]:
    """Train one lifter; return its frame-wise MPJPE in mm by test split."""
    config: RunConfig = load_config(
        "demo",
        lifter="capf",
        sets=(
            f"runs_root={folder / 'runs' / way.maps}",
            f"train.seed={seed}",
            f"train.precision={way.products}",
            *sets,
        ),
    )
    run = load_run(lift(config, reader).run_dir)
    found = evaluations(run, reader, config.evaluate)
    return {each.split: float(each.frame_mpjpe_mm.mean()) for each in found}


def compare(errors: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Comparison]:
    """Errors by way, seed and split, against those of float32."""
    return [
        Comparison(
            split,
            way,
            tuple(seed[split] for seed in seeds),
            tuple(seed[split] for seed in errors[BASELINE]),
        )
        for split in errors[BASELINE][0]
        for way, seeds in errors.items()
    ]


def show(found: Sequence[Comparison]) -> None:
    """Print the table."""
    table = Table(title="Lifters trained in several precisions, MPJPE in mm", title_justify="left")
    for name in ("split", "way", "seeds", "mean", "difference", "seeds of float32 differ by", ""):
        table.add_column(name)
    for each in found:
        table.add_row(
            each.split,
            each.way,
            " ".join(f"{error:.1f}" for error in each.errors_mm),
            f"{statistics.mean(each.errors_mm):.2f}",
            f"{each.difference_mm:+.2f}",
            f"{each.spread_mm:.2f}",
            "within" if each.is_within else "NOT within",
        )
    Console(width=130).print(table)


def rows_of(found: Sequence[Comparison], steps: int) -> list[Row]:
    """One row per way and split for the result file."""
    return [
        Row(
            work=f"lifter per way, {each.split}, {steps} steps, {len(each.errors_mm)} seeds:"
            f" float32 spreads by {each.spread_mm:.2f} mm, {each.difference_mm:+.2f} mm is"
            f" {'' if each.is_within else 'NOT '}within",
            contender=each.way,
            value=statistics.mean(each.errors_mm),
            unit="mm MPJPE",
            baseline=BASELINE,
            spread=(max(each.errors_mm) - min(each.errors_mm)) / statistics.median(each.errors_mm),
        )
        for each in found
    ]


def main() -> None:
    """Print and record the errors by precision."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="Keeps stores and runs.")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="training-precision-"))
    seeds, steps = chosen.seeds, 40 if chosen.quick else chosen.steps
    sets = (*(SMALL_TRAINING if chosen.quick else ()), f"train.steps={steps}")
    try:
        recodings = folder / "recoded"
        stores = sorted((folder / "data").glob("*.zarr"))
        reference = stores[0] if stores else extract(folder / "data", quick=chosen.quick)
        if recodings.exists():
            readers = {path.stem: CacheReader(path) for path in recodings.glob("*.zarr")}
            readers["reference"] = CacheReader(reference)
        else:
            recodings.mkdir()
            readers, _ = recoded(reference, recodings)
        readers["float32"] = readers.pop("reference")
        errors: dict[str, list[dict[str, float]]] = {way.name: [] for way in WAYS}
        for seed in seeds:
            for way in WAYS:
                errors[way.name].append(
                    trained(readers[way.maps], way, folder=folder, seed=seed, sets=sets)
                )
    finally:
        if chosen.folder is None:
            shutil.rmtree(folder)
    found = compare(errors)
    show(found)
    if not chosen.quick:
        append_rows("training_precision-cpu", rows_of(found, steps), packages=PACKAGES)


if __name__ == "__main__":
    main()
