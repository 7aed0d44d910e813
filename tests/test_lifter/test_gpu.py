"""deform_sample on a real GPU: the checks of the interpreter, and what only a device can show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from lifter.ops import choose_backend, deform_sample, gpu
from tests.test_lifter.sampling import (
    clear_of_borders,
    every_dtype,
    random_inputs,
    stored_as,
)
from tests.test_lifter.triton_checks import (
    assert_accurate,
    moved,
    sums_and_gradients,
    test_every_number_is_the_same_in_every_run,  # noqa: F401, collected here
    test_maps_and_points_may_be_strided_and_no_input_changes,  # noqa: F401
    test_maps_are_read_as_they_are_stored,  # noqa: F401
    test_more_rows_than_32_bits_count_are_refused,  # noqa: F401
    test_numbers_are_nan_where_those_of_the_reference_are,  # noqa: F401
    test_odd_shapes_are_as_accurate_as_the_reference,  # noqa: F401
    test_op_is_registered_as_torch_library_asks,  # noqa: F401
    test_points_far_outside_read_zero_or_the_border,  # noqa: F401
    test_points_on_cells_and_edges_take_the_slopes_of_the_reference,  # noqa: F401
    test_sums_and_gradients_are_as_near_to_float64_as_the_reference_is,  # noqa: F401
    test_the_comparison_notices_a_point_that_is_slightly_off,  # noqa: F401
    test_the_ways_of_the_gpu_benchmark_give_the_same_tokens,  # noqa: F401
    test_without_samples_or_points_sums_are_empty_or_zero,  # noqa: F401
)

HRNET_W32 = ((64, 48, 32), (32, 24, 64), (16, 12, 128), (8, 6, 256))

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(not gpu.INSTALLED, reason="Triton is not installed"),
]


@pytest.fixture
def device() -> str:
    return "cuda"


@contextmanager
def waiting_refused() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@every_dtype
def test_levels_of_hrnet_are_as_accurate_as_the_reference(dtype: torch.dtype) -> None:
    inputs = random_inputs(batch=8, heads=4, points=4, shapes=HRNET_W32)
    stored, scales = stored_as(clear_of_borders(inputs, align_corners=True), dtype)
    assert_accurate(stored, scales, "cuda")


def test_auto_takes_triton_for_float32_points_and_the_reference_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    single = moved(random_inputs(), "cuda")
    double = moved(random_inputs(dtype=torch.float64), "cuda")
    assert choose_backend(single.levels, single.reference_points) == "triton"
    assert choose_backend(double.levels, double.reference_points) == "reference"
    monkeypatch.setattr(gpu, "INSTALLED", False)
    assert choose_backend(single.levels, single.reference_points) == "reference"


def test_samples_beyond_two_gigabytes_of_a_map_are_found() -> None:
    batch, size = 33, 8192
    level = torch.zeros(batch, size, size, 1, dtype=torch.uint8, device="cuda")
    level[-1] = 7
    assert level.numel() > 2**31
    points = (torch.zeros(batch, 1, 2), torch.zeros(batch, 1, 1, 1, 1, 2))
    ones = torch.ones(batch, 1, 1, 1, 1)
    scale = [torch.ones(1, device="cuda")]
    there = [each.cuda() for each in (*points, ones)]
    (found,) = deform_sample([level], *there, scales=scale, backend="triton")
    expected = torch.zeros(batch)
    expected[-1] = 7
    assert torch.equal(found.flatten().cpu(), expected)


def test_nothing_waits_for_the_device() -> None:
    inputs, scales = stored_as(random_inputs(), torch.uint8)
    inputs = moved(inputs, "cuda")  # copies from the host wait: before the guard
    factors = [scale.cuda() for scale in scales or ()]

    def step() -> None:
        sums = deform_sample(*inputs, scales=factors)
        torch.autograd.grad(sums, inputs[1:], [torch.ones_like(each) for each in sums])

    step()
    with waiting_refused():
        step()


def test_the_guard_against_waiting_notices_it() -> None:
    number = torch.zeros(1, device="cuda")
    with waiting_refused(), pytest.raises(RuntimeError, match="synchroniz"):
        number.item()


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:TensorFloat32:UserWarning")  # inductor's advice
def test_compiled_without_a_graph_break_gives_equal_sums_and_gradients() -> None:
    def projected(*points: Tensor) -> list[Tensor]:
        return [each.sin() for each in deform_sample(inputs.levels, *points)]

    inputs = moved(random_inputs(), "cuda")
    torch.compiler.reset()
    found = torch.compile(projected, fullgraph=True)(*inputs[1:])
    expected = projected(*inputs[1:])
    torch.testing.assert_close(found, expected)
    seeds = [torch.ones_like(each) for each in expected]
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs[1:], seeds),
        torch.autograd.grad(expected, inputs[1:], seeds),
    )


def test_autocast_changes_neither_sums_nor_gradients() -> None:
    inputs, _ = stored_as(random_inputs(), torch.float16)
    expected = sums_and_gradients(inputs, None, backend="triton", device="cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        found = sums_and_gradients(inputs, None, backend="triton", device="cuda")
    assert all(map(torch.equal, found, expected))


def test_a_captured_graph_replays_the_sums() -> None:
    inputs = moved(random_inputs(), "cuda")
    with torch.no_grad():
        expected = deform_sample(*inputs, backend="triton")  # compiles outside of the capture
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = deform_sample(*inputs, backend="triton")
        for each in found:
            each.fill_(torch.nan)
        graph.replay()
    assert all(map(torch.equal, found, expected))
