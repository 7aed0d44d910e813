"""Networks without joints from their configuration: backbones of timm, and any torch module."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pipeline.config import DetectorConfig
from pipeline.errors import ConfigError
from stages.extract.detectors.base import DetectorError, FrozenDetector
from stages.extract.detectors.features.factories import source_file, split_reference


def is_feature_source(config: DetectorConfig) -> bool:
    """Return whether `config` names a network without joints; raises ConfigError for two names."""
    named = [key for key in ("folder", "config", "timm", "module") if getattr(config, key)]
    if len(named) > 1 and not set(named) <= {"folder", "config"}:
        raise ConfigError(
            f"detector {config.name}: {' and '.join(named)} each name a network; keep one of them."
        )
    is_source = config.timm is not None or config.module is not None
    unread = ("taps", "skeleton", "fold_norms", "random_seed") if is_source else ("options",)
    fields = DetectorConfig.model_fields
    if given := [key for key in unread if getattr(config, key) != fields[key].default]:
        who = "detector.timm and detector.module do" if is_source else "such a detector does"
        raise ConfigError(f"detector {config.name}: {who} not read {', '.join(given)}.")
    return is_source


def build_feature_source(config: DetectorConfig, *, threads: int | None) -> FrozenDetector:
    """Return the network, loaded; raises ConfigError or DetectorError."""
    weights = _weights(config)
    if config.module is not None:
        from stages.extract.detectors.features.torch_module import build_torch_module

        return build_torch_module(
            config.module,
            config.options,
            weights,
            device=config.device,
            threads=threads,
            precision=config.precision,
        )
    # timm takes seconds to import, and a wrong file name is said before.
    from stages.extract.detectors.features.timm_backbone import build_timm_backbone

    return build_timm_backbone(
        config.timm or "",
        config.options,
        weights,
        device=config.device,
        threads=threads,
        precision=config.precision,
    )


def feature_source_files(config: DetectorConfig) -> dict[str, Any]:
    """Return what decides the network, with the bytes of files instead of their paths."""
    weights = _weights(config)
    asked: dict[str, Any] = {
        "options": config.options,
        "weights": None if weights is None else _sha256(weights),
    }
    if config.module is None:
        return {"timm": config.timm, **asked}
    source, function = split_reference(config.module)
    file = source_file(config.module)
    name = f"{Path(source).name}:{function}"
    return {"module": name, "source": None if file is None else _sha256(file), **asked}


def absolute_reference(module: str) -> str:
    """Return `file.py:function` with an absolute path; a module's name as it is."""
    source, _, function = module.rpartition(":")
    return f"{Path(source).absolute()}:{function}" if source.endswith(".py") else module


def _weights(config: DetectorConfig) -> Path | None:
    if config.weights is None and config.timm is not None:
        raise ConfigError(
            f"detector {config.name}: its weights are not part of this project, and are never "
            "downloaded. Give the checkpoint: --set detector.weights=FILE."
        )
    if config.weights is not None and not config.weights.is_file():
        raise DetectorError(
            f"{config.weights}: detector {config.name} has no such file. Check detector.weights."
        )
    return config.weights


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
