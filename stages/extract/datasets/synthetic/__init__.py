"""Drawn people: a dataset without files."""

from stages.extract.datasets.synthetic.dataset import (
    DETECTOR_POOLS,
    LIFTER_POOLS,
    Pool,
    Synthetic,
    detector_people,
)

__all__ = ["DETECTOR_POOLS", "LIFTER_POOLS", "Pool", "Synthetic", "detector_people"]
