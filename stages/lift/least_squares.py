"""Levenberg and Marquardt's method for many small problems at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SAVING = 1e-7
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-9, 1e9


class Expansion(NamedTuple):
    """A sum of squares around a point: its value, and half its gradient and Hessian."""

    cost: Floats  # [m]
    gradient: Floats  # [m, P]
    hessian: Floats  # [m, P, P] as Gauss and Newton have it: positive semi-definite


def minimise(
    start: Floats,  # [n, P]
    expand: Callable[[Floats, NDArray[np.intp]], Expansion],
    *,
    max_steps: int,
    tolerance: float,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns the points [n, P] found, and whether each [n] has come to rest.

    `expand(points [m, P], problems [m])` expands the problems of these numbers, each at its point.
    A step is taken if it makes the cost smaller. A problem is at rest when its step is shorter
    than `tolerance` in every unknown, or saves less than one part in 10^7 of the cost; one whose
    cost is not finite at the start stays there.
    """
    points = start.copy()
    at_rest = np.zeros(len(start), dtype=bool)
    damping = np.full(len(start), _FIRST_DAMPING)
    open_ones = np.arange(len(start), dtype=np.intp)
    here = expand(points, open_ones)
    open_ones, here = _kept(np.isfinite(here.cost), open_ones, here)
    for _ in range(max_steps):
        if not len(open_ones):
            break
        diagonal = np.einsum("mpp->mp", here.hessian)
        damped = here.hessian.copy()
        # Where nothing depends on an unknown, it stays.
        added = damping[open_ones, None] * diagonal + np.where(diagonal > 0, 0.0, 1.0)
        np.einsum("mpp->mp", damped)[...] += added
        steps = -np.linalg.solve(damped, here.gradient[..., None])[..., 0]
        there = expand(points[open_ones] + steps, open_ones)
        is_better = there.cost < here.cost  # never of NaN
        taken = open_ones[is_better]
        points[taken] += steps[is_better]
        damping[open_ones] = np.clip(
            damping[open_ones] * np.where(is_better, 0.2, 8.0), _LEAST_DAMPING, _MOST_DAMPING
        )
        is_done = (np.abs(steps) < tolerance).all(axis=1)
        is_done |= is_better & (here.cost - there.cost < _SAVING * here.cost)
        at_rest[open_ones[is_done]] = True
        here = Expansion(
            *(
                np.where(is_better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
                for new, old in zip(there, here, strict=True)
            )
        )
        open_ones, here = _kept(~is_done, open_ones, here)
    return points, at_rest


def _kept(
    chosen: NDArray[np.bool_], problems: NDArray[np.intp], expansion: Expansion
) -> tuple[NDArray[np.intp], Expansion]:
    return problems[chosen], Expansion(*(part[chosen] for part in expansion))
