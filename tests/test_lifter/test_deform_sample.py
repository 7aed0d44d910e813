from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lifter.errors import BackendMissing, SamplingError
from lifter.ops import Backend, choose_backend, deform_sample, prepare_levels
from lifter.ops.cpu import is_built
from tests.test_lifter.sampling import SHAPES, Inputs, by_grid_sample, gradients, random_inputs

NO_KERNEL = "the C kernel was not built at installation"
both_paddings = pytest.mark.parametrize("padding", ["border", "zeros"])
both_backends = pytest.mark.parametrize(
    "backend",
    ["reference", pytest.param("cpu", marks=pytest.mark.skipif(not is_built(), reason=NO_KERNEL))],
)
both_corners = pytest.mark.parametrize("align_corners", [True, False])


@both_paddings
@both_corners
def test_sums_and_gradients_equal_grid_sample(padding: str, align_corners: bool) -> None:
    inputs = random_inputs(dtype=torch.float64)
    ours = deform_sample(*inputs, padding=padding, align_corners=align_corners)
    theirs = by_grid_sample(inputs, padding=padding, align_corners=align_corners)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        gradients(ours, inputs), gradients(theirs, inputs), rtol=0, atol=1e-11
    )


@both_paddings
@both_corners
@both_backends
def test_float32_is_as_near_to_float64_as_grid_sample_is(
    padding: str, align_corners: bool, backend: Backend
) -> None:
    options = {"padding": padding, "align_corners": align_corners}
    # Points on a cell border may fall to either side in float32: keep clear of the borders.
    shapes = ((8, 8, 16),)
    inputs = random_inputs(shapes=shapes, spread=0.3)
    exact = Inputs(
        [level.double() for level in inputs.levels],
        *(each.detach().double().requires_grad_() for each in inputs[1:]),
    )
    truth = deform_sample(*exact, **options)
    truths = [*truth, *gradients(truth, exact)]
    ours = deform_sample(*inputs, **options, backend=backend)
    theirs = by_grid_sample(inputs, **options)
    for mine, other, true in zip(
        [*ours, *gradients(ours, inputs)],
        [*theirs, *gradients(theirs, inputs)],
        truths,
        strict=True,
    ):
        mine_off, other_off = (mine - true).abs().max(), (other - true).abs().max()
        assert mine_off <= 2 * other_off + 1e-5 * true.abs().max()


@both_paddings
@both_corners
def test_gradients_are_those_of_finite_differences(padding: str, align_corners: bool) -> None:
    inputs = random_inputs(
        dtype=torch.float64, joints=3, points=2, shapes=((5, 4, 3), (2, 3, 2)), seed=3
    )
    levels = inputs.levels

    def sums(*points: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(deform_sample(levels, *points, padding=padding, align_corners=align_corners))

    assert torch.autograd.gradcheck(sums, inputs[1:])


@both_paddings
@both_backends
@pytest.mark.parametrize("scaled", [False, True])
def test_op_is_registered_as_torch_library_asks(
    padding: str, backend: Backend, scaled: bool
) -> None:
    inputs = random_inputs(joints=3)
    scales = [torch.rand(level.shape[-1]) for level in inputs.levels] if scaled else []
    outcome = torch.library.opcheck(
        torch.ops.posecache.deform_sample.default, (*inputs, scales, padding, True, backend)
    )
    assert set(outcome.values()) == {"SUCCESS"}


@both_paddings
@pytest.mark.parametrize("level_shape", [(1, 1, 2), (1, 4, 2), (5, 1, 2)])
@both_corners
def test_maps_of_one_cell_or_one_line_equal_grid_sample(
    padding: str, level_shape: tuple[int, int, int], align_corners: bool
) -> None:
    inputs = random_inputs(dtype=torch.float64, shapes=(level_shape,), spread=3.0)
    ours = deform_sample(*inputs, padding=padding, align_corners=align_corners)
    theirs = by_grid_sample(inputs, padding=padding, align_corners=align_corners)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        gradients(ours, inputs), gradients(theirs, inputs), atol=1e-11, rtol=0
    )


@both_paddings
def test_points_on_cells_and_on_the_edges_equal_grid_sample(padding: str) -> None:
    ticks = torch.tensor([-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0], dtype=torch.float64)
    points = torch.cartesian_prod(ticks, ticks)[None]  # 5 cells wide: a cell every 0.5
    inputs = Inputs(
        [torch.randn(1, 5, 5, 3, dtype=torch.float64)],
        points.requires_grad_(),
        torch.zeros(1, 1, points.shape[1], 1, 1, 2, dtype=torch.float64, requires_grad=True),
        torch.ones(1, 1, points.shape[1], 1, 1, dtype=torch.float64, requires_grad=True),
    )
    ours = deform_sample(*inputs, padding=padding)
    theirs = by_grid_sample(inputs, padding=padding, align_corners=True)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(ours, inputs), gradients(theirs, inputs))


