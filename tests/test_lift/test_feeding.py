from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import CacheReader
from cache.shuffle import shuffled
from lifter import build_lifter
from stages.lift import (
    DataConfig,
    EvaluateConfig,
    RunMismatch,
    TrainConfig,
    TrainProgress,
    evaluate_run,
    load_run,
    train,
)
from stages.lift.feed.batch import Batch
from stages.lift.feed.batches import LiftData
from stages.lift.feed.prefetch import Prefetch
from stages.lift.feed.residency import place_maps
from stages.lift.runs.rundir import read_log
from tests.test_lift.killed_run import CONFIG, LIFTER
from tests.test_lift.stores import IDENTITY, write_store
from tests.test_lift.test_batches import NAMES, map_owners
from tests.test_lift.test_resume import Stopped, stop_in_epoch_3
from tests.test_lift.test_training import CAPF, SHORT

CPU = torch.device("cpu")


def lift_data(reader: CacheReader, **options: object) -> LiftData:
    config = DataConfig.model_validate(options)
    return LiftData(reader, "train", config=config, level_names=NAMES, flipped=True)


def feed(**options: object) -> TrainConfig:
    return TrainConfig.model_validate(CONFIG.model_dump() | options)


FEEDS = (
    {"loader_threads": 1, "prefetch_batches": 1, "residency": "disk"},
    {"loader_threads": 2, "prefetch_batches": 4, "residency": "disk"},
    {"loader_threads": 4, "prefetch_batches": 9, "residency": "disk"},
    {"loader_threads": 2, "prefetch_batches": 1, "residency": "host"},
    {"loader_threads": 4, "prefetch_batches": 4, "residency": "device"},
)


