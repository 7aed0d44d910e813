"""The detectors that come as presets of mmpose, for tests."""

from __future__ import annotations

from typing import Any

from pipeline import settings
from pipeline.config import DetectorConfig
from pipeline.detectors import mmpose_config_file, taps_of
from stages.extract.crops import CropConfig
from stages.extract.detectors.mmpose.config import load_config
from stages.extract.detectors.mmpose.topdown import MmposeTopdown


def read_preset(name: str) -> tuple[DetectorConfig, CropConfig]:
    """Return a preset's detector and crop."""
    tree = settings.read_shipped("detectors", name)
    return (
        DetectorConfig.model_validate(tree["detector"]),
        CropConfig.model_validate(tree.get("crop", {})),
    )


PRESETS = tuple(
    name for name in settings.shipped("detectors") if read_preset(name)[0].published is not None
)


def network_config(name: str) -> Any:
    """Return a preset's mmpose config, with its changes."""
    detector, _ = read_preset(name)
    assert detector.config is not None
    return load_config(mmpose_config_file(detector.config), detector.config_changes)


def build_preset(
    name: str, weights: Any = None, changes: dict[str, Any] | None = None, **arguments: Any
) -> MmposeTopdown:
    """Return a preset's detector, with random weights if none are given."""
    detector, _ = read_preset(name)
    assert detector.config is not None
    return MmposeTopdown(
        mmpose_config_file(detector.config),
        weights,
        taps=taps_of(detector),
        skeleton=detector.skeleton,
        config_changes={**detector.config_changes, **(changes or {})},
        threads=1,
        **arguments,
    )
