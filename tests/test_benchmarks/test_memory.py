import torch

from benchmarks.memory import highest, peak_bytes

CPU = torch.device("cpu")
MB = 1 << 20


def test_the_peak_counts_what_is_live_at_once_and_not_what_was_released_before():
    def call() -> torch.Tensor:
        first = torch.empty(4 * MB, dtype=torch.uint8)
        del first
        second = torch.empty(3 * MB, dtype=torch.uint8)
        third = torch.empty(2 * MB, dtype=torch.uint8)
        del second
        return third

    assert peak_bytes(call, CPU) == 5 * MB


def test_the_peak_leaves_out_what_was_live_before():
    before = torch.zeros(8 * MB, dtype=torch.uint8)
    assert MB <= peak_bytes(lambda: before[:MB].clone(), CPU) < MB + 4096


def test_the_peak_sees_a_larger_temporary():
    def call(size: int) -> None:
        torch.ones(size, dtype=torch.uint8).float().sum()

    small, large = (peak_bytes(lambda size=size: call(size), CPU) for size in (MB, 2 * MB))
    assert 1.9 < large / small < 2.1
    assert small >= 5 * MB


def test_releases_of_older_tensors_do_not_hide_the_peak():
    assert highest([5, -5, 3]) == 5
    assert highest([-100, 5]) == 0
    assert highest([]) == 0