@pytest.mark.parametrize(
    "name",
    ["codes", *(pytest.param(each, marks=pytest.mark.slow) for each in ("store", "compressed"))],
)
def test_weights_are_the_same_bits_whatever_feeds_the_lifter(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    reader = request.getfixturevalue(name)
    weights = set()
    for number, options in enumerate(FEEDS):
        run = tmp_path / str(number)
        train(feed(epochs=2, **options), LIFTER, reader, run)
        weights.add((run / "last.safetensors").read_bytes())
    assert len(weights) == 1


def test_a_run_goes_on_bit_identical_with_another_feed(store: CacheReader, tmp_path: Path) -> None:
    train(feed(**FEEDS[0]), LIFTER, store, tmp_path / "undisturbed")
    with pytest.raises(Stopped):
        train(feed(**FEEDS[1]), LIFTER, store, tmp_path / "moved", progress=stop_in_epoch_3)
    summary = train(feed(**FEEDS[3]), LIFTER, store, tmp_path / "moved")
    assert summary.resumed_from == 2
    assert [entry["maps_on"] for entry in read_log(tmp_path / "moved")] == ["disk"] * 2 + [
        "host"
    ] * 3
    for name in ("best.safetensors", "last.safetensors"):
        files = [(tmp_path / run / name).read_bytes() for run in ("undisturbed", "moved")]
        assert files[0] == files[1]


def test_the_order_of_a_store_that_is_read_row_by_row_is_a_permutation_of_all(
    store: CacheReader,
) -> None:
    batches = lift_data(store).training_batches(batch_size=5, rng=np.random.default_rng(3))
    order = np.concatenate([batch.samples for batch in batches])
    np.testing.assert_array_equal(order, np.random.default_rng(3).permutation(24))


def test_a_store_that_is_read_in_blocks_is_mixed_inside_windows_of_them(
    compressed: CacheReader,
) -> None:
    data = lift_data(compressed, shuffle_window_blocks=2)
    batches = list(data.training_batches(batch_size=8, rng=np.random.default_rng(3)))
    order = np.concatenate([batch.samples for batch in batches])
    rng = np.random.default_rng(3)
    expected = shuffled(data.samples.rows, rng, block_rows=4, window_blocks=2)
    np.testing.assert_array_equal(data.samples.rows[order], expected)
    assert sorted(order) == list(range(24))
    assert [len(set(map_owners(batch)[0] // 4)) for batch in batches] == [2, 2, 2]
    assert (rng.random(24) < 0.5).tolist() == [  # the coins follow
        bool(view)
        for _, view in sorted(
            (int(sample), int(view))
            for batch in batches
            for sample, view in zip(batch.samples, map_owners(batch)[1], strict=True)
        )
    ]


def test_with_the_maps_of_others_it_is_those_that_are_read_block_by_block(
    compressed: CacheReader,
) -> None:
    data = lift_data(compressed, shuffle_window_blocks=2, context="shuffled")
    batches = list(data.training_batches(batch_size=8, rng=np.random.default_rng(3)))
    assert sorted(np.concatenate([batch.samples for batch in batches])) == list(range(24))
    assert [len(set(map_owners(batch)[0] // 4)) for batch in batches] == [2, 2, 2]
    clips = compressed.index("clip").codes
    for batch in batches:
        own = data.samples.rows[batch.samples]
        assert (clips[map_owners(batch)[0]] != clips[own]).all()


@pytest.mark.parametrize("place", ["disk", "host"])
@pytest.mark.parametrize("context", ["own", "shuffled"])
def test_memory_is_used_again_and_never_while_its_batch_is_in_use(
    store: CacheReader, place: Any, context: str
) -> None:
    data = lift_data(store, context=context)
    place_maps([data], place, device=CPU, passes=2)
    expected = [
        map_owners(batch)
        for batch in data.training_batches(batch_size=2, rng=np.random.default_rng(0))
    ]
    addresses = set()
    for _ in range(3):
        batches = data.training_batches(batch_size=2, rng=np.random.default_rng(0))
        with Prefetch(batches, depth=2, threads=4, recycle=data.recycle) as ahead:
            for batch, owners in zip(ahead, expected, strict=True):
                time.sleep(0.001)  # time for the threads to spoil it
                np.testing.assert_array_equal(map_owners(batch), owners)
                addresses.add(batch.levels[0].data_ptr())
    assert len(addresses) <= 4  # the one in use, two ahead, one on its way back


def test_a_batch_that_is_recycled_too_early_is_spoilt(store: CacheReader) -> None:
    data = lift_data(store)
    first, second = np.array([1, 2]), np.array([7, 9])
    views = np.zeros(2, dtype=np.int64)
    batch = data.batch(first, views=views)
    data.recycle(batch)
    data.batch(second, views=views)
    assert map_owners(batch)[0].tolist() == [7, 9]


def test_tensors_keep_the_alignment_of_torch(store: CacheReader) -> None:
    for place in ("disk", "host"):
        data = lift_data(store)
        place_maps([data], place, device=CPU, passes=2)  # type: ignore[arg-type]
        for batch in data.training_batches(batch_size=5, rng=np.random.default_rng(0)):
            tensors = (batch.keypoints_2d, batch.reference_points, *batch.levels)
            assert {tensor.data_ptr() % 64 for tensor in tensors} == {0}


def test_the_share_of_time_spent_waiting_is_shown_logged_and_summarised(
    store: CacheReader, tmp_path: Path
) -> None:
    class Slow(CacheReader):
        def read(self, rows: Any, **options: Any) -> Any:
            time.sleep(0.15)
            return super().read(rows, **options)

    reports: list[TrainProgress] = []
    config = TrainConfig.model_validate(SHORT.model_dump() | {"loader_threads": 1, "epochs": 2})
    summary = train(config, CAPF, Slow(store.locations), tmp_path, progress=reports.append)
    shares = [entry["wait_fraction"] for entry in read_log(tmp_path)]
    assert min(shares) > 0.2
    assert min(shares) <= summary.wait_fraction <= max(shares)
    share = f"{100 * reports[-1].wait_fraction:.1f} %"
    assert reports[-1].line().endswith(share)
    assert f"{100 * summary.wait_fraction:.1f} % of the training time" in summary.feeding()
    again = train(config, CAPF, store, tmp_path)
    assert again.up_to_date
    assert again.wait_fraction == summary.wait_fraction


def batch_of(reader: CacheReader, **options: object) -> Batch:
    data = lift_data(reader, **options)
    return data.ordered_batches(batch_size=24, view=0)[0]


def test_batches_carry_codes_as_they_are_stored_and_their_scales(
    store: CacheReader, codes: CacheReader, values_of_codes: CacheReader
) -> None:
    assert batch_of(store).scales is None
    batch = batch_of(codes)
    assert [level.dtype for level in batch.levels] == [torch.int8, torch.float16]
    assert batch.scales is not None
    assert torch.equal(batch.scales[1], torch.ones(8))
    values = batch.levels[0].float() * batch.scales[0]
    assert torch.equal(values, batch_of(values_of_codes).levels[0])


@pytest.mark.parametrize("context", ["own", "shuffled", "none"])
def test_a_lifter_sees_in_codes_what_it_sees_in_the_values_they_stand_for(
    codes: CacheReader, values_of_codes: CacheReader, context: str
) -> None:
    torch.manual_seed(0)
    model = build_lifter(CAPF, level_channels=(6, 8), num_joints=17).eval()
    batch = batch_of(codes, context=context)
    found = batch.lifted_by(model)
    expected = batch_of(values_of_codes, context=context).lifted_by(model)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    unscaled = model(batch.keypoints_2d, batch.reference_points, batch.levels)
    assert torch.allclose(unscaled, expected, rtol=1e-2, atol=1e-3) == (context == "none")


def test_training_on_codes_follows_training_on_the_values_they_stand_for(
    codes: CacheReader, values_of_codes: CacheReader, tmp_path: Path
) -> None:
    losses, predictions = [], []
    for reader in (codes, values_of_codes):
        run = tmp_path / reader.name
        train(SHORT, CAPF, reader, run)
        losses.append([entry["loss_mm"] for entry in read_log(run)])
        evaluation = evaluate_run(run, reader, EvaluateConfig(residency="host"))["test"]
        predictions.append(evaluation.predicted_mm)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    np.testing.assert_allclose(predictions[0], predictions[1], atol=1.0)


def test_a_run_refuses_a_store_of_another_precision_unless_allowed(
    store: CacheReader, tmp_path: Path
) -> None:
    train(SHORT, CAPF, store, tmp_path / "run")
    recoded = [{"dtype": {"x8": "uint8"}}]
    lossy = write_store(
        tmp_path / "lossy.zarr",
        {"train": 8, "validation": 4},
        feature_identity=IDENTITY | {"recoded": recoded},
    )
    with pytest.raises(RunMismatch, match=r"feature identity: recoded.*uint8"):
        load_run(tmp_path / "run").require_fit(lossy)
    with pytest.raises(RunMismatch, match=r"feature_identity\.recoded"):
        train(SHORT, CAPF, lossy, tmp_path / "run")
    load_run(tmp_path / "run").require_fit(lossy, allow=["features"])
