"""Frozen detectors from their configuration: trained here, shipped along, or mmpose's own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pipeline.config import DetectorConfig
from pipeline.errors import ConfigError
from stages.extract.detectors.base import DetectorError, FrozenDetector, Tap

SHIPPED = Path(__file__).parents[1] / "stages" / "extract" / "detectors" / "shipped"
CONFIG_FILE, WEIGHTS_FILE = "detector.json", "weights.safetensors"


def detector_files(config: DetectorConfig) -> tuple[Path, Path]:
    """Return the mmpose config and the weights that `config` names.

    Raises:
        ConfigError: neither a folder nor a config with weights is named.
        DetectorError: a named file is not there.
    """
    if config.folder is not None:
        shipped = config.folder.startswith("shipped:")
        folder = (
            SHIPPED / config.folder.removeprefix("shipped:") if shipped else Path(config.folder)
        )
        network, weights = folder / CONFIG_FILE, folder / WEIGHTS_FILE
        repair = "Train it: posecache train-detector."
    elif config.config is not None:
        if config.weights is None:
            raise ConfigError(
                f"detector {config.name}: its weights are not part of this project. "
                "Give the checkpoint: --set detector.weights=FILE."
            )
        network, weights = _mmpose_config(config.config), config.weights
        repair = "Check detector.config and detector.weights."
    else:
        raise ConfigError(
            f"detector {config.name}: set detector.folder, or detector.config and detector.weights."
        )
    for path in (network, weights):
        if not path.is_file():
            raise DetectorError(f"{path}: detector {config.name} has no such file. {repair}")
    return network, weights


def build_detector(config: DetectorConfig, *, threads: int | None = None) -> FrozenDetector:
    """Return the detector, loaded; raises ConfigError or DetectorError."""
    network, weights = detector_files(config)
    # mmpose takes seconds to import, and a wrong file name should be said before.
    from stages.extract.detectors.hrnet import HRNET_TAPS
    from stages.extract.detectors.mmpose_topdown import MmposeTopdown

    taps: tuple[Tap, ...] = HRNET_TAPS
    if config.taps is not None:
        taps = tuple(Tap(tap.name, tap.module, tap.stride, tap.index) for tap in config.taps)
    return MmposeTopdown(
        network,
        weights,
        taps=taps,
        device=config.device,
        threads=threads,
        precision=config.precision,
        skeleton=config.skeleton,
    )


def _mmpose_config(name: str) -> Path:
    if not name.startswith("mmpose:"):
        return Path(name)
    spec = importlib.util.find_spec("mmpose")
    if spec is None or not spec.submodule_search_locations:
        raise DetectorError(f"{name}: mmpose is not installed. Install it: make setup.")
    root = Path(spec.submodule_search_locations[0]) / ".mim" / "configs"
    return root / name.removeprefix("mmpose:")
