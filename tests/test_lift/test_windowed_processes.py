"""Processes that train one lifter of windows, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cache import CacheReader
from tests.test_lift.launching import WATCHED, torchrun, words
from tests.test_lift.test_distributed import STORE, figures
from tests.test_lift.windows_by_hand import usable_clips, write_gappy
from tests.test_pipeline.commands import CommandLine

# A layer norm follows, which does not see what is added to all values alike: the gradients of these
# are rounding alone, which Adam scales up to whole steps.
UNSEEN = ("gather_frames.bias", "weighted_mean.bias")
WINDOWS = ("lifter.num_frames=5", "lifter.token_width=8")
VARIANTS = {
    "windows of maps": (2, "capf_temporal", ()),
    "more processes than clips": (4, "capf_temporal", ("train.residency=host",)),
    "every frame predicted": (
        2,
        "mixste",
        ("lifter.options.consistency_weight=0.5", "train.validation_flip=true"),
    ),
}


@pytest.fixture
def posecache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_gappy(tmp_path / "data" / STORE)
    return tmp_path


def run_in(runs_root: Path) -> Path:
    (run,) = (path for path in runs_root.iterdir() if path.is_dir())
    return run


def require_same_training(found: Path, expected: Path) -> None:
    ours, theirs = figures(found), figures(expected)
    assert ours.keys() == theirs.keys()
    for name in (name for name in ours if not name.endswith(UNSEEN)):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_several_processes_train_windows_as_one_does(
    folder: Path, posecache: CommandLine, variant: str
) -> None:
    size, name, more = VARIANTS[variant]
    sets = (*WINDOWS, *more)
    several = torchrun(size, *words(folder, *sets), "--lifter", name)
    assert several.codes == [0], several.err
    ended = posecache(*words(folder, f"runs_root={folder / 'alone'}", *sets), "--lifter", name)
    assert ended.code == 0, ended.err
    require_same_training(run_in(folder / "runs"), run_in(folder / "alone"))


@pytest.mark.slow
def test_no_window_reads_a_row_of_another_process(folder: Path) -> None:
    several = torchrun(
        2,
        *words(folder, *WINDOWS),
        "--lifter",
        "capf_temporal",
        program=(str(WATCHED),),
        READS=str(folder),
    )
    assert several.codes == [0], several.err
    clips = usable_clips(CacheReader(folder / "data" / STORE), "train")
    trained = {row for clip in clips for row in clip}
    read = [trained & set(json.loads((folder / f"{rank}.json").read_text())) for rank in range(2)]
    assert read[0] | read[1] == trained
    assert not read[0] & read[1]


@pytest.mark.slow
def test_shuffled_context_of_windows_is_refused_in_several_processes(folder: Path) -> None:
    several = torchrun(
        2, *words(folder, *WINDOWS, "train.data.context=shuffled"), "--lifter", "capf_temporal"
    )
    assert several.codes != [0]
    assert "Shuffled context of windows is for one process" in several.err


@pytest.mark.slow
def test_several_processes_validate_with_the_statistics_that_are_kept(folder: Path) -> None:
    """Each normalises its own part of a batch; the weights that are kept are those of one."""
    sets = ("train.validation_flip=true", "lifter.options.dropout=0.0")
    several = torchrun(2, *words(folder, *sets), "--lifter", "simple_baseline")
    assert several.codes == [0], several.err
    run = run_in(folder / "runs")
    metrics = json.loads((run / "metrics.json").read_text())
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    (best,) = (entry for entry in log if entry["epoch"] == metrics["epoch"])
    kept = metrics["splits"]["validation"]["frame_wise"]["mpjpe_mm"]
    assert best["validation_mpjpe_mm"] == pytest.approx(kept, rel=1e-5)
