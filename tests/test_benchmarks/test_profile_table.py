from dataclasses import dataclass

import pytest
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.profile_table import (
    NETWORK,
    OTHER,
    PYTHON,
    STEP,
    WAIT,
    category,
    markdown,
    operators,
    shares,
    with_section,
)
from lifter.ops import deform_sample


@dataclass
class Made:
    name: str
    self_cpu_time_total: float = 0.0
    self_device_time_total: float = 0.0
    cpu_parent: "Made | None" = None


STEP_EVENT = Made(STEP, 7)
SAMPLING = Made("posecache::deform_sample", 20, 90, STEP_EVENT)
EVENTS = [
    STEP_EVENT,
    SAMPLING,
    Made("aten::mm", 5, 10, SAMPLING),
    Made("aten::mm", 30, 40, STEP_EVENT),
    Made(WAIT, 3, 0, STEP_EVENT),
    Made("aten::conv2d", 11, 60, Made(NETWORK, 0, 0, STEP_EVENT)),
    Made("aten::quantum_leap", 2, 0, STEP_EVENT),
]


def test_what_an_operator_calls_belongs_to_it():
    assert shares(EVENTS, "host") == {
        "linear": 30,
        "sampling": 25,
        NETWORK: 11,
        PYTHON: 7,
        WAIT: 3,
        OTHER: 2,
    }
    assert shares(EVENTS, "device") == {"sampling": 100, NETWORK: 60, "linear": 40}


def test_no_time_is_lost_or_counted_twice():
    total = sum(event.self_cpu_time_total for event in EVENTS)
    assert sum(shares(EVENTS, "host").values()) == total
    assert sum(each.self_us for each in operators(EVENTS, "host")) == total


def test_operators_are_listed_by_their_own_time_and_apart_by_category():
    found = operators(EVENTS, "host")
    assert [(each.name, each.category, each.self_us) for each in found[:2]] == [
        ("aten::mm", "linear", 30),
        ("posecache::deform_sample", "sampling", 20),
    ]
    assert ("aten::mm", "sampling", 5) in [(e.name, e.category, e.self_us) for e in found]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("aten::addmm", "linear"),
        ("AddmmBackward0", "linear"),
        ("aten::grid_sampler_2d_backward", "sampling"),
        ("GeneratedBackwardFor_posecache_deform_sample_defaultBackward", "sampling"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"),
        ("Optimizer.step#AdamW.step", "optimiser"),
        ("aten::_foreach_norm", "gradient norm"),
        ("aten::native_layer_norm_backward", "normalisation"),
        ("autograd::engine::evaluate_function: AddmmBackward0", PYTHON),
        ("aten::add", OTHER),
    ],
)
def test_operators_are_known_by_their_names(name, expected):
    assert category(Made(name)) == expected


def test_the_table_gives_times_per_step_and_the_idle_time_of_a_device():
    text = markdown(
        "posecache",
        EVENTS,
        steps=2,
        wall_us=400,
        clocks=("device", "host"),
        facts={"peak memory": "3 MB"},
    )
    assert "### posecache" in text
    assert "- peak memory: 3 MB" in text
    assert "| idle | 0.10 | 50.0 % |" in text
    assert "| sampling | 0.05 | 25.0 % |" in text
    assert "| `aten::mm` | linear | 0.5 | 0.02 |" in text


def test_a_section_replaces_the_one_of_its_label_and_nothing_else():
    first = with_section("# Title\n", "before", "slow")
    both = with_section(f"{first}\nWritten by hand.\n", "after", "fast")
    again = with_section(both, "before", "slower")
    assert "slower" in again
    assert "slow\n" not in again
    assert again.index("slower") < again.index("Written by hand.") < again.index("fast")
    assert with_section(again, "before", "slower") == again


def test_sampling_of_a_real_profile_is_found_forward_and_backward():
    level, points = torch.randn(2, 6, 5, 8), torch.rand(2, 3, 2)
    offsets = torch.zeros(2, 1, 3, 2, 4, 2, requires_grad=True)
    weights = torch.rand(2, 1, 3, 2, 4)
    with profile(activities=[ProfilerActivity.CPU]) as profiled, record_function(STEP):
        deform_sample([level], points, offsets, weights)[0].sum().backward()
    events = [event for event in profiled.events() if event.device_type == DeviceType.CPU]
    found = shares(events, "host")
    assert found["sampling"] > 0
    names = {event.name for event in events if category(event) == "sampling"}
    assert {"posecache::deform_sample", "posecache::deform_sample_backward"} <= names
