"""What a result says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.robustness.degradations import DEGRADATIONS
from pipeline.robustness.study import Study
from stages.lift.sources import selection_notes, sources_of


def describe(study: Study) -> dict[str, Any]:
    """Return plain containers: frames, sources, units."""
    source = study.subjects[0].run.config.data.keypoint_source
    sources = sources_of(study.reader, source, "own")
    boxes = study.boxes_px(study.rows.tolist())
    num_clips = len(np.unique(study.reader.index("clip").codes[study.rows]))
    one_clip = "All frames are of one clip: intervals have no width, and say nothing."
    return {
        **{key: value for key, value in sources.items() if key != "notes"},
        "dataset": study.dataset.name,
        "num_clips": num_clips,
        "median_box_height_px": float(np.median(boxes[:, 3] - boxes[:, 1])),
        "crop_size": list(study.reader.spec.crop_size),
        "confidence": 0.95,
        "notes": [
            "Intervals are of the choice of clips; one training run stands for each lifter.",
            *([one_clip] if num_clips == 1 else []),
            *sources["notes"],
            *dict.fromkeys(
                note for subject in study.subjects for note in selection_notes(subject.run.config)
            ),
        ],
        "units": {each.name: each.unit for each in DEGRADATIONS},
    }
