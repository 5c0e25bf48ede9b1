"""Real processes that are killed at moments of a training."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.testing.paths import ROOT

# One process imports once and forks a child for each moment, before anything was computed in it.
_FORKS = """
import os, sys
sys.path.insert(0, {root!r})
{definitions}
for name in {names!r}:
    child = os.fork()
    if child == 0:
        die({folder!r} + "/" + name, name)
        os._exit(0)
    print("ENDED", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def kill_at(definitions: str, names: Iterable[str], folder: Path, timeout: int) -> None:
    """Runs a child for each moment, each of which must end by its own SIGKILL.

    Args:
        definitions: Code that defines `die(folder, name)`, which trains in a folder until that moment.
        names: Of the moments; each has a folder of its name.
        folder: Where these are.
        timeout: Seconds for all of them.
    """
    names = list(names)
    script = _FORKS.format(root=str(ROOT), definitions=definitions, names=names, folder=str(folder))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=timeout, cwd=ROOT)
    ended = [line for line in done.stdout.splitlines() if line.startswith("ENDED")]
    assert ended == [f"ENDED {-signal.SIGKILL}"] * len(names), done.stderr[-2000:]


def kill_when_called(module: str, function: str, done: bool) -> None:
    """From now on, this process kills itself where the function is called, before or after its work."""
    owner: Any = importlib.import_module(module)
    *path, name = function.split(".")
    for part in path:
        owner = getattr(owner, part)
    stock = getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> None:
        if done:
            stock(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dying)
