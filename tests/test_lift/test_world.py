from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache import CacheReader
from lifter import build_lifter
from lifter.config import LifterConfig
from lifter.losses import mpjpe
from stages.lift import DataConfig, LiftError, RunMismatch, TrainConfig, train
from stages.lift.feed.batch import Batch
from stages.lift.feed.batches import LiftData
from stages.lift.feed.order import share_starts
from stages.lift.feed.residency import choose_placement, place_maps
from stages.lift.processes.world import ALONE, World, world_of
from stages.lift.runs.rundir import read_json, write_json
from tests.test_lift.killed_run import LIFTER
from tests.test_lift.stores import LEVELS, build_plan, write_store
from tests.test_lift.test_batches import NAMES

CPU = torch.device("cpu")
LAUNCHED = {
    "RANK": "1",
    "WORLD_SIZE": "3",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


def member(rank: int, size: int) -> World:
    return World(rank=rank, size=size, local_rank=rank, local_size=size)


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    """22 training rows, many joints of which have no label."""
    splits = {"train": 22, "validation": 8}
    valid = np.random.default_rng(5).random((30, 17)) < np.linspace(0.2, 1.0, 30)[:, None]
    valid[:, 0] = True
    path = tmp_path_factory.mktemp("stores") / "gappy.zarr"
    return write_store(path, plan=build_plan(splits, valid=valid))


def data_of(reader: CacheReader, world: World = ALONE, context: str = "own") -> LiftData:
    config = DataConfig.model_validate({"context": context, "shuffle_window_blocks": 2})
    return LiftData(reader, "train", config=config, level_names=NAMES, flipped=True, world=world)


def test_without_torchrun_a_process_is_alone() -> None:
    assert world_of({}) == ALONE
    assert world_of({"MASTER_ADDR": "localhost", "LOCAL_RANK": "0"}) == ALONE


def test_torchruns_variables_make_a_world() -> None:
    assert world_of(LAUNCHED) == World(rank=1, size=3, local_rank=1, local_size=3)
    assert world_of(LAUNCHED | {"LOCAL_WORLD_SIZE": "2"}).local_size == 2
    assert not world_of(LAUNCHED).leads
    assert world_of(LAUNCHED | {"RANK": "0"}).leads


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"WORLD_SIZE": None}, "has RANK, LOCAL_RANK, .* but not WORLD_SIZE. Start it with torch"),
        ({"RANK": None, "MASTER_PORT": None}, "but not RANK, MASTER_PORT"),
        ({"RANK": "3"}, "RANK=3 of WORLD_SIZE=3"),
        ({"LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK=1 of 1 on the machine"),
        ({"RANK": "one"}, "RANK='one' is not a number"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE='-2' is not a number"),
    ],
)
def test_a_half_set_environment_is_named(change: dict[str, str | None], message: str) -> None:
    variables = {name: text for name, text in (LAUNCHED | change).items() if text is not None}
    with pytest.raises(LiftError, match=message):
        world_of(variables)


def test_each_process_has_a_gpu_of_its_own() -> None:
    assert [member(rank, 2).device_name("cuda") for rank in (0, 1)] == ["cuda:0", "cuda:1"]
    assert member(1, 2).device_name("cpu") == "cpu"
    assert ALONE.device_name("cuda:3") == "cuda:3"
    with pytest.raises(LiftError, match="'cuda:3' is one GPU, but 2 processes"):
        member(0, 2).device_name("cuda:3")


def test_processes_draw_different_numbers_and_the_first_draws_those_of_one() -> None:
    roots = [np.random.SeedSequence([1, 2]).spawn(2)[1] for _ in range(4)]
    seeds = [member(rank, 4).seed(root) for rank, root in enumerate(roots)]
    assert len(set(seeds)) == 4
    alone = np.random.SeedSequence([1, 2]).spawn(2)[1]
    assert seeds[0] == int(alone.generate_state(1, np.uint64)[0] >> 1)


