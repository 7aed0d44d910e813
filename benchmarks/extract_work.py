"""The contenders of `extract_speed`: stage 1, its parts alone, and mmpose frame by frame."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cache import CacheWriter
from pipeline.config import load_config as load_run_config
from pipeline.detectors import mmpose_config_file
from pipeline.extraction.workers import fill_store
from stages.extract.chunks import ExtractConfig, extract, open_job, run_chunk
from stages.extract.crops import CropConfig
from stages.extract.datasets.folder import Folder
from stages.extract.detectors.mmpose.config import load_config
from stages.extract.detectors.mmpose.network import build_pose_estimator
from stages.extract.detectors.mmpose.topdown import MmposeTopdown
from stages.extract.detectors.network import Precision
from stages.extract.detectors.placeholders import placeholders
from stages.extract.frames import FrameTask
from stages.extract.loading import Loader
from stages.extract.training.state import save_weights

HRNET = "mmpose:body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py"
INPUT_SIZE = (256, 192)
_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Setting:
    """What all contenders have in common."""

    folder: Path
    device: str
    precision: Precision
    batch_size: int
    shard_rows: int
    threads: int

    @property
    def weights(self) -> Path:
        """Random weights, equal for all."""
        return self.folder / "weights.safetensors"

    def crop(self, *, flip: bool) -> CropConfig:
        """Whole frames, as `inference_topdown` takes them without boxes."""
        return CropConfig(box_source="full", input_size=INPUT_SIZE, flip=flip)

    def config(self, **changes: Any) -> ExtractConfig:
        """How stage 1 runs in one process."""
        return ExtractConfig(
            batch_size=self.batch_size, shard_rows=self.shard_rows, threads=self.threads, **changes
        )

    def rounded(self) -> AbstractContextManager[object]:
        """The context in which a network has the precision."""
        if self.precision not in _HALF:
            return nullcontext()
        return torch.autocast(self.device, _HALF[self.precision])


def write_random_weights(setting: Setting) -> None:
    """Write the weights that all contenders load."""
    torch.manual_seed(0)
    model = build_pose_estimator(load_config(mmpose_config_file(HRNET)))
    save_weights(dict(model.state_dict()), setting.weights)


def detector(setting: Setting, *, fold_norms: bool) -> MmposeTopdown:
    """Return the detector of stage 1."""
    return MmposeTopdown(
        mmpose_config_file(HRNET),
        setting.weights,
        device=setting.device,
        threads=setting.threads,
        precision=setting.precision,
        fold_norms=fold_norms,
    )


class MmposeFrames:
    """`inference_topdown` on one frame after the other, without flip test."""

    def __init__(self, setting: Setting, *, channels_last: bool) -> None:
        """Build mmpose's network with the common weights."""
        from safetensors.torch import load_file

        with placeholders():
            self._inference = importlib.import_module("mmpose.apis.inference")
            importlib.import_module("mmpose.datasets")
        config = load_config(mmpose_config_file(HRNET))
        model = build_pose_estimator(config)
        model.load_state_dict(load_file(setting.weights), strict=False)
        model.test_cfg["flip_test"] = False
        model.cfg, model.dataset_meta = config, {}
        model.eval()
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self._model: Any = model.to(setting.device).to(memory_format=layout)
        self._setting = setting

    def __call__(self, frames: Iterable[str | NDArray[np.uint8]]) -> None:
        """Find the joints of frames: paths, or BGR pictures."""
        torch.set_num_threads(self._setting.threads)
        with torch.inference_mode(), self._setting.rounded():
            for frame in frames:
                self._inference.inference_topdown(self._model, frame)


