from __future__ import annotations

from tests.test_extract.layouts import LayoutCase
from tests.test_extract.studio import write_layout

CASES = (
    LayoutCase(
        "human36m",
        write_layout,
        annotations=(
            "annotation_body3d/cameras.pkl",
            "annotation_body3d/fps10/h36m_train.npz",
        ),
        picture="images/S1/S1_Walking_1.54138969/S1_Walking_1.54138969_000001.jpg",
    ),
)
