"""Settings: names, kinds, sizes, joint sets, devices, contradictions, several at once."""

from __future__ import annotations

import numpy as np

from tests.test_errors.place import Place
from tests.test_errors.table.commands import EVALUATE, EXTRACT, KEYPOINTS, LIFT, TAKEN
from tests.test_errors.wrong import Wrong


def sixteen_joints(place: Place) -> None:
    place.picture()
    np.savez(place / "cpn.npz", items=np.array(["a.png#0"]), keypoints=np.zeros((1, 16, 2)))


def one_picture(place: Place) -> None:
    place.picture()


def one_store(place: Place) -> None:
    place.store()


SKELETONS = (
    Wrong(
        "Keypoints of an unknown joint set",
        f"{KEYPOINTS}=H36M18",
        2,
        "'H36M18'",
        "there is no joint set",
        "Take that of the file: H36M17",
        one_picture,
    ),
    Wrong(
        "Keypoints with another number of joints",
        f"{KEYPOINTS}=COCO17",
        3,
        "cpn.npz",
        "keypoints of COCO17 have the shape (M, 17, 2 or 3), not (1, 16, 2)",
        "Name their joint set in dataset.keypoints",
        sixteen_joints,
    ),
    Wrong(
        "Labels of an unknown joint set",
        f"{EXTRACT} -s dataset.options.skeleton=COCO18",
        3,
        "'COCO18'",
        "unknown skeleton",
        "name one of these",
        one_picture,
    ),
    Wrong(
        "Keypoints that the store has not",
        f"{LIFT} -s train.data.keypoint_source=imported:cpn",
        3,
        "'imported:cpn'",
        "made.zarr has no keypoints",
        "Set train.data.keypoint_source",
        one_store,
        out=TAKEN,
    ),
)

SIZES = (
    Wrong(
        "Crops of another size than the detector's input",
        f"{EXTRACT} -s crop.input_size=[256,192]",
        3,
        "(256, 192)",
        "the detector takes (192, 160)",
        "set crop.input_size to [192, 160]",
        one_picture,
    ),
    Wrong(
        "Maps that the store has not",
        f"{LIFT} -s lifter.levels=[x4]",
        3,
        "x4",
        "made.zarr has the levels x8, x16",
        "Name some of these",
        one_store,
        out=TAKEN,
    ),
    Wrong(
        "A width that the heads do not divide",
        "lift -s lifter.width=30",
        2,
        "width=30",
        "must be a multiple of num_heads=8",
        "of deform_heads=4",
        lines=2,
    ),
    Wrong(
        "A window of an even number of frames",
        "lift --lifter videopose3d -s lifter.num_frames=8",
        2,
        "num_frames=8",
        "has no middle frame",
        "take an odd number, or causal=true",
        lines=2,
    ),
    Wrong(
        "A batch of no rows",
        "lift -s train.batch_size=0",
        2,
        "train.batch_size",
        "(got 0)",
        "should be greater than 0",
        lines=2,
    ),
    Wrong(
        "Chunks of a number of rows that is no power of two",
        "extract -s extract.shard_rows=12",
        2,
        "extract.shard_rows",
        "12 is no power of two",
        "take 8 or 16",
        lines=2,
    ),
    Wrong(
        "A limit of no frames",
        f"{EXTRACT} -s dataset.options.limit=0",
        2,
        "dataset.options.limit",
        "must be at least 1, got 0",
        "Leave it out to keep every frame",
        one_picture,
    ),
    Wrong(
        "A box that ends before it starts",
        f"{EXTRACT} -s dataset.options.boxes=boxes.csv -s crop.box_source=imported",
        3,
        "boxes.csv, line 2",
        "ends before it starts",
        "boxes are x1, y1, x2, y2",
        lambda place: place.boxes("file,x1,y1,x2,y2\na.png,30,2,1,40\n"),
    ),
    Wrong(
        "Boxes outside the picture",
        f"{EXTRACT} -s dataset.options.boxes=boxes.csv -s crop.box_source=imported --strict --json",
        3,
        "Row 0",
        "lies outside its picture",
        "Repair it, or extract without strict",
        lambda place: place.boxes("file,x1,y1,x2,y2\na.png,1000,1000,1100,1200\n"),
        begins="data/folder-hrnet-synthetic.zarr",
    ),
    Wrong(
        "A part that there is not",
        "extract --part 9/8",
        2,
        "9/8",
        "parts are",
        "1/8 to 8/8",
    ),
)

