"""mmpose's networks from their configs; the file that imports mmpose."""

from __future__ import annotations

import functools
import warnings
from copy import deepcopy
from typing import Any

from stages.extract.detectors.base import DetectorError
from stages.extract.detectors.mmpose.vit import VisionTransformer
from stages.extract.detectors.placeholders import placeholders

_OWN_BACKBONES = {"mmpretrain.VisionTransformer": VisionTransformer}
"""Backbones that configs take from another package and that this project builds itself."""


@functools.cache
def import_mmpose() -> None:
    """Import mmpose's models once, with stand-ins for packages that no detector here runs."""
    with placeholders(), warnings.catch_warnings():
        # Deprecations inside mmpose, mmcv and mmengine at these pinned versions; nothing here can
        # act on them.
        warnings.simplefilter("ignore")
        import mmpose.codecs
        import mmpose.models  # noqa: F401
    # mmpose's CSPNeXt calls it so in every forward pass. Not only around those passes, because
    # filters belong to the process, and other threads may be at work.
    warnings.filterwarnings("ignore", r".torch\.cuda\.amp\.autocast", FutureWarning)


def class_of(kind: str) -> type | None:
    """Return the class that a config's `type` means to mmpose, or None."""
    if kind in _OWN_BACKBONES:
        return _OWN_BACKBONES[kind]
    import_mmpose()
    from mmpose.registry import MODELS

    # Names with a scope would make mmengine import that package.
    found = None if "." in kind else MODELS.get(kind)
    return found if isinstance(found, type) else None


def build_pose_estimator(config: Any) -> Any:
    """Return the randomly initialised network of an mmengine Config.

    Raises:
        DetectorError: a part is unknown, is another package's, or refuses its arguments.
    """
    import_mmpose()
    from mmengine.registry import init_default_scope
    from mmpose.registry import MODELS

    init_default_scope("mmpose")
    model_config = deepcopy(config.model)
    model_config.train_cfg = None
    # Weights come from one place: never from an address inside the config.
    model_config.backbone.init_cfg = None
    kind = model_config.backbone.type
    model_config.backbone.type = _OWN_BACKBONES.get(kind, kind)
    try:
        return MODELS.build(model_config)
    except (KeyError, TypeError, ValueError, AssertionError, ImportError) as error:
        raise DetectorError(
            f"The network of the detector's config cannot be built ({type(error).__name__}: "
            f"{error}). Correct the config, or change it with detector.config_changes."
        ) from error
