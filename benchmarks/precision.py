"""What the precision of the maps costs in MPJPE: float32, float16 and 8 bits of one extraction.

Run: `python -m benchmarks.precision [--quick] [--store STORE]`.
Without a store, drawn frames are extracted in float32, so that nothing has been rounded before. A
store that is given is the reference as it is; if it is float16, its float32 copy holds the same
numbers and differs by nothing but the arithmetic.

ONE `capf` is trained on the reference and evaluated on it and on each recoding: keypoints, crops
and weights stay the same, only the maps are others. `training_precision` trains a lifter on each.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, append_rows, arguments, show
from cache import CacheReader
from cache.derived.conversion import RecodeDtype
from cache.derived.recode import recode
from cache.storage import open_storage
from pipeline.config import RunConfig, load_config
from pipeline.runs.lifting import lift
from stages.lift import Evaluation, LoadedRun, load_run
from stages.lift.config import EvaluateConfig
from stages.lift.evaluation import evaluate, evaluation_splits

DTYPES: tuple[RecodeDtype, ...] = ("float32", "float16", "uint8")
SMALL_POOLS = (
    "dataset.options.pools={train: {prefix: T, num_subjects: 2, clips_each: 2, frames: 4},"
    " validation: {prefix: V, num_subjects: 1, clips_each: 1, frames: 4},"
    " test: {prefix: E, num_subjects: 2, clips_each: 2, frames: 4}}"
)
SMALL_TRAINING = ("train.steps=40", "train.batch_size=8", "train.warmup_steps=4")
PACKAGES = ("torch", "numpy")


def extract(folder: Path, *, quick: bool) -> Path:
    """Extract drawn frames in float32 by the real command; return the store."""
    sets = ["extract.dtype=float32", f"data_root={folder}", *([SMALL_POOLS] if quick else [])]
    words = [word for text in sets for word in ("--set", text)]
    command = [sys.executable, "-m", "pipeline", "extract", "--dataset", "synthetic", *words]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    (store,) = folder.glob("*.zarr")
    return store


def recoded(reference: Path, folder: Path) -> tuple[dict[str, CacheReader], list[Row]]:
    """The reference and a recoding of every other precision, and what each one lost."""
    readers, rows = {"reference": CacheReader(reference)}, []
    for dtype in DTYPES:
        if dtype == _dtype(readers["reference"]):
            continue
        report = recode(reference, folder / f"{dtype}.zarr", dtype=dtype)
        name = f"{dtype}, every value kept" if report.is_exact else dtype
        readers[name] = CacheReader(folder / f"{dtype}.zarr")
        for level, error in report.errors.items():
            if error.sqnr_db is not None:
                rows.append(Row(f"maps, {level}", name, error.sqnr_db, "dB SQNR"))
    sizes = {
        name: open_storage(reader.locations[0]).size_bytes() / len(reader)
        for name, reader in readers.items()
    }
    return readers, [Row("store", n, size / 1e3, "kB/frame") for n, size in sizes.items()] + rows


def evaluations(run: LoadedRun, reader: CacheReader, config: EvaluateConfig) -> list[Evaluation]:
    """Every test split; the maps may be of another precision."""
    data = run.config.data
    run.require_fit(reader, keypoint_source=data.keypoint_source, allow=("features",))
    splits = [name for name in evaluation_splits(reader, data) if name != data.validation_split]
    return [
        evaluate(run.model, reader, split, config, data=data, level_names=run.level_names)
        for split in splits
    ]


def one_lifter(config: RunConfig, readers: Mapping[str, CacheReader]) -> list[Row]:
    """Train on the reference, evaluate everywhere."""
    run = load_run(lift(config, readers["reference"]).run_dir)
    found = {name: evaluations(run, reader, config.evaluate) for name, reader in readers.items()}
    rows = []
    for name, splits in found.items():
        for base, each in zip(found["reference"], splits, strict=True):
            work = f"one lifter, {each.split}"
            rows.append(Row(work, name, float(each.frame_mpjpe_mm.mean()), "mm MPJPE"))
            if name == "reference":
                continue
            change = float(each.frame_mpjpe_mm.mean() - base.frame_mpjpe_mm.mean())
            moved = np.linalg.norm(each.predicted_mm - base.predicted_mm, axis=-1)
            rows.append(Row(f"{work}: change", name, change, "mm MPJPE"))
            rows.append(Row(f"{work}: joints move by", name, float(moved.mean()), "mm mean"))
            rows.append(Row(f"{work}: joints move by", name, float(moved.max()), "mm largest"))
    return rows


def _dtype(reader: CacheReader) -> str:
    """Precision of the finest level."""
    return reader.level_dtype(next(iter(reader.levels))).name


def main() -> None:
    """Print and record the errors by precision."""
    parser = arguments(__doc__)
    parser.add_argument("--store", type=Path, help="A finished store instead of drawn frames.")
    parser.add_argument("--steps", type=int, help="Of training; default: those of the demo.")
    parser.add_argument("--folder", type=Path, help="For the temporary files.")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=chosen.folder, prefix="precision-"))
    try:
        steps = () if chosen.steps is None else (f"train.steps={chosen.steps}",)
        config = load_config(
            "demo",
            lifter="capf",
            sets=(
                f"runs_root={folder / 'runs'}",
                "train.seed=0",
                *(SMALL_TRAINING if chosen.quick else ()),
                *steps,
            ),
        )
        reference = chosen.store or extract(folder / "data", quick=chosen.quick)
        readers, rows = recoded(reference, folder)
        what = _dtype(readers["reference"])
        rows += one_lifter(config, readers)
    finally:
        shutil.rmtree(folder)
    show(f"Precision of the maps: the reference, {reference.name}, holds {what}", rows)
    if not chosen.quick:
        append_rows("precision-cpu", rows, packages=PACKAGES)


if __name__ == "__main__":
    main()
