from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import CacheReader
from pipeline.config import load_config
from pipeline.runs.lifting import run_directory
from stages.lift import (
    DataConfig,
    DoesNotFit,
    EvaluateConfig,
    TrainConfig,
    TrainProgress,
    evaluate_run,
    train,
)
from stages.lift.feed import memory, residency
from stages.lift.feed.batches import LiftData
from stages.lift.feed.prefetch import Prefetch
from stages.lift.feed.residency import choose_placement, is_local_raw, place_maps
from stages.lift.runs.rundir import read_log
from tests.test_lift.test_batches import NAMES
from tests.test_lift.test_training import CAPF, POSE_ONLY

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GB = 10**9
CONFIG = TrainConfig(epochs=2, batch_size=7, lr=1e-3, validation_flip=True)
# Values of a row: x8 is 8 x 6 cells of 6 channels, x16 4 x 3 cells of 8.
ROW_BYTES = 2 * (8 * 6 * 6 + 4 * 3 * 8)


def configured(**options: object) -> TrainConfig:
    return TrainConfig.model_validate(CONFIG.model_dump() | options)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Free memory as the policy sees it: 100 GB on the host, 50 GB on the device."""
    sizes = {"host": 100 * GB, "device": 50 * GB}
    monkeypatch.setattr(residency, "available_host_bytes", lambda: sizes["host"])
    monkeypatch.setattr(residency, "free_device_bytes", lambda _device: sizes["device"])
    return sizes


@pytest.mark.parametrize(
    ("size_gb", "device", "passes", "is_local_raw", "place"),
    [
        (10, CUDA, 50, True, "device"),
        (10, CUDA, 50, False, "device"),
        (30, CUDA, 50, True, "disk"),
        (30, CUDA, 50, False, "host"),
        (60, CUDA, 50, False, "disk"),
        (10, CPU, 50, True, "disk"),
        (10, CPU, 50, False, "host"),
        (60, CPU, 50, False, "disk"),
        (10, CUDA, 1, False, "disk"),
        (0, CUDA, 50, False, "disk"),
    ],
)
@pytest.mark.usefixtures("free")
def test_auto_takes_the_device_if_the_maps_fit_then_a_fast_disk_then_memory(
    size_gb: int, device: torch.device, passes: int, is_local_raw: bool, place: str
) -> None:
    chosen = choose_placement(
        "auto", size_gb * GB, device=device, passes=passes, is_local_raw=is_local_raw
    )
    assert chosen.place == place
    assert f"{size_gb} GB on {place}" in chosen.line()


@pytest.mark.usefixtures("free")
def test_what_is_asked_for_is_taken_where_it_fits_and_the_device_of_a_cpu_is_its_memory() -> None:
    for asked, device, place in (
        ("disk", CUDA, "disk"),
        ("host", CUDA, "host"),
        ("device", CUDA, "device"),
        ("device", CPU, "host"),
    ):
        chosen = choose_placement(asked, 40 * GB, device=device, passes=1, is_local_raw=True)
        assert chosen.place == place


@pytest.mark.usefixtures("free")
def test_what_is_asked_for_and_does_not_fit_is_refused_with_the_numbers() -> None:
    options: dict[str, Any] = {"passes": 9, "is_local_raw": True}
    with pytest.raises(
        DoesNotFit, match=r"residency=device: .* 46 GB, .* 50 GB .* on cuda at most 45 GB"
    ):
        choose_placement("device", 46 * GB, device=CUDA, **options)
    with pytest.raises(
        MemoryError, match=r"residency=host: .* 91 GB, .* 100 GB .* in memory .* residency=disk"
    ):
        choose_placement("host", 91 * GB, device=CUDA, **options)


def test_a_run_that_does_not_fit_is_refused_before_a_map_is_read(
    store: CacheReader, tmp_path: Path, free: dict[str, int]
) -> None:
    class Unread(CacheReader):
        def read(self, rows: Any, **options: Any) -> Any:  # noqa: ARG002
            raise AssertionError

    free["host"] = 1000
    reader = Unread(store.locations)
    with pytest.raises(DoesNotFit, match=re.escape(f"the maps take {64 * ROW_BYTES / 1e9:.3g} GB")):
        train(configured(residency="host"), CAPF, reader, tmp_path)  # 24 + 8 rows in two views


@pytest.mark.parametrize("flipped", [True, False])
def test_only_the_levels_and_views_that_are_read_are_held(
    store: CacheReader, flipped: bool
) -> None:
    asked = []

    class Watched(CacheReader):
        def read(self, rows: Any, **options: Any) -> Any:
            asked.append((np.asarray(rows), options["levels"], np.asarray(options["view"])))
            return super().read(rows, **options)

    reader = Watched(store.locations)
    data = LiftData(
        reader, "validation", config=DataConfig(), level_names=("x16",), flipped=flipped
    )
    assert data.maps_bytes == 8 * (1 + flipped) * 2 * 4 * 3 * 8
    place_maps([data], "host", device=CPU, passes=2)
    ((rows, levels, views),) = asked
    assert sorted(set(rows.tolist())) == list(range(24, 32))
    assert levels == ("x16",)
    assert set(views.tolist()) == ({0, 1} if flipped else {0})
    list(data.ordered_batches(batch_size=3, view=int(flipped)))
    assert len(asked) == 1


@pytest.mark.parametrize(
    "context",
    ["own", *(pytest.param(each, marks=pytest.mark.slow) for each in ("shuffled", "none"))],
)
def test_weights_and_predictions_are_the_same_bits_wherever_the_maps_are(
    store: CacheReader, tmp_path: Path, context: str
) -> None:
    results = {}
    for place in ("disk", "host", "device", "auto"):
        config = configured(residency=place, data={"context": context})
        train(config, CAPF, store, tmp_path / place)
        evaluations = evaluate_run(tmp_path / place, store, EvaluateConfig(residency=place))
        assert evaluations["test"].maps.startswith("maps ")
        results[place] = (
            (tmp_path / place / "last.safetensors").read_bytes(),
            evaluations["test"].predicted_mm.tobytes(),
            [entry["validation_mpjpe_mm"] for entry in read_log(tmp_path / place)],
        )
    assert all(result == results["disk"] for result in results.values())


def test_the_comparison_of_places_notices_maps_of_other_rows(
    store: CacheReader, tmp_path: Path
) -> None:
    class Shifted(CacheReader):
        def read(self, rows: Any, **options: Any) -> Any:
            return super().read(np.roll(rows, 2), **options)

    weights = []
    for reader in (store, Shifted(store.locations)):
        run = tmp_path / type(reader).__name__
        train(configured(residency="host"), CAPF, reader, run)
        weights.append((run / "last.safetensors").read_bytes())
    assert weights[0] != weights[1]


def test_the_choice_is_said_while_maps_are_read_and_written_into_the_log(
    store: CacheReader, tmp_path: Path
) -> None:
    reports: list[TrainProgress] = []
    summary = train(
        configured(residency="host"), CAPF, store, tmp_path / "host", progress=reports.append
    )
    expected = f"maps {48 * ROW_BYTES / 1e9 + 16 * ROW_BYTES / 1e9:.3g} GB on host: as asked; "
    assert [report.loaded for report in reports] == [0.0, 48 / 64, 1.0, None, None]
    assert all(report.maps.startswith(expected) for report in reports)
    assert re.search(r"on host: as asked; .* GB are free    0\.0 % read", reports[0].line())
    assert [entry["maps_on"] for entry in read_log(tmp_path / "host")] == ["host", "host"]
    assert summary.feeding().startswith(expected)
    reports.clear()
    train(CONFIG, CAPF, store, tmp_path / "auto", progress=reports.append)
    assert [report.epoch_ended for report in reports] == [True, True]
    assert "on disk: a local store of raw maps needs no copy" in reports[0].maps
    reports.clear()
    train(CONFIG, POSE_ONLY, store, tmp_path / "none", progress=reports.append)
    assert reports[0].maps == "maps 0 GB on disk: the lifter reads none"


def test_a_store_that_is_read_in_blocks_or_from_afar_is_not_as_fast_as_memory(
    store: CacheReader, compressed: CacheReader
) -> None:
    class Remote(CacheReader):
        @property
        def locations(self) -> tuple[str, ...]:
            return ("s3://bucket/random.zarr",)

    assert is_local_raw(store)
    assert not is_local_raw(compressed)
    assert not is_local_raw(Remote(store.locations))


def test_the_directory_of_a_run_follows_from_what_decides_its_weights(
    store: CacheReader,
) -> None:
    def directory(*sets: str) -> Path:
        return run_directory(load_config(sets=sets), store)

    feeds = ("train.residency=host", "train.loader_threads=3", "train.prefetch_batches=1")
    assert directory(*feeds) == directory()
    assert directory("train.lr=0.5") != directory()
    assert directory("train.data.shuffle_window_blocks=3") != directory()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_maps_held_on_a_gpu_are_those_of_the_store(store: CacheReader) -> None:
    device = torch.device("cuda")
    expected = {}
    for place in ("disk", "host", "device"):
        data = LiftData(
            store, "train", config=DataConfig(), level_names=NAMES, flipped=True, device=device
        )
        assert place_maps([data], place, device=device, passes=2).place == place  # type: ignore[arg-type]
        batches = data.training_batches(batch_size=5, rng=np.random.default_rng(0))
        with Prefetch(batches, depth=3, threads=3, recycle=data.recycle) as ahead:
            levels = [[level.cpu() for level in batch.to(device).levels] for batch in ahead]
        expected[place] = torch.cat([level.flatten() for batch in levels for level in batch])
    assert torch.equal(expected["host"], expected["disk"])
    assert torch.equal(expected["device"], expected["disk"])


def test_memory_of_the_host_is_bounded_by_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16000000 kB\nMemAvailable:   9000000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.available_host_bytes() == 9_000_000 * 1024
    (tmp_path / "memory.max").write_text("4000\n")
    (tmp_path / "memory.current").write_text("3500\n")
    (tmp_path / "memory.stat").write_text("anon 2500\ninactive_file 1000\n")
    assert memory.available_host_bytes() == 1500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_host_bytes() == 9_000_000 * 1024
    meminfo.unlink()
    assert memory.available_host_bytes() > 0
