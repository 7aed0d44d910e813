"""Trained lifters as files that other programs run: ONNX and PyTorch's exported programs."""

from __future__ import annotations
