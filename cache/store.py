"""The Zarr group of a store: created whole from a plan, and read back; the owner of zarr."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from cache import schema
from cache.cameras import Camera
from cache.errors import CacheCorrupt, CacheError
from cache.header import StoreHeader
from cache.maps.codecs import array_layout, plain_layout
from cache.plan import INDEX_COLUMNS, IndexColumn, RowPlan
from cache.seal import check_metadata, seal
from cache.storage import Storage

_PLAN_CHUNK_ROWS = 16384
_GROUPS = (schema.FEATURES, schema.KEYPOINTS, schema.LABELS, schema.INDEX, schema.CAMERAS, "crop")
_FEATURE_AXES = ("row", "view", "height", "width", "channel")


def create_store(storage: Storage, header: StoreHeader, plan: RowPlan) -> None:
    """Make the store with its plan and no chunk; does nothing if another process was faster."""
    with storage.creating() as place:
        group = zarr.create_group(place, zarr_format=3, attributes=header.to_json())
        for name in _GROUPS:
            group.create_group(name)
        _declare_chunk_arrays(group, header)
        _write_plan(group, plan)
        seal(group)


def _declare_chunk_arrays(group: zarr.Group, header: StoreHeader) -> None:
    spec = header.spec
    attributes: dict[str, dict[str, Any]] = {
        schema.AFFINE: {"crop_size_hw": list(spec.crop_size)},
        schema.STATUS: {"codes": {status.name: status.value for status in schema.FrameStatus}},
    }
    for level in spec.levels:
        attributes[schema.feature_path(level.name)] = {
            "stride": level.stride,
            "views": list(spec.views),
        }
        if level.dtype is not None:
            attributes[schema.feature_path(level.name)]["scale"] = header.scales[level.name]
    for source in spec.keypoint_sources:
        skeleton = spec.source_skeleton(source, header.label_skeleton)
        attributes[schema.keypoints_path(source)] = {"skeleton": skeleton}
    layouts = {schema.feature_path(level.name): array_layout(spec, level) for level in spec.levels}
    for name, (shape, dtype) in schema.chunk_arrays(spec, header.label_skeleton).items():
        _create_array(
            group,
            name,
            shape=(spec.num_rows, *shape),
            dtype=dtype.name,
            layout=layouts.get(name) or plain_layout((spec.shard_rows, *shape)),
            axes=_FEATURE_AXES if name in layouts else None,
            attributes=attributes[name],
        )
    _create_array(
        group,
        schema.COMMIT,
        shape=(spec.num_chunks,),
        dtype="uint8",
        layout=plain_layout((1,)),
        axes=("chunk",),
    )


def _write_plan(group: zarr.Group, plan: RowPlan) -> None:
    for name, values in plan.label_arrays().items():
        _store_array(group, schema.label_path(name), values)
    for name, column in plan.index.items():
        words = None if column.vocabulary is None else list(column.vocabulary)
        _store_array(group, schema.index_path(name), column.codes, {"vocabulary": words})
    _store_array(group, schema.IMAGE_SIZE, plan.image_size)
    if not plan.cameras:
        return
    for name in schema.CAMERA_ARRAYS:
        per_camera = [getattr(camera, name) for camera in plan.cameras]
        # numpy makes NaN of an fps that is None.
        _store_array(group, schema.camera_path(name), np.array(per_camera, dtype=np.float64))
    group[schema.CAMERAS].attrs.update(
        {
            "names": [camera.name for camera in plan.cameras],
            "distortion_models": [camera.distortion_model for camera in plan.cameras],
        }
    )


def _store_array(
    group: zarr.Group,
    name: str,
    values: NDArray[Any],
    attributes: Mapping[str, Any] | None = None,
) -> None:
    rows = min(len(values), _PLAN_CHUNK_ROWS)
    array = _create_array(
        group,
        name,
        shape=values.shape,
        dtype=values.dtype.name,
        layout=plain_layout((rows, *values.shape[1:])),
        attributes=attributes,
    )
    array[...] = values


def _create_array(
    group: zarr.Group,
    name: str,
    *,
    shape: tuple[int, ...],
    dtype: str,
    layout: Mapping[str, Any],
    axes: tuple[str, ...] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> zarr.Array[Any]:
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        dimension_names=axes,
        attributes=dict(attributes or {}),
        **layout,
    )


class PlanTable:
    """The plan's arrays of one store, each read when asked for."""

    def __init__(self, storage: Storage, header: StoreHeader) -> None:
        self._path = storage.location
        self._storage = storage
        self._header = header
        self._group = zarr.open_group(storage.zarr_store(), mode="r")

    def _array(self, name: str) -> zarr.Array[Any]:
        check_metadata(self._header.metadata_sums, name, self._storage)
        array = self._group.get(name)
        if not isinstance(array, zarr.Array):
            raise CacheCorrupt(
                f"{self._path}: {name} is not an array; delete the store and extract again"
            )
        return array

    def _values(self, name: str) -> NDArray[Any]:
        try:
            array = self._array(name)
            stored = [key for key in self._storage.names(name) if key.startswith("c.")]
            if len(stored) < array.nchunks:
                # Zarr would answer with zeros.
                raise FileNotFoundError(f"{len(stored)} of its {array.nchunks} chunks are there")
            return np.asarray(array[...])
        except CacheCorrupt:
            raise
        except (ValueError, OSError) as error:
            raise CacheCorrupt(
                f"{self._path}: {name} cannot be read ({_reason(error)}); delete the store and "
                "extract again"
            ) from error

    def has_label(self, name: str) -> bool:
        """Whether the plan came with this label."""
        path, sums = schema.label_path(name), self._header.metadata_sums
        if sums is not None:
            return path in sums
        # Not a question to zarr: it answers a damaged description with errors of its own.
        return schema.METADATA in self._storage.names(path)

    def label(self, name: str) -> NDArray[Any]:
        """A label; raises `CacheError` for one that the plan did not have."""
        if not self.has_label(name):
            raise CacheError(
                f"{self._path} has no label {name!r}; use a store of a dataset that has it"
            )
        return self._values(schema.label_path(name))

    def index(self, name: str) -> IndexColumn:
        """A column of the row table; raises `CacheError` for an unknown one."""
        if name not in INDEX_COLUMNS:
            raise CacheError(
                f"no index column {name!r}, there are {', '.join(INDEX_COLUMNS)}; name one of these"
            )
        words: Any = self._array(schema.index_path(name)).attrs["vocabulary"]
        return IndexColumn(
            self._values(schema.index_path(name)), None if words is None else tuple(words)
        )

    def image_size(self) -> NDArray[np.int32]:
        """`[N, 2]` (H, W)."""
        return self._values(schema.IMAGE_SIZE)

    def cameras(self) -> tuple[Camera, ...]:
        """Cameras in the order of the codes."""
        check_metadata(self._header.metadata_sums, schema.CAMERAS, self._storage)
        attributes: dict[str, Any] = self._group[schema.CAMERAS].attrs.asdict()
        if "names" not in attributes:
            return ()
        arrays = [self._values(schema.camera_path(name)) for name in schema.CAMERA_ARRAYS]
        return tuple(
            Camera(
                name, K, R, t_mm, tuple(distortion), model, None if np.isnan(fps) else float(fps)
            )
            for name, model, K, R, t_mm, distortion, fps in zip(
                attributes["names"], attributes["distortion_models"], *arrays, strict=True
            )
        )

    def plan(self) -> RowPlan:
        """The whole plan, checked again."""
        optional = {
            name: self.label(name)
            for name in ("visible", "boxes_px", "extrinsics")
            if self.has_label(name)
        }
        return RowPlan(
            skeleton=self._header.label_skeleton,
            joints_2d_px=self.label("joints_2d_px"),
            joints_3d_mm=self.label("joints_3d_mm") if self.has_label("joints_3d_mm") else None,
            valid=self.label("valid"),
            index={name: self.index(name) for name in INDEX_COLUMNS},
            image_size=self.image_size(),
            cameras=self.cameras(),
            **optional,
        )


def _reason(error: Exception) -> str:
    # Zarr shows both sums as raw bytes.
    return "it fails its checksum" if "checksum" in str(error) else str(error)
