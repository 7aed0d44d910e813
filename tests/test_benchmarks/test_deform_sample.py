"""The contenders of the sampling benchmark do the same work."""

from __future__ import annotations

import pytest
import torch

from benchmarks.deform_sample import CPU, NUMBA, OURS, PUBLISHED, memory_rows, outputs
from benchmarks.sampling_work import Work


def test_every_way_to_sample_gives_the_same_tokens() -> None:
    work = Work(1, CPU)
    # numba takes seconds to compile: the next test has it.
    found = {name: way().detach() for name, way in outputs(work).items() if name != NUMBA}
    expected = found.pop(PUBLISHED[0])
    codes = found.pop(OURS[1], None)  # of rounded maps
    for tokens in found.values():
        torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-5)
    if codes is not None:
        assert float((codes - expected).abs().max()) < 0.1
        assert not torch.equal(codes, expected)


@pytest.mark.slow
def test_the_numba_kernel_has_the_same_gradients() -> None:
    pytest.importorskip("numba")
    work = Work(1, CPU)
    found = []
    for name in (NUMBA, "reference, float16"):
        work.offsets.grad = work.weights.grad = None
        tokens = outputs(work)[name]()
        tokens.square().sum().backward()
        found.append((tokens.detach(), work.offsets.grad, work.weights.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


def test_memory_is_told_as_times_less_than_the_baseline() -> None:
    rows = memory_rows("peak", {"a": 8_000_000, OURS[0]: 2_000_000}, "a")
    assert [(row.value, row.ratio, row.goal) for row in rows] == [(8.0, 1.0, None), (2.0, 4.0, 8.0)]
