"""The command on runs of two training steps: what it writes, keeps and refuses."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import pipeline.commands.robustness as command_module
import pipeline.robustness.sweep as sweep_module
from cache import CacheReader
from pipeline.errors import PipelineError
from pipeline.robustness.checking import check_clean
from pipeline.robustness.degradations import CLEAN, Variant
from pipeline.robustness.growth import growth
from pipeline.robustness.lifting import Lifted, lift_pass
from pipeline.robustness.measuring import measure
from pipeline.robustness.study import Study, open_study
from pipeline.robustness.subjects import load_subjects
from pipeline.robustness.tables import error_table
from stages.lift import evaluate
from tests.test_pipeline.commands import CommandLine
from tests.test_robustness.conftest import Trained

FEW = (
    *("-s", "robustness.strengths.noise=[0.05]", "-s", "robustness.strengths.dropped=[0.5]"),
    *("-s", "robustness.strengths.occluder=[0.3]", "-s", "robustness.strengths.jitter=[0.2]"),
    *("-s", "robustness.strengths.resolution=[4]", "-s", "robustness.draws=200"),
)


@pytest.fixture(scope="module")
def study(trained: Trained) -> Study:
    subjects = load_subjects([Path(run) for run in trained.all], [("robustness.rows", 4)])
    return open_study(subjects, subjects[0].config.robustness)


@pytest.fixture(scope="module")
def clean(study: Study) -> Lifted:
    lifted = lift_pass(study, study.detector(), [CLEAN], progress=lambda _done: None)
    assert lifted is not None
    return lifted[CLEAN]


@pytest.fixture(scope="module")
def done(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole sweep."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    with pytest.MonkeyPatch.context() as patch:
        command = ["posecache", "robustness", *trained.all, "--rows", "4", "--out", str(out)]
        patch.setattr("sys.argv", [*command, "--json", *FEW])
        from pipeline.cli import main

        with suppress(SystemExit):
            main()
    return out


def read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "robustness.json").read_text())
    return content


def test_undegraded_frames_have_the_poses_of_the_evaluation(study: Study, clean: Lifted) -> None:
    checks = check_clean(study, clean)
    (store,) = Path(study.subjects[0].config.data_root).glob("*.zarr")
    for subject in study.subjects[:2]:
        found = evaluate(
            subject.run.model,
            CacheReader(store),
            "test",
            subject.config.evaluate,
            data=subject.run.config.data,
            level_names=subject.run.level_names,
        )
        at = np.searchsorted(found.rows, clean.rows)
        np.testing.assert_allclose(clean.poses_mm[subject.name], found.predicted_mm[at], atol=1e-3)
        assert checks[subject.name]["distance_mm"] < 1e-3
    assert checks[study.subjects[2].name]["distance_mm"] is None


@pytest.mark.parametrize("fault", ["poses", "rows", "nan"])
def test_poses_that_are_not_those_of_the_store_are_refused(
    study: Study, clean: Lifted, fault: str
) -> None:
    poses = {name: each.copy() for name, each in clean.poses_mm.items()}
    name = study.subjects[1].name
    if fault == "poses":
        poses[name][..., 0] += 0.3  # mm
    elif fault == "rows":
        poses[name] = poses[name][::-1]
    else:
        poses[name][0] = np.nan
    with pytest.raises(PipelineError, match=r"mm away from those of synthetic.*more than 0\.2 mm"):
        check_clean(study, replace(clean, poses_mm=poses))


def test_a_lost_undegraded_frame_is_refused(study: Study, clean: Lifted) -> None:
    with pytest.raises(PipelineError, match=r"cannot be used here \(missing 1\)"):
        check_clean(study, replace(clean, lost={"missing": 1}))


def test_a_frame_that_a_strength_loses_is_no_growth(study: Study, clean: Lifted) -> None:
    part = replace(
        clean,
        rows=clean.rows[1:],
        poses_mm={name: poses[1:] for name, poses in clean.poses_mm.items()},
        joints_px=clean.joints_px[1:],
        boxes_px=clean.boxes_px[1:],
        lost={"bad_box": 1},
    )
    entries = [
        measure(study, variant, lifted, int(clean.rows[0]))
        for variant, lifted in ((CLEAN, clean), (Variant("jitter", 0.3), part))
    ]
    result = {
        "settings": study.settings(),
        "baseline": study.subjects[0].name,
        "about": {"notes": []},
        "results": entries,
    }
    for row in growth(result):
        assert (row["growth_mm"], row["low_mm"], row["high_mm"]) == pytest.approx((0, 0, 0))
    assert entries[1]["lost_rows"] == [int(clean.rows[0])]
    shown = Console(file=io.StringIO(), width=200)
    shown.print(error_table(result))
    assert "jitter 0.3 (3 of 4)" in shown.file.getvalue()  # type: ignore[attr-defined]


def test_a_sweep_has_every_strength_of_every_run(done: Path, trained: Trained) -> None:
    result = read(done)
    found = [(entry["degradation"], entry["strength"]) for entry in result["results"]]
    assert found == [
        *(("clean", 0.0), ("noise", 0.05), ("dropped", 0.5), ("occluder", 0.3)),
        *(("jitter", 0.2), ("resolution", 4.0)),
    ]
    assert result["baseline"] == trained.pose_only.name
    for entry in result["results"]:
        assert list(entry["runs"]) == [Path(run).name for run in trained.all]
        assert set(entry["differences"]) == {trained.capf.name, trained.shuffled.name}
        assert entry["num_frames"] == 4
        for errors in entry["runs"].values():
            assert errors["low_mm"] <= errors["mpjpe_mm"] <= errors["high_mm"]
    errors_2d = {entry["degradation"]: entry["error_2d_px"]["mean"] for entry in result["results"]}
    assert min(errors_2d, key=lambda name: errors_2d[name]) in ("clean", "jitter")
    assert errors_2d["dropped"] > errors_2d["clean"] + 10
    for name in ("robustness.csv", "robustness.png", "examples.png", "robustness.html"):
        assert (done / name).stat().st_size > 500


def test_a_stopped_sweep_goes_on_with_the_same_numbers(
    done: Path,
    trained: Trained,
    posecache: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, out = read(done), tmp_path / "out"
    shutil.copytree(done, out)
    part = {**whole, "results": [e for e in whole["results"] if e["degradation"] != "jitter"]}
    (out / "robustness.json").write_text(json.dumps(part))
    passed = []
    real = sweep_module.lift_pass

    def counted(study: Study, setup: Any, members: Any, **more: Any) -> Any:
        passed.append([variant.label for variant in members])
        return real(study, setup, members, **more)

    monkeypatch.setattr(sweep_module, "lift_pass", counted)
    for name in ("plot_result", "draw_examples"):  # those of the whole sweep serve
        monkeypatch.setattr(command_module, name, lambda *_: None)
    words = ("robustness", *trained.all, "--rows", "4", "--out", str(out), *FEW)
    assert posecache(*words).code == 0
    assert passed == [["jitter 0.2"]]
    assert read(out) == whole
    planned = json.loads(posecache(*words, "--dry-run", "--json").out)
    assert (len(planned["kept"]), planned["passes"]) == (6, [])


def test_a_plan_writes_nothing(trained: Trained, posecache: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = posecache(
        *("robustness", *trained.all, "--rows", "4", "--out", str(out), "--dry-run", "--json")
    )
    assert ended.code == 0, ended.err
    assert not out.exists()
    planned = json.loads(ended.out)
    assert planned["num_rows"] == 4
    assert planned["passes"][0][:2] == ["clean", "noise 0.01"]


def test_results_of_other_settings_are_not_written_over(
    done: Path, trained: Trained, posecache: CommandLine
) -> None:
    before = (done / "robustness.json").read_bytes()
    ended = posecache("robustness", *trained.all, "--rows", "3", "--out", str(done))
    assert ended.code == 2
    assert "is of other settings" in ended.err
    assert (done / "robustness.json").read_bytes() == before


def test_runs_of_two_stores_are_refused(
    trained: Trained, posecache: CommandLine, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained.capf, other)
    description = json.loads((other / "run.json").read_text())
    description["trained_on"]["feature_identity"]["crop"]["padding"] = 1.5
    (other / "run.json").write_text(json.dumps(description))
    ended = posecache("robustness", str(trained.pose_only), str(other))
    assert ended.code == 4
    assert "was not trained on the store of" in ended.err
    assert "padding" in ended.err


def test_other_pictures_than_those_of_the_store_are_refused(
    trained: Trained, posecache: CommandLine
) -> None:
    ended = posecache("robustness", *trained.all, "-s", "dataset.options.seed=5")
    assert ended.code in (2, 3)
    assert "Traceback" not in ended.err
    assert not list((trained.root / "runs").glob("robustness-*"))
