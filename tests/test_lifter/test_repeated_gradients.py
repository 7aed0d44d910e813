"""The same step twice gives the same gradients, bit for bit, on several threads, too.

A run that was killed and went on is to end as one that was not; sums in the order in which threads
come by would break that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lifter import Lifter
from tests.test_lifter.lifters import NUM_FRAMES, Inputs, inputs, names, small

BATCH = 128  # enough that torch divides the sums among its threads
REPETITIONS = 4


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def overlapping(name: str) -> Inputs:
    """Windows that begin one frame after the other, so that they share frames."""
    given = inputs(name, batch=BATCH)
    if given.window_rows is None:
        return given
    assert given.levels is not None
    rows = BATCH + NUM_FRAMES - 1
    window_rows = torch.arange(BATCH)[:, None] + torch.arange(NUM_FRAMES)
    return replace(
        given,
        keypoints_2d=given.keypoints_2d.flatten(0, 1)[window_rows],
        reference_points=given.reference_points[:rows],
        levels=[level[:rows] for level in given.levels],
        window_rows=window_rows,
    )


def gradients(model: Lifter, given: Inputs) -> list[Tensor]:
    torch.manual_seed(0)
    model.zero_grad()
    model.loss(given.answer(model), given.target_m, None).backward()  # type: ignore[no-untyped-call]
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def all_equal(of: Callable[[], list[Tensor]]) -> bool:
    first = of()
    return all(all(map(torch.equal, first, again)) for again in (of() for _ in range(REPETITIONS)))


QUICK = ("capf_temporal", "pose_only")


@pytest.mark.parametrize(
    "name",
    [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in names() if n not in QUICK)],
)
def test_a_repeated_step_has_the_same_gradients(name: str) -> None:
    model, given = small(name).train(), overlapping(name)
    assert all_equal(lambda: gradients(model, given))


def test_sums_that_threads_take_turns_in_are_noticed() -> None:
    rows = torch.arange(20_000) % 7
    weights = torch.randn(20_000, 17)

    def once() -> list[Tensor]:
        # torch adds up the gradients of an index in no fixed order
        tokens = torch.ones(7, 17, requires_grad=True)
        (tokens[rows] * weights).sum().backward()  # type: ignore[no-untyped-call]
        assert tokens.grad is not None
        return [tokens.grad]

    assert not all_equal(once)
