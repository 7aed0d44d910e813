"""Person detectors as ONNX files find what was drawn, where it was drawn."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.people import build_person_detector
from stages.extract.boxes.onnx_layouts import read_boxes, recognise, suppress
from stages.extract.boxes.onnx_options import OnnxPeopleOptions
from stages.extract.boxes.onnx_people import OnnxPeople
from stages.extract.boxes.people import PeopleConfig
from stages.extract.detectors.base import DetectorError
from tests.test_extract import onnx_networks
from tests.test_extract.onnx_networks import NUM_CELLS, SCORE, SIZE

MAKERS: dict[str, Any] = {
    "end_to_end": onnx_networks.end_to_end,
    "yolox": onnx_networks.yolox,
    "yolov8": onnx_networks.yolov8,
}
BOX = (70, 40, 130, 100)
PICTURES = {"wide": (120, 400), "high": (300, 160), "equal": (128, 192)}


def red_block(size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture [H, W, 3] RGB, grey but for `BOX`, which is red."""
    picture = np.full((*size, 3), 114, dtype=np.uint8)
    picture[BOX[1] : BOX[3], BOX[0] : BOX[2]] = (255, 0, 0)
    return picture


def one_px_of_the_input(size: tuple[int, int]) -> float:
    return 1.01 * max(size[0] / SIZE[0], size[1] / SIZE[1])


