"""What Human3.6M calls its subjects, cameras and sequences, and which joints are used.

Sequences have two names. The metadata of the data set number them: action 2..16, subaction 1 or 2
("act_05_subact_02"). Files carry base names ("Greeting", "SittingDown 1") whose own number is
something else and irregular: subaction 1 of S1's Eating is "Eating 2", and subaction **2** of S9's
SittingDown is "SittingDown 1". Only the table says which is which.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
"""Those with public 3D labels."""
TEST_SUBJECTS = ("S9", "S11")
SPLITS = ("train", "validation", "test")

CAMERA_IDS = ("54138969", "55011271", "58860488", "60457274")
"""Camera 1, 2, 3, 4 of files that count them."""
FPS = 50.0

JOINTS_OF_32 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""Where H36M17 is in the 32 joints of the raw files; the rest are copies and ends of bones."""

ACTIONS: Mapping[int, str] = MappingProxyType(
    {
        2: "Directions", 3: "Discussion", 4: "Eating", 5: "Greeting", 6: "Phoning", 7: "Posing",
        8: "Purchases", 9: "Sitting", 10: "SittingDown", 11: "Smoking", 12: "Photo",
        13: "Waiting", 14: "Walking", 15: "WalkDog", 16: "WalkTogether",
    }
)  # fmt: skip
"""Names as in file names of the test subjects and in result tables. Action 1 is "_ALL"."""


class Take(NamedTuple):
    """One sequence by the metadata's numbers."""

    subject: str
    action: int
    subaction: int


BaseNames = Mapping[Take, str]

# Subaction 1 is "<action> 1" and subaction 2 is "<action>", with these exceptions.
_IRREGULAR = {
    "S1": {
        (4, 1): "Eating 2", (9, 2): "Sitting 2", (10, 1): "SittingDown 2", (10, 2): "SittingDown",
        (12, 1): "TakingPhoto 1", (12, 2): "TakingPhoto",
        (15, 1): "WalkingDog 1", (15, 2): "WalkingDog",
    },
    "S5": {
        (2, 2): "Directions 2", (3, 1): "Discussion 2", (3, 2): "Discussion 3",
        (5, 2): "Greeting 2", (12, 1): "Photo", (12, 2): "Photo 2", (13, 2): "Waiting 2",
    },
    "S6": {
        (4, 2): "Eating 2", (7, 1): "Posing 2", (9, 2): "Sitting 2", (10, 1): "SittingDown 1",
        (10, 2): "SittingDown", (12, 1): "Photo", (12, 2): "Photo 1", (13, 1): "Waiting 3",
    },
    "S7": {
        (6, 1): "Phoning 2", (12, 1): "Photo", (12, 2): "Photo 1", (13, 2): "Waiting 2",
        (14, 2): "Walking 2",
    },
    "S8": {(16, 2): "WalkTogether 2"},
    "S9": {(3, 2): "Discussion 2"},
    "S11": {
        (3, 2): "Discussion 2", (5, 1): "Greeting 2", (6, 1): "Phoning 3", (6, 2): "Phoning 2",
        (11, 1): "Smoking 2",
    },
}  # fmt: skip


def _base_name(take: Take) -> str:
    # "SittingDown" and "SittingDown 1" are the other way round than everything else.
    regular = ACTIONS[take.action] + (" 1" if (take.subaction == 1) != (take.action == 10) else "")
    return _IRREGULAR[take.subject].get((take.action, take.subaction), regular)


BASE_NAMES: BaseNames = MappingProxyType(
    {
        take: _base_name(take)
        for take in (Take(s, a, sub) for s in SUBJECTS for a in ACTIONS for sub in (1, 2))
    }
)
"""The table of `metadata.xml` for the subjects with labels: 210 sequences."""


def plain_name(base_name: str) -> str:
    """Return a base name as VideoPose3D and all subjects but S1 spell it, mmpose's "_" undone."""
    name = base_name.replace("_", " ")
    return name.replace("TakingPhoto", "Photo").replace("WalkingDog", "WalkDog")


def takes_by_name(base_names: BaseNames = BASE_NAMES) -> Mapping[tuple[str, str], Take]:
    """Return the sequence of each (subject, plain name)."""
    return {(take.subject, plain_name(name)): take for take, name in base_names.items()}
