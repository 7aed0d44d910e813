from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cache import CacheReader
from tests.test_cache.factory import CONTENT_IDENTITY, make_spec
from tests.test_cache.factory import write_store as write_small_store
from tests.test_lift.stores import write_codes, write_store
from tests.test_pipeline.commands import CommandLine
from tests.test_pipeline.drawn_store import NUM_ROWS, SPLITS, answer, unfinished

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
)


def flip_bit(store: Path, level: str = "x8", position: int = 100) -> None:
    path = store / f"features/{level}/c.0.0.0.0.0"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_stores_are_listed_with_precision_and_share_done(
    store: Path, posecache: CommandLine
) -> None:
    write_codes(store.parent / "below" / "codes.zarr")
    unfinished(store)
    ended = posecache("cache", "list", "--json", "-s", f"data_root={store.parent}")
    codes, made = json.loads(ended.out)
    assert (codes["dtype"], codes["complete"]) == ("int8/float16", True)
    assert (made["dtype"], made["codec"], made["complete"]) == ("float16", "raw", False)
    assert (made["num_rows_done"], made["num_rows"]) == (16, NUM_ROWS)
    assert made["size_bytes"] == sum(p.stat().st_size for p in store.rglob("*") if p.is_file())
    table = posecache("cache", "list", "-s", f"data_root={store.parent}").out
    assert "int8/float16" in table
    assert "50 %" in table


@pytest.mark.parametrize(
    "root",
    [None, "", "{", "[]", '{"attributes": []}', '{"attributes": {"format": "posecache"}}'],
)
def test_a_broken_store_is_listed_with_its_problem(
    store: Path, posecache: CommandLine, root: str | None
) -> None:
    broken = store.parent / "broken.zarr"
    broken.mkdir()
    if root is not None:
        (broken / "zarr.json").write_text(root)
    listed = posecache("cache", "list", "--json", "-s", f"data_root={store.parent}")
    assert listed.code == 0
    problems = {Path(entry["path"]).name: entry["problem"] for entry in json.loads(listed.out)}
    assert problems["made.zarr"] is None
    assert "broken.zarr" in problems["broken.zarr"]
    table = posecache("cache", "list", "-s", f"data_root={store.parent}")
    assert (table.code, table.err) == (0, "")


def test_an_empty_data_root_says_how_to_make_a_store(
    tmp_path: Path, posecache: CommandLine
) -> None:
    ended = posecache("cache", "list", "-s", f"data_root={tmp_path}")
    assert "posecache extract" in ended.out


def test_info_shows_every_array_and_what_is_missing(store: Path, posecache: CommandLine) -> None:
    unfinished(store)
    described = answer(posecache, "info", str(store))
    assert described["num_rows_done"] == 16
    assert described["rows_by_split"] == SPLITS
    assert described["rows_by_status"] == {"OK": 15, "NO_PERSON": 1}
    arrays = {array["path"]: array for array in described["arrays"]}
    assert arrays["features/x8"]["shape"] == [NUM_ROWS, 2, 8, 6, 6]
    assert arrays["features/x8"]["inner_shape"] == [1, 1, 8, 6, 6]
    assert (arrays["commit"]["num_objects"], arrays["commit"]["planned_objects"]) == (1, 2)
    lines = posecache("cache", "info", str(store)).out.splitlines()
    assert lines[0].endswith("32 rows, 50 % done, not complete")
    (level,) = (line for line in lines if "32 x 2 x 8 x 6 x 6" in line)
    assert level.split()[-1] == "%"
    # One column below the other, in every group of the tree.
    starts = {line.index("float16") for line in lines if "float16" in line and " x 2 x " in line}
    assert len(starts) == 1


def test_info_of_a_store_without_its_plan_is_a_data_error(
    store: Path, posecache: CommandLine
) -> None:
    shutil.rmtree(store / "index")
    ended = posecache("cache", "info", str(store))
    assert ended.code == 3
    assert "index/split" in ended.err


