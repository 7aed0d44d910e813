from __future__ import annotations

import base64
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.report.charts import histogram, pck_curve
from pipeline.report.control import control_text
from pipeline.report.evaluating import ReportRun, read_run
from pipeline.report.facts import changed_settings, warnings_of
from pipeline.report.frames import chosen_samples
from pipeline.report.pictures import crop_around
from pipeline.report.tables import means_table


@pytest.fixture(scope="module")
def run(trained: Path) -> ReportRun:
    return read_run(trained / "runs" / "capf", progress=lambda *_: None)


def test_the_two_worst_frames_are_of_different_clips() -> None:
    errors = np.array([5.0, 90.0, 80.0, 1.0, 60.0, 20.0])
    clips = np.array([0, 1, 1, 0, 2, 2])
    assert chosen_samples(errors, clips) == {
        "worst": 1,
        "worst of another clip": 4,
        "median": 4,
        "best": 3,
    }
    assert "worst of another clip" not in chosen_samples(errors, np.zeros(6, dtype=int))


def test_a_crop_lies_where_it_says() -> None:
    image = np.zeros((80, 120, 3), dtype=np.uint8)
    image[30:50, 40:70] = 200
    points = np.array([[40.0, 30.0], [69.0, 49.0]])
    cropped = crop_around(image, points, longest_px=400)
    encoded = np.frombuffer(base64.b64decode(cropped.uri.partition(",")[2]), dtype=np.uint8)
    seen = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    assert seen.shape[:2] == (cropped.height_px, cropped.width_px)
    top, left = round(cropped.top_px + 0.5), round(cropped.left_px + 0.5)
    expected = image[top : top + seen.shape[0], left : left + seen.shape[1]].astype(int)
    error = np.abs(seen - expected).mean()
    off_by_four = image[top + 4 : top + 4 + seen.shape[0], left : left + seen.shape[1]].astype(int)
    assert error < 0.3 * np.abs(seen - off_by_four).mean()


def test_a_crop_is_never_enlarged_and_stays_in_the_picture() -> None:
    image = np.zeros((80, 120, 3), dtype=np.uint8)
    cropped = crop_around(image, np.array([[-50.0, -20.0], [400.0, 90.0]]), longest_px=30)
    assert (cropped.left_px, cropped.top_px) == (-0.5, -0.5)
    assert (cropped.width_px, cropped.height_px) == (120.0, 80.0)


def test_the_histogram_counts_every_frame_and_the_curve_is_pck(run: ReportRun) -> None:
    chart = histogram({"a": run}, "test")
    metrics = run.metrics["splits"]["test"]
    assert sum(chart["data"][0]["customdata"]) == metrics["num_frames"]
    (line,) = pck_curve({"a": run}, "test")["data"]
    at_150 = dict(zip(line["x"], line["y"], strict=True))[150.0]
    assert at_150 == pytest.approx(100 * metrics["frame_wise"]["pck"], abs=1e-2)


def test_settings_are_shown_beside_their_defaults(run: ReportRun) -> None:
    found = {key: (value, default) for key, value, default in changed_settings(run)}
    assert found["lifter.width"] == ("8", "128")
    assert found["lifter.reference_rule"] == ("geometric", "published")
    assert "train.seed" not in found
    assert not [key for key in found if key.startswith("comparison")]


def test_what_flatters_a_result_is_said(run: ReportRun) -> None:
    flattered = {"notes": ["CHOSEN ON TEST: ..."], "box_source": "gt3d", "keypoint_source": "gt"}
    shown = replace(run, metrics={**run.metrics, **flattered})
    words = Counter(sentence.split()[0] for sentence in warnings_of(shown))
    assert words == {"CHOSEN": 1, "Boxes": 1, "2D": 1}


def test_errors_before_a_refinement_are_beside_those_after_it(run: ReportRun) -> None:
    before = {"frame_wise": {"mpjpe_mm": 123.4}, "action_wise": {"mpjpe_mm": 234.5}}
    test = {**run.metrics["splits"]["test"], "before_refinement": before}
    table = means_table({**run.metrics, "splits": {"test": test}})
    shown = {row[1].text: row[3].text for row in table.rows}
    assert shown["frames, before refinement"] == "123.4"
    assert shown["actions, before refinement"] == "234.5"
    assert shown["frames"] == f"{test['frame_wise']['mpjpe_mm']:.1f}"


def test_what_must_be_said_of_a_control_alone_is_said_of_it(run: ReportRun) -> None:
    run = replace(run, metrics={**run.metrics, "notes": ["CHOSEN ON TEST: both."]})
    notes = {"notes": ["CHOSEN ON TEST: both.", "ORACLE ROOT: not comparable."]}
    control = replace(run, metrics={**run.metrics, **notes})
    said = control_text(control, run)
    assert "ORACLE ROOT: not comparable." in said
    assert "CHOSEN" not in said
