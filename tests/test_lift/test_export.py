"""Exported lifters answer as the lifters do, and say what they are called with."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache import CacheReader
from lifter import LIFTERS
from lifter.ops import deform_sample
from stages.lift import (
    EvaluateConfig,
    Exported,
    ExportMismatch,
    LiftError,
    NotExportable,
    evaluate,
    export_run,
)
from stages.lift.export import graph
from stages.lift.export.checks import check_answers
from stages.lift.export.sampling import sample_by_grid
from stages.lift.export.signature import signature_of
from stages.lift.feed.windows import windowing_of
from stages.lift.points import sample_points
from stages.lift.runs.checkpoints import LoadedRun
from tests.test_lift.stores import IDENTITY, build_plan, write_store
from tests.test_lift.test_frame_lifter import untrained

NAMES = [
    pytest.param(name, marks=() if name == "pose_only" else pytest.mark.slow)
    for name in sorted(LIFTERS)
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    plan = build_plan({"train": 4, "test": 12})
    return write_store(tmp_path_factory.mktemp("export") / "made.zarr", plan=plan)


def run_of(reader: CacheReader, name: str) -> LoadedRun:
    """An untrained run whose every parameter matters: none is zero."""
    torch.manual_seed(0)
    run = untrained(reader, name)
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=drawn)
    return replace(run, run_dir=Path("runs/made"))


@pytest.fixture(scope="module")
def capf_file(reader: CacheReader, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A file of `capf` that takes maps as stores have them."""
    path = tmp_path_factory.mktemp("files") / "lifter.onnx"
    return export_run(run_of(reader, "capf"), path, map_dtype="float16")


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def as_documented(reader: CacheReader, told: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """What goes in for the rows of the split test, by the formulas of the metadata."""
    rows = np.arange(4, 16)  # three clips of four frames
    picture_px = reader.keypoints("detector", rows=rows)[..., :2].astype(np.float64)
    (h, w), (crop_h, crop_w) = reader.image_size()[rows[0]], told["crop_size_hw"]
    u, v = picture_px[..., 0], picture_px[..., 1]
    screen = np.stack([2 * u / w - 1, 2 * v / w - h / w], axis=-1)
    affine = reader.affine(rows=rows)
    crop_px = np.einsum("nij,nkj->nki", affine[..., :2], picture_px) + affine[:, None, :, 2]
    unit = np.stack([2 * crop_px[..., 0] / crop_w - 1, 2 * crop_px[..., 1] / crop_h - 1], axis=-1)
    given = {"keypoints_2d": screen, "reference_points": unit}
    given |= {f"map_{name}": maps for name, maps in reader.read(rows).items()}
    if told["windows"]:
        # A window repeats its clip's first and last frame beyond the ends.
        clip, frame = np.divmod(np.arange(len(rows)), 4)
        around = np.clip(frame[:, None] + [-1, 0, 1], 0, 3) + 4 * clip[:, None]
        given |= {"keypoints_2d": screen[around], "window_rows": around}
    return {port["name"]: given[port["name"]].astype(port["dtype"]) for port in told["inputs"]}


def told_by(path: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads(
        session(path).get_modelmeta().custom_metadata_map["posecache"]
    )
    return metadata


def of_the_model(run: LoadedRun, given: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """The lifter's own answer in float64."""
    named = {name: torch.from_numpy(values) for name, values in given.items()}
    maps = [each.double() for name, each in named.items() if name.startswith("map_")]
    more = {"window_rows": named["window_rows"]} if "window_rows" in named else {}
    references = named.get("reference_points")
    with torch.no_grad():
        output = copy.deepcopy(run.model).double()(
            named["keypoints_2d"].double(),
            None if references is None else references.double(),
            maps or None,
            **more,
        )
    answer: NDArray[np.float64] = output.numpy()
    return answer


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_every_lifter_lifts_the_rows_of_a_store_as_the_lifter_does(
    reader: CacheReader, tmp_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    run = run_of(reader, name)
    made: Exported = (
        request.getfixturevalue("capf_file")
        if name == "capf"
        else export_run(run, tmp_path / "lifter.onnx")
    )
    given = as_documented(reader, told_by(made.path))
    (found,) = session(made.path).run(None, given)
    np.testing.assert_allclose(found, of_the_model(run, given), atol=2e-5)
    assert session(made.path).get_inputs()[0].shape[0] == "batch"
    if LIFTERS[name].predicts_windows:
        return
    evaluated = evaluate(
        run.model,
        reader,
        "test",
        EvaluateConfig(flip_average=False, zero_root=False),
        data=run.config.data,
        level_names=run.level_names,
        windowing=windowing_of(run.description.lifter, run.config.data),
    )
    np.testing.assert_allclose(1e3 * found, evaluated.predicted_mm, atol=2e-2)


def test_a_program_answers_as_the_lifter_does(reader: CacheReader, tmp_path: Path) -> None:
    run = run_of(reader, "pose_only")
    made = export_run(run, tmp_path / "lifter.pt2", format="program", batch=12)
    given = as_documented(reader, made.metadata)
    program = torch.export.load(made.path).module()
    with torch.no_grad():
        found = program(*map(torch.from_numpy, given.values()))
    np.testing.assert_allclose(found, of_the_model(run, given), atol=2e-5)
    assert made.agreement.batches == (12,)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in sorted(LIFTERS) if name != "capf"])
def test_a_program_of_every_lifter_is_loaded_with_torch_alone(
    reader: CacheReader, tmp_path: Path, name: str
) -> None:
    run = run_of(reader, name)
    made = export_run(run, tmp_path / "lifter.pt2", format="program")
    given = as_documented(reader, made.metadata)
    np.savez(tmp_path / "given.npz", *given.values())
    script = (
        "import json, sys, warnings, numpy, torch\n"
        "warnings.simplefilter('ignore')\n"
        "told = {'posecache.json': ''}\n"
        "program = torch.export.load('lifter.pt2', extra_files=told)\n"
        "given = [torch.from_numpy(each) for each in numpy.load('given.npz').values()]\n"
        "numpy.save('found.npy', program.module()(*given).detach().numpy())\n"
        "assert not {'lifter', 'stages', 'cache'} & set(sys.modules)\n"
        "print(json.loads(told['posecache.json'])['lifter'])\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.stdout.strip() == name, answer.stderr
    found = np.load(tmp_path / "found.npy")
    np.testing.assert_allclose(found, of_the_model(run, given), atol=2e-5)


@pytest.mark.slow
def test_a_file_says_what_its_numbers_are(reader: CacheReader, capf_file: Exported) -> None:
    made = capf_file
    told = told_by(made.path)
    assert told == json.loads(json.dumps(made.metadata))
    found = {each.name: (each.type, each.shape) for each in session(made.path).get_inputs()}
    assert found == {
        "keypoints_2d": ("tensor(float)", ["batch", 17, 2]),
        "reference_points": ("tensor(float)", ["batch", 17, 2]),
        "map_x8": ("tensor(float16)", ["batch", 8, 6, 6]),
        "map_x16": ("tensor(float16)", ["batch", 4, 3, 8]),
    }
    (output,) = session(made.path).get_outputs()
    assert (output.name, output.shape) == ("joints_3d_m", ["batch", 17, 3])
    assert told["skeleton"]["joints"] == list(reader.label_skeleton.joints)
    assert told["skeleton"]["root"] == "root"
    assert told["feature_identity"] == IDENTITY
    assert (told["run"], told["weights"]["epoch"], told["crop_size_hw"]) == ("made", 1, [64, 48])
    assert "relative to the root" in told["frames"]["joints_3d_m"]
    assert str(made.path.parent).encode() not in made.path.read_bytes()


@pytest.mark.slow
def test_a_call_may_be_of_a_fixed_number_of_samples(reader: CacheReader, tmp_path: Path) -> None:
    made = export_run(run_of(reader, "pose_only"), tmp_path / "lifter.onnx", batch=2)
    (given,) = session(made.path).get_inputs()
    assert given.shape == [2, 17, 2]
    assert made.agreement.batches == (2,)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_sampling_by_grid_is_the_op(padding: Any, align_corners: bool) -> None:
    drawn = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=drawn, dtype=torch.float64)

    levels = [random(2, 5, 3, 4), random(2, 1, 7, 2)]
    inputs = (random(2, 6, 2), random(2, 2, 6, 3, 4, 2), random(2, 2, 6, 3, 4))
    ours = deform_sample(levels, *inputs, padding=padding, align_corners=align_corners)
    theirs = sample_by_grid(levels, *inputs, [], padding, align_corners, "reference")
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-12)


def wrong_padding(*arguments: Any) -> list[Tensor]:
    *most, padding, align_corners, backend = arguments
    other = {"border": "zeros", "zeros": "border"}[padding]
    return sample_by_grid(*most, other, align_corners, backend)


def wrong_axes(levels: Any, points: Tensor, offsets: Tensor, *rest: Any) -> list[Tensor]:
    return sample_by_grid(levels, points.flip(-1), offsets, *rest)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [wrong_padding, wrong_axes])