def test_verify_names_chunk_and_frames_and_how_to_mend_them(
    store: Path, posecache: CommandLine
) -> None:
    flip_bit(store)
    report = answer(posecache, "verify", str(store), code=3)
    (problem,) = report["problems"]
    assert (problem["chunk"], problem["array"], problem["rows"]) == (0, "features/x8", [0, 0])
    assert report["damaged_chunks"] == [0]
    ended = posecache("cache", "verify", str(store))
    assert "1 problem; 32 rows, 2 chunks" in ended.out
    assert "chunk 2 of 2" in ended.out
    assert "--repair" in ended.out


def test_quick_verify_finds_a_lost_end_but_not_a_flipped_bit_in_a_map(
    store: Path, posecache: CommandLine
) -> None:
    assert "quick" in posecache("cache", "verify", str(store), "--quick").out
    flip_bit(store)
    assert answer(posecache, "verify", str(store), "--quick")["ok"]
    path = store / "features/x16/c.1.0.0.0.0"
    path.write_bytes(path.read_bytes()[:-1])
    report = answer(posecache, "verify", str(store), "--quick", code=3)
    assert report["damaged_chunks"] == [1]
    assert [problem["array"] for problem in report["problems"]] == ["features/x16"]


def test_verify_says_that_a_damaged_plan_cannot_be_mended(
    store: Path, posecache: CommandLine
) -> None:
    path = next(path for path in (store / "labels/joints_3d_mm").rglob("c.*"))
    content = bytearray(path.read_bytes())
    content[50] ^= 8
    path.write_bytes(content)
    ended = posecache("cache", "verify", str(store))
    assert ended.code == 3
    assert "no chunk can mend" in ended.out
    assert "--repair" not in ended.out


def test_equal_stores_have_no_difference(store: Path, made: Path, posecache: CommandLine) -> None:
    found = answer(posecache, "diff", str(store), str(made), "--values")
    assert (found["equal"], found["joinable"]) == (True, True)
    assert (found["keys"], found["values"]) == ([], {})
    ended = posecache("cache", "diff", str(store), str(made))
    assert ended.code == 0
    assert "--values" in ended.out


def test_stores_of_other_layouts_or_numbers_differ_with_exit_code_4(
    store: Path, posecache: CommandLine
) -> None:
    target = str(store.parent / "b.zarr")
    assert posecache("cache", "recode", str(store), target, "--codec", "zstd").code == 0
    found = answer(posecache, "diff", str(store), target, "--values", code=4)
    assert (found["joinable"], found["values"]) == (True, {})
    assert [(key["section"], key["key"]) for key in found["keys"]] == [
        ("spec", "codec"),
        ("spec", "inner_rows"),
    ]
    codes = str(store.parent / "c.zarr")
    assert posecache("cache", "recode", str(store), codes, "--dtype", "uint8").code == 0
    found = answer(posecache, "diff", str(store), codes, "--values", code=4)
    assert not found["joinable"]
    assert set(found["values"]) == {"features/x8", "features/x16"}
    ended = posecache("cache", "diff", str(store), codes, "--values")
    assert "features/x8" in ended.out
    assert "cannot read both" in ended.out


def test_stores_of_other_rows_differ_and_their_numbers_are_not_compared(
    tmp_path: Path, store: Path, posecache: CommandLine
) -> None:
    write_store(tmp_path / "b.zarr", SPLITS, seed=1)
    found = answer(posecache, "diff", str(store), str(tmp_path / "b.zarr"), "--values", code=4)
    assert "different plans" in found["not_comparable"]
    assert found["values"] is None
    assert posecache("cache", "diff", str(store), str(tmp_path / "none.zarr")).code == 3


def test_recoding_reports_what_it_cost_and_saved(store: Path, posecache: CommandLine) -> None:
    target = store.parent / "b.zarr"
    words = ("recode", str(store), str(target), "--dtype", "uint8", "--codec", "blosc")
    result = answer(posecache, *words, "--inner-rows", "4", "--shard-rows", "8", "--workers", "2")
    assert (result["is_exact"], result["chunks_written"], result["num_chunks"]) == (False, 4, 4)
    assert result["target_bytes"] == sum(
        path.stat().st_size for path in target.rglob("*") if path.is_file()
    )
    assert result["errors"]["x8"]["sqnr_db"] > 20
    spec = CacheReader(target).spec
    assert (spec.codec, spec.inner_rows, spec.shard_rows) == ("blosc", 4, 8)
    again = posecache("cache", *words, "--inner-rows", "4", "--shard-rows", "8")
    assert "0 of 4 chunks written" in again.out
    assert "dB" in again.out
    assert "posecache lift --set store=" in again.out
    exact = posecache("cache", "recode", str(store), str(store.parent / "c.zarr"))
    assert "Every value is what it was." in exact.out


