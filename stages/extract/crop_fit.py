"""Whether crops are cut as a detector was trained on them."""

from __future__ import annotations

from stages.extract.crops import CropConfig
from stages.extract.detectors.base import FrozenDetector

UDP = "mmpose-udp"


def crop_warning(detector: FrozenDetector, crop: CropConfig) -> str | None:
    """Return what must be said of a crop rule that is not the detector's own, else None.

    Only detectors with a `crop_rule` (those of an mmpose config) know theirs. Crops of kind `capf`
    have no padding, and are made for detectors without UDP.
    """
    rule = getattr(detector, "crop_rule", None)
    if rule is None:
        return None
    differences = []
    if (crop.kind == UDP) != (rule.kind == UDP):
        differences.append(f"crop.kind={rule.kind} instead of {crop.kind}")
    if crop.kind != "capf" and crop.padding != rule.padding:
        differences.append(f"crop.padding={rule.padding:g} instead of {crop.padding:g}")
    if not differences:
        return None
    return (
        f"The detector's config cuts persons out by {' and '.join(differences)}. On other crops "
        "its joints and maps are less exact than its published results."
    )
