"""What was run, on which store, from which detector, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from pipeline.report.evaluating import ReportRun
from pipeline.report.tables import HtmlTable, words_table
from pipeline.stores.facts import describe_store
from pipeline.stores.tables import size_text
from stages.lift.progress import train_seconds

_LEFT_OUT = ("comparison", "detector_training", "people")
"""Sections that decide nothing of one run."""
_PACKAGES = ("python", "posecache", "torch", "numpy")
_LONGEST = 160  # letters of a value
_DETECTOR_WORDS = {
    "detector.kind": "kind",
    "detector.model": "model",
    "detector.name": "name",
    "detector.weights": "weights",
    "detector.skeleton": "joints",
    "detector.precision": "precision",
    "detector.device": "ran on",
    "crop.kind": "crop rule",
    "crop.input_size": "crop, H x W px",
    "crop.padding": "crop padding",
    "crop.box_source": "boxes",
    "flip_rule": "flipped view",
}

Facts = list[tuple[str, str]]


def run_facts(run: ReportRun) -> Facts:
    """Return the lifter, its training, and where it was made."""
    metrics, history = run.metrics, run.loaded.history
    facts = [
        ("lifter", f"{metrics['lifter']}, {metrics['num_parameters']:,} parameters"),
        ("weights shown", f"epoch {metrics['epoch']} ({metrics.get('weights', 'best')})"),
        ("seed", str(metrics["seed"])),
    ]
    frames = run.loaded.description.lifter.num_frames
    if frames > 1:
        facts.append(("window", f"{frames} frames"))
    if history:
        seconds = train_seconds(history)
        facts.append(
            (
                "training",
                f"{history[-1]['step']:,} steps of {run.config.train.batch_size},"
                f" {history[-1]['epoch']} epochs, {seconds:.0f} s",
            )
        )
    if metrics.get("sampling_backend"):
        facts.append(("maps sampled by", str(metrics["sampling_backend"])))
    origin = run.provenance
    for key, word in (("finished", "finished"), ("git_revision", "revision"), ("platform", "on")):
        if origin.get(key):
            facts.append((word, str(origin[key])))
    if versions := origin.get("versions"):
        named = [f"{name} {versions[name]}" for name in _PACKAGES if versions.get(name)]
        facts.append(("versions", ", ".join(named)))
    if command := origin.get("command"):
        facts.append(("command", " ".join(["posecache", *map(str, command[1:])])))
    return facts


def source_facts(run: ReportRun) -> Facts:
    """Return where each input of the lifter came from, and what the boxes are."""
    metrics = run.metrics
    return [
        ("2D joints", f"{metrics['keypoint_source']} ({metrics.get('keypoint_skeleton', '?')})"),
        ("feature maps", str(metrics.get("feature_source") or "none")),
        ("maps read", ", ".join(run.loaded.level_names) or "none"),
        ("context", str(metrics.get("context") or "none")),
        ("boxes", str(metrics.get("box_source", "unknown"))),
        ("dataset", str(run.config.dataset.label or run.config.dataset.name)),
    ]


def warnings_of(run: ReportRun) -> list[str]:
    """Return what must be said of the results, the notes of the run first."""
    found = [str(note) for note in run.metrics.get("notes", ())]
    if run.metrics.get("box_source") == "gt3d":
        found.append(
            "Boxes come from the true 3D pose (gt3d): their size tells the lifter about depth."
        )
    if run.metrics["keypoint_source"] == "gt":
        found.append("2D joints are labels, not a detector's: results are too low for real use.")
    if run.metrics.get("context") == "shuffled":
        found.append("Context is shuffled: the maps are those of a frame of another clip.")
    return list(dict.fromkeys(found))


def calibration_text(name: str, uncertainty: Mapping[str, Any]) -> str:
    """Return in a sentence how the predicted errors of a run agree with the observed ones."""
    factor, rank = uncertainty["best_factor"], uncertainty["spearman"]
    sure = "too sure of itself" if factor > 1 else "too careful"
    ranked = "" if rank is None else f"; rank correlation over joints {rank:.2f}"
    return (
        f"{name}: predicted errors are off by {uncertainty['expected_calibration_error_mm']:.1f} mm"
        f" in the mean; the best ones are {factor:.2f} times these ({sure}){ranked}."
    )


def store_facts(run: ReportRun) -> tuple[Facts, HtmlTable]:
    """Return rows, sizes and identities of the store, and a table of its levels."""
    store = describe_store(run.location)
    num_rows, done = store["num_rows"], store["num_rows_done"]
    facts = [
        ("store", str(run.metrics.get("store", run.location))),
        ("rows", f"{num_rows:,} ({'complete' if store['complete'] else f'{done:,} written'})"),
        ("size", f"{size_text(store['size_bytes'])}, {store['dtype']}, {store['codec']}"),
        ("views", ", ".join(store["views"])),
        ("2D joints", ", ".join(f"{k} {v}" for k, v in store["keypoints"].items())),
        ("labels", store["label_skeleton"]),
        ("rows by split", _counts(store["rows_by_split"])),
        ("rows by status", _counts(store["rows_by_status"])),
    ]
    facts += [("note", str(note)) for note in store["notes"]]
    itemsize = {name: run.reader.level_dtype(name).itemsize for name in run.reader.levels}
    rows = [
        (
            level.name,
            f"{level.height} x {level.width} x {level.channels}",
            f"{level.stride} crop px",
            run.reader.level_dtype(level.name).name,
            size_text(level.height * level.width * level.channels * itemsize[level.name]),
        )
        for level in run.reader.levels.values()
    ]
    columns = ("level", "H x W x C", "cell", "dtype", "per row and view")
    title = "Levels" if run.reader.spec.points is None else "Levels (a point cache: no maps)"
    return facts, words_table(title, rows, columns)


def detector_facts(run: ReportRun) -> Facts:
    """Return the detector and the crop in a few lines, as the store's identity names them."""
    flat = dict(_flat(dict(run.reader.feature_identity)))
    return [(word, _short(flat[key])) for key, word in _DETECTOR_WORDS.items() if key in flat]


def feature_identity(run: ReportRun) -> HtmlTable:
    """Return all that decides the features of the store."""
    rows = [(key, _short(value)) for key, value in _flat(dict(run.reader.feature_identity))]
    return words_table("", rows, ("feature identity", "value"))


def changed_settings(run: ReportRun) -> list[tuple[str, str, str]]:
    """Return key, value and default of every setting of the run that is not at its default."""
    found = []
    for key, value, default in _changed(run.config):
        if key.partition(".")[0] not in _LEFT_OUT:
            found.append((key, _short(value), "-" if default is None else _short(default)))
    return found


def _changed(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _changed(value, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        if default is PydanticUndefined:
            default = None
        if value != default:
            yield f"{prefix}{name}", value, default


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
