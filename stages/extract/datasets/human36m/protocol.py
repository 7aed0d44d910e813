"""Which of Human3.6M's frames are used.

Two groups of sequences are treated differently by different papers, and numbers compare only where
they agree:

- `protocol`: three sequences of S9 whose 3D is shifted against the picture, Greeting-2,
  SittingDown-2 and Waiting-1 by the metadata's subactions (files "Greeting", "SittingDown 1",
  "Waiting 1"). Root-relative 3D is right, what joins picture and 3D is not. VideoPose3D and
  CA-PF keep them (`keep`), MotionBERT and learnable-triangulation do not (`drop-damaged`).
- `s11_directions`: Directions-2 of S11 (file "Directions"), whose video of camera 54138969 is
  missing or corrupt. VideoPose3D leaves it out for all four cameras, and so does everyone with its
  2D detections, as CA-PF (`drop`). With `keep` the frames without a picture are bad rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.human36m.names import TEST_SUBJECTS, Take

Protocol = Literal["keep", "drop-damaged"]
Directions = Literal["keep", "drop"]

DAMAGED = frozenset({Take("S9", 5, 2), Take("S9", 10, 2), Take("S9", 13, 1)})
WITHOUT_VIDEO = Take("S11", 2, 2)


@dataclass(frozen=True)
class Selection:
    """Which frames are used, and in which split.

    Args:
        subjects: only these; None for all.
        validation_subjects: train subjects that become the split `validation`.
        stride: every `stride`-th frame of each clip, from its first; 5 gives mmpose's 10 fps.
        limit: at most this many rows of each split, evenly spaced.
        protocol: what becomes of S9's damaged sequences.
        s11_directions: what becomes of the sequence that lacks a video.
    """

    subjects: tuple[str, ...] | None
    validation_subjects: tuple[str, ...]
    stride: int
    limit: int | None
    protocol: Protocol
    s11_directions: Directions

    @classmethod
    def of(
        cls,
        *,
        subjects: Sequence[str] | None,
        validation_subjects: Sequence[str],
        stride: int,
        limit: int | None,
        protocol: str,
        s11_directions: str,
    ) -> Selection:
        """Return the selection; raises DatasetError for a choice that is none."""
        for name, value, choices in (
            ("protocol", protocol, get_args(Protocol)),
            ("s11_directions", s11_directions, get_args(Directions)),
        ):
            if value not in choices:
                raise DatasetError(
                    f"dataset.options.{name} is {value!r}; it must be one of {', '.join(choices)}."
                )
        return cls(
            subjects=None if subjects is None else tuple(subjects),
            validation_subjects=tuple(validation_subjects),
            stride=stride,
            limit=limit,
            protocol=protocol,  # type: ignore[arg-type]  # checked above
            s11_directions=s11_directions,  # type: ignore[arg-type]
        )

    def keeps(self, take: Take) -> bool:
        """Return whether a sequence is used."""
        if not self.keeps_subject(take.subject):
            return False
        if self.protocol == "drop-damaged" and take in DAMAGED:
            return False
        return not (self.s11_directions == "drop" and take == WITHOUT_VIDEO)

    def keeps_subject(self, subject: str) -> bool:
        """Return whether anything of a subject is used."""
        return self.subjects is None or subject in self.subjects

    def split_of(self, subject: str) -> int:
        """Return the code of a subject's split in `SPLITS`."""
        if subject in TEST_SUBJECTS:
            return 2
        return int(subject in self.validation_subjects)

    def identity(self) -> dict[str, Any]:
        """Return the choices as JSON values."""
        return {
            "subjects": None if self.subjects is None else sorted(self.subjects),
            "validation_subjects": sorted(self.validation_subjects),
            "stride": self.stride,
            "limit": self.limit,
            "protocol": self.protocol,
            "s11_directions": self.s11_directions,
        }
