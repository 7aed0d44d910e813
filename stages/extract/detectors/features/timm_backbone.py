"""Image backbones of timm as feature sources, with weights from a file that the user has.

Nothing is ever downloaded: a model's name tells its layout, the weights are a file.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.extract.detectors.base import DetectorError
from stages.extract.detectors.checkpoint_files import read_state
from stages.extract.detectors.features.network import FeatureNetwork
from stages.extract.detectors.network import Precision
from stages.extract.detectors.placeholders import placeholders

DEFAULT_INPUT_SIZE = (256, 192)
_FINEST_STRIDE = 4
"""Finer maps (the stem's) are not taken unless asked for: they are as large as all others."""
_OF_FEATURES = ("out_indices", "feature_cls", "feature_location", "features")
"""Options that only the network of features has, not the whole one that a checkpoint is of."""
_ABSENT = (
    "torchvision.transforms.functional.InterpolationMode",
    "torchvision.models.feature_extraction.create_feature_extractor",
)
"""What timm of torchvision reads at once where it has it, and does without where not."""


def build_timm_backbone(
    name: str,
    options: Mapping[str, Any] | None = None,
    weights: Path | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    precision: Precision = "float32",
) -> FeatureNetwork:
    """Return a backbone of timm whose levels are its `features_only` maps.

    Levels are called after their strides, `x4`, `x8`, ...; several of one stride (the blocks of a
    transformer) also after their block, `x14_b7`.

    Args:
        name: of timm's model, e.g. `resnet50`, or with its tag, `resnet50.tv_in1k`, which also
            decides the normalisation.
        options: `input_size` [H, W] px, `out_indices` (None: strides from 4 on; of maps of one
            stride only the last) and what else timm's constructor takes.
        weights: checkpoint of the whole classification network, or of what is left of it without
            the classifier; None leaves random ones (tests).
        device: torch device.
        threads: torch threads during `detect`; None leaves the process's setting.
        precision: bfloat16 and float16 run the network under autocast.

    Raises:
        DetectorError: timm is missing, has no such model, or the weights are of another one.
    """
    timm = _import_timm()
    arguments = dict(options or {})
    height, width = arguments.pop("input_size", DEFAULT_INPUT_SIZE)
    _check_name(timm, name)
    pretrained = timm.get_pretrained_cfg(name)
    if pretrained.fixed_input_size:
        arguments.setdefault("img_size", (height, width))
    if arguments.get("out_indices") is None:
        arguments["out_indices"] = _default_indices(_create(timm, name, arguments))
    state = None if weights is None else _whole_state(timm, name, arguments, weights)
    network = _create(timm, name, arguments, state)
    return FeatureNetwork(
        _Named(network),
        input_size=(int(height), int(width)),
        mean=pretrained.mean,
        std=pretrained.std,
        description={
            "kind": "timm",
            "model": name,
            "options": {key: _plain(value) for key, value in sorted(arguments.items())},
        },
        device=device,
        threads=threads,
        precision=precision,
    )


@functools.cache
def _import_timm() -> Any:
    with placeholders(_ABSENT), warnings.catch_warnings():
        # Deprecations inside timm; nothing here can act on them.
        warnings.simplefilter("ignore")
        try:
            import timm
        except ModuleNotFoundError as error:
            raise DetectorError(
                f"detector.timm needs timm ({error}). Install it without the torchvision that it "
                "asks for: pip install --no-deps 'timm==1.0.31'"
            ) from error
    return timm


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep timm from naming the tensors of the classifier, which its features do not need."""
    logger = logging.getLogger("timm.models._builder")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


class _Named(nn.Module):
    """Gives the maps of a `features_only` network as a dict, channels first."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        strides = network.feature_info.reduction()
        indices = network.feature_info.out_indices
        self._names = tuple(
            f"x{stride}" if strides.count(stride) == 1 else f"x{stride}_b{index}"
            for stride, index in zip(strides, indices, strict=True)
        )
        layout = getattr(network, "output_fmt", None)
        self._channels_last = getattr(layout, "value", layout) == "NHWC"

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        maps = self.network(crops)
        if self._channels_last:
            maps = [each.permute(0, 3, 1, 2) for each in maps]
        return dict(zip(self._names, maps, strict=True))


def _check_name(timm: Any, name: str) -> None:
    # A prefix such as "hf-hub:" would make timm ask a server.
    if ":" in name or "/" in name or not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), 3)
        raise DetectorError(
            f"detector.timm {name!r}: timm {timm.__version__} has no such model"
            f"{'; did you mean ' + ', '.join(near) + '?' if near else '.'} "
            "Its names are listed by timm.list_models()."
        )


