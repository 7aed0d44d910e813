from __future__ import annotations

import io
import json
import math
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.console import Meter, duration_text
from pipeline.extraction.extracted import _Rate
from stages.extract.chunks import ExtractProgress
from stages.lift.progress import TrainProgress
from tests.test_pipeline.commands import CommandLine


def progress(
    epoch: int, *, loss: float = 100.0, validation: float | None = None, rate: float = 1000.0
) -> TrainProgress:
    return TrainProgress(
        epoch=epoch,
        num_epochs=200,
        fraction=epoch / 200,
        loss_mm=loss,
        validation_mpjpe_mm=validation,
        is_best=validation is not None,
        lr=1e-3,
        samples_per_s=rate,
        wait_fraction=0.01,
        eta_s=100.0,
        epoch_ended=False,
        maps="maps in memory",
        loaded=None,
    )


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def plain() -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, width=160), written


def test_the_fields_of_the_training_line_keep_their_places() -> None:
    lines = [
        progress(1).line(),
        progress(99, loss=1234.5, validation=98.7, rate=7.0).line(),
        progress(200, loss=8.25, validation=1020.2, rate=52_000.0).line(),
    ]
    for word in ("epoch", "loss", "mm  val", "samples/s", "wait", "%"):
        assert len({line.index(word) for line in lines}) == 1, (word, lines)
    assert len({len(line) for line in lines}) == 1
    words = " ".join(lines[1].split())
    assert words == "epoch 99/200 loss 1234.5 mm val 98.7* mm 7 samples/s wait 1.0 %"


def test_before_the_first_validation_the_line_has_a_dash() -> None:
    assert re.search(r"val +-  mm", progress(1).line())


def test_a_file_gets_a_line_per_job_every_ten_seconds_and_one_at_the_end() -> None:
    screen, written = plain()
    clock = Clock()
    with Meter(screen, clock) as meter:
        for second in range(25):
            clock.now_s = float(second)
            meter.update("a", second / 100, "busy")
            meter.update("b", second / 200, "busy")
        meter.update("a", 1.0, "25 s")
    lines = written.getvalue().splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["a", "0"],
        ["b", "0"],
        ["a", "10"],
        ["b", "5"],
        ["a", "20"],
        ["b", "10"],
        ["a", "100"],
    ]
    assert lines[2].endswith("ETA    1:30")  # ten of a hundred seconds are over
    assert lines[-1].endswith("25 s")


def test_the_time_left_is_the_jobs_own_where_it_knows_one() -> None:
    screen, written = plain()
    with Meter(screen) as meter:
        meter.update("a", 0.5, seconds_left=3723.4)
        meter.update("b", 0.5, seconds_left=math.nan)
    assert [line.split()[-1] for line in written.getvalue().splitlines()] == ["1:02:03", "-"]


def test_durations_are_told_in_hours_minutes_and_seconds() -> None:
    assert [duration_text(s) for s in (0.4, 61, 3600)] == ["0:00", "1:01", "1:00:00"]


def test_an_extraction_into_a_file_has_lines_at_its_chunks_only() -> None:
    screen, written = plain()
    clock = Clock()
    with Meter(screen, clock) as meter:
        rate = _Rate(meter, screen)
        for step in range(8):  # each takes twenty seconds, half a chunk
            clock.now_s = 20.0 * step
            rate.show(ExtractProgress(step * 5, 40, 1.0 + step, step // 2, 4, workers=1))
    chunks = re.findall(r"chunk (\d+) of 4", written.getvalue())
    assert chunks == ["0", "1", "2", "3"]


def test_a_terminal_gets_no_new_line_per_report() -> None:
    code = (
        "from pipeline.console import Meter, console\n"
        "screen = console()\n"
        "with Meter(screen) as meter:\n"
        "    for i in range(50):\n"
        "        meter.update('capf', i / 50, 'epoch')\n"
        "    meter.update('capf', 1.0, 'done')\n"
    )
    ours, theirs = pty.openpty()
    ended = subprocess.run(
        [sys.executable, "-c", code],
        stdout=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        check=False,
    )
    os.close(theirs)
    text = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert ended.returncode == 0
    assert "100 % done" in re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", text)
    assert text.count("\n") <= 2


@pytest.mark.usefixtures("drawn")
def test_a_training_into_a_pipe_says_epoch_loss_error_rate_wait_and_time_left(
    store: Path, tmp_path: Path, posecache: CommandLine
) -> None:
    words = ["-s", f"store={store}", "-s", f"runs_root={tmp_path / 'runs'}"]
    words += ["-s", "train.epochs=2", "-s", "train.steps=null", "-s", "train.batch_size=4"]
    words += ["-s", "lifter.width=8", "-s", "lifter.depth=1", "--lifter", "pose_only"]
    words += ["-s", "dataset.name=drawn", "-s", "lifter.deform_heads=2"]
    ended = posecache("lift", *words)
    assert ended.code == 0, ended.err
    line = next(line for line in ended.out.splitlines() if "samples/s" in line)
    assert re.match(
        r"pose_only +\d+ %  epoch \d/2  loss +[\d.]+ mm  val +(-|[\d.]+)[* ] mm +\d+ samples/s"
        r"  wait +[\d.]+ %  ETA +[-:\d]+$",
        line,
    ), line
    log = next((tmp_path / "runs").glob("*/log.jsonl")).read_text().splitlines()
    assert {"epoch", "loss_mm", "validation_mpjpe_mm", "best"} <= json.loads(log[0]).keys()
