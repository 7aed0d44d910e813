"""Weights that cannot be read, or are of something else; descriptions of runs."""

from __future__ import annotations

import shutil

import torch

from tests.test_errors.place import HTML, SHIPPED, Place, change_json, cut
from tests.test_errors.table.commands import EVALUATE, HRNET
from tests.test_errors.table.formats import Harmful
from tests.test_errors.wrong import Wrong

OTHER_PRESET = "td-hm_hrnet-w48_8xb32-210e_coco-256x192-0e67c616_20220913.pth"


def write(place: Place, **content: object) -> None:
    torch.save({"state_dict": {"backbone.a": torch.zeros(1000)}, **content}, place / "hrnet.pth")


def early_end(place: Place) -> None:
    write(place)
    cut(place.root / "hrnet.pth", 3000)


def shipped(place: Place) -> None:
    shutil.copy(SHIPPED / "weights.safetensors", place / "small.safetensors")


def cut_shipped(place: Place) -> None:
    shipped(place)
    cut(place.root / "small.safetensors", 5000)


def cut_best(place: Place) -> None:
    cut(place.run() / "best.safetensors", 200)


def other_width(place: Place) -> None:
    change_json(place.run() / "run.json", lambda run: run["lifter"].update(width=16))


def detector_as_lifter(place: Place) -> None:
    shutil.copy(SHIPPED / "weights.safetensors", place.run() / "best.safetensors")


ENTRIES = (
    Wrong(
        "A web page saved as a checkpoint",
        f"{HRNET} -s detector.weights=hrnet.pth",
        3,
        "hrnet.pth",
        "is a web page, not a checkpoint",
        "Download the file itself",
        lambda place: place.text("hrnet.pth", HTML),
    ),
    Wrong(
        "A pointer of Git LFS instead of the checkpoint",
        "convert-checkpoint hrnet.pth hrnet.safetensors",
        3,
        "hrnet.pth",
        "is a pointer of Git LFS",
        "git lfs pull",
        lambda place: place.text("hrnet.pth", "version https://git-lfs.github.com/spec/v1\n"),
    ),
    Wrong(
        "A checkpoint that ends early, .pth",
        f"{HRNET} -s detector.weights=hrnet.pth",
        3,
        "hrnet.pth",
        "ends early",
        "Copy or download it again",
        early_end,
    ),
    Wrong(
        "A checkpoint that ends early, .safetensors",
        f"{HRNET} -s detector.weights=small.safetensors",
        3,
        "small.safetensors",
        "cannot be read as a checkpoint",
        "copy or train it again",
        cut_shipped,
    ),
    Wrong(
        "A checkpoint that would run a command",
        f"{HRNET} -s detector.weights=hrnet.pth",
        3,
        "hrnet.pth",
        "nothing in it was run",
        "get the checkpoint from its publisher",
        lambda place: write(place, meta=Harmful()),
    ),
    Wrong(
        "A checkpoint without weights",
        "convert-checkpoint hrnet.pth hrnet.safetensors",
        3,
        "hrnet.pth",
        "holds no state dict (found: state_dict, epoch)",
        "Give the checkpoint of a pose estimator",
        lambda place: write(place, state_dict={}, epoch=3),
    ),
    Wrong(
        "A checkpoint of another architecture",
        f"{HRNET} -s detector.weights=small.safetensors",
        3,
        "small.safetensors",
        "does not fit the detector's network",
        "Use the config that belongs to these weights",
        shipped,
    ),
    Wrong(
        "The weights of another preset",
        f"{HRNET} -s detector.weights={OTHER_PRESET}",
        2,
        OTHER_PRESET,
        "is published for hrnet-w48",
        "or --detector hrnet-w48",
        lambda place: place.text(OTHER_PRESET),
    ),
    Wrong(
        "A run without its weights",
        EVALUATE,
        3,
        "runs/made/best.safetensors",
        "does not exist",
        "posecache lift",
        lambda place: (place.run() / "best.safetensors").unlink(),
    ),
    Wrong(
        "A run whose weights end early",
        EVALUATE,
        3,
        "runs/made/best.safetensors",
        "cannot be read",
        "Copy it again, or train the run again",
        cut_best,
    ),
    Wrong(
        "A run with the weights of another lifter",
        EVALUATE,
        3,
        "runs/made/best.safetensors",
        "does not fit the lifter of run.json",
        "Keep the files of one run together",
        other_width,
    ),
    Wrong(
        "A run with the weights of a detector",
        EVALUATE,
        3,
        "runs/made/best.safetensors",
        "so it is not of a run",
        "Copy the file of the run again",
        detector_as_lifter,
    ),
    Wrong(
        "A run whose description is a web page",
        EVALUATE,
        3,
        "runs/made/run.json",
        "cannot be read as JSON",
        "Train the run again",
        lambda place: (place.run() / "run.json").write_text(HTML),
    ),
)
