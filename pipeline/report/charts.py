"""Charts as plain descriptions for plotly.js."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lifter.metrics import joint_errors_mm
from pipeline.report.clips import ShownClip
from pipeline.report.evaluating import ReportRun

Chart = dict[str, Any]

RUN_COLOURS = ("#6a51c3", "#1b9e77", "#d6357f", "#a6761d", "#4c8bd6", "#7f7f7f")
_BIN_MM, _MOST_BINS = 5.0, 100
_CURVE_MM = np.linspace(0.0, 300.0, 61)


def run_colour(index: int) -> str:
    """Return the colour of the i-th run of a page."""
    return RUN_COLOURS[index % len(RUN_COLOURS)]


def curves(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Chart:
    """Return training loss, validation MPJPE and learning rate over epochs."""
    lines: list[dict[str, Any]] = []
    for index, (name, history) in enumerate(histories.items()):
        colour, prefix = run_colour(index), f"{name} " if len(histories) > 1 else ""
        epochs = [entry["epoch"] for entry in history]
        losses = [entry.get("loss_mm") for entry in history]
        lines.append(_line(epochs, losses, f"{prefix}training loss", colour, dash="dot"))
        validated = [e for e in history if e.get("validation_mpjpe_mm") is not None]
        errors = [e["validation_mpjpe_mm"] for e in validated]
        line = _line([e["epoch"] for e in validated], errors, f"{prefix}validation MPJPE", colour)
        lines.append(line | {"mode": "lines+markers"})
        best = [e for e in validated if e.get("best")]
        if best:
            kept = [best[-1]["epoch"]], [best[-1]["validation_mpjpe_mm"]]
            ring = {"size": 13, "symbol": "circle-open", "color": colour, "line": {"width": 2}}
            lines.append(
                _line(*kept, f"{prefix}kept", colour) | {"mode": "markers", "marker": ring}
            )
        rates = _line(epochs, [e.get("lr") for e in history], f"{prefix}learning rate", colour)
        lines.append(rates | {"yaxis": "y2", "showlegend": False})
    longest = max((len(history) for history in histories.values()), default=1)
    step = max(1, -(-longest // 12))  # epochs are whole
    layout = {
        "xaxis": {"title": {"text": "epoch"}, "anchor": "y2", "tick0": 0, "dtick": step},
        "yaxis": {"title": {"text": "mm"}, "domain": [0.34, 1.0], "rangemode": "tozero"},
        "yaxis2": {
            "title": {"text": "learning rate"},
            "domain": [0.0, 0.22],
            "rangemode": "tozero",
            "exponentformat": "e",
        },
    }
    return {"data": lines, "layout": layout}


def histogram(runs: Mapping[str, ReportRun], split: str) -> Chart:
    """Return the distribution of the MPJPE of frames; of several runs, its outlines.

    Bars are `_BIN_MM` wide, or a multiple of it.
    """
    errors = {name: run.evaluations[split].frame_mpjpe_mm for name, run in runs.items()}
    largest = max(float(values.max()) for values in errors.values())
    width = _BIN_MM * max(1, int(np.ceil(largest / _BIN_MM / _MOST_BINS)))
    edges = np.arange(0.0, largest + width, width)
    middles = (edges[:-1] + width / 2).tolist()
    drawn = []
    for index, (name, values) in enumerate(errors.items()):
        counts, _ = np.histogram(values, bins=edges)
        share = (100.0 * counts / len(values)).round(3).tolist()
        shape: Chart
        if len(errors) > 1:
            shape = _line(middles, share, name, run_colour(index))
            shape["line"] |= {"shape": "hvh"}
        else:
            marker = {"color": run_colour(index), "line": {"width": 0}}
            shape = {"type": "bar", "name": name, "x": middles, "y": share, "width": width}
            shape |= {"marker": marker, "opacity": 0.65}
        hover = f"%{{x:.0f}} mm ± {width / 2:g}: %{{customdata}} frames (%{{y:.1f}} %)"
        drawn.append(shape | {"customdata": counts.tolist(), "hovertemplate": hover})
    marks = [_mark(float(np.median(v)), run_colour(i)) for i, v in enumerate(errors.values())]
    layout = {
        "showlegend": len(errors) > 1,
        "xaxis": {"title": {"text": "MPJPE of a frame [mm]; dashed: median"}, "range": [0, None]},
        "yaxis": {"title": {"text": "frames [%]"}, "rangemode": "tozero"},
        "shapes": marks,
    }
    return {"data": drawn, "layout": layout}


def pck_curve(runs: Mapping[str, ReportRun], split: str) -> Chart:
    """Return the share of all joints whose error is at most so many mm."""
    lines = []
    for index, (name, run) in enumerate(runs.items()):
        evaluation = run.evaluations[split]
        errors = np.sort(joint_errors_mm(evaluation.predicted_mm, evaluation.true_mm), axis=None)
        share = 100.0 * np.searchsorted(errors, _CURVE_MM, side="right") / errors.size
        lines.append(_line(_CURVE_MM.tolist(), share.round(3).tolist(), name, run_colour(index)))
    layout = {
        "showlegend": len(lines) > 1,
        "xaxis": {"title": {"text": "error of a joint [mm]"}},
        "yaxis": {"title": {"text": "joints with at most this error [%]"}, "range": [0, 100]},
    }
    return {"data": lines, "layout": layout}


def clip_errors(names: Sequence[str], clip: ShownClip) -> Chart:
    """Return the MPJPE over the frames of a clip."""
    lines = [
        _line(clip.frames.tolist(), errors.round(2).tolist(), name, run_colour(index))
        for index, (name, errors) in enumerate(zip(names, clip.errors_mm, strict=True))
    ]
    layout = {
        "xaxis": {"title": {"text": "frame of the clip"}, "tickformat": "d"},
        "yaxis": {"title": {"text": "MPJPE [mm]"}, "rangemode": "tozero"},
        "showlegend": True,
    }
    return {"data": lines, "layout": layout}


def clip_changes(metrics: Mapping[str, Mapping[str, Any]], split: str) -> Chart:
    """Return the change of every clip against the first run, clips in order of the first change."""
    (base_name, base), *others = metrics.items()
    clips = base["splits"][split]["per_clip"]
    changes = {}
    for name, metrics_of in others:
        found = metrics_of["splits"][split]["per_clip"]
        changes[name] = [found[clip]["mpjpe_mm"] - clips[clip]["mpjpe_mm"] for clip in clips]
    order = np.argsort(next(iter(changes.values())), kind="stable")
    names = [list(clips)[i] for i in order]
    dots = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"{name} - {base_name}",
            "x": list(range(1, len(names) + 1)),
            "y": [round(values[i], 3) for i in order],
            "text": names,
            "marker": {"color": run_colour(index), "size": 5},
            "hovertemplate": "%{text}: %{y:+.1f} mm<extra></extra>",
        }
        for index, (name, values) in enumerate(changes.items(), 1)
    ]
    layout = {
        "xaxis": {"title": {"text": "clips, in order of the first change"}},
        "yaxis": {"title": {"text": "change of a clip's MPJPE [mm]"}, "zeroline": True},
        "showlegend": True,
    }
    return {"data": dots, "layout": layout}


def calibration(found: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Return observed against predicted error; `found` by run, as `metrics.json` has it."""
    lines = []
    largest = 0.0
    for index, (name, uncertainty) in enumerate(found.items()):
        predicted = [float(one["predicted_mm"]) for one in uncertainty["bins"]]
        observed = [float(one["observed_mm"]) for one in uncertainty["bins"]]
        largest = max(largest, *predicted, *observed)
        line = _line(predicted, observed, name, run_colour(index))
        hover = "predicted %{x:.1f} mm, observed %{y:.1f} mm, %{customdata} joints"
        counts = [one["count"] for one in uncertainty["bins"]]
        lines.append(line | {"mode": "lines+markers", "customdata": counts, "hovertemplate": hover})
    layout = {
        "xaxis": {"title": {"text": "predicted error [mm]"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "observed error [mm]"}, "rangemode": "tozero"},
        "showlegend": True,
    }
    return {"data": [_diagonal(largest), *lines], "layout": layout}


def coverage(found: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Return which share of joints lies within the radius that should hold a share of them."""
    lines = []
    for index, (name, uncertainty) in enumerate(found.items()):
        levels = [100.0 * one["level"] for one in uncertainty["coverage"]]
        shares = [100.0 * one["observed"] for one in uncertainty["coverage"]]
        line = _line(levels, shares, name, run_colour(index))
        lines.append(line | {"mode": "lines+markers"})
    layout = {
        "xaxis": {"title": {"text": "joints that should lie within [%]"}, "range": [0, 100]},
        "yaxis": {"title": {"text": "joints that do [%]"}, "range": [0, 100]},
        "showlegend": True,
    }
    return {"data": [_diagonal(100.0), *lines], "layout": layout}


def _diagonal(end: float) -> Chart:
    return _line([0, end], [0, end], "perfect", "#999999", dash="dash")


def _line(x: Sequence[Any], y: Sequence[Any], name: str, colour: str, dash: str = "solid") -> Chart:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": {"color": colour, "dash": dash, "width": 2},
    }


def _mark(x: float, colour: str) -> Chart:
    line = {"color": colour, "width": 2, "dash": "dash"}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}