@given(
    rows=st.sets(st.integers(0, 200), min_size=1),
    block_rows=st.integers(1, 9),
    num_shares=st.integers(1, 9),
)
def test_shares_divide_the_rows_and_no_block(
    rows: set[int], block_rows: int, num_shares: int
) -> None:
    ordered = np.array(sorted(rows))
    starts = share_starts(ordered, block_rows=block_rows, num_shares=num_shares)
    assert starts[0] == 0
    assert starts[-1] == len(rows)
    sizes = np.diff(starts)
    assert (sizes >= 0).all()
    assert sizes.max() <= -(-len(rows) // num_shares) + block_rows - 1
    shares = np.repeat(np.arange(num_shares), sizes)
    for block in np.unique(ordered // block_rows):
        assert len(set(shares[ordered // block_rows == block])) == 1


@pytest.mark.parametrize("context", ["own", "shuffled", "none"])
@pytest.mark.parametrize("kind", ["store", "compressed"])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_the_parts_of_a_batch_are_the_batch_of_one_process(
    request: pytest.FixtureRequest, context: str, kind: str, size: int
) -> None:
    reader = request.getfixturevalue(kind)
    whole = data_of(reader, context=context)
    parts = [data_of(reader, member(rank, size), context) for rank in range(size)]
    passes = [
        data.training_batches(batch_size=7, rng=np.random.default_rng(3))
        for data in (whole, *parts)
    ]
    assert {len(batches) for batches in passes} == {4}
    for index in range(4):
        batch, *own = (batches[index] for batches in passes)
        found = np.concatenate([part.samples for part in own])
        assert sorted(found.tolist()) == sorted(batch.samples.tolist())
        assert {part.rows_of_all for part in own} == {len(batch)}
        for part in own:
            places = [batch.samples.tolist().index(position) for position in part.samples]
            assert torch.equal(part.keypoints_2d[: len(part)], batch.keypoints_2d[places])
            assert torch.equal(part.levels[0][: len(part)], batch.levels[0][places])
    shown = np.concatenate([data.shown() for data in parts])
    assert sorted(shown.tolist()) == list(range(len(whole)))


@pytest.mark.parametrize("place", ["disk", "host"])
@pytest.mark.parametrize("context", ["own", "shuffled"])
def test_no_row_is_read_by_two_processes(
    store: CacheReader, monkeypatch: pytest.MonkeyPatch, place: str, context: str
) -> None:
    read = CacheReader.read
    rows_read: set[int] = set()

    def noting(self: CacheReader, rows, *args, **options):  # type: ignore[no-untyped-def]
        rows_read.update(np.asarray(rows).tolist())
        return read(self, rows, *args, **options)

    monkeypatch.setattr(CacheReader, "read", noting)
    found = []
    for rank in range(3):
        rows_read.clear()
        data = data_of(store, member(rank, 3), context)
        monkeypatch.setattr(World, "wait", lambda _: None)
        place_maps([data], place, device=CPU, passes=2)  # type: ignore[arg-type]
        for epoch in range(3):
            rng = np.random.default_rng(epoch)
            for batch in data.training_batches(batch_size=5, rng=rng):
                data.recycle(batch)
        found.append(set(rows_read))
    assert [len(rows) for rows in found] == [8, 8, 8]
    assert set.union(*found) == set(range(24))


def gradient_of(reader: CacheReader, size: int, *, weighted: bool = True) -> torch.Tensor:
    """Mean over `size` processes of the gradients of an epoch of batches of 5, the last of 2."""
    lifter = LIFTER.model_copy(update={"drop_path": 0.0})
    torch.manual_seed(0)
    model = build_lifter(lifter, level_channels=[v.channels for v in LEVELS], num_joints=17)
    losses = []
    for rank in range(size):
        world = member(rank, size) if size > 1 else ALONE
        for batch in data_of(reader, world).training_batches(
            batch_size=5, rng=np.random.default_rng(1)
        ):
            loss = mpjpe(batch.lifted_by(model), batch.target_m, batch.valid)
            losses.append(loss * (batch.loss_weight if weighted else 1.0))
    (torch.stack(losses).sum() / size).backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("size", [2, 3, 8])
def test_the_mean_gradient_of_the_processes_is_that_of_one(gappy: CacheReader, size: int) -> None:
    torch.testing.assert_close(
        gradient_of(gappy, size), gradient_of(gappy, 1), rtol=1e-4, atol=1e-6
    )


def test_the_comparison_of_gradients_notices_losses_without_weights(gappy: CacheReader) -> None:
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            gradient_of(gappy, 2, weighted=False), gradient_of(gappy, 1), rtol=1e-4, atol=1e-6
        )


def blank_of(reader: CacheReader) -> Batch:
    batches = data_of(reader, member(0, 7)).training_batches(
        batch_size=1, rng=np.random.default_rng(0)
    )
    return next(batch for batch in batches if not len(batch))


@pytest.mark.parametrize("name", ["capf", "pose_only"])
@pytest.mark.parametrize("context_dropout", [0.0, 0.9])
def test_an_empty_part_gives_every_parameter_a_gradient_of_zero(
    store: CacheReader, name: str, context_dropout: float
) -> None:
    # A parameter without a gradient would keep the other processes waiting for it.
    lifter = LifterConfig.model_validate(
        LIFTER.model_dump() | {"name": name, "context_dropout": context_dropout}
    )
    channels = [level.channels for level in LEVELS] if name == "capf" else []
    model = build_lifter(lifter, level_channels=channels, num_joints=17).train()
    batch = blank_of(store)
    batch = batch if name == "capf" else type(batch)(**(vars(batch) | {"levels": []}))
    loss = mpjpe(batch.lifted_by(model), batch.target_m) * batch.loss_weight
    loss.backward()  # type: ignore[no-untyped-call]
    assert batch.rows_of_all == 1
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


def test_memory_of_batches_of_many_sizes_is_used_again(store: CacheReader) -> None:
    data = data_of(store)
    views = np.zeros(8, dtype=np.int64)
    places = set()
    for size in (8, 5, 7, 6, 8):
        batch = data.batch(np.arange(size), views=views[:size])
        places.add(batch.levels[0].data_ptr())
        data.recycle(batch)
    assert len(places) == 1


def test_processes_of_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.lift.feed.residency.available_host_bytes", lambda: 1000)

    def place(sharers: int) -> str:
        return choose_placement(
            "auto", 300, device=CPU, passes=5, is_local_raw=False, sharers=sharers
        ).place

    assert (place(1), place(2)) == ("host", "disk")


def test_a_run_is_not_resumed_by_another_number_of_processes(
    store: CacheReader, tmp_path: Path
) -> None:
    config = TrainConfig(epochs=1, batch_size=12, threads=1)
    train(config, LIFTER, store, tmp_path)
    description = read_json(tmp_path / "run.json")
    assert description["processes"] == 1
    write_json(tmp_path / "run.json", description | {"processes": 2})
    with pytest.raises(RunMismatch, match=r"processes.*2.*1"):
        train(config, LIFTER, store, tmp_path)
