"""The real `posecache extract` on eight drawn pictures, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

POOLS = (
    "dataset.options.pools={train: {prefix: T, num_subjects: 1, clips_each: 1, frames: 1},"
    " test: {prefix: E, num_subjects: 1, clips_each: 1, frames: 1}}"
)
SHARD_ROWS = 4  # eight rows: two chunks
NUM_CHUNKS = 2
STORE = "synthetic-hrnet-synthetic.zarr"
ROOT = Path(__file__).parents[2]


def command(data_root: Path | str, *words: str) -> list[str]:
    """The command line."""
    settings = (POOLS, f"data_root={data_root}", f"extract.shard_rows={SHARD_ROWS}")
    sets = [word for setting in settings for word in ("--set", setting)]
    sets += ["--set", "extract.loader_workers=0"]
    return [sys.executable, "-m", "pipeline", "extract", "--dataset", "synthetic", *sets, *words]


def extract(
    data_root: Path | str, *words: str, **settings: Any
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        command(data_root, *words),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=ROOT,
        **settings,
    )


def start(data_root: Path, *words: str) -> subprocess.Popen[str]:
    """Start it in a session of its own."""
    return subprocess.Popen(
        command(data_root, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )


def in_own_mounts(script: Sequence[str], **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run shell lines, joined by `&&`, where mounts are seen by nobody else."""
    return subprocess.run(
        ["unshare", "--mount", "bash", "-c", " && ".join(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        **settings,
    )


def can_mount() -> bool:
    """Whether this user may mount a file system of its own."""
    try:
        ended = in_own_mounts(["mount -t tmpfs -o size=64k none /mnt"])
    except OSError:
        return False
    return os.geteuid() == 0 and ended.returncode == 0
