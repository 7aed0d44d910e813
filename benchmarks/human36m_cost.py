"""What a store of Human3.6M would cost, from measured bytes per frame and frames per second.

Run: `python -m benchmarks.human36m_cost [--quick]`. For each detector of mmpose that is listed, two
chunks of maps of its real shapes are written with both views, their files are measured, and the
network (random weights: the time does not depend on them) is timed on this machine. Human3.6M
itself is licence-gated: its counts are those of its metadata, nothing of it was read.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import Row, append_rows, arguments, show
from cache import CacheSpec, CacheWriter, ChunkData, LevelSpec, choose_shard_rows
from cache.plan import INDEX_COLUMNS, IndexColumn, RowPlan
from pipeline.config import DetectorConfig
from pipeline.detectors import detector_files
from stages.extract.detectors.base import Tap
from stages.extract.detectors.mmpose.hrnet import HRNET_TAPS
from stages.extract.detectors.mmpose.topdown import MmposeTopdown

NUM_FRAMES_50_FPS = 1_560_516 + 575_344
"""Training and test frames of all four cameras, by metadata.xml; at 10 fps every fifth is kept."""

_COCO = "mmpose:body_2d_keypoint"
RESNET_TAPS = tuple(Tap(f"x{4 * 2**i}", f"backbone.layer{i + 1}", 4 * 2**i) for i in range(4))


@dataclass(frozen=True)
class Candidate:
    """A detector that mmpose ships a configuration of."""

    name: str
    config: str
    taps: tuple[Tap, ...]


CANDIDATES = (
    Candidate(
        "hrnet-w32 256x192",
        f"{_COCO}/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py",
        HRNET_TAPS,
    ),
    Candidate(
        "hrnet-w48 256x192",
        f"{_COCO}/topdown_heatmap/coco/td-hm_hrnet-w48_8xb32-210e_coco-256x192.py",
        HRNET_TAPS,
    ),
    Candidate(
        "resnet-50 256x192",
        f"{_COCO}/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py",
        RESNET_TAPS,
    ),
)


def main() -> None:
    """Print and record bytes, files and hours for each detector and precision."""
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    rows = []
    for candidate in CANDIDATES[:1] if chosen.quick else CANDIDATES:
        detector = build(candidate, chosen.threads)
        frames_per_s = extraction_rate(detector, batches=1 if chosen.quick else 4)
        rows.append(Row(f"{candidate.name}: network, both views", "cpu", frames_per_s, "frames/s"))
        for fps, num_frames in ((10, NUM_FRAMES_50_FPS // 5), (50, NUM_FRAMES_50_FPS)):
            hours = num_frames / frames_per_s / 3600
            rows.append(Row(f"{candidate.name}: Human3.6M at {fps} fps", "cpu", hours, "hours"))
            for precision, itemsize in (("uint8", 1), ("float16", 2), ("float32", 4)):
                size_bytes, num_files = frame_cost(detector.levels, itemsize)
                work = f"{candidate.name}: Human3.6M at {fps} fps, {precision}"
                rows.append(Row(work, "size", size_bytes * num_frames / 1e9, "GB"))
                rows.append(Row(work, "files", num_files * num_frames, "files"))
    show("Human3.6M, all cameras, training and test, both views (estimated from this run)", rows)
    if not chosen.quick:
        append_rows("human36m_cost-cpu", rows, packages=("numpy", "zarr", "torch", "mmpose"))


def build(candidate: Candidate, threads: int) -> MmposeTopdown:
    """Return the detector with random weights."""
    named = DetectorConfig(name=candidate.name, config=candidate.config, weights=Path(__file__))
    network, _ = detector_files(named)
    return MmposeTopdown(network, None, taps=candidate.taps, threads=threads)


def extraction_rate(detector: MmposeTopdown, *, batches: int, batch_size: int = 16) -> float:
    """Return frames/s of crops through the network and its decoder, two views per frame."""
    crops = np.random.default_rng(0).integers(
        0, 256, (batch_size, *detector.input_size, 3), dtype=np.uint8
    )
    detector.detect(crops)
    start = time.perf_counter()
    for _ in range(batches):
        detector.detect(crops)
    return batches * batch_size / 2 / (time.perf_counter() - start)


def frame_cost(levels: tuple[LevelSpec, ...], itemsize: int) -> tuple[float, float]:
    """Return bytes and files per frame of a store of two chunks, the plan's own left out.

    8-bit maps are stored like any others, so their bytes are those of float16 maps of half the
    channels.
    """
    if itemsize == 1:
        levels = tuple(
            LevelSpec(level.name, level.channels // 2, level.height, level.width, level.stride)
            for level in levels
        )
    dtype = "float32" if itemsize == 4 else "float16"
    spec = CacheSpec(
        num_rows=2 * choose_shard_rows(levels, dtype),
        levels=levels,
        skeleton="COCO17",
        crop_size=(256, 192),
        shard_rows=choose_shard_rows(levels, dtype),
        dtype=dtype,
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "cost.zarr"
        plan = empty_plan(spec.num_rows)
        with CacheWriter.open(
            store, spec=spec, plan=plan, feature_identity={}, content_identity={}
        ) as writer:
            before = measured(store)
            for chunk in range(writer.num_chunks):
                writer.write_chunk(chunk, random_chunk(spec, len(writer.chunk_rows(chunk))))
        after = measured(store)
    return tuple((b - a) / spec.num_rows for a, b in zip(before, after, strict=True))  # type: ignore[return-value]


def random_chunk(spec: CacheSpec, num_rows: int) -> ChunkData:
    """Return a chunk of noise."""
    rng = np.random.default_rng(0)
    views = spec.num_views
    return ChunkData(
        features={
            level.name: rng.random((num_rows, views, *level.map_shape), dtype=np.float32)
            for level in spec.levels
        },
        keypoints={
            source: np.zeros((num_rows, views, 17, 3), np.float32)
            for source in spec.keypoint_sources
        },
        crop_affine=np.zeros((num_rows, views, 2, 3)),
        status=np.zeros(num_rows, np.uint8),
    )


def empty_plan(num_rows: int) -> RowPlan:
    """Return a plan of one clip without labels."""
    one = IndexColumn(np.zeros(num_rows, dtype=np.int32), ("none",))
    index = dict.fromkeys(INDEX_COLUMNS, one)
    index["frame"] = IndexColumn(np.arange(num_rows, dtype=np.int32))
    index["item"] = IndexColumn.from_words([str(row) for row in range(num_rows)])
    index["camera"] = index["person"] = IndexColumn(one.codes)
    return RowPlan(
        skeleton="H36M17",
        joints_2d_px=np.zeros((num_rows, 17, 2), np.float32),
        joints_3d_mm=np.zeros((num_rows, 17, 3), np.float32),
        valid=np.zeros((num_rows, 17), bool),
        index=index,
        image_size=np.full((num_rows, 2), 1000, np.int32),
        cameras=(),
    )


def measured(store: Path) -> tuple[int, int]:
    """Return bytes on disk (whole blocks) and number of the files of a store."""
    files = [path.stat() for path in store.rglob("*") if path.is_file()]
    return sum(state.st_blocks * 512 for state in files), len(files)


if __name__ == "__main__":
    main()
