"""Where the inputs of a lifter come from, as every result names it."""

from __future__ import annotations

from typing import Any

from cache import CacheReader, conversion_note
from stages.lift.config import TrainConfig

_HASH_LETTERS = 8


def sources_of(reader: CacheReader, keypoint_source: str, context: str | None) -> dict[str, Any]:
    """Returns the fields of a result that name its inputs; plain containers.

    `keypoint_source`, `keypoint_skeleton`, `feature_source` (None without maps, or with maps of
    zeros), `box_source`, and `notes`: sentences on what of them is an approximation.
    """
    return {
        "keypoint_source": keypoint_source,
        "keypoint_skeleton": reader.source_skeleton(keypoint_source).name,
        "feature_source": feature_source(reader) if context in ("own", "shuffled") else None,
        "box_source": box_source(reader),
        "notes": [*keypoint_notes(reader, keypoint_source), *label_notes(reader)],
    }


def feature_source(reader: CacheReader) -> str:
    """Returns kind, model and weights of the network behind the maps, as far as they are known."""
    detector = reader.feature_identity.get("detector")
    found = detector if isinstance(detector, dict) else {}
    words = [found.get("kind"), found.get("model"), str(found.get("weights", ""))[:_HASH_LETTERS]]
    return " ".join(str(word) for word in words if word) or "unknown"


def box_source(reader: CacheReader) -> str:
    """Returns where the boxes of the crops came from, as the feature identity says."""
    crop = reader.feature_identity.get("crop")
    return str(crop.get("box_source", "unknown")) if isinstance(crop, dict) else "unknown"


def keypoint_notes(reader: CacheReader, keypoint_source: str) -> list[str]:
    """Returns a sentence if the keypoints are not of the labels' joints, but made into such."""
    note = conversion_note(reader.source_skeleton(keypoint_source), reader.label_skeleton)
    return [] if note is None else [f"Keypoints {keypoint_source} are {note}."]


def label_notes(reader: CacheReader) -> list[str]:
    """Returns what of the labels the dataset calls an approximation."""
    notes = reader.content_identity.get("notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []


def selection_notes(config: TrainConfig) -> list[str]:
    """Returns a sentence if the epoch of a run is chosen on a test split."""
    split = config.data.validation_split
    if config.select != "best" or not split.startswith("test"):
        return []
    return [
        f"CHOSEN ON TEST: the epoch is the one with the lowest error on {split}, so the errors on"
        f" {split} are too low to compare with results that were chosen on validation or not at"
        " all; those of the last epoch are not chosen."
    ]
