"""Commands on a tiny store of random maps, from training to comparison."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cache import CacheReader
from pipeline.stores.facts import keypoint_errors
from tests.test_lift.stores import write_store
from tests.test_pipeline.commands import CommandLine, Ended

SPLITS = {"train": 16, "validation": 8, "test": 8, "test_new_cameras": 8}
TINY = (
    "lifter.width=8",
    "lifter.depth=1",
    "lifter.num_heads=2",
    "lifter.deform_heads=2",
    "lifter.num_points=1",
    "train.steps=4",
    "train.batch_size=8",
    "train.warmup_steps=0",
    "train.threads=1",
    "comparison.seeds=[0, 1]",
    "comparison.workers=1",
)


class Place:
    """A data_root with one store, and a runs_root."""

    def __init__(self, folder: Path, posecache: CommandLine) -> None:
        self.folder = folder
        self.store = folder / "data" / "synthetic-hrnet-synthetic.zarr"
        write_store(self.store, SPLITS)
        self.posecache = posecache

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def __call__(self, *words: str, sets: tuple[str, ...] = TINY) -> Ended:
        roots = (f"data_root={self.folder / 'data'}", f"runs_root={self.runs}")
        options = [part for text in (*roots, *sets) for part in ("--set", text)]
        return self.posecache(*words, *options)

    def json(self, *words: str, sets: tuple[str, ...] = TINY) -> dict[str, object]:
        ended = self(*words, "--json", sets=sets)
        assert ended.code == 0, ended.err
        content = json.loads(ended.out)
        assert isinstance(content, dict)
        return content


@pytest.fixture
def place(tmp_path: Path, posecache: CommandLine) -> Place:
    return Place(tmp_path, posecache)


def test_lifting_twice_trains_once(place: Place) -> None:
    first = place.json("lift")
    assert first["up_to_date"] is False
    run_dir = Path(str(first["run_dir"]))
    files = {"config.json", "provenance.json", "metrics.json", "log.jsonl", "best.safetensors"}
    assert files <= {path.name for path in run_dir.iterdir()}
    weights = (run_dir / "best.safetensors").stat().st_mtime_ns
    second = place.json("lift")
    assert second["up_to_date"] is True
    assert second["run_dir"] == first["run_dir"]
    assert second["metrics"] == first["metrics"]
    assert (run_dir / "best.safetensors").stat().st_mtime_ns == weights
    assert "nothing to do" in place("lift").out


def test_another_setting_is_another_run(place: Place) -> None:
    plain = place.json("lift", "--lifter", "pose_only")
    other = place.json("lift", "--lifter", "pose_only", sets=(*TINY, "train.lr=0.003"))
    assert plain["run_dir"] != other["run_dir"]


def test_a_dry_run_writes_nothing(place: Place) -> None:
    plan = place.json("lift", "--dry-run")
    assert plan["store_complete"] is True
    assert not place.runs.exists()
    ablation = place.json("ablate", "--dry-run")
    assert isinstance(ablation["runs"], list)
    assert len(ablation["runs"]) == 8
    assert not place.runs.exists()


def test_a_comparison_has_every_row_split_and_difference(place: Place) -> None:
    result = place.json("ablate")
    assert result["splits"] == ["test", "test_new_cameras"]
    rows = {row["name"]: row for row in result["rows"]}  # type: ignore[attr-defined]
    assert list(rows) == ["pose_only", "capf", "capf_shuffled", "pose_only_gt2d"]
    assert [row["context"] for row in rows.values()] == ["none", "own", "shuffled", "none"]
    assert [row["keypoint_source"] for row in rows.values()] == ["detector"] * 3 + ["gt"]
    assert rows["capf"]["feature_source"] == "hrnet-synthetic"
    assert rows["pose_only"]["feature_source"] == "-"
    mpjpe_mm = {
        name: row["errors_mm"]["test"]["frame_wise"]["mpjpe_mm"] for name, row in rows.items()
    }
    assert all(len(values) == 2 for values in mpjpe_mm.values())
    differences = result["differences"]
    assert isinstance(differences, list)
    assert [(entry["a"], entry["b"]) for entry in differences] == [
        ("capf", "pose_only"),
        ("capf", "capf_shuffled"),
    ]
    found = differences[0]["splits"]["test"]
    mean = [sum(mpjpe_mm[name]) / 2 for name in ("capf", "pose_only")]
    assert found["mean_mm"] == pytest.approx(mean[0] - mean[1])
    assert found["low_mm"] <= found["mean_mm"] <= found["high_mm"]
    files = result["files"]
    assert isinstance(files, dict)
    assert json.loads(Path(files["comparison.json"]).read_text())["rows"] == result["rows"]
    again = place("ablate")
    assert again.code == 0
    assert "up to date" in again.out
    assert "pose_only_gt2d" in again.out


@pytest.mark.slow
def test_runs_in_worker_processes_end_as_runs_in_this_one(place: Place) -> None:
    rows = "comparison.rows={capf: {lifter.name: capf}, pose_only: {lifter.name: pose_only}}"
    sets = (*TINY, rows, "comparison.differences=[]", "comparison.seeds=[0]")
    here = place.json("ablate", sets=sets)
    elsewhere = (*sets, "comparison.workers=2", f"runs_root={place.folder / 'elsewhere'}")
    there = place.json("ablate", sets=elsewhere)
    for one, other in zip(here["rows"], there["rows"], strict=True):  # type: ignore[call-overload]
        assert one["errors_mm"] == other["errors_mm"]
        assert one["runs"] != other["runs"]


def test_a_difference_of_unknown_rows_is_a_config_error(place: Place) -> None:
    ended = place("ablate", sets=(*TINY, "comparison.differences=[[capf, pose_onli]]"))
    assert ended.code == 2
    assert "did you mean 'pose_only'" in ended.err


def test_an_unknown_key_of_a_row_is_a_config_error(place: Place) -> None:
    ended = place("ablate", sets=(*TINY, "comparison.rows.capf={lifter.nme: capf}"))
    assert ended.code == 2
    assert "did you mean 'lifter.name'" in ended.err


def test_a_run_is_evaluated_again_and_compared(place: Place) -> None:
    a = str(place.json("lift", "--lifter", "pose_only")["run_dir"])
    b = str(place.json("lift", "--lifter", "capf")["run_dir"])
    metrics = place.json("evaluate", a, sets=("evaluate.flip_average=false",))
    assert metrics["evaluate"]["flip_average"] is False  # type: ignore[index]
    ended = place.posecache("compare", a, b, "--json")
    assert ended.code == 0, ended.err
    (other,) = json.loads(ended.out)["others"]
    assert any(line.startswith("lifter.name") for line in other["settings"])
    assert other["splits"]["test"]["difference_mm"] == pytest.approx(
        other["splits"]["test"]["run_mm"] - other["splits"]["test"]["base_mm"]
    )
    table = place.posecache("compare", a, b)
    assert "lifter.name" in table.out


def test_stores_are_listed_described_and_verified(place: Place, posecache: CommandLine) -> None:
    listed = posecache("cache", "list", "--json", "-s", f"data_root={place.folder / 'data'}")
    assert [entry["complete"] for entry in json.loads(listed.out)] == [True]
    described = json.loads(posecache("cache", "info", str(place.store), "--json").out)
    assert described["rows_by_split"] == SPLITS
    assert described["rows_by_status"] == {"OK": sum(SPLITS.values())}
    assert posecache("cache", "verify", str(place.store)).code == 0
    assert "40 x 2 x 8 x 6 x 6" in posecache("cache", "info", str(place.store)).out


def test_keypoint_errors_are_those_of_the_noise_that_was_added(place: Place) -> None:
    errors = keypoint_errors(CacheReader(place.store))
    assert list(errors) == list(SPLITS)
    for split, found in errors.items():
        assert found["num_rows"] == SPLITS[split]
        # The mean length of a 2D normal deviate of 1 px; the crop has half the scale.
        assert found["mean_px"] == pytest.approx((3.14159 / 2) ** 0.5, rel=0.15)
        assert found["mean_crop_px"] == pytest.approx(found["mean_px"] / 2)


def test_a_flipped_bit_is_found_by_verify(place: Place, posecache: CommandLine) -> None:
    shard = next(path for path in (place.store / "features" / "x8").rglob("c.*") if path.is_file())
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    ended = posecache("cache", "verify", str(place.store))
    assert ended.code == 3
    assert "features/x8" in ended.out


def test_an_unwritable_runs_root_is_one_clear_error(place: Place) -> None:
    blocked = place.folder / "file"
    blocked.touch()
    ended = place("lift", sets=(*TINY, f"runs_root={blocked / 'runs'}"))
    assert ended.code == 3
    assert "UnwritableTarget" in ended.err
    assert "--set runs_root=DIR" in ended.err


def test_an_unknown_lifter_is_a_usage_error_with_a_suggestion(place: Place) -> None:
    ended = place("lift", "--lifter", "cafp")
    assert ended.code == 2
    assert "did you mean" in ended.err.lower()
