"""Keypoints of several sources and joint sets: what a run records of them, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cache import CacheReader, CacheSpec, CacheWriter, ChunkData, LevelSpec, get_skeleton
from cache.coords import mirror_affine
from stages.lift import EvaluateConfig, StoreMismatch, TrainConfig, evaluate_run, load_run, train
from stages.lift.config import DataConfig
from stages.lift.errors import EmptySplit
from stages.lift.feed.samples import load_samples
from tests.test_lift.stores import CROP_SIZE, build_plan
from tests.test_lift.test_training import POSE_ONLY

SPLITS = {"train": 8, "validation": 4, "test": 4}
LEVEL = LevelSpec(name="x16", channels=2, height=4, width=3, stride=16)
PLAN = build_plan(SPLITS)
H36M = "H36M17"


def points_of(skeleton: str, seed: int = 0) -> NDArray[np.float32]:
    """Any points [N, J, 3] px with scores, none of them on (0, 0)."""
    shape = (len(PLAN), get_skeleton(skeleton).num_joints, 3)
    return np.random.default_rng(seed).uniform(1.0, 90.0, shape).astype(np.float32)


def write_store(
    path: Path,
    sources: Mapping[str, tuple[str, NDArray[np.float32]]],
    *,
    weights: str = "abc",
    notes: list[str] | None = None,
) -> CacheReader:
    """A store whose network finds joints only if `sources` has a `detector`."""
    imported = {name: value[0] for name, value in sources.items() if name != "detector"}
    spec = CacheSpec(
        num_rows=len(PLAN),
        levels=(LEVEL,),
        skeleton=sources.get("detector", (PLAN.skeleton, None))[0],
        crop_size=CROP_SIZE,
        shard_rows=16,
        keypoint_sources=(*sources, "gt"),
        imported_skeletons=imported,
    )
    plain = np.array([[0.5, 0.0, -8.0], [0.0, 0.5, 8.0]])
    affine = np.stack([plain, mirror_affine(plain, CROP_SIZE[1])])
    labels = np.ones((len(PLAN), 17, 3), dtype=np.float32)
    labels[..., :2] = PLAN.joints_2d_px
    content: dict[str, Any] = {"dataset": "random"}
    with CacheWriter.open(
        path,
        spec=spec,
        plan=PLAN,
        feature_identity={
            "detector": {"kind": "timm", "model": "resnet18", "weights": weights},
            "crop": {"box_source": "imported"},
        },
        content_identity=content | ({"notes": notes} if notes else {}),
    ) as writer:
        for chunk in writer.missing_chunks():
            rows = np.array(writer.chunk_rows(chunk))
            given = {**{name: value[1] for name, value in sources.items()}, "gt": labels}
            writer.write_chunk(
                chunk,
                ChunkData(
                    features={"x16": np.zeros((len(rows), 2, 4, 3, 2), dtype=np.float16)},
                    keypoints={
                        name: np.repeat(points[rows, None], 2, axis=1)
                        for name, points in given.items()
                    },
                    crop_affine=np.broadcast_to(affine, (len(rows), 2, 2, 3)).copy(),
                    status=np.zeros(len(rows), dtype=np.uint8),
                ),
            )
    return CacheReader(path)


def trained(reader: CacheReader, run_dir: Path, source: str) -> Path:
    config = {"epochs": 1, "batch_size": 8, "threads": 1, "data": {"keypoint_source": source}}
    train(TrainConfig.model_validate(config), POSE_ONLY, reader, run_dir)
    return run_dir


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    """A detector of COCO's joints, and imported keypoints of Human3.6M's and COCO's."""
    sources = {
        "detector": ("COCO17", points_of("COCO17", 1)),
        "imported:cpn": (H36M, points_of(H36M, 2)),
        "imported:coco": ("COCO17", points_of("COCO17", 3)),
    }
    path = tmp_path_factory.mktemp("kinds") / "kinds.zarr"
    return write_store(path, sources, notes=["labels are a guess"])


