"""Keypoints of another store of the same rows, in both views as they are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cache import CacheError, CacheReader
from cache.fingerprint import diff_identities
from cache.imported import ImportedKeypoints
from stages.extract.datasets.base import Dataset, DatasetError

_NOT_PICTURES = "keypoint_files"
"""Key of a content identity that says which keypoints were imported, and nothing of the rows."""
_NUM_NAMED = 3


@dataclass(frozen=True)
class KeypointStore:
    """Keypoints that a store has.

    Args:
        location: folder or URL of a finished store.
        source: which of its keypoints: `detector`, `gt`, `imported:<name>`.
    """

    location: str
    source: str = "detector"


def read_store(given: KeypointStore, dataset: Dataset, setting: str) -> ImportedKeypoints:
    """Return the keypoints of a store for the rows of `dataset`, bit for bit.

    Rows that the store marks unusable have zeros with score 0. A store without a flipped view
    gives its plain keypoints, and both views then have those.

    Args:
        given: the store.
        dataset: the frames, which must be those of the store.
        setting: what chose the store, for errors.

    Raises:
        DatasetError: the store cannot be read, has no such keypoints, or is of other frames.
    """
    try:
        reader = CacheReader(given.location)
        views = [reader.keypoints(given.source, view) for view in range(min(len(reader.views), 2))]
        skeleton = reader.source_skeleton(given.source).name
    except CacheError as error:
        raise DatasetError(f"{setting}: {error}") from error
    _refuse_other_rows(reader, dataset, given, setting)
    return ImportedKeypoints(skeleton, *views)


def _refuse_other_rows(
    reader: CacheReader, dataset: Dataset, given: KeypointStore, setting: str
) -> None:
    stored, asked = _pictures(reader.content_identity), _pictures(dataset.content_identity())
    differences = diff_identities(stored, asked)
    if not differences and reader.index("item").words() != dataset.plan().index["item"].words():
        differences = ["the names of the rows"]
    if differences:
        more = len(differences) - _NUM_NAMED
        raise DatasetError(
            f"{setting}: {given.location} is of other frames than this dataset: "
            f"{'; '.join(differences[:_NUM_NAMED])}{f'; {more} more' if more > 0 else ''}. Take "
            "keypoints from a store that was extracted with the same dataset settings."
        )


def _pictures(identity: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if key != _NOT_PICTURES}
