"""Stage 1 against mmpose's `inference_topdown` and against the bare network: frames per second.

Run: `python -m benchmarks.extract_speed [--quick] [--device cuda] [--precision float32]`. HRNet-W32
256 x 192 with random weights; pictures of 1000 x 1000 px as JPEGs and as a video on disk; whole
frames as boxes; two torch threads for everybody on a CPU, or two processes of one. Of
`inference_topdown` the faster memory format is the baseline.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.devices import device_name
from benchmarks.drawn_pictures import write_pictures, write_video
from benchmarks.extract_work import (
    BareForward,
    MmposeFrames,
    Processes,
    Setting,
    Stage1,
    detector,
    video_frames,
    write_random_weights,
)
from benchmarks.harness import Row, append_rows, arguments, compared, seconds_of, show

PACKAGES = ("torch", "numpy", "zarr", "mmpose", "opencv-python-headless", "av")
GOALS = {
    ("cpu", "float32"): 1.7,
    ("cpu", "bfloat16"): 3.0,
    ("cuda", "float32"): 20.0,
    ("cuda", "bfloat16"): 20.0,
    ("cuda", "float16"): 20.0,
}
"""Wanted ratio of stage 1 to `inference_topdown`."""
TOPDOWN, TOPDOWN_LAST = "inference_topdown", "inference_topdown, channels-last"
BARE, BARE_FOLDED = "bare forward", "bare forward, folded norms"
OURS, OURS_FOLDED = "posecache", "posecache, folded norms"


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    num_frames: int
    batch_size: int
    shard_rows: int
    repeats: int
    side_px: int
    process_chunks: int
    """Chunks that several processes extract; 0 to leave that out."""


PLANS = {
    "cpu": Plan(48, 16, 16, 3, 1000, 12),
    "cuda": Plan(1024, 64, 64, 5, 1000, 0),
}
QUICK = Plan(2, 2, 2, 1, 160, 0)


class Bench:
    """The rows, one kind of work after the other."""

    def __init__(self, plan: Plan, setting: Setting) -> None:
        """Write weights, pictures and a video."""
        self.plan, self.setting = plan, setting
        self.rows: list[Row] = []
        self.pictures = setting.folder / "pictures"
        self.videos = setting.folder / "videos"
        self._paths = write_pictures(self.pictures / "a", plan.num_frames, plan.side_px)
        self._video = write_video(self.videos / "a.mp4", plan.num_frames, plan.side_px)
        write_random_weights(setting)
        self._mmpose = {
            TOPDOWN: MmposeFrames(setting, channels_last=False),
            TOPDOWN_LAST: MmposeFrames(setting, channels_last=True),
        }
        self._networks = {fold: detector(setting, fold_norms=fold) for fold in (False, True)}
        self._goal = GOALS.get((setting.device, setting.precision)) if plan is not QUICK else None
        where = f"{setting.threads} threads" if setting.device == "cpu" else setting.device
        self._how = f"B={setting.batch_size}, {setting.precision}, {where}"

    def run(self) -> None:
        """Measure everything."""
        for mmpose in self._mmpose.values():
            mmpose([str(self._paths[0])])  # warms up
        best = self._whole("pictures, one view", self.pictures, flip=False)
        self._whole("pictures, two views", self.pictures, flip=True)
        self._whole("video, one view", self.videos, flip=False)
        self._parts()
        if self.plan.process_chunks:
            self._processes(best)

    def _whole(self, what: str, root: Path, *, flip: bool) -> list[float]:
        """Compare whole ways; mmpose sees one view, as it would for its joints."""
        setting, num = self.setting, self.plan.num_frames
        contenders: dict[str, Callable[[], object]] = {}
        for name, mmpose in self._mmpose.items() if not flip else ():
            contenders[name] = self._frame_by_frame(mmpose, root)
        for fold, bare, ours in ((False, BARE, OURS), (True, BARE_FOLDED, OURS_FOLDED)):
            network = self._networks[fold]
            contenders[bare] = BareForward(setting, network, num * (1 + flip))
            contenders[ours] = Stage1(setting, root, network, flip=flip)
        times = seconds_of(contenders, repeats=self.plan.repeats, warm_up=0)
        medians = {name: statistics.median(seconds) for name, seconds in times.items()}
        theirs = [name for name in (TOPDOWN, TOPDOWN_LAST) if name in medians]
        work = f"{what}, {self._how}"
        baseline = min(theirs or (BARE_FOLDED,), key=lambda name: medians[name])
        goals = {} if self._goal is None or flip else {OURS: self._goal, OURS_FOLDED: self._goal}
        self._add(work, times, baseline, goals)
        return times[baseline]

    def _frame_by_frame(self, mmpose: MmposeFrames, root: Path) -> Callable[[], object]:
        if root == self.videos:
            return lambda: mmpose(video_frames(self._video))
        return lambda: mmpose(str(path) for path in self._paths)

    def _parts(self) -> None:
        """Measure what overlaps, each alone, against the network."""
        setting, num = self.setting, self.plan.num_frames
        stage = Stage1(setting, self.pictures, self._networks[True], flip=False)
        contenders: dict[str, Callable[[], object]] = {
            BARE_FOLDED: BareForward(setting, self._networks[True], num),
            "decode + crop": stage.load,
            "write": stage.writer(),
        }
        times = seconds_of(contenders, repeats=self.plan.repeats, warm_up=0)
        self._add(f"parts alone, one view, {self._how}", times, BARE_FOLDED, {})

    def _processes(self, baseline: list[float]) -> None:
        """Compare several processes of one thread with mmpose, while they all run."""
        setting, workers = self.setting, self.setting.threads
        num = self.plan.process_chunks * setting.shard_rows
        root = setting.folder / "more"
        write_pictures(root / "a", num, self.plan.side_px)
        seconds = Processes(setting, root, workers, fold_norms=True)()
        per_frame = {
            "inference_topdown, the faster": [each / self.plan.num_frames for each in baseline],
            f"{OURS_FOLDED}, {workers} processes": seconds,
        }
        work = f"pictures, one view, {workers} processes x 1 thread, B={setting.batch_size}"
        goals = {} if self._goal is None else {f"{OURS_FOLDED}, {workers} processes": self._goal}
        self.rows += compared(
            f"{work}, {setting.precision}",
            per_frame,
            amount=1,
            unit="frames/s",
            baseline="inference_topdown, the faster",
            goals=goals,
        )

    def _add(
        self, work: str, times: dict[str, list[float]], baseline: str, goals: dict[str, float]
    ) -> None:
        self.rows += compared(
            work,
            times,
            amount=self.plan.num_frames,
            unit="frames/s",
            baseline=baseline,
            goals=goals,
        )


def main() -> None:
    """Print and record frames per second."""
    parser = arguments(__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    precisions = ("float32", "bfloat16", "float16")
    parser.add_argument("--precision", choices=precisions, default="float32")
    parser.add_argument("--folder", type=Path, default=None, help="Where everything is written.")
    chosen = parser.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("not measured: no CUDA device")
        return
    plan = QUICK if chosen.quick else PLANS[chosen.device]
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        setting = Setting(
            folder=Path(folder),
            device=chosen.device,
            precision=chosen.precision,
            batch_size=plan.batch_size,
            shard_rows=plan.shard_rows,
            threads=2,
        )
        bench = Bench(plan, setting)
        bench.run()
    show("Stage 1, HRNet-W32 256x192; one frame is one picture", bench.rows)
    if not chosen.quick:
        name = device_name(torch.device(chosen.device))
        append_rows(f"extract_speed-{name}", bench.rows, packages=PACKAGES)


if __name__ == "__main__":
    main()
