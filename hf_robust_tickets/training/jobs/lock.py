"""One training at a time in an output folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate.utils import gather_object
from filelock import FileLock, Timeout
from transformers import Trainer

from ..._files import make_folder
from ...errors import CheckpointError

LOCK = ".training.lock"


class OutputFolderLock:
    """Keeps other trainings out of the output folder of a trainer while it trains.

    The system lets go of the lock when the process ends, in whatever way: the file stays, and means nothing.

    Args:
        trainer: Of its ranks, those that write take the lock, and all of them hear of a refusal.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._holds = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """While it lasts, no other training begins there; a phase of a job goes on under the job's lock.

        Raises:
            CheckpointError: If another training runs there; nothing was written.
        """
        if self._holds:
            yield
            return
        args = self._trainer.args
        folder = Path(args.output_dir)
        lock = FileLock(folder / LOCK) if args.should_save else None
        busy = [] if lock is None or _acquire(lock) else [args.process_index]
        if args.world_size > 1:
            busy = gather_object(busy)
        if busy:
            if lock is not None:
                lock.release()
            raise CheckpointError(
                f"expected an output_dir in which nothing trains, got {folder}, where another training runs: wait for "
                "it, or use another output_dir"
            )
        self._holds = True
        try:
            yield
        finally:
            self._holds = False
            if lock is not None:
                lock.release()


def _acquire(lock: FileLock) -> bool:
    make_folder(Path(lock.lock_file).parent)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True
