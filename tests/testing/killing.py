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


# Signals that a training gets at moments that nobody chose, one after the other, and then a run that is left alone.
_STORM = """
import os, random, signal, sys, time
sys.path.insert(0, {root!r})
{definitions}

def begin(folder, name):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            go_on(folder + "/" + name, name)
            status = 0
        except BaseException as error:
            print(type(error).__name__, str(error)[:300], file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    return child

moments = random.Random({seed})
for name in {names!r}:
    begun = time.monotonic()
    print("WHOLE", name, os.waitstatus_to_exitcode(os.waitpid(begin({whole!r}, name), 0)[1]), flush=True)
    seconds = time.monotonic() - begun
    for number in {signals!r}:
        child = begin({folder!r}, name)
        time.sleep(moments.uniform(0.02, 0.7) * seconds)
        os.kill(child, number)
        print("CUT", name, number, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    print("LAST", name, os.waitstatus_to_exitcode(os.waitpid(begin({folder!r}, name), 0)[1]), flush=True)
"""


def storm(
    definitions: str, names: Iterable[str], whole: Path, folder: Path, signals: Iterable[int], seed: int, timeout: int
) -> str:
    """Sends a training signals at random moments, each to a process that goes on with what the last one has left.

    Args:
        definitions: Code that defines `go_on(folder, name)`, which trains in a folder, from where it stands.
        names: Of the trainings; each has a folder of its name.
        whole: Where each is run once without a signal first.
        folder: Where each gets the signals, and is then left alone.
        signals: Their numbers, in order.
        seed: Of the moments, as shares of the time that a whole training takes.
        timeout: Seconds for all of them.

    Returns:
        What became of the processes, a line for each; the runs without a signal must have ended well.
    """
    names = list(names)
    script = _STORM.format(
        root=str(ROOT), definitions=definitions, names=names, whole=str(whole), folder=str(folder),
        signals=[int(number) for number in signals], seed=seed,
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=timeout, cwd=ROOT)
    lines = done.stdout.splitlines()
    for name in names:
        assert f"WHOLE {name} 0" in lines and f"LAST {name} 0" in lines, done.stdout + done.stderr[-3000:]
    return "\n".join(line for line in lines if line.startswith(("WHOLE", "CUT", "LAST")))
