"""The compiled kernel against the reference: every dtype, odd shapes, any number of threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lifter.ops import Padding, cpu, deform_sample, prepare_levels
from tests.test_lifter.sampling import (
    DTYPES,
    Inputs,
    assert_as_accurate,
    both_corners,
    both_paddings,
    clear_of_borders,
    every_dtype,
    gradients,
    in_double,
    random_inputs,
    stored_as,
)

pytestmark = pytest.mark.skipif(
    not cpu.is_built(), reason="the C kernel was not built at installation"
)
WIDE = ((24, 18, 32), (12, 9, 64), (6, 5, 128), (3, 2, 256))  # enough work for several threads


def judge(inputs: Inputs, scales: list[Tensor] | None, **options: object) -> None:
    """Fails unless the kernel's sums and gradients are as near to float64 as the reference's."""
    outcomes = []
    exact = in_double(inputs, scales)
    for each, factors, backend in (
        (inputs, scales, "cpu"),
        (inputs, scales, "reference"),
        (exact, None, "reference"),
    ):
        sums = deform_sample(*each, scales=factors, **options, backend=backend)
        outcomes.append([*sums, *gradients(sums, each)])
    assert_as_accurate(*outcomes)


@every_dtype
@both_paddings
@both_corners
@pytest.mark.parametrize("channels", [1, 8, 13, 48])
def test_kernel_is_as_accurate_as_the_reference(
    dtype: torch.dtype, padding: Padding, align_corners: bool, channels: int
) -> None:
    shapes = ((7, 5, channels), (1, 4, channels), (6, 1, channels))
    inputs, scales = stored_as(random_inputs(shapes=shapes), dtype)
    inputs = clear_of_borders(inputs, align_corners=align_corners)
    judge(inputs, scales, padding=padding, align_corners=align_corners)


@given(
    sizes=st.tuples(
        st.integers(1, 3),  # batch
        st.sampled_from((1, 17, 133)),  # joints
        st.integers(1, 4),  # heads
        st.sampled_from((1, 2, 4, 5)),  # points
    ),
    shapes=st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from((1, 7, 9, 31, 32, 33, 40))),
        min_size=1,
        max_size=3,
    ),
    dtype=st.sampled_from(DTYPES),
    padding=st.sampled_from(["border", "zeros"]),
    align_corners=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=30, deadline=None)
def test_kernel_is_as_accurate_as_the_reference_at_any_size(
    sizes: tuple[int, int, int, int],
    shapes: list[tuple[int, int, int]],
    dtype: torch.dtype,
    padding: Padding,
    align_corners: bool,
    seed: int,
) -> None:
    batch, joints, heads, points = sizes
    inputs = random_inputs(
        batch=batch, joints=joints, heads=heads, points=points, shapes=shapes, seed=seed
    )
    inputs, scales = stored_as(inputs, dtype)
    inputs = clear_of_borders(inputs, align_corners=align_corners)
    judge(inputs, scales, padding=padding, align_corners=align_corners)


@every_dtype
@pytest.mark.parametrize("points", [63, 64, 65, 200])
def test_sums_of_more_points_than_are_located_at_once(dtype: torch.dtype, points: int) -> None:
    inputs = random_inputs(joints=2, heads=3, points=points, shapes=((5, 4, 19), (3, 3, 2048)))
    inputs, scales = stored_as(inputs, dtype)
    judge(clear_of_borders(inputs, align_corners=True), scales)


@every_dtype
def test_neither_threads_nor_the_split_of_a_batch_change_a_bit(dtype: torch.dtype) -> None:
    inputs, scales = stored_as(random_inputs(batch=7, heads=4, points=4, shapes=WIDE), dtype)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            sums = deform_sample(*inputs, scales=scales, backend="cpu")
            found.append([*sums, *gradients(sums, inputs)])
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, found[0], found[1]))
    assert all(map(torch.equal, found[0], found[2]))
    for part in (slice(0, 2), slice(2, 7)):
        levels = [level[part] for level in inputs.levels]
        points = (each[part] for each in inputs[1:])
        sums = deform_sample(levels, *points, scales=scales, backend="cpu")
        assert all(map(torch.equal, sums, [each[part] for each in found[0]]))


def test_several_python_threads_may_call_the_kernel_at_once() -> None:
    every = [random_inputs(batch=6, shapes=WIDE, heads=4, seed=seed) for seed in range(4)]

    def call(inputs: Inputs) -> list[Tensor]:
        sums = deform_sample(*inputs, backend="cpu")
        return [*sums, *gradients(sums, inputs)]

    expected = [call(inputs) for inputs in every]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(call, every * 5))
    finally:
        torch.set_num_threads(before)
    for index, each in enumerate(found):
        assert all(map(torch.equal, each, expected[index % 4]))


def test_plain_instructions_give_what_wide_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype in DTYPES:
        inputs, scales = stored_as(random_inputs(shapes=((6, 5, 19), (4, 3, 40))), dtype)
        found = []
        for wide in (cpu._wide(), 0):
            monkeypatch.setattr(cpu, "_wide", lambda wide=wide: wide)
            sums = deform_sample(*inputs, scales=scales, backend="cpu")
            found.append([*sums, *gradients(sums, inputs)])
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3, 8, 32])
def test_half_precision_numbers_are_read_exactly(channels: int) -> None:
    codes = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        numbers = codes.view(dtype)
        numbers = numbers[numbers.isfinite()]
        numbers = numbers[: len(numbers) // channels * channels]
        levels = numbers.view(-1, 1, 1, channels)
        one = (torch.zeros(len(levels), 1, 1, 1, 1, 2), torch.ones(len(levels), 1, 1, 1, 1))
        (found,) = deform_sample([levels], torch.zeros(len(levels), 1, 2), *one, backend="cpu")
        assert torch.equal(found.flatten(), numbers.float())


def test_kernel_reads_stored_halves_without_a_float_copy() -> None:
    inputs, _ = stored_as(random_inputs(), torch.float16)
    prepared = prepare_levels(inputs.levels, inputs.reference_points)
    assert all(map(torch.equal, prepared, inputs.levels))
    assert prepared[0].dtype == torch.float16
