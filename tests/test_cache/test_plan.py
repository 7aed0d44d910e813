from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cache import IndexColumn, PlanError, RowPlan
from tests.test_cache.factory import make_plan


def with_column(plan: RowPlan, name: str, codes: Any, words: Any = None) -> RowPlan:
    return replace(plan, index={**plan.index, name: IndexColumn(np.array(codes), words)})


def test_take_keeps_rows_labels_and_their_own_items() -> None:
    plan = make_plan(20)
    taken = plan.take(np.arange(3, 20, 4))
    assert len(taken) == 5
    np.testing.assert_array_equal(taken.joints_3d_mm, plan.joints_3d_mm[3::4])
    assert taken.index["item"].vocabulary == tuple(plan.index["item"].words()[3::4])
    assert taken.index["split"].words() == plan.index["split"].words()[3::4]


def test_fingerprint_changes_with_every_part() -> None:
    plan = make_plan(10)
    joints = plan.joints_2d_px.copy()
    joints[3, 4, 0] += 1
    changed = [
        replace(plan, joints_2d_px=joints),
        replace(plan, cameras=plan.cameras[::-1]),
        replace(plan, visible=plan.valid),
        with_column(plan, "person", np.ones(10)),
        with_column(
            plan, "split", plan.index["split"].codes, ("train", "validation", "test_new_cameras")
        ),
        make_plan(10, seed=1),
    ]
    prints = {plan.fingerprint(), *(other.fingerprint() for other in changed)}
    assert len(prints) == 1 + len(changed)
    assert make_plan(10).fingerprint() == plan.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: replace(p, joints_2d_px=p.joints_2d_px[:, :16]),
            r"joints_2d_px must have shape",
        ),
        (lambda p: replace(p, joints_3d_mm=p.joints_3d_mm * np.nan), "not finite in row 0"),
        (lambda p: replace(p, boxes_px=np.zeros((3, 4))), "boxes_px must have shape"),
        (lambda p: replace(p, index={"split": p.index["split"]}), r"missing \['action'"),
        (lambda p: with_column(p, "frame", np.arange(9)), "must have 10 codes"),
        (lambda p: with_column(p, "item", np.zeros(10), ("a",)), "name every row differently"),
        (lambda p: with_column(p, "split", np.zeros(10)), "'split' needs a vocabulary"),
        (lambda p: with_column(p, "camera", np.full(10, 2)), "the plan has 2 cameras"),
        (lambda p: with_column(p, "clip", [0, 1] * 5), "clip 0 is interrupted"),
        (lambda p: with_column(p, "frame", [1, 2, 3, 3, 4] * 2), r"row 3 \(frame 3\) follows"),
    ],
)
def test_broken_plans_are_refused(change: Callable[[RowPlan], RowPlan], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        change(make_plan(10))


def test_an_empty_plan_is_refused() -> None:
    with pytest.raises(PlanError, match="at least one row"):
        make_plan(3).take([])


def test_columns_refuse_codes_and_words_that_do_not_fit() -> None:
    with pytest.raises(PlanError, match="vocabulary of 2 words"):
        IndexColumn(np.array([0, 2]), ("a", "b"))
    with pytest.raises(PlanError, match="names a word twice"):
        IndexColumn(np.array([0, 1]), ("a", "a"))
    with pytest.raises(PlanError, match="no vocabulary"):
        IndexColumn(np.array([4])).words()


def test_rows_of_a_word_are_found() -> None:
    column = IndexColumn.from_words(["b", "a", "b"])
    assert column.vocabulary == ("b", "a")
    assert column.rows_of("b").tolist() == [0, 2]
    with pytest.raises(PlanError, match="no row is called 'c'"):
        column.rows_of("c")