@pytest.mark.parametrize("size", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("layout", MAKERS)
def test_a_block_in_the_picture_is_found_in_picture_px(
    layout: str, size: tuple[int, int], tmp_path: Path
) -> None:
    detector = OnnxPeople(MAKERS[layout](tmp_path / "made.onnx"))
    found = detector(red_block(size))
    assert found.shape == (1, 5)
    np.testing.assert_allclose(found[0, :4], BOX, atol=one_px_of_the_input(size))
    assert found[0, 4] == pytest.approx(SCORE, abs=1e-6)
    assert len(detector(np.full((*size, 3), 114, dtype=np.uint8))) == 0


@pytest.mark.parametrize("surest", [8, 32])
def test_cells_of_all_strides_are_decoded(surest: int, tmp_path: Path) -> None:
    detector = OnnxPeople(onnx_networks.yolox(tmp_path / "made.onnx", surest=surest))
    size = PICTURES["equal"]
    (found,) = detector(red_block(size))
    np.testing.assert_allclose(found[:4], BOX, atol=one_px_of_the_input(size))
    assert found[4] == pytest.approx(SCORE, abs=1e-6)


def test_swapped_colours_find_nothing(tmp_path: Path) -> None:
    path = onnx_networks.yolov8(tmp_path / "made.onnx")
    assert not len(OnnxPeople(path, OnnxPeopleOptions(channels="bgr"))(red_block((120, 400))))


@pytest.mark.parametrize(("layout", "wrong"), [("yolov8", "letterbox"), ("yolox", "stretch")])
def test_a_letterbox_that_is_not_undone_moves_the_boxes(
    layout: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import stages.extract.boxes.onnx_people as owner

    size = PICTURES["wide"]
    right = owner.fit_picture

    def planted(picture: Any, input_size: Any, resize: Any) -> Any:
        return right(picture, input_size, resize)[0], right(picture, input_size, wrong)[1]  # type: ignore[arg-type]

    detector = OnnxPeople(MAKERS[layout](tmp_path / "made.onnx"))
    monkeypatch.setattr(owner, "fit_picture", planted)
    (found,) = detector(red_block(size))
    assert np.abs(found[:4] - BOX).max() > 5 * one_px_of_the_input(size)


@pytest.mark.parametrize("resize", ["letterbox", "letterbox_centred", "stretch"])
def test_every_way_of_resizing_is_undone(resize: Any, tmp_path: Path) -> None:
    path = onnx_networks.end_to_end(tmp_path / "made.onnx")
    for size in PICTURES.values():
        (found,) = OnnxPeople(path, OnnxPeopleOptions(resize=resize))(red_block(size))
        np.testing.assert_allclose(found[:4], BOX, atol=one_px_of_the_input(size))


def test_numbers_go_in_as_the_options_say(tmp_path: Path) -> None:
    # White is (255 - 55) / 100 = 2 in red and -0.5 is nothing: 2.5 apart, of which half is 1.25.
    path = onnx_networks.end_to_end(tmp_path / "made.onnx", red=0, white=2.5)
    said = OnnxPeopleOptions(channels="rgb", mean=(55, 55, 50), std=(100, 100, 100))
    assert len(OnnxPeople(path, said)(red_block((128, 192)))) == 1
    small = said.model_copy(update={"input_max": 1.0})
    assert len(OnnxPeople(path, small)(red_block((128, 192)))) == 0


def test_classes_and_scores_are_chosen(tmp_path: Path) -> None:
    path = onnx_networks.end_to_end(tmp_path / "made.onnx")
    picture = red_block((128, 192))
    unsure = OnnxPeople(path, OnnxPeopleOptions(min_score=0.05))(picture)
    assert sorted(unsure[:, 4].round(4)) == [0.1, 0.9]
    (thing,) = OnnxPeople(path, OnnxPeopleOptions(person_class=1))(picture)
    np.testing.assert_allclose(thing, [2, 2, 80, 80, 0.99], atol=1e-5)
    boxes = onnx_networks.yolov8(tmp_path / "boxes.onnx")
    both = OnnxPeople(boxes, OnnxPeopleOptions(nms_overlap=1.0))(picture)
    assert both[:, 4].round(4).tolist() == [0.9, 0.7]
    with pytest.raises(DetectorError, match="person_class is 3, but the file has 3 classes"):
        OnnxPeople(boxes, OnnxPeopleOptions(person_class=3))(picture)


def test_of_overlapping_boxes_the_surest_stays() -> None:
    boxes = np.array(
        [[0, 0, 10, 10, 0.5], [1, 0, 11, 10, 0.9], [20, 0, 30, 10, 0.4], [9, 0, 19, 10, 0.8]]
    )
    assert suppress(boxes, 0.45).tolist() == [1, 3, 2]
    assert suppress(boxes, 0.05).tolist() == [1, 2]
    assert suppress(np.zeros((0, 5)), 0.5).tolist() == []


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({"dets": (1, None, 5), "labels": (1, None)}, "end_to_end"),
        ({"dets": (1, 100, 5), "labels": (1, 100), "masks": (1, 100, 28, 28)}, "end_to_end"),
        ({"output": (1, 8400, 85)}, "yolox"),
        ({"output": (1, None, 85)}, "yolox"),
        ({"output0": (1, 84, 8400)}, "yolov8"),
        ({"output0": (1, 5, 8400)}, "yolov8"),
        ({"output0": (None, 84, None)}, "yolov8"),
        ({"output0": (1, 116, 8400), "output1": (1, 32, 160, 160)}, "yolov8"),
    ],
)
def test_layouts_are_told_from_shapes(outputs: Any, expected: str) -> None:
    assert recognise(outputs, (640, 640)).name == expected


@pytest.mark.parametrize(
    "outputs",
    [
        {"boxes": (1, 25200, 85)},
        {"logits": (1, 1000)},
        {"a": (1, None, None)},
        {"a": (1, 8400, 85), "b": (1, 8400, 85)},
    ],
)
def test_other_outputs_are_refused_with_their_shapes(outputs: Any) -> None:
    with pytest.raises(DetectorError, match=r"the output (boxes|logits|a) \[1, .*8400, 5 \+ c"):
        recognise(outputs, (640, 640))


