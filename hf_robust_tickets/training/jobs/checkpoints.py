"""What makes a job survive: complete checkpoints are told from broken ones, and a failed save is explained."""

from __future__ import annotations

import errno
import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ...errors import CheckpointError

logger = logging.getLogger(__name__)

# A disk with less than this many bytes left is full.
_FULL = 1 << 20
_CHECKPOINT = re.compile(rf"^{PREFIX_CHECKPOINT_DIR}-(\d+)$")


def checkpoints(folder: str | Path) -> list[Path]:
    """The Trainer checkpoints of a folder, oldest first, complete or not."""
    folder = Path(folder)
    found = [(int(match[1]), path) for path in folder.glob("*") if (match := _CHECKPOINT.match(path.name))]
    return [path for _, path in sorted(found)]


def last_complete_checkpoint(folder: str | Path) -> str | None:
    """The newest checkpoint that was written to its end; a warning names each newer one that was not."""
    for path in reversed(checkpoints(folder)):
        reason = _why_incomplete(path)
        if reason is None:
            return str(path)
        logger.warning("%s is incomplete (%s) and is passed over", path, reason)
    return None


def _why_incomplete(checkpoint: Path) -> str | None:
    # The Trainer writes trainer_state.json last: where it is whole, every other file was closed before.
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except FileNotFoundError:
        return "no trainer_state.json"
    except json.JSONDecodeError:
        return "trainer_state.json is cut short"
    for weights in checkpoint.glob("*.safetensors"):
        try:
            with safe_open(weights, framework="pt"):
                pass
        except SafetensorError as error:
            return f"{weights.name}: {error}"
    return None


@contextmanager
def explain_failed_save(folder: str | Path) -> Iterator[None]:
    """Turns a full disk during a save into one line that says what still loads.

    Raises:
        CheckpointError: When the disk is full. Other errors pass through unchanged.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if not _is_disk_full(error, folder):
            raise
        last = last_complete_checkpoint(folder)
        remedy = f"the last complete one is {last}" if last else "there is no complete one yet"
        raise CheckpointError(
            f"no space left to save a checkpoint in {folder}; {remedy}: free space, then train with "
            "resume_from_checkpoint=True"
        ) from error


def _is_disk_full(error: BaseException, folder: str | Path) -> bool:
    # torch.save and safetensors report a failed write without an errno, each in several wordings.
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return full or shutil.disk_usage(folder).free < _FULL