def video_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a video one after the other, BGR."""
    import av

    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="bgr24")


class BareForward:
    """The network on crops that are in memory, in the batches of stage 1."""

    def __init__(self, setting: Setting, network: MmposeTopdown, num_crops: int) -> None:
        """Place the crops on the device."""
        self._setting = setting
        self._network = network._network
        self._passes = -(-num_crops // setting.batch_size)
        shape = (setting.batch_size, 3, *INPUT_SIZE)
        crops = torch.randn(shape, device=setting.device)
        self._crops = crops.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self) -> None:
        """Run all batches."""
        torch.set_num_threads(self._setting.threads)
        for _ in range(self._passes):
            with self._setting.rounded():
                self._network._forward(self._crops)
        if self._setting.device != "cpu":
            torch.cuda.synchronize()


class Stage1:
    """Pictures on disk to a committed store, in this process."""

    def __init__(self, setting: Setting, root: Path, network: MmposeTopdown, *, flip: bool) -> None:
        """Read the folder."""
        self._crop, self._detector = setting.crop(flip=flip), network
        self._dataset = Folder(root)
        self._config = setting.config(loader_workers=1 if setting.device == "cpu" else 8)
        self._store = setting.folder / "stage1.zarr"

    def __call__(self) -> None:
        """Extract everything anew."""
        shutil.rmtree(self._store, ignore_errors=True)
        extract(self._dataset, self._detector, self._crop, self._store, self._config)

    def load(self) -> None:
        """Decode and crop only."""
        plan = self._dataset.plan()
        task = FrameTask(self._dataset, self._crop, plan, range(len(plan)))
        workers = self._config.loader_workers
        with Loader(task, workers=workers, processes=False) as loader:
            for _ in loader.map(range(len(plan))):
                pass

    def writer(self) -> Callable[[], None]:
        """Return what writes the chunks of a store and nothing else."""
        shutil.rmtree(self._store, ignore_errors=True)
        arguments = (self._dataset, self._detector, self._crop, self._store, self._config)
        job = open_job(*arguments)
        task = FrameTask(self._dataset, self._crop, job.plan, job.writer.chunk_rows(0))
        frames = [task(row) for row in job.writer.chunk_rows(0)]
        content = run_chunk(frames, self._detector, job.plan, self._config)

        def write() -> None:
            shutil.rmtree(self._store, ignore_errors=True)
            writer: CacheWriter = open_job(*arguments).writer
            for chunk in range(len(job.plan) // job.writer.spec.shard_rows):
                writer.write_chunk(chunk, content)

        return write


class Processes:
    """Stage 1 by several processes of one thread; the speed while all of them run."""

    def __init__(self, setting: Setting, root: Path, workers: int, *, fold_norms: bool) -> None:
        """Note the configuration of the command."""
        sets = (
            f"dataset.root={root}",
            f"data_root={setting.folder / 'processes'}",
            f"detector.weights={setting.weights}",
            f"detector.precision={setting.precision}",
            f"detector.fold_norms={'true' if fold_norms else 'false'}",
            f"crop.input_size=[{INPUT_SIZE[0]}, {INPUT_SIZE[1]}]",
            "crop.flip=false",
            f"extract.batch_size={setting.batch_size}",
            f"extract.shard_rows={setting.shard_rows}",
            f"extract.workers={workers}",
        )
        self._config = load_run_config(
            dataset="folder", detector="hrnet-w32", device=setting.device, sets=sets
        )
        self._root, self._workers, self._setting = root, workers, setting

    def __call__(self) -> list[float]:
        """Return the seconds per frame between the first commits and the last ones."""
        from pipeline.detectors import build_detector

        config = self._config
        dataset, network = Folder(self._root), build_detector(config.detector, threads=1)
        store = self._setting.folder / "processes" / "a.zarr"
        shutil.rmtree(store, ignore_errors=True)
        store.parent.mkdir(exist_ok=True)
        job = open_job(dataset, network, config.crop, str(store), config.extract)
        fill_store(
            job, config, dataset, network, progress=lambda _progress: None, stop=lambda: False
        )
        # Every process has begun by the time that as many chunks as processes are there.
        commits = sorted(path.stat().st_mtime for path in (store / "commit").glob("c.*"))
        first = min(self._workers, len(commits) - 1) - 1
        frames = (len(commits) - 1 - first) * self._setting.shard_rows
        return [(commits[-1] - commits[first]) / frames]