def test_a_layout_that_is_said_must_fit(tmp_path: Path) -> None:
    path = onnx_networks.yolov8(tmp_path / "made.onnx")
    with pytest.raises(DetectorError, match=rf"output0 \[1, 7, {NUM_CELLS}\] is not yolox"):
        OnnxPeople(path, OnnxPeopleOptions(layout="yolox"))


@pytest.mark.parametrize("layout", ["yolox", "yolov8"])
def test_a_layout_that_is_said_is_taken_of_a_file_that_says_no_sizes(layout: Any) -> None:
    outputs = {"out": (None, None, None)}
    with pytest.raises(DetectorError, match=r"no layout that is known.*onnx_options\.layout"):
        recognise(outputs, SIZE)
    found = recognise(outputs, SIZE, layout)
    assert (found.name, found.outputs) == (layout, ("out",))
    options = OnnxPeopleOptions().completed(layout)
    tables = {"yolox": np.zeros((1, NUM_CELLS, 7)), "yolov8": np.zeros((1, 7, NUM_CELLS))}
    assert read_boxes(found, [tables.pop(layout)], SIZE, options).shape == (0, 5)
    with pytest.raises(DetectorError, match=rf"returned \[1, .*\] where {layout} has"):
        read_boxes(found, list(tables.values()), SIZE, options)


def test_a_file_of_any_size_needs_to_be_told_one(tmp_path: Path) -> None:
    path = onnx_networks.end_to_end(tmp_path / "made.onnx", picture=["batch", 3, "height", "width"])
    with pytest.raises(DetectorError, match=r"any size .*input_size=\[640,640\]"):
        OnnxPeople(path)
    (found,) = OnnxPeople(path, OnnxPeopleOptions(input_size=(96, 64)))(red_block((300, 160)))
    np.testing.assert_allclose(found[:4], BOX, atol=3.2)
    fixed = onnx_networks.end_to_end(tmp_path / "fixed.onnx")
    with pytest.raises(DetectorError, match=r"takes 64 x 96 px, .* says 640 x 640"):
        OnnxPeople(fixed, OnnxPeopleOptions(input_size=(640, 640)))


def test_files_that_are_no_person_detectors_are_named(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"none\.onnx: cannot be read .*people\.onnx"):
        OnnxPeople(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_bytes(b"no network")
    with pytest.raises(DetectorError, match=r"text\.onnx cannot be loaded by onnxruntime 1"):
        OnnxPeople(tmp_path / "text.onnx")
    graph = onnx_networks.Graph()
    graph.add("Identity", "picture", called="out")
    flat = graph.save(tmp_path / "flat.onnx", {"out": [1, 6]}, picture=[1, 6])
    with pytest.raises(DetectorError, match=r"must be one picture.*picture tensor\(float\) \[1, 6"):
        OnnxPeople(flat)


def test_without_onnxruntime_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = onnx_networks.yolox(tmp_path / "made.onnx")
    with pytest.raises(DetectorError, match=r"people\.device=cuda: .*people\.device=cpu"):
        OnnxPeople(path, device="cuda")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DetectorError, match=r"needs onnxruntime.*\[onnx\]"):
        OnnxPeople(path)


def test_the_file_and_its_options_are_the_identity(tmp_path: Path) -> None:
    first = onnx_networks.yolox(tmp_path / "a.onnx")
    same = onnx_networks.yolox(tmp_path / "b.onnx")
    other = onnx_networks.yolox(tmp_path / "c.onnx", surest=32)
    identity = OnnxPeople(first).identity()
    assert OnnxPeople(same).identity() == identity
    assert OnnxPeople(other).identity() != identity
    assert OnnxPeople(first, OnnxPeopleOptions(min_score=0.4)).identity() != identity
    assert identity["options"]["layout"] == "yolox"
    assert identity["options"]["channels"] == "bgr"
    assert identity["options"]["input_size"] == list(SIZE)


