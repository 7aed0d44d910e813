"""Every run says which backend of deform_sample it had."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cache import CacheReader
from lifter.config import LifterConfig
from lifter.ops import cpu
from stages.lift import EvaluateConfig, TrainConfig, evaluate_run, load_run, train
from stages.lift.feed.levels import sampling_backend
from stages.lift.runs.rundir import read_log

CAPF = LifterConfig(
    name="capf", width=16, depth=1, num_heads=2, deform_heads=2, num_points=2, drop_path=0.0
)
ONE_EPOCH = TrainConfig(epochs=1, batch_size=8, lr=1e-3)
NO_KERNEL = "the C kernel was not built at installation"


def watch(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Returns what will have served all calls of the op from here on."""
    op = sys.modules["lifter.ops.deform_sample"]
    choose = op.choose_backend  # type: ignore[attr-defined]
    served: set[str] = set()

    def watched(*arguments: Any, **options: Any) -> str:
        chosen: str = choose(*arguments, **options)
        served.add(chosen)
        return chosen

    monkeypatch.setattr(op, "choose_backend", watched)
    return served


@pytest.mark.parametrize(
    "backend",
    [
        "reference",
        pytest.param("cpu", marks=pytest.mark.skipif(not cpu.is_built(), reason=NO_KERNEL)),
    ],
)
@pytest.mark.parametrize("kind", ["store", "codes"])
def test_a_run_records_the_backend_that_served_it(
    backend: str,
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader: CacheReader = request.getfixturevalue(kind)
    if backend == "reference":
        monkeypatch.setattr(cpu, "_kernel", lambda: None)
    served = watch(monkeypatch)
    train(ONE_EPOCH, CAPF, reader, tmp_path)
    evaluate_run(tmp_path, reader, EvaluateConfig(splits=("test",)))
    assert served == {backend}
    assert load_run(tmp_path).description.sampling_backend == backend
    assert [entry["sampling_backend"] for entry in read_log(tmp_path)] == [backend]
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["sampling_backend"] == backend


@pytest.mark.skipif(not cpu.is_built(), reason=NO_KERNEL)
def test_a_run_that_goes_on_elsewhere_says_so_in_its_log(
    store: CacheReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = ONE_EPOCH.model_copy(update={"epochs": 2})

    def stop_after_one(progress: Any) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(longer, CAPF, store, tmp_path, progress=stop_after_one)
    monkeypatch.setattr(cpu, "_kernel", lambda: None)
    train(longer, CAPF, store, tmp_path)
    assert load_run(tmp_path).description.sampling_backend == "cpu"
    assert {entry["epoch"]: entry["sampling_backend"] for entry in read_log(tmp_path)}[2] == (
        "reference"
    )


def test_a_run_of_before_this_was_recorded_goes_on(store: CacheReader, tmp_path: Path) -> None:
    train(ONE_EPOCH, CAPF, store, tmp_path)
    path = tmp_path / "run.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    del description["sampling_backend"]
    path.write_text(json.dumps(description), encoding="utf-8")
    assert train(ONE_EPOCH, CAPF, store, tmp_path).up_to_date


def test_a_lifter_that_reads_no_maps_needs_no_backend(store: CacheReader) -> None:
    assert sampling_backend(store, (), torch.device("cpu")) is None
