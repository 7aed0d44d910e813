"""The splits that a training run reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from cache import CacheReader
from stages.lift.config import TrainConfig
from stages.lift.errors import EmptySplit, LiftError
from stages.lift.feed.batches import LiftData
from stages.lift.feed.residency import Placement, place_maps
from stages.lift.feed.samples import require_3d_labels, splits_of
from stages.lift.feed.windows import Windowing
from stages.lift.processes.world import ALONE, World


@dataclass(frozen=True)
class RunData:
    """What is trained on, and what the best epoch is chosen on if there is such a split."""

    training: LiftData
    validation: LiftData | None

    @property
    def dropped_rows(self) -> dict[str, dict[str, int]]:
        """Rows left out, by split and reason."""
        return {data.samples.split: dict(data.samples.dropped) for data in self._splits()}

    def place(
        self,
        config: TrainConfig,
        device: torch.device,
        *,
        passes: int,
        report: Callable[[Placement, float], None],
    ) -> Placement:
        """Reads the maps of both splits into one place, as configured, and returns it."""
        return place_maps(
            self._splits(), config.residency, device=device, passes=passes, report=report
        )

    def _splits(self) -> list[LiftData]:
        return [data for data in (self.training, self.validation) if data]


def open_data(
    config: TrainConfig,
    reader: CacheReader,
    level_names: Sequence[str],
    device: torch.device,
    *,
    windowing: Windowing | None = None,
    world: World = ALONE,
) -> RunData:
    """Returns the samples of both splits; their maps stay in the store.

    Raises `EmptySplit` for a split without usable rows, `LiftError` for a configuration that does
    not fit the store.
    """

    def split(name: str, *, flipped: bool) -> LiftData:
        return LiftData(
            reader,
            name,
            config=config.data,
            level_names=level_names,
            flipped=flipped,
            windowing=windowing,
            device=device,
            world=world,
        )

    training = split(config.data.train_split, flipped=config.flip)
    validation = None
    if config.data.validation_split in splits_of(reader):
        validation = split(config.data.validation_split, flipped=config.validation_flip)
    return RunData(training, validation)


def check_splits(config: TrainConfig, reader: CacheReader) -> None:
    """Raises `LiftError` for a test split or no 3D labels, `EmptySplit` if nothing to choose on.

    The epoch may be chosen on a test split where `config.allow_test_selection` says so.
    """
    require_3d_labels(reader)
    data, present = config.data, splits_of(reader)
    if data.train_split.startswith("test"):
        raise LiftError(
            f"The split {data.train_split!r} is a test split: nothing is trained on it."
            " Set train.data.train_split to another."
        )
    if data.validation_split.startswith("test") and not config.allow_test_selection:
        raise LiftError(
            f"The split {data.validation_split!r} is a test split: nothing is chosen on it."
            " Set train.data.validation_split to another. To choose on it all the same, as some"
            " published results do, set train.allow_test_selection=true; every result then says so."
        )
    if data.train_split not in present:
        raise EmptySplit(
            f"The store has no rows of the split {data.train_split!r} to train on; it has"
            f" {', '.join(present) or 'none'}. Set train.data.train_split to one of them."
        )
    if config.select == "best" and data.validation_split not in present:
        raise EmptySplit(
            f"The best epoch is chosen on the split {data.validation_split!r}, but the store has"
            f" {', '.join(present) or 'no rows'}. Set train.data.validation_split to one of them,"
            " hold out some subjects, or set train.select=last."
        )
