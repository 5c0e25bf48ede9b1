"""Two real processes, as torchrun and accelerate start them; gloo on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.testing.paths import ROOT

TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]

# With --cpu accelerate starts one process; --multi_gpu only says that there are several.
ACCELERATE = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]

# Options of the Trainer that shard a tiny BERT by its layers.
FSDP = {
    "fsdp": True,
    "fsdp_config": {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": ["BertLayer"],
    },
}


def launch(launcher: list[str], *command: str, **environment: str) -> str:
    """Runs a script or `-m module` with its arguments on the ranks of a launcher.

    Args:
        launcher: Module and arguments, such as `TORCHRUN`.
        command: What the ranks run.
        environment: Variables they see, besides those of this process; each rank has one thread.

    Returns:
        What they printed; they must not fail.
    """
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *command],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def leave() -> None:
    """Ends a rank whose work is done, without torch's teardown.

    While Python tears a process down, gloo's threads abort it now and then ("terminate called without an active
    exception": once or twice in thirty of the smallest DDP script); never with this.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def run_ranks(script: str, path: Path, launcher: list[str]) -> str:
    """Writes a script to a path and runs it on the ranks of a launcher; it ends by `leave`."""
    end = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.testing.ranks import leave\nleave()\n"
    path.write_text(f"{script}\n{end}")
    return launch(launcher, str(path))
