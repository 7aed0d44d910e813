"""Human3.6M as the H36M-Toolbox prepares it, in its own and in CA-PF's version.

    <root>/h36m_train.pkl, <root>/h36m_validation.pkl
    <root>/camera_data.pkl    or metadata.xml, cameras.pkl
    <root>/images/s_01_act_02_subact_01_ca_01/s_01_act_02_subact_01_ca_01_000001.jpg

Numbers of actions and subactions are the metadata's, in file names and labels. Cameras count from 1
in file names and from 0 in `camera_id`. `h36m_validation.pkl` is the test split S9, S11; the split
`validation` is cut from the train file.

CA-PF's labels are metres in the camera frame, and 2D points x/w*2-1, y/w*2-h/w with the picture's
own size (1000 or 1002 rows), so that the sizes are needed to read them: a missing picture has the
size of others of its clip. The toolbox's own labels are mm (`joints_3d_camera`; its `joints_3d` is
the universal skeleton) and px. Boxes are those of the labels, 2 m around the true 3D root. A label
file is one Python list; reading it takes about 6 kB of memory a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.filed import DatasetRows, FiledDataset
from stages.extract.datasets.human36m.cameras import find_camera_file, load_cameras
from stages.extract.datasets.human36m.clips import Clip, Float32, finite, join_clips
from stages.extract.datasets.human36m.names import Take
from stages.extract.datasets.human36m.protocol import Selection
from stages.extract.datasets.pickles import load_pickle
from stages.extract.datasets.picture_files import PictureFiles, picture_sizes

Datum = dict[str, Any]
_KEYS = {"image", "image_id", "subject", "action", "subaction", "camera_id", "joints_3d", "box"}


class Human36mToolbox(FiledDataset):
    """Rows of the toolbox's label files: clips in name order, frames in order."""

    adapter = "human36m-toolbox"

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "human36m-toolbox",
        cameras: str | None = None,
        validation_subjects: Sequence[str] = ("S8",),
        subjects: Sequence[str] | None = None,
        stride: int = 1,
        limit: int | None = None,
        protocol: str = "keep",
        s11_directions: str = "drop",
    ) -> None:
        """Look which files there are.

        Args:
            root: folder of `images/` and the label files.
            name: under which stores and tables list it.
            cameras: calibration file below the root; None looks for the usual ones.
            validation_subjects: subjects of the train file that become the split `validation`.
            subjects: keep only these.
            stride: keep every `stride`-th frame of each clip, 5 for mmpose's 10 fps.
            limit: keep at most this many rows of each split, evenly spaced.
            protocol: `keep` or `drop-damaged`, see `protocol.py`.
            s11_directions: `drop` or `keep`, see `protocol.py`.

        Raises:
            DatasetError: files are missing (all are named), or an option is none.
        """
        self._selection = Selection.of(
            subjects=subjects,
            validation_subjects=validation_subjects,
            stride=stride,
            limit=limit,
            protocol=protocol,
            s11_directions=s11_directions,
        )
        folder = Path(root)
        self._label_files = [folder / "h36m_train.pkl", folder / "h36m_validation.pkl"]
        self._camera_file = find_camera_file(folder, cameras)
        super().__init__(
            root,
            name=name,
            annotations=[*self._label_files, self._camera_file],
            options=self._selection.identity(),
            pictures_root=folder / "images",
        )

    def _read(self) -> DatasetRows:
        clips = [clip for path in self._label_files for clip in self._read_clips(path)]
        with_cpn = {bool(clip.imported) for clip in clips}
        if len(with_cpn) > 1:
            raise DatasetError(_mixed(self._root))
        skeletons = {"cpn": "H36M17"} if True in with_cpn else {}
        return join_clips(clips, load_cameras(self._camera_file), self._selection, skeletons)

    def _read_clips(self, path: Path) -> list[Clip]:
        # A function of its own, to let go of one file's list before the next is read.
        data = [datum for datum in _read_labels(path) if self._selection.keeps(_take(datum))]
        data.sort(key=lambda datum: (_clip_name(datum), datum["image_id"]))
        return [self._clip(name, list(group)) for name, group in groupby(data, key=_clip_name)]

    def _clip(self, name: str, data: Sequence[Datum]) -> Clip:
        owners = {(_take(datum), int(datum["camera_id"])) for datum in data}
        if len(owners) > 1:
            raise DatasetError(
                f"{self._root}: labels of {name} say that it is of several sequences or cameras: "
                f"{sorted(owners)[:2]}. Make the label files anew."
            )
        pictures = tuple(str(datum["image"]) for datum in data)
        sizes = picture_sizes(self._pictures_root, PictureFiles.from_paths(pictures))
        assumed = _fill_in(sizes)
        if "joints_3d_camera" in data[0]:
            joints_3d_mm = _stack(data, "joints_3d_camera")
            joints_2d_px = _stack(data, "joints_2d")
        else:
            joints_3d_mm = _stack(data, "joints_3d") * 1000.0
            joints_2d_px = to_px(_stack(data, "joints_2d_gt"), assumed)
        labels = joints_2d_px.astype(np.float32), joints_3d_mm.astype(np.float32)
        imported: dict[str, Float32] = {}
        with_cpn = sum("joints_2d_cpn" in datum for datum in data)
        if with_cpn not in (0, len(data)):
            raise DatasetError(_mixed(self._root))
        if with_cpn:
            found = to_px(_stack(data, "joints_2d_cpn"), assumed).astype(np.float32)
            scores = finite(found)[..., None].astype(np.float32)
            imported["cpn"] = np.concatenate([found, scores], axis=-1)
        return Clip(
            name=name,
            take=_take(data[0]),
            camera=int(data[0]["camera_id"]),
            pictures=pictures,
            frames=np.array([datum["image_id"] for datum in data], dtype=np.int32),
            valid=finite(*labels),
            joints_2d_px=labels[0],
            joints_3d_mm=labels[1],
            boxes_px=_stack(data, "box").reshape(len(data), 4).astype(np.float32),
            imported=imported,
            sizes=sizes,
        )


