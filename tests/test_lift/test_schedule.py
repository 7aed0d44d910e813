from __future__ import annotations

import pytest
import torch

from stages.lift.config import TrainConfig
from stages.lift.fit.schedule import lr_factor


def factors(config: TrainConfig, *, steps_per_epoch: int = 10, num_steps: int = 100) -> list[float]:
    return [
        lr_factor(step, config=config, steps_per_epoch=steps_per_epoch, num_steps=num_steps)
        for step in range(num_steps)
    ]


def test_exponential_decays_once_per_epoch() -> None:
    values = factors(TrainConfig(schedule="exponential", lr_decay=0.9))
    assert values[:10] == [1.0] * 10
    assert values[10:20] == [0.9] * 10
    assert values[-1] == pytest.approx(0.9**9)


def test_cosine_starts_at_one_is_half_in_the_middle_and_ends_near_zero() -> None:
    values = factors(TrainConfig(schedule="cosine"))
    assert values[0] == 1.0
    assert values[50] == pytest.approx(0.5)
    assert 0.0 < values[-1] < 0.001


def test_onecycle_has_the_course_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=100, cycle_momentum=False
    )
    expected = []
    for _ in range(100):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < 100:
            theirs.step()
    assert factors(TrainConfig(schedule="onecycle")) == pytest.approx(expected, rel=1e-9)


def test_onecycle_of_a_single_step_is_defined() -> None:
    config = TrainConfig(schedule="onecycle")
    assert 0.0 < factors(config, steps_per_epoch=1, num_steps=1)[0] <= 1.0


def test_warmup_rises_linearly_to_the_schedule() -> None:
    values = factors(TrainConfig(schedule="constant", warmup_steps=4))
    assert values[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
