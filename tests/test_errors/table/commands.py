"""Commands that several entries give something wrong to."""

from __future__ import annotations

EXTRACT = "extract --dataset folder --detector synthetic -s dataset.root=pictures"
HRNET = "extract --detector hrnet-w32"
LIFT = "lift -s store=data/made.zarr"
EVALUATE = "evaluate runs/made"
TAKEN = "data/made.zarr: taken as it is.\n"
"""What `lift` says of a store before it looks further."""
KEYPOINTS = f"{EXTRACT} -s dataset.keypoints.cpn.file=cpn.npz -s dataset.keypoints.cpn.skeleton"