def to_px(points: NDArray[np.float64], sizes: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return px of points `[N, J, 2]` given as x/w*2-1, y/w*2-h/w.

    `sizes` is `[N, 2]` (H, W); where it is (0, 0) the points become NaN.
    """
    height, width = np.where(sizes > 0, sizes, np.nan).T[:, :, None]
    return np.stack(
        [(points[..., 0] + 1) * width / 2, (points[..., 1] * width + height) / 2], axis=-1
    )


def _fill_in(sizes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return sizes with those of missing pictures taken from the clip's first other one."""
    known = np.flatnonzero(sizes[:, 0])
    if not len(known):
        return sizes
    return np.where(sizes[:, :1] > 0, sizes, sizes[known[0]])


def _read_labels(path: Path) -> list[Datum]:
    data = load_pickle(path)
    if not isinstance(data, list):
        raise DatasetError(f"{path} does not hold the H36M-Toolbox's list of labels.")
    for number, datum in enumerate(data):
        keys = set(datum) if isinstance(datum, dict) else set()
        missing = (_KEYS | {"joints_2d" if "joints_3d_camera" in keys else "joints_2d_gt"}) - keys
        if missing:
            raise DatasetError(
                f"{path} does not hold the H36M-Toolbox's labels: "
                f"entry {number} lacks {', '.join(sorted(missing))}."
            )
    return data


def _mixed(root: Path) -> str:
    return (
        f"{root}: some labels have `joints_2d_cpn` and others have not; "
        "make both label files with the same script."
    )


def _take(datum: Datum) -> Take:
    return Take(f"S{int(datum['subject'])}", int(datum["action"]), int(datum["subaction"]))


def _clip_name(datum: Datum) -> str:
    return str(datum["image"]).rsplit("/", 1)[0]


def _stack(data: Sequence[Datum], key: str) -> NDArray[np.float64]:
    return np.stack([np.asarray(datum[key], dtype=np.float64) for datum in data])
