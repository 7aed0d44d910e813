"""What decides float words is part of a store's feature identity; what does not is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cache import CacheMismatch
from cache.fingerprint import fingerprint
from stages.extract.chunks import ExtractConfig, extract, feature_identity
from stages.extract.crops import CropConfig
from stages.extract.datasets.human36m.mmpose import Human36m
from tests.test_extract.studio import DotDetector

BASE = ExtractConfig(batch_size=4, shard_rows=4)
DECIDES = ({"batch_size": 8}, {"threads": 2}, {"dtype": "float32"})
DOES_NOT = ({"workers": 2}, {"loader_workers": 3}, {"strict": True}, {"mixed_machines": True})


def identity(change: dict[str, Any]) -> str:
    config = BASE.model_copy(update=change)
    return fingerprint(feature_identity(DotDetector(), CropConfig(), config))


@pytest.mark.parametrize("change", DECIDES, ids=str)
def test_what_changes_float_words_changes_the_identity(change: dict[str, Any]) -> None:
    assert identity(change) != identity({})


@pytest.mark.parametrize("change", DOES_NOT, ids=str)
def test_who_does_the_work_does_not(change: dict[str, Any]) -> None:
    assert identity(change) == identity({})


def test_a_store_of_another_batch_size_is_refused_by_name(
    dataset: Human36m, tmp_path: Path
) -> None:
    extract(dataset, DotDetector(), CropConfig(), tmp_path / "a.zarr", BASE)
    other = BASE.model_copy(update={"batch_size": 8})
    with pytest.raises(CacheMismatch, match="batch_size"):
        extract(dataset, DotDetector(), CropConfig(), tmp_path / "a.zarr", other)
