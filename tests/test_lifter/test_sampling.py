"""The comparers of this folder must fail where they should."""

from __future__ import annotations

import pytest
import torch

from lifter.ops import deform_sample
from tests.test_lifter.sampling import (
    assert_as_accurate,
    by_grid_sample,
    clear_of_borders,
    gradients,
    in_double,
    random_inputs,
    stored_as,
)


def test_the_comparison_with_grid_sample_sees_a_shift_of_a_millionth() -> None:
    inputs = random_inputs(dtype=torch.float64)
    theirs = by_grid_sample(inputs, padding="border", align_corners=True)
    shifted = inputs._replace(sampling_offsets=inputs.sampling_offsets + 1e-6)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(deform_sample(*shifted), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("fault", [1e-5, torch.nan])
def test_one_wrong_number_is_less_accurate(fault: float) -> None:
    exact = [torch.linspace(-1, 1, 1000, dtype=torch.float64)]
    baseline = [each.float() for each in exact]
    assert_as_accurate(baseline, baseline, exact)
    wrong = [baseline[0].clone()]
    wrong[0][500] += fault
    with pytest.raises(AssertionError, match="tensor 0 is"):
        assert_as_accurate(wrong, baseline, exact)


@pytest.mark.parametrize("fault", ["padding", "align_corners", "point", "scale", "weight"])
def test_a_fault_of_the_op_is_less_accurate(fault: str) -> None:
    inputs, scales = stored_as(random_inputs(spread=1.2), torch.int8)
    assert scales is not None
    inputs = clear_of_borders(inputs, align_corners=True)
    exact = in_double(inputs, scales)
    truth = by_grid_sample(exact, padding="border", align_corners=True)
    good = deform_sample(*inputs, scales=scales, backend="reference")
    options: dict[str, object] = {}
    bad = inputs
    if fault == "padding":
        options = {"padding": "zeros"}
    elif fault == "align_corners":
        options = {"align_corners": False}
    elif fault == "point":
        offsets = inputs.sampling_offsets.detach().flip(-1)
        bad = inputs._replace(sampling_offsets=offsets.requires_grad_())
    elif fault == "scale":
        scales = [scale * 1.0001 for scale in scales]
    else:
        weights = inputs.attention_weights.detach().clone()
        weights[0, 0, 0, 0, 0] *= 1.001
        bad = inputs._replace(attention_weights=weights.requires_grad_())
    found = deform_sample(*bad, scales=scales, **options, backend="reference")
    assert_as_accurate(good, good, truth)
    with pytest.raises(AssertionError, match="tensor"):
        assert_as_accurate(found, good, truth)
    grads, truths = gradients(good, inputs), gradients(truth, exact)
    assert_as_accurate(grads, grads, truths)
    with pytest.raises(AssertionError, match="tensor"):
        assert_as_accurate(gradients(found, bad), grads, truths)


def test_points_clear_of_borders_are_clear_of_them() -> None:
    for align_corners in (True, False):
        inputs = random_inputs(spread=2.0, shapes=((7, 5, 3), (16, 12, 1)))
        for shape, index in (((7, 5), 0), ((16, 12), 1)):
            moved = clear_of_borders(inputs, align_corners=align_corners)
            points = (moved[1][:, :, None, None] + moved[2][:, index]).detach()
            size = torch.tensor([shape[1], shape[0]])
            cells = (points + 1) * ((size - 1) / 2 if align_corners else size / 2)
            away = (cells - (0 if align_corners else 0.5)).frac().abs()
            assert float(away.min()) > 0.09
            assert float(away.max()) < 0.91