@given(
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    seed=st.integers(0, 2**16),
    align_corners=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_linear_ramp_returns_the_coordinate(
    height: int, width: int, seed: int, align_corners: bool
) -> None:
    columns = torch.arange(width, dtype=torch.float64).expand(height, width)
    lines = torch.arange(height, dtype=torch.float64)[:, None].expand(height, width)
    ramp = torch.stack((columns, lines), dim=-1)[None]
    inputs = random_inputs(
        dtype=torch.float64, batch=1, shapes=((height, width, 2),), spread=0.3, seed=seed
    )
    weights = inputs.attention_weights.softmax(-1)
    (found,) = deform_sample(
        [ramp],
        inputs.reference_points,
        inputs.sampling_offsets,
        weights,
        align_corners=align_corners,
    )
    points = inputs.reference_points[:, :, None, None] + inputs.sampling_offsets[:, 0]
    size = torch.tensor([width, height], dtype=torch.float64)
    cells = (points + 1) / 2 * (size - 1) if align_corners else ((points + 1) * size - 1) / 2
    cells = cells.clamp(torch.zeros(2, dtype=torch.float64), size - 1)
    torch.testing.assert_close(found, (cells * weights[:, 0, ..., None]).sum(-2))


@given(seed=st.integers(0, 2**16), value=st.floats(-100, 100))
@settings(max_examples=25, deadline=None)
def test_constant_map_returns_the_constant_times_the_sum_of_weights(
    seed: int, value: float
) -> None:
    inputs = random_inputs(seed=seed, spread=3.0)
    constant = [torch.full_like(level, value) for level in inputs.levels]
    for index, found in enumerate(deform_sample(constant, *inputs[1:])):
        expected = value * inputs.attention_weights[:, index].sum(-1, keepdim=True)
        torch.testing.assert_close(found, expected.expand_as(found), atol=1e-3, rtol=1e-4)


def test_joints_may_be_permuted() -> None:
    inputs = random_inputs()
    order = torch.randperm(inputs.reference_points.shape[1])
    permuted = deform_sample(
        inputs.levels,
        inputs.reference_points[:, order],
        inputs.sampling_offsets[:, :, order],
        inputs.attention_weights[:, :, order],
    )
    for found, expected in zip(permuted, deform_sample(*inputs), strict=True):
        assert torch.equal(found, expected[:, order])


@both_paddings
@pytest.mark.parametrize("axis", [0, 1])
def test_nan_offsets_give_nan_where_they_are_and_nowhere_else(padding: str, axis: int) -> None:
    inputs = random_inputs()
    offsets = inputs.sampling_offsets.detach().clone()
    offsets[1, 2, 5, 1, 0, axis] = torch.nan
    outputs = deform_sample(
        inputs.levels, inputs.reference_points, offsets, inputs.attention_weights, padding=padding
    )
    clean = deform_sample(*inputs, padding=padding)
    assert outputs[2][1, 5, 1].isnan().all()
    for index, (found, expected) in enumerate(zip(outputs, clean, strict=True)):
        untouched = torch.ones(found.shape[:3], dtype=torch.bool)
        untouched[1, 5, 1] = index != 2
        assert torch.equal(found[untouched], expected[untouched])


@pytest.mark.parametrize("far", [1e30, torch.inf])
def test_points_far_outside_read_zero_or_the_border(far: float) -> None:
    inputs = random_inputs(shapes=((4, 6, 3),))
    offsets = torch.full_like(inputs.sampling_offsets, far)
    points = (inputs.reference_points, offsets, inputs.attention_weights)
    (zeros,) = deform_sample(inputs.levels, *points, padding="zeros")
    assert (zeros == 0).all()
    (border,) = deform_sample(inputs.levels, *points, padding="border")
    corner = inputs.levels[0][:, None, None, -1, -1]
    total = inputs.attention_weights[:, 0].sum(-1, keepdim=True)
    torch.testing.assert_close(border, corner * total)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_maps_are_summed_in_float32(dtype: torch.dtype) -> None:
    inputs = random_inputs()
    halves = [level.to(dtype) for level in inputs.levels]
    expected = deform_sample([half.float() for half in halves], *inputs[1:])
    for maps in (halves, prepare_levels(halves, inputs.reference_points)):
        found = deform_sample(maps, *inputs[1:])
        assert {each.dtype for each in found} == {torch.float32}
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8])
def test_eight_bit_maps_are_scaled_after_the_sum(dtype: torch.dtype) -> None:
    inputs = random_inputs()
    codes = [torch.randint(0, 127, level.shape).to(dtype) for level in inputs.levels]
    scales = [torch.rand(level.shape[-1]) for level in inputs.levels]
    maps = [code.float() * scale for code, scale in zip(codes, scales, strict=True)]
    found = deform_sample(codes, *inputs[1:], scales=scales)
    expected = deform_sample(maps, *inputs[1:])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(
        gradients(found, inputs), gradients(expected, inputs), atol=2e-2, rtol=1e-4
    )


