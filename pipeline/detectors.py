"""Frozen detectors from their configuration: trained here, shipped along, or mmpose's own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pipeline.config import DetectorConfig
from pipeline.errors import ConfigError
from pipeline.feature_sources import build_feature_source, is_feature_source
from pipeline.settings import read_shipped, shipped
from stages.extract.detectors.base import DetectorError, FrozenDetector, Tap

SHIPPED = Path(__file__).parents[1] / "stages" / "extract" / "detectors" / "shipped"
CONFIG_FILE, WEIGHTS_FILE = "detector.json", "weights.safetensors"


def detector_files(config: DetectorConfig) -> tuple[Path, Path | None]:
    """Return the mmpose config and the weights that `config` names, None for random ones.

    Raises:
        ConfigError: neither a folder nor a config with weights is named, or weights that are
            published for another detector.
        DetectorError: a named file is not there.
    """
    if config.folder is not None:
        name = config.folder.removeprefix("shipped:")
        folder = SHIPPED / name if name != config.folder else Path(name)
        network: Path = folder / CONFIG_FILE
        weights: Path | None = folder / WEIGHTS_FILE
        repair = "Train it (posecache train-detector), or name it: --set detector.folder=DIR."
    elif config.config is not None:
        if config.weights is not None:
            _refuse_weights_of_another(config, config.weights.name)
        elif config.random_seed is None:
            raise ConfigError(_missing_weights(config))
        network, weights = mmpose_config_file(config.config), config.weights
        repair = "Check detector.config and detector.weights."
    else:
        raise ConfigError(
            f"detector {config.name}: set detector.folder, detector.timm or detector.module, or "
            "detector.config and detector.weights."
        )
    files = (network, None if config.random_seed is not None else weights)
    for path in files:
        if path is not None and not path.is_file():
            raise DetectorError(f"{path}: detector {config.name} has no such file. {repair}")
    return files


def build_detector(config: DetectorConfig, *, threads: int | None = None) -> FrozenDetector:
    """Return the detector, loaded; raises ConfigError or DetectorError."""
    if is_feature_source(config):
        return build_feature_source(config, threads=threads)
    network, weights = detector_files(config)
    # mmpose takes seconds to import, and a wrong file name should be said before.
    from stages.extract.detectors.mmpose.topdown import MmposeTopdown

    detector = MmposeTopdown(
        network,
        weights,
        taps=taps_of(config),
        device=config.device,
        threads=threads,
        precision=config.precision,
        skeleton=config.skeleton,
        config_changes=config.config_changes,
        fold_norms=config.fold_norms,
        random_seed=config.random_seed,
    )
    require_channels(config, detector)
    return detector


def taps_of(config: DetectorConfig) -> tuple[Tap, ...]:
    """Return the taps of a configuration, HRNet's where it names none."""
    if config.taps is None:
        from stages.extract.detectors.mmpose.hrnet import HRNET_TAPS

        return HRNET_TAPS
    return tuple(Tap(tap.name, tap.module, tap.stride, tap.index) for tap in config.taps)


def mmpose_config_file(name: str) -> Path:
    """Return the path of an mmpose config; `mmpose:<path>` is one that mmpose ships."""
    if not name.startswith("mmpose:"):
        return Path(name)
    spec = importlib.util.find_spec("mmpose")
    if spec is None or not spec.submodule_search_locations:
        raise DetectorError(f"{name}: mmpose is not installed. Install it: make setup.")
    root = Path(spec.submodule_search_locations[0]) / ".mim" / "configs"
    return root / name.removeprefix("mmpose:")


def require_channels(config: DetectorConfig, detector: FrozenDetector) -> None:
    """Raise DetectorError where a level has not the channels that its tap states."""
    for tap, level in zip(config.taps or (), detector.levels, strict=False):
        if tap.channels is not None and tap.channels != level.channels:
            raise DetectorError(
                f"detector {config.name}: level {tap.name} ({tap.module}) has {level.channels} "
                f"channels, but its tap states {tap.channels}. Correct detector.taps or "
                "detector.config."
            )


def _refuse_weights_of_another(config: DetectorConfig, file: str) -> None:
    """Raise ConfigError for a file that another preset names: its tensors may have equal shapes."""
    if config.published is None or file == config.published.file:
        return
    for name in shipped("detectors"):
        theirs = read_shipped("detectors", name)["detector"].get("published", {})
        if theirs.get("file") == file:
            raise ConfigError(
                f"detector {config.name}: {file} is published for {name}; the weights of "
                f"{config.name} are {config.published.file}. Give those, or --detector {name}."
            )


def _missing_weights(config: DetectorConfig) -> str:
    text = f"detector {config.name}: its weights are not part of this project. "
    if config.published is None:
        return text + "Give the checkpoint: --set detector.weights=FILE."
    return (
        f"{text}mmpose publishes them as {config.published.file} (listed on its page "
        f"{config.published.page!r}). Download it and give it: --set detector.weights=FILE."
    )
