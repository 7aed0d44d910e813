"""Person detectors from their configuration."""

from __future__ import annotations

from pathlib import Path

from pipeline.detectors import mmpose_config_file
from pipeline.errors import ConfigError
from stages.extract.boxes.people import PeopleConfig, PersonDetector, named_detector
from stages.extract.detectors.base import DetectorError


def build_person_detector(config: PeopleConfig) -> PersonDetector:
    """Return the person detector, loaded.

    Raises:
        ConfigError: none is named, or it lacks its weights.
        DetectorError: it cannot be built.
    """
    if config.detector is not None:
        return named_detector(config.detector)
    if config.config is None:
        raise ConfigError(
            "people: no person detector is named. Set people.config and people.weights (RTMO or "
            "YOLOX-Pose of mmpose, e.g. people.config=mmpose:body_2d_keypoint/rtmo/body7/"
            "rtmo-s_8xb32-600e_body7-640x640.py), or people.detector=module:function."
        )
    if config.weights is None:
        raise ConfigError(
            "people.weights: checkpoints are not part of this project. Give the one that belongs "
            "to people.config: --set people.weights=FILE."
        )
    network = mmpose_config_file(config.config)
    for path, key in ((network, "people.config"), (config.weights, "people.weights")):
        if not Path(path).is_file():
            raise DetectorError(f"{path}: there is no such file. Check {key}.")
    from stages.extract.boxes.one_stage import OneStagePeople

    return OneStagePeople(network, config.weights, device=config.device)
