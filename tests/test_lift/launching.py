"""Several processes of the command line, started by torchrun or by hand."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tests

ROOT = Path(tests.__file__).parent.parent
WATCHED = Path(__file__).parent / "watched_command.py"
TINY = (
    "lifter.width=8",
    "lifter.depth=1",
    "lifter.num_heads=2",
    "lifter.deform_heads=2",
    "lifter.num_points=1",
    "lifter.drop_path=0",
    "train.steps=null",
    "train.epochs=2",
    "train.batch_size=8",
    "train.warmup_steps=0",
    "train.threads=1",
)


@dataclass(frozen=True)
class Launched:
    """How processes ended: their codes (torchrun's alone, if it started them) and all they said."""

    codes: list[int]
    out: str
    err: str


def words(folder: Path, *sets: str) -> list[str]:
    """`lift` on the stores and runs in `folder`."""
    roots = (f"data_root={folder / 'data'}", f"runs_root={folder / 'runs'}")
    return ["lift", *(part for text in (*roots, *TINY, *sets) for part in ("--set", text))]


def torchrun(
    size: int, *command: str, program: tuple[str, ...] = ("-m", "pipeline"), **variables: str
) -> Launched:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    ended = subprocess.run(
        [*launcher, f"--nproc-per-node={size}", *program, *command],
        env=environment(**variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Launched([ended.returncode], ended.stdout, ended.stderr)


def by_hand(size: int, *command: str, **variables: str) -> Launched:
    """Starts the watched command in each process, with torchrun's variables but not its care."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(WATCHED), *command],
            env=environment(**place, **variables, RANK=str(rank), LOCAL_RANK=str(rank)),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    said = [process.communicate(timeout=300) for process in processes]
    return Launched(
        [process.returncode for process in processes],
        "".join(out for out, _ in said),
        "".join(err for _, err in said),
    )


def environment(**variables: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables
