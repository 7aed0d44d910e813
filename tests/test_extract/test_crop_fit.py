"""Crops that are not cut as the detector's config says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stages.extract.crop_fit import crop_warning
from stages.extract.crops import CropConfig


@pytest.mark.parametrize(
    ("kind", "padding", "crop", "said"),
    [
        ("mmpose", 1.25, {}, None),
        ("mmpose", 1.25, {"kind": "capf", "padding": 1.0}, None),
        ("mmpose-udp", 1.25, {"kind": "mmpose-udp"}, None),
        ("mmpose-udp", 1.25, {}, "crop.kind=mmpose-udp instead of mmpose."),
        ("mmpose-udp", 1.25, {"kind": "capf"}, "crop.kind=mmpose-udp instead of capf."),
        ("mmpose", 1.25, {"kind": "mmpose-udp"}, "crop.kind=mmpose instead of mmpose-udp."),
        ("mmpose", 1.0, {}, "crop.padding=1 instead of 1.25."),
        ("mmpose", 1.0, {"kind": "mmpose-udp"},
         "crop.kind=mmpose instead of mmpose-udp and crop.padding=1 instead of 1.25."),
    ],
)  # fmt: skip
def test_another_crop_than_the_detectors_own_is_said(
    kind: str, padding: float, crop: dict[str, Any], said: str | None
) -> None:
    detector: Any = SimpleNamespace(crop_rule=SimpleNamespace(kind=kind, padding=padding))
    warning = crop_warning(detector, CropConfig(**crop))
    assert (said is None and warning is None) or str(said) in str(warning)


def test_a_network_that_knows_no_crops_of_its_own_is_not_judged() -> None:
    detector: Any = SimpleNamespace()
    assert crop_warning(detector, CropConfig(kind="mmpose-udp")) is None