def test_a_file_that_answers_otherwise_is_refused_and_not_written(
    reader: CacheReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Any
) -> None:
    op = torch.ops.posecache.deform_sample.default
    monkeypatch.setattr(graph, "decompositions", lambda: {op: wrong})
    path = tmp_path / "lifter.pt2"
    path.write_bytes(b"older")
    with pytest.raises(ExportMismatch, match=r"mm from the lifter .* Nothing was written"):
        export_run(run_of(reader, "capf"), path, format="program")
    assert path.read_bytes() == b"older"
    assert [each.name for each in tmp_path.iterdir()] == ["lifter.pt2"]


@pytest.mark.parametrize("off_m", [0.0, 1e-4, -1e-4, np.nan])
def test_a_tenth_of_a_millimetre_is_not_rounding(reader: CacheReader, off_m: float) -> None:
    run = run_of(reader, "capf")
    signature = signature_of(run.description.lifter, run.description.trained_on)

    def answer(given: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        joints_m = of_the_model(run, dict(given))
        joints_m[-1, -1, -1] += off_m
        return joints_m

    if off_m == 0.0:
        assert check_answers(run.model, signature, answer).exported_m == 0.0
        return
    with pytest.raises(ExportMismatch, match="from the lifter on random inputs of 1 samples"):
        check_answers(run.model, signature, answer)
    with pytest.raises(ExportMismatch, match=r"returns \[1, 16, 3\] for 1 samples"):
        check_answers(run.model, signature, lambda given: answer(given)[:, 1:])


class Choosy(nn.Module):
    """Takes steps that depend on values."""

    def forward(self, points: Tensor, *_others: Any) -> Tensor:
        joints = torch.cat((points, points[..., :1]), dim=-1)
        return joints if points.sum() > 0 else -joints


class Single(nn.Module):
    """Works for as many samples as it has seen first."""

    def forward(self, points: Tensor, *_others: Any) -> Tensor:
        return torch.cat((points, points.new_zeros(len(points), 17, 1)), dim=-1)


@pytest.mark.parametrize("kind", [Choosy, Single])
def test_a_lifter_that_no_graph_holds_is_refused_with_the_reason(
    reader: CacheReader, tmp_path: Path, kind: type[nn.Module]
) -> None:
    run = replace(run_of(reader, "pose_only"), model=kind())
    with pytest.raises(NotExportable, match=r"pose_only cannot be exported: \w+: .*same steps"):
        export_run(run, tmp_path / "lifter.pt2", format="program")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_packages_of_onnx_the_extra_is_named(
    reader: CacheReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotExportable, match=rf"needs {package}\. Install it: .*\[onnx\]"):
        export_run(run_of(reader, "pose_only"), tmp_path / "lifter.onnx")


def test_a_file_has_the_suffix_of_its_format(reader: CacheReader, tmp_path: Path) -> None:
    with pytest.raises(LiftError, match=r"format program end in \.pt2"):
        export_run(run_of(reader, "pose_only"), tmp_path / "lifter.onnx", format="program")


@pytest.mark.slow
def test_a_lifter_of_a_point_cache_takes_points(tmp_path: Path) -> None:
    write_store(tmp_path / "made.zarr", {"train": 8})
    sample_points(tmp_path / "made.zarr", tmp_path / "points.zarr", workers=1)
    run = run_of(CacheReader(tmp_path / "points.zarr"), "capf_temporal")
    made = export_run(run, tmp_path / "lifter.onnx")
    assert [each.name for each in session(made.path).get_inputs()] == [
        "keypoints_2d", "reference_points", "points_x8", "points_x16", "window_rows"
    ]  # fmt: skip
