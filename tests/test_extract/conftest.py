from __future__ import annotations

from pathlib import Path

import pytest

from stages.extract.datasets.human36m.mmpose import Human36m
from tests.test_extract.studio import write_layout


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Folder of a tiny dataset in mmpose's Human3.6M layout: 9 rows, three splits."""
    root = tmp_path / "tiny"
    write_layout(root)
    return root


@pytest.fixture
def dataset(layout: Path) -> Human36m:
    """The tiny dataset."""
    return Human36m(layout)
