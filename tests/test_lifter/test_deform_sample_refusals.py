"""What deform_sample refuses, by name, before anything runs; and which backend it takes."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lifter.errors import BackendMissing, SamplingError
from lifter.ops import choose_backend, deform_sample
from lifter.ops.cpu import is_built
from tests.test_lifter.sampling import random_inputs

OTHER_BATCH = {"levels": [torch.zeros(5, 3, 3, 1)] * 3}
MISFITS = [
    ({"levels": []}, r"levels must name at least one map, got none"),
    ({"levels": [torch.zeros(2, 3, 3)] * 3}, r"levels\[0\] must have the axes \[B, H, W, C\]"),
    (OTHER_BATCH, r"levels\[0\] must hold 2 samples .* got 5"),
    ({"levels": [torch.zeros(2, 0, 3, 1)] * 3}, r"levels\[0\] must have at least one cell"),
    ({"levels": [torch.zeros(2, 3, 0, 1)] * 3}, r"levels\[0\] must have at least one cell"),
    (
        {"levels": [torch.zeros(2, 3, 3, 1, requires_grad=True)] * 3},
        r"levels\[0\] requires grad, but maps are frozen.* Pass level\.detach\(\)",
    ),
    (
        {"levels": [torch.zeros(2, 3, 3, 1, dtype=torch.int64)] * 3},
        r"levels\[0\] must be one of .* got torch\.int64",
    ),
    (
        {"levels": [*[torch.zeros(2, 3, 3, 1)] * 2, torch.zeros(2, 3, 3, 1, device="meta")]},
        r"levels\[2\] must be on cpu, got meta",
    ),
    (
        {"reference_points": torch.zeros(2, 17, 3)},
        r"reference_points must have shape \(2, 17, 2\) .* got \(2, 17, 3\)",
    ),
    (
        {"reference_points": torch.zeros(17, 2)},
        r"reference_points must have the axes \[B, J, 2\], got shape \(17, 2\)",
    ),
    (
        {"reference_points": torch.zeros(2, 17, 2, dtype=torch.bfloat16)},
        r"reference_points must be float32 .* got torch\.bfloat16. Call \.float\(\)",
    ),
    (
        {"reference_points": torch.zeros(2, 17, 2, dtype=torch.float64)},
        r"sampling_offsets must have the dtype of reference_points \(torch\.float64\)",
    ),
    (
        {"sampling_offsets": torch.zeros(2, 2, 17, 2, 3, 2)},
        r"sampling_offsets must have shape \(2, 3, 17, 2, 3, 2\) for 3 levels",
    ),
    (
        {"sampling_offsets": torch.zeros(2, 3, 17, 2, 3)},
        r"sampling_offsets must have the axes \[B, L, J, M, K, 2\], got shape \(2, 3, 17, 2, 3\)",
    ),
    (
        {"sampling_offsets": torch.zeros(2, 3, 17, 2, 3, 2, dtype=torch.float16)},
        r"sampling_offsets must be float32 .* got torch\.float16",
    ),
    (
        {"sampling_offsets": torch.zeros(2, 3, 17, 2, 3, 2, device="meta")},
        r"sampling_offsets must be on the device of the maps \(cpu\), got meta",
    ),
    (
        {"attention_weights": torch.zeros(2, 3, 17, 2)},
        r"attention_weights must have the axes \[B, L, J, M, K\]",
    ),
    (
        {"attention_weights": torch.zeros(2, 3, 16, 2, 3)},
        r"attention_weights must have shape \(2, 3, 17, 2, 3\) .* got \(2, 3, 16, 2, 3\)",
    ),
    (
        {"attention_weights": torch.zeros(2, 3, 17, 2, 3, dtype=torch.float64)},
        r"attention_weights must have the dtype of reference_points \(torch\.float32\)",
    ),
    ({"scales": [torch.ones(3)]}, r"scales must name one tensor per level \(3\), got 1"),
    ({"scales": [torch.ones(4)] * 3}, r"scales\[0\] must have shape \(3,\), got \(4,\)"),
    (
        {"scales": [torch.ones(3, dtype=torch.float64)] * 3},
        r"scales\[0\] must be float32, got torch\.float64\. Call \.float\(\)",
    ),
    (
        {"scales": [torch.ones(3, device="meta")] * 3},
        r"scales\[0\] must be on cpu, got meta",
    ),
    (
        {"scales": [torch.ones(3, requires_grad=True)] * 3},
        r"scales\[0\] requires grad, but scales belong to frozen maps.* Pass scale\.detach\(\)",
    ),
    ({"padding": "reflection"}, r"padding must be one of .* got 'reflection'"),
    ({"backend": "cuda"}, r"backend must be one of .* got 'cuda'"),
]


class NothingRuns(TorchDispatchMode):
    """Fails at the first operation on a tensor."""

    def __torch_dispatch__(self, func: object, *_: object) -> None:
        raise AssertionError(f"{func} was launched")


@pytest.mark.parametrize(("change", "message"), MISFITS)
def test_misfit_is_refused_by_name_before_anything_runs(
    change: dict[str, object], message: str
) -> None:
    arguments = random_inputs()._asdict() | change
    with NothingRuns(), pytest.raises(SamplingError, match=f"^deform_sample: {message}"):
        deform_sample(**arguments)


def test_the_guard_against_running_anything_notices_the_op() -> None:
    inputs = random_inputs()
    with NothingRuns(), pytest.raises(AssertionError, match=r"deform_sample\.default was launched"):
        deform_sample(*inputs)


def test_tensors_without_numbers_are_refused_alike() -> None:
    inputs = random_inputs()
    with FakeTensorMode() as mode:
        points = [mode.from_tensor(each) for each in inputs[1:]]
        levels = [mode.from_tensor(level) for level in inputs.levels]
        shapes = [each.shape for each in deform_sample(levels, *points)]
        assert shapes == [(2, 17, 2, level.shape[-1]) for level in levels]
        with pytest.raises(SamplingError, match=r"levels\[0\] must hold 2 samples"):
            deform_sample([level[:1] for level in levels], *points)


@pytest.mark.filterwarnings("ignore:Dynamo")
def test_misfit_in_compiled_code_is_refused_by_name() -> None:
    compiled = torch.compile(deform_sample, backend="eager")
    with pytest.raises(SamplingError, match=r"levels\[0\] must hold 2 samples .* got 5"):
        compiled(**(random_inputs()._asdict() | OTHER_BATCH))


def test_backend_that_is_not_built_is_refused_and_not_replaced() -> None:
    with pytest.raises(BackendMissing, match="'triton'"):
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


def test_without_a_kernel_auto_takes_the_reference_and_cpu_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = random_inputs()
    expected = deform_sample(*inputs, backend="reference")
    monkeypatch.setattr("lifter.ops.cpu._kernel", lambda: None)
    assert choose_backend(inputs.levels, inputs.reference_points) == "reference"
    assert all(map(torch.equal, deform_sample(*inputs), expected))
    with pytest.raises(BackendMissing, match=r"was not built \(no C compiler at installation\)"):
        deform_sample(*inputs, backend="cpu")
