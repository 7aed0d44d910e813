"""Errors that papers report, to stand beside ours and never among them: on other data.

All are on Human3.6M, mean over actions, in mm, and of 2D joints of CPN fine-tuned on it unless a
note says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

LABEL = "paper, Human3.6M"
"""What every place that shows one of these numbers calls them."""


@dataclass(frozen=True)
class PublishedNumber:
    """One number of a paper.

    Args:
        metric: as in `metrics.json`.
        low_mm: the number, or the lower end of a range.
        high_mm: the upper end of a range.
        change: it is a difference to the full model.
        note: what it is of.
    """

    metric: str
    low_mm: float
    high_mm: float | None = None
    change: bool = False
    note: str = ""

    def __str__(self) -> str:
        sign = "+" if self.change else ""
        ends = [self.low_mm, *([] if self.high_mm is None else [self.high_mm])]
        return " to ".join(f"{end:{sign}.1f}" for end in ends)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values, the text it is shown as included."""
        return {**asdict(self), "text": str(self), "label": LABEL}


def _error(
    mpjpe_mm: float,
    p_mpjpe_mm: float | None = None,
    *,
    mpjve_mm: float | None = None,
    note: str = "",
) -> tuple[PublishedNumber, ...]:
    given = {"mpjpe_mm": mpjpe_mm, "p_mpjpe_mm": p_mpjpe_mm, "mpjve_mm": mpjve_mm}
    return tuple(
        PublishedNumber(metric, value, note=note)
        for metric, value in given.items()
        if value is not None
    )


def _change(low_mm: float, high_mm: float | None = None) -> tuple[PublishedNumber, ...]:
    return (PublishedNumber("mpjpe_mm", low_mm, high_mm, change=True),)


_OF_LADDERS: Mapping[str, Mapping[str, tuple[PublishedNumber, ...]]] = MappingProxyType(
    {
        # Zhao et al. 2023 (Context-Aware PoseFormer), the ablations of the main text.
        "ladder": {
            "pose_only": _error(51.2, note="PoseFormer of one frame"),
            "concat": _error(43.5),
            "fusion": _error(42.8),
            "capf": _error(41.4, 33.5),
        },
        "levels": {
            "without x4": _change(1.5),
            "without x8": _change(1.0),
            "without x16": _change(1.7),
            "without x32": _change(0.4),
        },
        "features": {
            "pose_only": _error(51.2, note="PoseFormer of one frame"),
            "pose_features": _error(41.4, 33.5, note="HRNet-W32"),
            "imagenet_features": _change(4.1, 6.4),
        },
        # The same, Appendix C.
        "temporal": {
            "poseformer_1": _error(53.2, note="as Appendix C has it; the main text has 51.2"),
            "capf_temporal_1": _error(44.7, mpjve_mm=8.5),
            "capf_temporal_3": _error(44.2, mpjve_mm=4.8),
            "capf_temporal_9": _error(43.4, mpjve_mm=3.4),
            "capf_temporal_27": _error(40.2, mpjve_mm=2.1),
        },
        "lifters": {
            "pose_only": _error(51.2, note="PoseFormer of one frame, as the CA-PF paper has it"),
            "videopose3d": _error(46.8, 36.5, note="243 frames, README of VideoPose3D"),
            "poseformer": _error(44.3, 34.6, note="81 frames, as the CA-PF paper has it"),
            "mixste": _error(40.9, 32.6, note="243 frames, as the CA-PF paper has it"),
            "pandapose": _error(39.8, 32.7, note="one frame, from a secondary source"),
            "capf": _error(41.4, 33.5, note="one frame, HRNet-W32"),
            "capf_temporal": _error(40.2, mpjve_mm=2.1, note="27 frames, CA-PF's Appendix C"),
        },
    }
)
_NOTES: Mapping[str, str] = MappingProxyType(
    {
        "levels": "changes to all four levels; the paper's prose has 3.6 %, 4.1 % and 1.0 %",
        "features": "imagenet_features: change to pose features, by network",
        "temporal": "Appendix C of CA-PF",
    }
)


def published_numbers(ladder: str | None) -> Mapping[str, tuple[PublishedNumber, ...]]:
    """Return the numbers of papers by row of a ladder; empty where there are none."""
    return _OF_LADDERS.get(ladder or "", {})


def published_note(ladder: str | None) -> str:
    """Return what is to be known of the numbers of a ladder, or an empty text."""
    return _NOTES.get(ladder or "", "")