DEVICES = (
    Wrong(
        "A GPU that there is not, for the detector",
        f"{EXTRACT} --device cuda:99",
        2,
        "'cuda:99'",
        "cannot be used here",
        "--device cpu",
        one_picture,
        varies=True,
    ),
    Wrong(
        "A GPU that there is not, for the lifter",
        f"{LIFT} --device cuda:99",
        2,
        "'cuda:99'",
        "cannot be used here",
        "--device cpu",
        one_store,
        out=TAKEN,
        varies=True,
    ),
    Wrong(
        "A GPU that there is not, to train a detector",
        "train-detector --device cuda:99",
        2,
        "'cuda:99'",
        "cannot be used here",
        "--device cpu",
        varies=True,
    ),
    Wrong(
        "An unknown kind of device",
        f"{LIFT} --device gpu",
        2,
        "'gpu'",
        "none that torch knows",
        "Take cpu, cuda or cuda:N",
        one_store,
        out=TAKEN,
    ),
    Wrong(
        "float16 on a CPU",
        f"{EXTRACT} -s detector.precision=float16",
        2,
        "detector.precision",
        "float16 is for GPUs",
        "on a CPU use bfloat16 or float32",
        one_picture,
    ),
)

KEYS = (
    Wrong(
        "A mistyped command",
        "extrct",
        2,
        "extrct",
        "no command",
        "did you mean 'posecache extract'?",
    ),
    Wrong(
        "A mistyped setting",
        "lift -s train.epoch=20",
        2,
        "train.epoch",
        "unknown key",
        "did you mean 'train.epochs'?",
        lines=2,
    ),
    Wrong(
        "A mistyped option of a dataset",
        f"{EXTRACT} -s dataset.options.limt=3",
        2,
        "'limt'",
        "has no option",
        "Did you mean 'limit'?",
        one_picture,
    ),
    Wrong(
        "A word where a number belongs",
        f"{EXTRACT} -s dataset.options.limit=many",
        2,
        "dataset.options.limit",
        "must be a whole number, got 'many'",
        "--set dataset.options.limit=10",
        one_picture,
    ),
    Wrong(
        "A setting without a value",
        "lift --set train.epochs",
        2,
        "'train.epochs'",
        "expected key=value",
        "--set train.epochs=20",
    ),
    Wrong(
        "A mistyped lifter",
        f"{LIFT} --lifter capff",
        2,
        "'capff'",
        "there is no lifter",
        "did you mean 'capf'?",
        one_store,
    ),
    Wrong(
        "A lifter of single frames with windows",
        f"{LIFT} -s lifter.num_frames=9",
        2,
        "lifter.num_frames is 9",
        "capf lifts single frames",
        "Leave num_frames at 1",
        one_store,
        out=TAKEN,
    ),
    Wrong(
        "2D labels asked of a dataset without any",
        f"{EXTRACT} -s crop.box_source=gt2d",
        3,
        "crop.box_source=gt2d",
        "folder has no 2D labels",
        "Choose another rule",
        one_picture,
    ),
    Wrong(
        "A split that is not there",
        f"{EVALUATE} -s evaluate.splits=[tset]",
        3,
        "'tset'",
        "made.zarr has no rows of the split",
        "it has train, validation, test",
        lambda place: place.run(),
    ),
    Wrong(
        "Training on the test split",
        f"{LIFT} -s train.data.train_split=test",
        3,
        "'test'",
        "nothing is trained on it",
        "Set train.data.train_split to another",
        one_store,
        out=TAKEN,
    ),
    Wrong(
        "Both a person detector of one's own and one of mmpose",
        "find-people pictures -s people.detector=mine:find -s people.config=rtmo.py",
        2,
        "people.config and people.detector",
        "exclude each other",
        "people",
        one_picture,
        lines=2,
    ),
    Wrong(
        "Four wrong settings at once",
        "lift -s train.lr=-1 -s train.steps=x -s lifter.width=30 -s crop.knd=capf",
        2,
        "train.steps",
        "4 wrong settings",
        "did you mean 'crop.kind'?",
        lines=5,
    ),
)
