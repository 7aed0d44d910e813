"""Everything that a sweep needs, made ready and checked before the first frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import CacheReader, RowPlan
from cache.fingerprint import diff_identities, fingerprint
from pipeline.datasets import dataset_of
from pipeline.errors import PipelineError
from pipeline.predict.setup import Setup, prepare
from pipeline.robustness.config import RobustnessConfig
from pipeline.robustness.rows import thin_rows
from pipeline.robustness.subjects import Subject, baseline_of
from pipeline.stores.facts import open_store, store_location
from stages.extract.crops import CropConfig, box_for_row
from stages.extract.datasets import Dataset
from stages.lift.errors import EmptySplit
from stages.lift.feed.samples import splits_of, store_name, usable_rows

FORMAT = 2


@dataclass(frozen=True, eq=False)
class Study:
    """Runs of one store, its dataset, and the rows to degrade."""

    config: RobustnessConfig
    subjects: tuple[Subject, ...]
    reader: CacheReader
    dataset: Dataset
    plan: RowPlan
    splits: tuple[str, ...]
    rows: NDArray[np.int64]  # [n] in turns over clips

    @property
    def baseline(self) -> Subject | None:
        """The run that sees 2D joints only; None if there is none."""
        return baseline_of(self.subjects)

    @property
    def crop(self) -> CropConfig:
        """How persons are cut out, as in the store; flipped views only where a run reads them."""
        flip = any(subject.config.evaluate.flip_average for subject in self.subjects)
        return self.subjects[0].config.crop.model_copy(update={"flip": flip})

    def boxes_px(self, rows: Sequence[int]) -> NDArray[np.float64]:  # [n, 4]
        """Return the boxes (x1, y1, x2, y2) of the store."""
        source = self.crop.box_source
        return np.stack([box_for_row(self.plan, int(row), source) for row in rows])

    def settings(self) -> dict[str, Any]:
        """Return what decides every number but the strengths; equal ones belong together."""
        return {
            "format": FORMAT,
            "runs": [subject.facts() for subject in self.subjects],
            "store": store_name(self.reader),
            "features": fingerprint(self.reader.feature_identity),
            "content": fingerprint(self.reader.content_identity),
            "splits": list(self.splits),
            "num_rows": len(self.rows),
            "rows": fingerprint(self.rows.tolist()),
            "seed": self.config.seed,
            "draws": self.config.draws,
        }

    def detector(self) -> Setup:
        """Return the detector of the store, loaded.

        Raises:
            DetectorError: its files are not here.
            StoreMismatch: it is not the one that the runs were trained on.
        """
        first = self.subjects[0]
        return prepare(first.run.run_dir, first.config, self.crop.box_source)


def open_study(
    subjects: tuple[Subject, ...], config: RobustnessConfig, *, store: str | None = None
) -> Study:
    """Return the study of runs of one store.

    Args:
        subjects: the runs; the configuration of the first names store, dataset and detector.
        config: rows, splits, strengths.
        store: folder or URL; None: where the configuration says.

    Raises:
        PipelineError: the dataset is not here, or is not that of the store.
        EmptySplit: the store has no test rows that could be used.
        StoreMismatch: the store is not that of the runs.
    """
    first = subjects[0].config
    reader = open_store(store or store_location(first))
    for subject in subjects:
        subject.run.require_fit(reader, allow=subject.config.evaluate.allow)
    dataset = dataset_of(first.dataset)
    plan = dataset.plan()
    name = store_name(reader)
    differences = diff_identities(reader.content_identity, dataset.content_identity())
    if differences or len(plan) != len(reader):
        why = differences[0] if differences else f"{len(plan)} rows, and the store {len(reader)}"
        raise PipelineError(
            f"{name}: its frames are not those of the dataset {first.dataset.name!r} here ({why})."
            " Degraded pictures need the dataset that the store was extracted from: --set"
            " dataset.root=DIR, and a store that is no subset."
        )
    splits = config.splits or tuple(s for s in splits_of(reader) if s.startswith("test"))
    if not splits:
        raise EmptySplit(
            f"{name} has no test split; it has {', '.join(splits_of(reader))}. Name splits: --set"
            " robustness.splits=[NAME]."
        )
    source = subjects[0].run.config.data.keypoint_source
    found = [usable_rows(reader, split, source, labels="all")[0] for split in splits]
    usable = np.sort(np.concatenate(found))
    rows = thin_rows(usable, reader.index("clip").codes[usable], config.rows)
    return Study(config, subjects, reader, dataset, plan, tuple(splits), rows)
