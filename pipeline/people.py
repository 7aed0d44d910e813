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
    if config.onnx is not None:
        from stages.extract.boxes.onnx_people import OnnxPeople

        return OnnxPeople(config.onnx, config.onnx_options, device=config.device)
    network = config.config or config.mmdet_config
    if network is None:
        raise ConfigError(
            "people: no person detector is named. Set people.onnx=FILE (YOLOX or YOLOv8 as ONNX), "
            "people.config and people.weights (RTMO or YOLOX-Pose of mmpose, e.g. people.config="
            "mmpose:body_2d_keypoint/rtmo/body7/rtmo-s_8xb32-600e_body7-640x640.py), "
            "people.mmdet_config and people.weights, or people.detector=module:function."
        )
    key = "people.mmdet_config" if config.config is None else "people.config"
    if config.weights is None:
        raise ConfigError(
            "people.weights: checkpoints are not part of this project. Give the one that belongs "
            f"to {key}: --set people.weights=FILE."
        )
    path = mmpose_config_file(config.config) if config.config else network
    for file, named in ((path, key), (config.weights, "people.weights")):
        if not Path(file).is_file():
            raise DetectorError(f"{file}: there is no such file. Check {named}.")
    if config.config is None:
        from stages.extract.boxes.mmdet_people import MmdetPeople

        return MmdetPeople(Path(path), config.weights, device=config.device)
    from stages.extract.boxes.one_stage import OneStagePeople

    return OneStagePeople(path, config.weights, device=config.device)