@pytest.fixture(scope="module")
def on_cpn(store: CacheReader, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(store, tmp_path_factory.mktemp("runs") / "cpn", "imported:cpn")


def test_a_run_on_imported_keypoints_refuses_those_of_the_detector(
    store: CacheReader, on_cpn: Path
) -> None:
    config = EvaluateConfig(splits=("test",), keypoint_source="detector")
    with pytest.raises(StoreMismatch) as refused:
        evaluate_run(on_cpn, store, config)
    message = str(refused.value)
    assert "keypoint source: trained on 'imported:cpn', asked for 'detector'" in message
    assert "skeleton of the keypoints: trained on H36M17, the store has COCO17" in message
    assert "evaluate.allow=[skeleton, keypoints]" in message
    with pytest.raises(StoreMismatch, match="skeleton of the keypoints"):
        evaluate_run(on_cpn, store, config.model_copy(update={"allow": ("keypoints",)}))
    told = config.model_copy(update={"allow": ("keypoints", "skeleton")})
    evaluate_run(on_cpn, store, told)
    metrics = json.loads((on_cpn / "metrics.json").read_text())
    assert metrics["keypoint_source"] == "detector"
    assert metrics["keypoint_skeleton"] == "COCO17"
    assert metrics["evaluate"]["allow"] == ["keypoints", "skeleton"]


def test_the_same_source_of_another_joint_set_is_refused(tmp_path: Path, on_cpn: Path) -> None:
    other = write_store(tmp_path / "o.zarr", {"imported:cpn": ("COCO17", points_of("COCO17"))})
    with pytest.raises(StoreMismatch, match="trained on H36M17, the store has COCO17") as refused:
        load_run(on_cpn).require_fit(other)
    assert "evaluate.allow=[skeleton]" in str(refused.value)
    load_run(on_cpn).require_fit(other, allow=["skeleton"])


def test_imported_keypoints_without_maps_do_not_depend_on_the_network(
    store: CacheReader, on_cpn: Path, tmp_path: Path
) -> None:
    sources = {"detector": ("COCO17", points_of("COCO17")), "imported:cpn": (H36M, points_of(H36M))}
    other = write_store(tmp_path / "other.zarr", sources, weights="xyz")
    load_run(on_cpn).require_fit(other)
    on_detector = trained(store, tmp_path / "run", "detector")
    with pytest.raises(StoreMismatch, match=r"detector\.weights"):
        load_run(on_detector).require_fit(other)


def test_a_run_records_that_its_keypoints_were_converted(
    store: CacheReader, on_cpn: Path, tmp_path: Path
) -> None:
    assert load_run(on_cpn).description.trained_on.keypoint_note is None
    run_dir = trained(store, tmp_path / "coco", "imported:coco")
    run = load_run(run_dir)
    note = run.description.trained_on.keypoint_note
    assert note is not None
    assert "COCO17 as H36M17: spine, thorax and head" in note
    evaluate_run(run_dir, store)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["notes"] == [f"Keypoints imported:coco are {note}.", "labels are a guess"]


def test_results_name_keypoints_features_and_boxes(store: CacheReader, on_cpn: Path) -> None:
    evaluate_run(on_cpn, store)
    metrics = json.loads((on_cpn / "metrics.json").read_text())
    named = {key: metrics[key] for key in ("keypoint_source", "feature_source", "box_source")}
    # This lifter reads no maps.
    assert named == {
        "keypoint_source": "imported:cpn", "feature_source": None, "box_source": "imported",
    }  # fmt: skip
    assert metrics["notes"] == ["labels are a guess"]


def test_converted_keypoints_are_what_the_lifter_sees(store: CacheReader) -> None:
    samples = load_samples(
        store, "train", DataConfig(keypoint_source="imported:coco"), flipped=False
    )
    coco = store.keypoints("imported:coco", 0, rows=samples.rows)[..., :2]
    np.testing.assert_allclose(samples.keypoints_px[:, 0], coco[:, [11, 12]].mean(1), rtol=1e-6)
    np.testing.assert_allclose(samples.keypoints_px[:, 16], coco[:, 10], rtol=1e-6)


def test_rows_without_imported_keypoints_are_left_out_and_counted(tmp_path: Path) -> None:
    points = points_of(H36M)
    points[[1, 2]] = 0
    points[3, :, 2] = 0  # coordinates, and no trust in any of them
    points[5, 16] = 0
    points[6, 16, 2] = 0  # a joint found without trust is a joint
    reader = write_store(
        tmp_path / "gaps.zarr",
        {"imported:cpn": (H36M, points), "imported:all": (H36M, points_of(H36M))},
    )
    config = DataConfig(keypoint_source="imported:cpn")
    samples = load_samples(reader, "train", config, flipped=True)
    assert samples.rows.tolist() == [0, 4, 6, 7]
    assert samples.dropped == {"NO_KEYPOINTS": 3, "INCOMPLETE_KEYPOINTS": 1}
    assert (samples.keypoints_px != 0).all()
    for source in ("imported:all", "gt"):
        whole = load_samples(reader, "train", DataConfig(keypoint_source=source), flipped=True)
        assert len(whole) == 8
        assert whole.dropped == {}


def test_a_joint_that_no_converted_joint_needs_may_be_missing(tmp_path: Path) -> None:
    points = points_of("COCO17")
    points[0, 3] = 0  # an ear
    points[1, 1] = 0  # an eye, half of the head
    reader = write_store(tmp_path / "ears.zarr", {"imported:coco": ("COCO17", points)})
    samples = load_samples(
        reader, "train", DataConfig(keypoint_source="imported:coco"), flipped=False
    )
    assert samples.rows.tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert samples.dropped == {"INCOMPLETE_KEYPOINTS": 1}


def test_a_split_without_any_keypoints_is_refused(tmp_path: Path) -> None:
    points = points_of(H36M)
    points[8:12] = 0
    reader = write_store(tmp_path / "none.zarr", {"imported:cpn": (H36M, points)})
    with pytest.raises(EmptySplit, match=r"'validation' .* \{'NO_KEYPOINTS': 4\}"):
        load_samples(
            reader, "validation", DataConfig(keypoint_source="imported:cpn"), flipped=False
        )
