"""Which rows, in which order, of which runs: without any detector."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.errors import ConfigError, PipelineError
from pipeline.robustness.config import StrengthsConfig
from pipeline.robustness.degradations import CLEAN, Variant, passes, variants
from pipeline.robustness.files import read_result, table_rows, with_entries, write_result
from pipeline.robustness.growth import growth
from pipeline.robustness.intervals import clip_intervals
from pipeline.robustness.labels import run_labels
from pipeline.robustness.rows import thin_rows
from pipeline.robustness.subjects import choose_runs
from pipeline.robustness.tables import signed
from stages.lift import paired_bootstrap
from tests.test_pipeline.written_runs import write_run


def test_rows_are_spread_evenly_over_clips_in_turns() -> None:
    rows = np.arange(100, 130)
    clips = np.repeat([4, 7, 9], [20, 2, 8])
    found = thin_rows(rows, clips, 12)
    assert len(found) == 12
    of_clip = clips[found - 100]
    assert {code: int((of_clip == code).sum()) for code in (4, 7, 9)} == {4: 5, 7: 2, 9: 5}
    assert of_clip[:6].tolist() == [4, 7, 9, 4, 7, 9]
    assert sorted(found[of_clip == 4].tolist()) == [102, 106, 110, 114, 118]


def test_all_rows_are_taken_where_there_are_no_more() -> None:
    found = thin_rows(np.arange(7), np.repeat([0, 1], [3, 4]), 400)
    assert sorted(found.tolist()) == list(range(7))


def test_fewer_rows_than_clips_are_of_clips_far_apart() -> None:
    assert thin_rows(np.arange(10), np.arange(10), 2).tolist() == [0, 9]


def test_strengths_rise() -> None:
    found = [v.strength for v in variants(StrengthsConfig()) if v.degradation == "noise"]
    assert found == sorted(found)
    for wrong in ((0.2, 0.1), (0.1, 0.1)):
        with pytest.raises(ValidationError, match="strengths rise, each named once"):
            StrengthsConfig(noise=wrong)


@pytest.mark.parametrize(
    ("name", "strength"), [("noise", 0.0), ("occluder", 0.8), ("jitter", 0.6), ("resolution", 1.0)]
)
def test_a_strength_without_meaning_is_refused(name: str, strength: float) -> None:
    with pytest.raises(ValidationError):
        StrengthsConfig(**{name: (strength,)})


def test_what_sees_undegraded_frames_shares_one_pass() -> None:
    strengths = StrengthsConfig(
        noise=(0.1,), dropped=(0.2,), occluder=(0.1, 0.2), jitter=(), resolution=()
    )
    assert passes(variants(strengths)) == [
        (CLEAN, Variant("noise", 0.1), Variant("dropped", 0.2)),
        (Variant("occluder", 0.1),),
        (Variant("occluder", 0.2),),
    ]


def result(clips_mm: dict[str, list[float]]) -> dict[str, object]:
    """Two strengths of two runs: `a` and `b`, undegraded, and twice that with noise."""

    def entry(degradation: str, strength: float, factor: float) -> dict[str, object]:
        return {
            "degradation": degradation,
            "strength": strength,
            "num_frames": 6,
            "lost": {},
            "lost_rows": [],
            "rows": {"x": [3, 4], "y": [5, 6, 7, 8]},
            "clips": {"x": 2, "y": 4},
            "error_2d_px": {"mean": 1.0, "median": 1.0},
            "differences": {},
            "runs": {
                name: {
                    "mpjpe_mm": factor * float(np.average(mm, weights=[2, 4])),
                    "low_mm": 0.0,
                    "high_mm": 0.0,
                    "p_mpjpe_mm": 1.0,
                    "per_clip_mpjpe_mm": [factor * value for value in mm],
                    "per_frame_mpjpe_mm": np.repeat(mm, [2, 4]).tolist(),
                }
                for name, mm in clips_mm.items()
            },
        }

    runs = [{"name": name, "lifter": "capf", "context": "own", "seed": 0} for name in clips_mm]
    return {
        "settings": {"runs": runs, "draws": 200},
        "baseline": "a",
        "results": [entry("clean", 0.0, 1.0), entry("noise", 0.1, 2.0)],
    }


def test_growth_is_that_of_each_clip_weighted_by_frames() -> None:
    rows = {row["run"]: row for row in growth(result({"a": [30.0, 60.0], "b": [30.0, 30.0]}))}
    assert rows["a"]["growth_mm"] == pytest.approx(50.0)
    assert rows["b"]["growth_mm"] == pytest.approx(30.0)
    assert rows["b"]["minus_baseline"]["difference_mm"] == pytest.approx(-20.0)
    assert (rows["a"]["low_mm"], rows["a"]["high_mm"]) == pytest.approx((30.0, 60.0))


def test_growth_over_one_clip_is_not_called_certain() -> None:
    one = {"growth_mm": 3.0, "low_mm": 3.0, "high_mm": 3.0}
    assert "*" not in signed(one, "growth_mm")
    assert "*" in signed({**one, "low_mm": 2.9}, "growth_mm")


def test_intervals_are_those_of_the_paired_bootstrap() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.uniform(40, 90, (2, 30))
    counts = rng.integers(1, 9, 30)
    mean, low, high = clip_intervals((other - one)[None], counts, num_draws=20_000)[0]
    expected = paired_bootstrap(one[None], other[None], counts, num_draws=20_000)
    assert mean == pytest.approx(expected.difference_mm)
    assert low == pytest.approx(expected.low_mm, abs=0.3)
    assert high == pytest.approx(expected.high_mm, abs=0.3)


def test_runs_of_one_lifter_are_told_apart() -> None:
    labels = run_labels(result({"run-11111111": [1.0, 1.0], "run-22222222": [1.0, 1.0]}))
    assert list(labels.values()) == ["capf s0 11111111", "capf s0 22222222"]


def test_results_are_kept_in_the_order_of_strengths(tmp_path: Path) -> None:
    whole = result({"a": [1.0, 2.0]})
    noise, clean = whole["results"][1], whole["results"][0]  # type: ignore[index]
    merged = with_entries({**whole, "results": [noise]}, [clean], [CLEAN, Variant("noise", 0.1)])
    assert merged["results"] == [clean, noise]
    write_result(tmp_path, merged)
    assert read_result(tmp_path, merged["settings"]) == merged
    lines = (tmp_path / "robustness.csv").read_text().splitlines()
    assert len(lines) == 1 + len(list(table_rows(merged))) == 3


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    whole = result({"a": [1.0, 2.0]})
    write_result(tmp_path, whole)
    with pytest.raises(ConfigError, match=r"is of other settings \(draws"):
        read_result(tmp_path, {**whole["settings"], "draws": 100})  # type: ignore[dict-item]


def test_without_names_the_newest_capf_and_its_control_are_taken(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write_run(runs / "made-capf-s0-1", seed=0, finished="2026-11-20T10:00:00+00:00")
    write_run(runs / "made-capf-s1-2", seed=1)
    with pytest.raises(PipelineError, match=r"no finished pose_only run on made\.zarr"):
        choose_runs((), runs)
    for seed in (0, 1, 2):
        write_run(runs / f"made-pose_only-s{seed}-3", lifter="pose_only", seed=seed)
    assert [run.name for run in choose_runs((), runs)] == ["made-pose_only-s1-3", "made-capf-s1-2"]
    with pytest.raises(PipelineError, match="no finished capf run"):
        choose_runs((), tmp_path / "none")
    shutil.rmtree(runs / "made-capf-s1-2")
    assert choose_runs((), runs)[1].name == "made-capf-s0-1"


def test_a_run_named_twice_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "made-capf-s0-1")
    with pytest.raises(ConfigError, match="made-capf-s0-1: named twice"):
        choose_runs([run, run], tmp_path)
