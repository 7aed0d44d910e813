"""The presets that reproduce Context-Aware PoseFormer: what they set, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lifter import build_lifter
from pipeline.config import RunConfig, load_config
from stages.extract.datasets import DatasetError, build_dataset
from stages.lift.fit.optimizer import group_parameters

W32, W48 = (32, 64, 128, 256), (48, 96, 192, 384)

PAPER_AGAINST_CODE = {
    # setting: (paper, published code, why)
    "train.lr": (6.4e-3, 6.4e-4, "the rule for the offsets matches all 191 parameters (fact 3)"),
    "train.lr_scales.sampling_offsets": (0.1, None, "6.4e-4 for the offsets alone (fact 3)"),
    "train.data.keypoint_source": (
        "detector",
        "imported:cpn",
        "the same CPN detections for all backbones; appendix B says COCO only (fact 4)",
    ),
}
MPI_PAPER_AGAINST_CODE = {
    "lifter.width": (128, 64, "embedding of 64 for W32 (A2)"),
    "lifter.fusion": ("full", "fusion", "no deformable module; the paper does not say so (fact 6)"),
    "train.lr": (7e-4, 7e-5, "the rule for the offsets matches all 111 parameters (fact 8)"),
    "train.lr_scales.sampling_offsets": (0.1, None, "of the paper's rule (fact 3)"),
}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        inside = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{key}.") if inside else {f"{prefix}{key}": value}
    return found


def differences(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    a, b = flat(one.dump()), flat(other.dump())
    keys = sorted({*a, *b})
    return {key: (a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)}


@pytest.mark.parametrize(
    ("paper", "code", "known"),
    [
        ("paper", "reference", PAPER_AGAINST_CODE),
        ("mpi-inf-3dhp-paper", "mpi-inf-3dhp", MPI_PAPER_AGAINST_CODE),
    ],
)
def test_paper_and_code_differ_where_they_are_known_to_and_nowhere_else(
    paper: str, code: str, known: Mapping[str, tuple[Any, Any, str]]
) -> None:
    found = differences(load_config(paper), load_config(code))
    assert found == {key: (ours, theirs) for key, (ours, theirs, _) in known.items()}


def test_a_difference_that_nobody_named_is_noticed() -> None:
    strayed = load_config("paper", sets=["train.weight_decay=0.01"])
    assert set(differences(strayed, load_config("reference"))) - set(PAPER_AGAINST_CODE) == {
        "train.weight_decay"
    }


def test_the_learning_rates_reach_the_parameters_they_are_for() -> None:
    rates = {}
    for preset in ("paper", "reference"):
        config = load_config(preset)
        model = build_lifter(config.lifter, level_channels=W32)
        groups = group_parameters(model, config.train)
        assert sum(group.num_parameters for group in groups) == 14_094_147
        rates[preset] = {group.name: (group.num_parameters, group.lr) for group in groups}
    # Four blocks with a linear map of 128 to 4 heads x 4 points x 2.
    num_offsets = 4 * (128 * 32 + 32)
    offsets = {name: found["sampling_offsets"] for name, found in rates.items()}
    assert offsets == {
        "paper": (num_offsets, pytest.approx(6.4e-4)),
        "reference": (num_offsets, pytest.approx(6.4e-4)),
    }
    assert rates["paper"]["main"] == (14_094_147 - num_offsets, pytest.approx(6.4e-3))
    assert rates["reference"]["main"] == (14_094_147 - num_offsets, pytest.approx(6.4e-4))


@pytest.mark.parametrize(
    ("preset", "channels", "num_parameters"),
    [("mpi-inf-3dhp", W32, 3_462_979), ("mpi-inf-3dhp-w48", W48, 7_773_411)],
)
def test_lifters_of_mpi_inf_3dhp_have_as_many_parameters_as_the_published(
    preset: str, channels: tuple[int, ...], num_parameters: int
) -> None:
    model = build_lifter(load_config(preset).lifter, level_channels=channels)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters


def test_the_wide_preset_of_mpi_inf_3dhp_is_the_other_with_another_detector() -> None:
    found = differences(load_config("mpi-inf-3dhp-w48"), load_config("mpi-inf-3dhp"))
    settings = {key for key in found if not key.startswith("detector.")}
    assert settings == {"lifter.width"}
    assert found["detector.name"] == ("hrnet-w48", "hrnet-w32")


@pytest.mark.parametrize("preset", ["reference", "paper", "mpi-inf-3dhp", "mpi-inf-3dhp-paper"])
def test_a_preset_of_the_publication_crops_as_it_does_and_chooses_nothing(preset: str) -> None:
    config = load_config(preset)
    assert (config.crop.kind, config.crop.box_source) == ("capf", "gt3d")
    assert config.crop.input_size == (256, 192)
    assert config.dataset.options["validation_subjects"] == []
    assert config.train.select == "last"
    assert not config.train.allow_test_selection
    assert config.train.flip
    assert config.evaluate.flip_average
    assert config.train.weight_decay == 0.1
    assert config.train.schedule == "exponential"
    assert config.evaluate.zero_root == preset.startswith("mpi")


@pytest.mark.parametrize(
    ("preset", "epochs", "batch_size", "lr_decay"),
    [("reference", 50, 512, 0.99), ("mpi-inf-3dhp", 79, 160, 0.97)],
)
def test_the_schedule_is_the_published_one(
    preset: str, epochs: int, batch_size: int, lr_decay: float
) -> None:
    train = load_config(preset).train
    assert (train.epochs, train.batch_size, train.lr_decay) == (epochs, batch_size, lr_decay)


LAYOUTS = {
    "reference": ["human36m", "human36m-raw", "human36m-toolbox", "human36m-videopose3d"],
    "paper": ["human36m-toolbox"],
    "mpi-inf-3dhp": ["mpi-inf-3dhp-pstmo"],
}
AS_DISTRIBUTED = "dataset.options={labels: univ_annot3, validation_subjects: []}"


def refusal(preset: str, dataset: str, *sets: str) -> str:
    config = load_config(preset, dataset=dataset, sets=["dataset.root=nowhere", *sets])
    with pytest.raises(DatasetError) as caught:
        build_dataset(config.dataset.name, **config.dataset.arguments())
    return str(caught.value)


@pytest.mark.parametrize(
    ("preset", "dataset", "sets"),
    [
        *((preset, dataset, ()) for preset, names in LAYOUTS.items() for dataset in names),
        ("mpi-inf-3dhp", "mpi-inf-3dhp", (AS_DISTRIBUTED,)),
    ],
)
def test_a_layout_takes_the_options_of_the_preset_and_lacks_only_files(
    preset: str, dataset: str, sets: tuple[str, ...]
) -> None:
    assert "nowhere" in refusal(preset, dataset, *sets)


def test_options_that_a_layout_does_not_have_are_noticed() -> None:
    assert "nowhere" not in refusal("mpi-inf-3dhp", "mpi-inf-3dhp")
