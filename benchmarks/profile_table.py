"""Where the time of profiled steps goes: from the events of torch's profiler to tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

STEP, WAIT, NETWORK = "training step", "waiting for data", "frozen network"
"""Names of the ranges that a profiled training marks."""

Clock = Literal["host", "device"]
PYTHON, OTHER = "Python, dispatch, autograd engine", "everything else"

RULES: tuple[tuple[str, str], ...] = (
    (WAIT, rf"^{WAIT}$"),
    (NETWORK, rf"^{NETWORK}$"),
    ("sampling", r"deform_sample|grid_sampl|GridSampl"),
    ("gradient norm", r"_foreach_norm|^aten::linalg_vector_norm$"),
    ("optimiser", r"^Optimizer\.|_fused_adamw|^aten::_foreach_"),
    ("attention", r"scaled_dot_product|ScaledDotProduct|_flash_attention|_efficient_attention"),
    ("linear", r"^aten::(linear|addmm|mm|bmm|matmul|baddbmm)$|^(Addmm|Mm|Bmm|T)Backward0$"),
    ("normalisation", r"layer_norm|^NativeLayerNorm"),
    ("GELU, softmax, tanh", r"gelu|softmax|tanh|^(Gelu|Softmax|Tanh)Backward0$"),
    ("compiled", r"^triton_|^Torch-Compiled|CompiledFunction|cpp_fused|^## Call CompiledFx"),
    ("copies", r"^aten::(copy_|to|_to_copy|cat|stack|clone|contiguous)$|^Mem(cpy|set)"),
)
"""Category and pattern; of an event and all that it is nested in, the outermost that matches
counts, so that what sampling calls is sampling."""

_CONTAINERS = re.compile(rf"^({STEP}|ProfilerStep.*|autograd::engine.*|torch::autograd::.*)$")
"""Their own time is that between the operators."""


class Event(Protocol):
    """What is read of a `FunctionEvent`; times are in microseconds, children's left out."""

    name: str
    cpu_parent: Any
    self_cpu_time_total: float
    self_device_time_total: float


@dataclass(frozen=True)
class Operator:
    """One operator in all steps."""

    name: str
    category: str
    calls: int
    self_us: float


def category(event: Event) -> str:
    """Returns where the time of the event itself belongs."""
    lineage = []
    node: Event | None = event
    while node is not None:
        lineage.append(node.name)
        node = node.cpu_parent
    for name in reversed(lineage):
        for found, pattern in RULES:
            if re.search(pattern, name):
                return found
    return PYTHON if _CONTAINERS.match(event.name) else OTHER


def self_us(event: Event, clock: Clock) -> float:
    """Returns the time of the event itself, on the host or on the device."""
    return event.self_cpu_time_total if clock == "host" else event.self_device_time_total


def shares(events: Iterable[Event], clock: Clock) -> dict[str, float]:
    """Returns microseconds by category, the largest first; their sum is that of all events."""
    found: dict[str, float] = {}
    for event in events:
        if spent := self_us(event, clock):
            name = category(event)
            found[name] = found.get(name, 0.0) + spent
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def operators(events: Iterable[Event], clock: Clock) -> list[Operator]:
    """Returns the operators by their own time, the longest first."""
    calls: dict[tuple[str, str], int] = {}
    spent: dict[tuple[str, str], float] = {}
    for event in events:
        key = (event.name, category(event))
        calls[key] = calls.get(key, 0) + 1
        spent[key] = spent.get(key, 0.0) + self_us(event, clock)
    found = [Operator(*key, calls[key], spent[key]) for key in spent]
    return sorted(found, key=lambda operator: -operator.self_us)


def markdown(
    title: str,
    events: Sequence[Event],
    *,
    steps: int,
    wall_us: float,
    clocks: Sequence[Clock],
    facts: Mapping[str, str],
    top: int = 12,
) -> str:
    """Returns a section: facts, shares by category, the longest operators; times are per step.

    Args:
        title: of the section.
        events: of all steps.
        steps: how many there were.
        wall_us: from the first to the last.
        clocks: `device` too where there is one; its idle time is what is left of the wall time.
        facts: what else is known, by name.
        top: operators to list.
    """
    lines = [f"### {title}", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    for clock in clocks:
        found = shares(events, clock)
        if clock == "device":
            found["idle"] = max(wall_us - sum(found.values()), 0.0)
        total = sum(found.values()) or 1.0
        lines += [f"| {clock} time of | ms per step | share |", "|---|---:|---:|"]
        lines += [
            f"| {name} | {spent / steps / 1e3:.2f} | {100 * spent / total:.1f} % |"
            for name, spent in found.items()
        ]
        lines += ["", f"| operator, own {clock} time | part of | calls per step | ms per step |"]
        lines += ["|---|---|---:|---:|"]
        lines += [
            f"| `{each.name}` | {each.category} | {each.calls / steps:g} |"
            f" {each.self_us / steps / 1e3:.2f} |"
            for each in operators(events, clock)[:top]
            if each.self_us
        ]
        lines.append("")
    return "\n".join(lines)


def with_section(text: str, label: str, section: str) -> str:
    """Returns a file's text with the section of this label in it, new or in place of the old one.

    Everything else stays as it is: what people wrote between the tables.
    """
    begin, end = f"<!-- tables: {label} -->", f"<!-- end of tables: {label} -->"
    block = f"{begin}\n\n{section.strip()}\n\n{end}"
    if begin in text and end in text:
        before, _, rest = text.partition(begin)
        return before + block + rest.partition(end)[2]
    return f"{text.rstrip()}\n\n{block}\n".lstrip()
