"""What makes a job survive: complete checkpoints are told from broken ones, and a failed save is explained."""

from __future__ import annotations

import errno
import json
import logging
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..._files import sync, write_json
from ...errors import CheckpointError

logger = logging.getLogger(__name__)

# A disk with less than this many bytes left is full.
_FULL = 1 << 20
STATE = "trainer_state.json"
SEAL = "checkpoint_files.json"
_NEEDED = {
    "weights": re.compile(r"(model|adapter_model|pytorch_model).*\.(safetensors|bin)|pytorch_model_fsdp.*"),
    "state of the optimiser": re.compile(r"optimizer\.(pt|bin)|optimizer_\d+|.*-optimizer\.pt"),
    "state of the scheduler": re.compile(r"scheduler\.pt"),
    "random states": re.compile(r"rng_state(_\d+)?\.pth"),
}
# In a checkpoint that the stock Trainer writes on SIGTERM, until it is done.
_UNDER_WAY = "checkpoint-is-incomplete.txt"
_CHECKPOINT = re.compile(rf"^{PREFIX_CHECKPOINT_DIR}-(\d+)$")


def checkpoints(folder: str | Path) -> list[Path]:
    """The Trainer checkpoints of a folder, oldest first, complete or not."""
    folder = Path(folder)
    found = [(int(match[1]), path) for path in folder.glob("*") if (match := _CHECKPOINT.match(path.name))]
    return [path for _, path in sorted(found)]


def last_complete_checkpoint(folder: str | Path) -> str | None:
    """The newest checkpoint that was written to its end; a warning names each newer one that was not."""
    for path in reversed(checkpoints(folder)):
        reason = why_incomplete(path)
        if reason is None:
            return str(path)
        logger.warning("%s is incomplete (%s) and is passed over", path, reason)
    return None


def checkpoint_to_resume(folder: str | Path, asked: str | bool | None) -> str | None:
    """What `train(resume_from_checkpoint=asked)` goes on from.

    Raises:
        CheckpointError: If `asked` is true and no checkpoint of the folder is complete, or the one that it names is
            not there or damaged.
    """
    if not asked:
        return None
    if asked is not True:
        check_not_damaged(asked)
        return asked
    last = last_complete_checkpoint(folder)
    if last is None:
        raise CheckpointError(f"no complete checkpoint in {folder}: train without resume_from_checkpoint")
    return last


def seal(checkpoint: Path, processes: int) -> None:
    """Makes sure that what a checkpoint holds is on disk, and writes down what that is.

    To be called by all processes, before `trainer_state.json` is written: the Trainer writes it last, and then deletes
    an older checkpoint.

    Args:
        checkpoint: The folder.
        processes: How many processes have written into it.
    """
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name not in (STATE, SEAL))
    for path in files:
        sync(path)
    sizes = {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}
    write_json(checkpoint / SEAL, {"processes": processes, "files": sizes})


def why_incomplete(checkpoint: Path) -> str | None:
    """What a training that resumes from a checkpoint would miss, if anything.

    Of a checkpoint with a seal, any file that is not there, or has another size; of one that the stock `Trainer`
    wrote, weights, optimiser, scheduler or random states. Files that cannot be read count as missing.
    """
    try:
        json.loads((checkpoint / STATE).read_text())
    except FileNotFoundError:
        return f"no {STATE}"
    except (ValueError, OSError) as error:
        return f"{STATE} is cut short ({error})"
    if (checkpoint / _UNDER_WAY).exists():
        return f"{_UNDER_WAY} is there"
    if (checkpoint / SEAL).is_file():
        reason = _why_unsealed(checkpoint)
    else:
        reason = _why_lacking({path.name for path in checkpoint.iterdir()}) or _missing_shard(checkpoint)
    return reason or why_damaged(checkpoint)


def check_not_damaged(checkpoint: str | Path) -> None:
    """Checks a checkpoint that somebody has named, whatever it may lack.

    Raises:
        CheckpointError: If there is none, or a file of it cannot be read.
    """
    if not Path(checkpoint).is_dir():
        raise CheckpointError(f"expected a checkpoint at {checkpoint}, got no such folder: give one of a training")
    if reason := why_damaged(Path(checkpoint)):
        raise CheckpointError(f"expected a whole checkpoint at {checkpoint}, got one that is not: {reason}")


def why_damaged(checkpoint: Path) -> str | None:
    """Which file of a checkpoint cannot be read, and why; None if all can."""
    for path in sorted(checkpoint.rglob("*")):
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, framework="pt"):
                    pass
            elif path.suffix in (".pt", ".pth", ".bin") and not _is_older_pickle(path):
                zipfile.ZipFile(path).close()
            elif path.suffix == ".json" and path.is_file():
                json.loads(path.read_text(encoding="utf-8"))
        except (SafetensorError, zipfile.BadZipFile, ValueError, OSError) as error:
            return f"{path.relative_to(checkpoint)} is damaged: {' '.join(str(error).split())[:200]}"
    return None


def _why_unsealed(checkpoint: Path) -> str | None:
    try:
        files = json.loads((checkpoint / SEAL).read_text())["files"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{SEAL} is damaged"
    for name, size in files:
        path = checkpoint / name
        if not path.is_file():
            return f"no {name}"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} of {size:,} bytes"
    return None


def _why_lacking(names: set[str]) -> str | None:
    """What a checkpoint without a seal lacks, by the names that the Trainer and accelerate give their files."""
    sharded = any(name.startswith("global_step") for name in names)  # DeepSpeed: weights, optimiser and scheduler
    for what, pattern in _NEEDED.items():
        if not any(pattern.fullmatch(name) for name in names) and not (sharded and what != "random states"):
            return f"no {what}"
    ranks = sorted(int(match[1]) for name in names if (match := re.fullmatch(r"rng_state_(\d+)\.pth", name)))
    if ranks != list(range(len(ranks))):
        return f"random states of the ranks {ranks} alone"
    return None


def _missing_shard(checkpoint: Path) -> str | None:
    for index in checkpoint.glob("*.index.json"):
        try:
            shards = set(json.loads(index.read_text())["weight_map"].values())
        except (ValueError, KeyError, AttributeError):
            return f"{index.name} is damaged"
        if absent := sorted(name for name in shards if not (checkpoint / name).is_file()):
            return f"no {absent[0]}"
    return None


def _is_older_pickle(path: Path) -> bool:
    # torch.save before 1.6, and weights that others have saved so: no archive, and nothing says where it ends.
    with path.open("rb") as file:
        return file.read(1) == b"\x80"


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
