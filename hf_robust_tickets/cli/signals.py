"""Ctrl-C and SIGTERM: what was begun is cleaned up, and one line says what to do."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from tqdm import tqdm

_GO_ON = {
    "train": "--resume_from_checkpoint True goes on from the last checkpoint",
    "search": "--resume_from_checkpoint True goes on from the last checkpoint",
    "sparse": "--resume_from_checkpoint True goes on from the last checkpoint",
    "sweep": "the same command goes on",
    "evaluate": "the same command goes on",
    "resources": "the same command goes on",
}


class Terminated(BaseException):
    """SIGTERM; no `Exception`, as `KeyboardInterrupt` is none."""


@contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """While it lasts, SIGTERM ends this process as Ctrl-C does: temporary files are removed, children are ended.

    Where somebody handles the signal already, and outside of the main thread, nothing changes.
    """
    ours = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if not ours:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def farewell(verb: str, stop: BaseException) -> tuple[int, str]:
    """The exit status of a command that was stopped, as shells number it, and the line that it ends with.

    Progress bars are closed: they would be drawn again after it.
    """
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()
    number, name = (signal.SIGTERM, "SIGTERM") if isinstance(stop, Terminated) else (signal.SIGINT, "Ctrl-C")
    hint = f"; {_GO_ON[verb]}" if verb in _GO_ON else ""
    return 128 + number, f"robust-tickets {verb}: stopped by {name}{hint}"


def _terminate(number: int, frame: Any) -> NoReturn:
    # A second signal does not interrupt what cleans up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated
