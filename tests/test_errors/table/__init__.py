"""Wrong inputs and what is said about them, by the headings of docs/errors.md."""

from __future__ import annotations

from collections.abc import Mapping

from tests.test_errors.table import checkpoints, disks, formats, paths, settings, showing, stores
from tests.test_errors.wrong import Wrong

TABLE: Mapping[str, tuple[Wrong, ...]] = {
    "Paths": paths.ENTRIES,
    "Files": formats.ENTRIES,
    "Checkpoints and runs": checkpoints.ENTRIES,
    "Versions": stores.VERSIONS,
    "Stores": stores.STORES,
    "Joint sets": (*settings.SKELETONS, *stores.SKELETONS),
    "Sizes": settings.SIZES,
    "Devices": settings.DEVICES,
    "Settings": settings.KEYS,
    "Predictions, reports, exports": showing.ENTRIES,
    "Disks and rights": disks.ENTRIES,
}
ENTRIES = tuple(wrong for group in TABLE.values() for wrong in group)