def test_maps_may_be_strided_and_no_input_changes() -> None:
    inputs = random_inputs()
    strided = [
        level.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1) for level in inputs.levels
    ]
    before = [each.detach().clone() for each in (*strided, *inputs[1:])]
    found = deform_sample(strided, *inputs[1:])
    gradients(found, inputs)
    assert all(map(torch.equal, found, deform_sample(*inputs)))
    assert all(map(torch.equal, before, (*strided, *inputs[1:])))


def test_planted_fault_is_seen_by_the_comparison_with_grid_sample() -> None:
    inputs = random_inputs(dtype=torch.float64)
    theirs = by_grid_sample(inputs, padding="border", align_corners=True)
    shifted = inputs._replace(sampling_offsets=inputs.sampling_offsets + 1e-6)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(deform_sample(*shifted), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": []}, r"levels must name at least one map, got none"),
        ({"levels": [torch.zeros(2, 3, 3)] * 3}, r"levels\[0\] must have the axes \[B, H, W, C\]"),
        ({"levels": [torch.zeros(5, 3, 3, 1)] * 3}, r"levels\[0\] must hold 2 samples .* got 5"),
        ({"levels": [torch.zeros(2, 0, 3, 1)] * 3}, r"levels\[0\] must have at least one cell"),
        (
            {"levels": [torch.zeros(2, 3, 3, 1, requires_grad=True)] * 3},
            r"levels\[0\] requires grad, but maps are frozen.* Pass level\.detach\(\)",
        ),
        (
            {"levels": [torch.zeros(2, 3, 3, 1, dtype=torch.int64)] * 3},
            r"levels\[0\] must be one of .* got torch\.int64",
        ),
        (
            {"reference_points": torch.zeros(2, 17, 3)},
            r"reference_points must have shape \(2, 17, 2\) .* got \(2, 17, 3\)",
        ),
        (
            {"sampling_offsets": torch.zeros(2, 2, 17, 2, 3, 2)},
            r"sampling_offsets must have shape \(2, 3, 17, 2, 3, 2\) for 3 levels",
        ),
        (
            {"attention_weights": torch.zeros(2, 3, 17, 2)},
            r"attention_weights must have the axes \[B, L, J, M, K\]",
        ),
        (
            {"reference_points": torch.zeros(2, 17, 2, dtype=torch.bfloat16)},
            r"reference_points must be float32 .* got torch\.bfloat16. Call \.float\(\)",
        ),
        (
            {"reference_points": torch.zeros(2, 17, 2, dtype=torch.float64)},
            r"sampling_offsets must have the dtype of reference_points \(torch\.float64\)",
        ),
        ({"scales": [torch.ones(3)]}, r"scales must name one tensor per level \(3\), got 1"),
        ({"scales": [torch.ones(4)] * 3}, r"scales\[0\] must have shape \(3,\), got \(4,\)"),
        ({"padding": "reflection"}, r"padding must be one of .* got 'reflection'"),
        ({"backend": "cuda"}, r"backend must be one of .* got 'cuda'"),
        (
            {"sampling_offsets": torch.zeros(2, 3, 17, 2, 3, 2, device="meta")},
            r"sampling_offsets must be on the device of the maps \(cpu\), got meta",
        ),
    ],
)
def test_misfit_is_refused_by_name_before_anything_runs(
    change: dict[str, object], message: str
) -> None:
    arguments = random_inputs()._asdict() | change
    with pytest.raises(SamplingError, match=message):
        deform_sample(**arguments)


def test_backend_that_is_not_built_is_refused_and_not_replaced() -> None:
    with pytest.raises(BackendMissing, match="no 'triton' backend"):
        deform_sample(*random_inputs(), backend="triton")


def test_kernel_refuses_points_in_double_precision() -> None:
    with pytest.raises(BackendMissing, match="'cpu' kernel"):
        deform_sample(*random_inputs(dtype=torch.float64), backend="cpu")


def test_auto_says_which_backend_it_takes() -> None:
    inputs = random_inputs()
    chosen = choose_backend(inputs.levels, inputs.reference_points)
    assert chosen == ("cpu" if is_built() else "reference")
    found = deform_sample(*inputs, backend="auto")
    assert all(map(torch.equal, found, deform_sample(*inputs, backend=chosen)))


def test_sums_of_many_points_equal_a_loop_in_numpy() -> None:
    inputs = random_inputs(batch=1, joints=2, heads=1, points=2, shapes=SHAPES[:1], spread=0.9)
    (level,), reference, offsets, weights = [
        [each[0].numpy() for each in inputs.levels],
        *(each.detach()[0].numpy() for each in inputs[1:]),
    ]
    height, width, channels = level.shape
    expected = np.zeros((2, channels))
    for joint in range(2):
        for point in range(2):
            x, y = (
                (reference[joint] + offsets[0, joint, 0, point] + 1) / 2 * (width - 1, height - 1)
            )
            x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
            for line in range(height):
                for column in range(width):
                    share = max(0.0, 1 - abs(x - column)) * max(0.0, 1 - abs(y - line))
                    expected[joint] += weights[0, joint, 0, point] * share * level[line, column]
    (found,) = deform_sample(*inputs)
    np.testing.assert_allclose(found[0, :, 0].detach().numpy(), expected, atol=1e-5)