def test_settings_name_one_detector() -> None:
    with pytest.raises(ValueError, match=r"people\.config and people\.onnx exclude each other"):
        PeopleConfig(config="a.py", onnx=Path("a.onnx"))
    with pytest.raises(ValueError, match=r"mmdet_config and people\.detector exclude each other"):
        PeopleConfig(mmdet_config=Path("a.py"), detector="a:b")
    with pytest.raises(ValueError, match=r"onnx_options has no effect without people\.onnx"):
        PeopleConfig(onnx_options=OnnxPeopleOptions(person_class=1))
    with pytest.raises(ValueError, match=r"people\.weights has no effect on people\.onnx"):
        PeopleConfig(onnx=Path("a.onnx"), weights=Path("a.pth"))
    with pytest.raises(ConfigError, match=r"people\.onnx=FILE .*people\.mmdet_config"):
        build_person_detector(PeopleConfig())
    with pytest.raises(ConfigError, match=r"belongs to people\.mmdet_config: --set people\.w"):
        build_person_detector(PeopleConfig(mmdet_config=Path("a.py")))


@pytest.fixture
def mmdet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for mmdet, whose detector sees everything that is blue in the second channel."""

    def init_detector(config: str, checkpoint: str | None, *, device: str) -> torch.nn.Module:
        assert (Path(config).name, checkpoint, device) == ("rtmdet.py", None, "cpu")
        return torch.nn.Linear(2, 1)

    def inference_detector(_model: torch.nn.Module, picture: NDArray[np.uint8]) -> Any:
        rows, columns = np.nonzero(picture[..., 2] == 255)  # BGR, as mmcv reads pictures
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        boxes = torch.tensor([box, [0, 0, 9, 9]], dtype=torch.float32)
        found = SimpleNamespace(
            bboxes=boxes, scores=torch.tensor([0.8, 0.9]), labels=torch.tensor([0, 1])
        )
        return SimpleNamespace(pred_instances=found)

    package, apis = ModuleType("mmdet"), ModuleType("mmdet.apis")
    apis.init_detector, apis.inference_detector = init_detector, inference_detector  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mmdet", package)
    monkeypatch.setitem(sys.modules, "mmdet.apis", apis)


def mmdet_files(folder: Path) -> PeopleConfig:
    (folder / "rtmdet.py").write_text("model = dict(type='RTMDet')\n")
    torch.manual_seed(0)
    torch.save({"state_dict": torch.nn.Linear(2, 1).state_dict()}, folder / "rtmdet.pth")
    return PeopleConfig(mmdet_config=folder / "rtmdet.py", weights=folder / "rtmdet.pth")


@pytest.mark.usefixtures("mmdet")
def test_a_detector_of_mmdet_sees_bgr_and_only_persons_count(tmp_path: Path) -> None:
    config = mmdet_files(tmp_path)
    detector: Any = build_person_detector(config)
    np.testing.assert_allclose(detector(red_block((120, 400))), [[*BOX, 0.8]], rtol=1e-6)
    identity = detector.identity()
    assert (identity["detector"], identity["config"]) == ("mmdet", "rtmdet.py")
    torch.save(torch.nn.Linear(2, 1).state_dict(), tmp_path / "rtmdet.pth")
    other: Any = build_person_detector(config)
    assert other.identity()["weights"] != identity["weights"]
    torch.save(torch.nn.Linear(3, 1).state_dict(), tmp_path / "rtmdet.pth")
    with pytest.raises(DetectorError, match="of another shape: weight"):
        build_person_detector(config)


def test_without_mmdet_the_other_ways_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = mmdet_files(tmp_path)
    monkeypatch.setitem(sys.modules, "mmdet", None)
    with pytest.raises(DetectorError, match=r"needs mmdet and a full mmcv.*people\.onnx=FILE"):
        build_person_detector(config)
    (tmp_path / "rtmdet.py").unlink()
    with pytest.raises(DetectorError, match=r"no such file\. Check people\.mmdet_config"):
        build_person_detector(config)
