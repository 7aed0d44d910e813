"""A user's person detector as an ONNX file: the only file of stage 1 that speaks to onnxruntime."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.extract.boxes.onnx_layouts import Shape, read_boxes, recognise
from stages.extract.boxes.onnx_options import OnnxPeopleOptions
from stages.extract.boxes.picture_input import fit_picture, network_input
from stages.extract.detectors.base import DetectorError

_INPUT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxPeople:
    """Persons as an ONNX file finds them, one picture at a time."""

    def __init__(
        self, path: Path, options: OnnxPeopleOptions | None = None, *, device: str = "cpu"
    ) -> None:
        """Load the file and tell its layout.

        Args:
            path: ONNX file with one picture [1, 3, H, W] as its input.
            options: what is not usual for its layout.
            device: `cpu` or `cuda`.

        Raises:
            DetectorError: the file cannot be loaded, its layout is not known, or onnxruntime is
                missing.
        """
        options = options or OnnxPeopleOptions()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DetectorError(
                f"{path}: cannot be read ({error.strerror or error}). Check people.onnx."
            ) from error
        self._session = _load(content, path, device)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _INPUT_TYPES or not _is_picture(inputs[0]):
            found = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
            raise DetectorError(
                f"{path}: the input must be one picture, tensor(float) [1, 3, H, W]; the file has "
                f"{found}. Export it so, or write people.detector=module:function."
            )
        self._input = inputs[0]
        self._size = _input_size(self._input, options, path)
        outputs = {each.name: _shape(each) for each in self._session.get_outputs()}
        self._layout = recognise(outputs, self._size, options.layout)
        self._options = options.completed(self._layout.name)
        self._sha256 = hashlib.sha256(content).hexdigest()

    @property
    def options(self) -> OnnxPeopleOptions:
        """How it is fed and read, complete."""
        return self._options

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return `[P, 5]` x1, y1, x2, y2 px and score of the persons in a picture [H, W, 3] RGB."""
        assert self._options.resize is not None
        padded, fit = fit_picture(picture, self._size, self._options.resize)
        fed = network_input(padded, self._options).astype(_INPUT_TYPES[self._input.type])
        try:
            values = self._session.run(list(self._layout.outputs), {self._input.name: fed})
        except Exception as error:
            raise DetectorError(
                f"people.onnx failed on an input {list(fed.shape)}: {_said(error)}"
            ) from error
        return fit.in_picture(read_boxes(self._layout, values, self._size, self._options))

    def identity(self) -> dict[str, Any]:
        """Return what decides the boxes: the file's content, and how it is fed and read."""
        return {
            "detector": "onnx",
            "file_sha256": self._sha256,
            "options": {
                **self._options.model_dump(mode="json"),
                "input_size": list(self._size),
            },
        }


def _load(content: bytes, path: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise DetectorError(
            "people.onnx needs onnxruntime. Install it: pip install -c constraints.txt -e '.[onnx]'"
        ) from error
    provider = "CPUExecutionProvider" if device == "cpu" else "CUDAExecutionProvider"
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    # A provider that is not there would be replaced by the CPU without an error.
    if provider not in onnxruntime.get_available_providers():
        raise DetectorError(
            f"people.device={device}: this onnxruntime has no {provider}. Install onnxruntime-gpu, "
            "or set people.device=cpu."
        )
    try:
        session = onnxruntime.InferenceSession(content, settings, providers=[provider])
    except Exception as error:
        raise DetectorError(
            f"{path} cannot be loaded by onnxruntime {onnxruntime.__version__}: {_said(error)}"
        ) from error
    if session.get_providers()[0] != provider:
        raise DetectorError(
            f"people.device={device}: {provider} could not start. Check CUDA, or set "
            "people.device=cpu."
        )
    return session


def _is_picture(port: Any) -> bool:
    shape = _shape(port)
    return len(shape) == 4 and shape[0] in (None, 1) and shape[1] in (None, 3)


def _input_size(port: Any, options: OnnxPeopleOptions, path: Path) -> tuple[int, int]:
    _, _, height, width = _shape(port)
    said = options.input_size
    if height is None or width is None:
        if said is None:
            raise DetectorError(
                f"{path} takes pictures of any size {port.shape}. Say at which it was trained: "
                "people.onnx_options.input_size=[640,640] (height, width)."
            )
        height, width = height or said[0], width or said[1]
    if said is not None and said != (height, width):
        raise DetectorError(
            f"{path} takes {height} x {width} px, people.onnx_options.input_size says "
            f"{said[0]} x {said[1]}. Leave it out."
        )
    return height, width


def _shape(port: Any) -> Shape:
    return tuple(size if isinstance(size, int) and size > 0 else None for size in port.shape)


def _said(error: BaseException) -> str:
    """Return the first line of what onnxruntime says."""
    return str(error).strip().partition("\n")[0].rstrip(".") + "."