def _create(
    timm: Any, name: str, arguments: Mapping[str, Any], state: dict[str, Tensor] | None = None
) -> Any:
    """Return the network of features, with the tensors of the whole network `state`."""
    loading = {} if state is None else _loading(state, num_classes=_num_classes(timm, name, state))
    try:
        with _quiet():
            network = timm.create_model(name, features_only=True, **arguments, **loading)
    except (RuntimeError, TypeError, AttributeError, AssertionError, ValueError) as error:
        raise DetectorError(
            f"detector.timm {name} cannot be built with {dict(arguments)}: {error}"
        ) from error
    if state is not None:
        _refuse_random(name, network, state)
    return network


def _default_indices(network: Any) -> list[int]:
    strides = list(network.feature_info.reduction())
    indices = list(network.feature_info.out_indices)
    if len(set(strides)) == 1:
        return indices[-1:]
    return [i for i, stride in zip(indices, strides, strict=True) if stride >= _FINEST_STRIDE]


def _whole_state(
    timm: Any, name: str, arguments: Mapping[str, Any], path: Path
) -> dict[str, Tensor]:
    """Return the tensors of the whole network, of which the file must have every one."""
    state = read_state(path)
    if not state:
        raise DetectorError(f"{path} holds no tensors. Give the checkpoint of timm's {name}.")
    num_classes = _num_classes(timm, name, state)
    whole = {key: value for key, value in arguments.items() if key not in _OF_FEATURES}
    try:
        model: nn.Module = timm.create_model(
            name, num_classes=num_classes, **whole, **_loading(state, num_classes=num_classes)
        )
    except (RuntimeError, KeyError) as error:
        raise DetectorError(
            f"{path.name} does not fit timm's {name}: {error} Name the model that these weights "
            "are of."
        ) from error
    return model.state_dict()


def _loading(state: dict[str, Tensor], *, num_classes: int) -> dict[str, Any]:
    """Arguments that make timm take these tensors, strictly, and look nowhere else."""
    overlay = {"state_dict": dict(state), "num_classes": num_classes, "label_offset": 0}
    return {"pretrained": True, "pretrained_cfg_overlay": overlay}


def _num_classes(timm: Any, name: str, state: Mapping[str, Tensor]) -> int:
    """Return the classes of the checkpoint's classifier, 0 if it has none."""
    classifier = timm.get_pretrained_cfg(name).classifier or ""
    first = classifier if isinstance(classifier, str) else classifier[0]
    weight = state.get(f"{first}.weight")
    return 0 if weight is None else int(weight.shape[0])


def _refuse_random(name: str, network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raise DetectorError unless every tensor of the network is one of the checkpoint's."""
    loaded = {_digest(value) for value in state.values()}
    strangers = [
        key
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked") and _digest(value) not in loaded
    ]
    if strangers:
        raise DetectorError(
            f"detector.timm {name}: {len(strangers)} tensors of its features were not in the "
            f"weights ({', '.join(strangers[:6])}). Choose other out_indices or options."
        )


def _digest(value: Tensor) -> tuple[tuple[int, ...], str]:
    numbers = value.detach().to(dtype=torch.float32, device="cpu").contiguous().numpy()
    return tuple(value.shape), hashlib.sha256(numbers.tobytes()).hexdigest()


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
