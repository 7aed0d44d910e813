from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lifter.errors import SamplingError
from tests.test_lifter.test_models import CHANNELS, SIZES, random_batch, small


def quantised(
    dtype: torch.dtype, *, seed: int = 3
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Codes, scales and the float32 maps that they stand for."""
    generator = torch.Generator().manual_seed(seed)
    low, high = (0, 256) if dtype == torch.uint8 else (-128, 128)
    codes = [
        torch.randint(low, high, (2, *size, channels), generator=generator).to(dtype)
        for size, channels in zip(SIZES, CHANNELS, strict=True)
    ]
    scales = [0.002 + 0.02 * torch.rand(channels, generator=generator) for channels in CHANNELS]
    maps = [code.float() * scale for code, scale in zip(codes, scales, strict=True)]
    return codes, scales, maps


def result(
    levels: list[Tensor], scales: list[Tensor] | None, **options: object
) -> tuple[Tensor, dict[str, Tensor]]:
    """Prediction and parameter gradients of one lifter."""
    model = small(drop_path=0.0, **options)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():  # the maps to offsets and weights start at zero and hide what is before
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    keypoints, reference, _ = random_batch()
    output = model(keypoints, reference, levels, scales=scales)
    output.square().sum().backward()
    return output.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def worst(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest difference of a gradient, relative to its own size."""
    assert found.keys() == expected.keys()
    return max(float((found[n] - g).norm() / g.norm()) for n, g in expected.items() if g.any())


@pytest.mark.parametrize("rule", ["published", "geometric"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8])
def test_codes_with_scales_are_the_maps_they_stand_for(dtype: torch.dtype, rule: str) -> None:
    codes, scales, maps = quantised(dtype)
    copies = [code.clone() for code in codes]
    found, found_grads = result(codes, scales, reference_rule=rule)
    expected, expected_grads = result(maps, None, reference_rule=rule)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert worst(found_grads, expected_grads) < 1e-4
    assert all(map(torch.equal, codes, copies))


def test_the_comparison_notices_missing_and_exchanged_scales() -> None:
    codes, scales, maps = quantised(torch.uint8)
    expected, expected_grads = result(maps, None)
    wrong = [scale.roll(1) for scale in scales]
    for fault in (None, wrong):
        found, grads = result(codes, fault)
        assert not torch.allclose(found, expected, rtol=1e-2, atol=1e-3)
        assert worst(grads, expected_grads) > 1e-2


def test_scales_of_one_multiply_float_maps_exactly() -> None:
    _, _, maps = quantised(torch.uint8)
    ones = [torch.ones(channels) for channels in CHANNELS]
    assert torch.equal(result(maps, ones)[0], result(maps, None)[0])


def test_a_lifter_without_maps_takes_scales_and_ignores_them() -> None:
    model = small("pose_only").eval()
    codes, scales, _ = quantised(torch.uint8)
    keypoints, reference, _ = random_batch()
    assert torch.equal(model(keypoints, reference, codes, scales=scales), model(keypoints))


def test_scales_of_other_channels_are_refused() -> None:
    codes, scales, _ = quantised(torch.uint8)
    with pytest.raises(SamplingError, match=r"scales\[0\] must have shape \(6,\)"):
        result(codes, scales[::-1])