def test_what_cannot_be_recoded_is_one_clear_error(store: Path, posecache: CommandLine) -> None:
    target = str(store.parent / "b.zarr")
    assert "in place" in posecache("cache", "recode", str(store), str(store)).err
    ended = posecache("cache", "recode", str(store), target, "--inner-rows", "2")
    assert (ended.code, "inner_rows is 1" in ended.err) == (3, True)
    unfinished(store)
    ended = posecache("cache", "recode", str(store), target)
    assert (ended.code, "CacheIncomplete" in ended.err) == (3, True)
    assert not Path(target).exists()


def test_a_store_can_be_named_to_train_and_to_evaluate(
    tmp_path: Path, store: Path, posecache: CommandLine
) -> None:
    target, back = store.parent / "b.zarr", store.parent / "c.zarr"
    posecache("cache", "recode", str(store), str(target), "--dtype", "uint8", "--codec", "zstd")
    posecache("cache", "recode", str(target), str(back), "--codec", "raw", "--shard-rows", "8")
    settings = (*TINY, f"runs_root={tmp_path / 'runs'}", f"data_root={tmp_path / 'nothing'}")
    sets = [word for text in settings for word in ("--set", text)]
    ended = posecache("lift", "--json", "--set", f"store={target}", *sets)
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    run = result["run_dir"]
    assert Path(run).name.startswith("b-")
    # The codec changes no value, so that the run may be evaluated on either store.
    again = posecache("evaluate", run, "--store", str(back), "--json")
    assert again.code == 0, again.err
    splits = [found["splits"] for found in (json.loads(again.out), result["metrics"])]
    assert splits[0]["test"]["frame_wise"] == splits[1]["test"]["frame_wise"]
    other = posecache("evaluate", run, "--store", str(store))
    assert other.code == 4
    assert "recoded" in other.err
    assert not (tmp_path / "nothing").exists()


def test_a_named_store_is_never_made(tmp_path: Path, posecache: CommandLine) -> None:
    missing = tmp_path / "none.zarr"
    ended = posecache("lift", "--set", f"store={missing}")
    assert (ended.code, "StoreMissing" in ended.err) == (3, True)
    ended = posecache("extract", "--set", f"store={missing}")
    assert (ended.code, "data_root" in ended.err) == (2, True)
    assert not missing.exists()


def test_info_reads_identities_of_any_shape(tmp_path: Path, posecache: CommandLine) -> None:
    identity = {"detector": "a word"}
    write_small_store(tmp_path / "a.zarr", make_spec(9), feature_identity=identity)
    assert answer(posecache, "info", str(tmp_path / "a.zarr"))["feature_identity"] == identity
    (listed,) = json.loads(posecache("cache", "list", "--json", "-s", f"data_root={tmp_path}").out)
    assert (listed["detector"], listed["dataset"]) == (None, CONTENT_IDENTITY["adapter"])


@pytest.mark.slow
def test_stores_behind_a_url_are_recoded_to_and_looked_into(
    store: Path, bucket: str, posecache: CommandLine, tmp_path: Path
) -> None:
    url = f"{bucket}/made.zarr"
    words = ("recode", str(store), url, "--codec", "zstd", "--inner-rows", "4")
    assert answer(posecache, *words)["chunks_written"] == 2
    described = answer(posecache, "info", url)
    assert described["complete"]
    sizes = [array["size_bytes"] for array in described["arrays"]]
    assert all(size > 0 for size in sizes)
    assert sum(sizes) < described["size_bytes"]
    assert answer(posecache, "verify", url, "--quick")["ok"]
    found = answer(posecache, "diff", str(store), url, "--values", code=4)
    assert (found["joinable"], found["values"]) == (True, {})
    shown = answer(posecache, "show", url, "--out", str(tmp_path / "frame.png"))
    assert shown["row"] == 0
    assert "which dataset" in shown["no_picture"]
