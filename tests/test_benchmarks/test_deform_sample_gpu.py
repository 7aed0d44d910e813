"""What of the GPU's sampling benchmark can be told without a GPU."""

from __future__ import annotations

import sys
import time

import pytest
import torch

from benchmarks import deform_sample_gpu
from benchmarks.deform_sample_gpu import speed_rows
from benchmarks.sampling_work import PUBLISHED, Work, moved_bytes, touched_cells, ways

CPU = torch.device("cpu")
TINY = {"sizes": ((4, 3), (2, 1)), "channels": (8, 16)}


def test_without_a_device_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["deform_sample_gpu"])
    deform_sample_gpu.main()
    assert capsys.readouterr().out == "deform_sample_gpu: not measured: no CUDA device\n"


def test_the_published_way_gives_the_tokens_of_the_reference() -> None:
    found = {name: way().detach() for name, way in ways(Work(2, CPU, **TINY)).items()}
    expected = found["reference, float16"]
    assert expected.shape == (2, 2, 17, 128)
    torch.testing.assert_close(found[PUBLISHED[0]], expected, rtol=1e-4, atol=1e-5)
    # Points in half precision are off by some thousandths of a cell.
    assert 0 < float((found[PUBLISHED[1]].float() - expected).abs().max()) < 0.05


class HostEvent:
    """Stands for a CUDA event."""

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: HostEvent) -> float:
        return (end.at - self.at) * 1000


def test_speeds_are_told_against_the_faster_published_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", HostEvent)
    works = [Work(2, CPU, seed=seed, **TINY) for seed in (0, 1)]
    for passes in ("forward", "forward + backward"):
        rows = {row.contender: row for row in speed_rows(works, passes, ways, 1)}
        assert rows[rows[PUBLISHED[0]].baseline].ratio == 1.0
        assert rows["reference, float16"].value
        assert all(row.ratio and row.ratio <= 1.0 for row in map(rows.get, PUBLISHED) if row)


def test_another_work_is_other_work() -> None:
    first, second = (ways(Work(2, CPU, seed=seed, **TINY)) for seed in (0, 1))
    assert not torch.allclose(first[PUBLISHED[0]](), second[PUBLISHED[0]](), rtol=1e-2, atol=1e-2)


def test_cells_that_points_touch_are_counted_once() -> None:
    work = Work(1, CPU, **TINY)
    assert touched_cells(work)[1] == 2  # a map of 2 x 1 cells: every point touches both
    with torch.no_grad():
        work.reference_points.zero_()
        work.offsets.zero_()  # on column 1 of 3 and between lines 1 and 2 of 4: four cells
        work.offsets[0, 0, 5, 1, 2] = -9.0  # beyond a corner: four cells, one of them known
    cells = touched_cells(work)
    assert cells[0] == 4 + 4 - 1
    forward, backward = moved_bytes(work, work.halves)
    rows, points = 17 * 4, 2 * 17 * 4 * 4
    maps = 2 * (cells[0] * 8 + cells[1] * 16)
    assert forward == maps + 4 * rows * (8 + 16) + 4 * 3 * points + 4 * 2 * 17
    assert backward == forward + 4 * 3 * points
