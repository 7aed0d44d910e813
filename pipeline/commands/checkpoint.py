"""`posecache convert-checkpoint`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pipeline.console import console, print_json


def run_convert_checkpoint(source: Path, target: Path, *, as_json: bool) -> None:
    """Write the tensors of a checkpoint's state dict as safetensors and say what was left out."""
    from stages.extract.detectors.checkpoint_files import convert_checkpoint

    done = convert_checkpoint(source, target)
    if as_json:
        print_json({"file": str(target), **asdict(done)})
        return
    screen = console()
    screen.print(
        f"{target}: {done.num_tensors} tensors, {done.size_bytes / 1e6:.1f} MB. "
        f"Use it: --set detector.weights={target}",
        soft_wrap=True,
    )
    if done.dropped:
        screen.print(f"left out, never run: {', '.join(done.dropped)}", soft_wrap=True)
