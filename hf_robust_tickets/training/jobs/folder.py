"""The output folder of a ticket job: what lies where, and whether the job found there is this one."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainingArguments

from ..._files import write_json
from ...architectures import get_architecture
from ...errors import CheckpointError
from ...tickets import RobustTicket
from ...tickets.packing import unpack_tickets
from ..arguments import AdversaryOptions
from ..ticket_arguments import TicketOptions
from .checkpoints import checkpoints

logger = logging.getLogger(__name__)

_JOB = "_job.json"
_FILES = ("ticket.safetensors", "ticket.json", "search_log.json", "cost.json", "_search")
# Options that change the fine-tuning alone: a job may be resumed with other values.
_FINETUNING = tuple(f.name for f in fields(TicketOptions) if f.name.startswith("finetune_"))
# Options that jobs of earlier versions do not name, with what these did.
_LATER = {"keep_one": True, "adversary_special_tokens": True}


class JobFolder:
    """Files of one job.

    ```
    _job.json                      what the search was asked to do, to tell this job from another
    _search/checkpoint-*/          Trainer checkpoints of the search, removed when it has ended
    _search/start.safetensors      weights before the search: the rewind point
    _search/end.safetensors        weights after it, only if fine-tuning starts from them
    search_log.json                one record per ticket drawn, and the tickets
    ticket.safetensors, ticket.json
    cost.json
    checkpoint-*/                  Trainer checkpoints of the fine-tuning
    _earlier-1/                    all of these, from an earlier run of the same job that was started over
    ```

    The Trainer's uploads leave out what begins with an underscore: what only this machine needs.

    Args:
        path: `output_dir` of the job.
        writes: Whether this process writes shared files (the main process).
    """

    def __init__(self, path: str | Path, writes: bool) -> None:
        self.path = Path(path)
        self.search = self.path / "_search"
        self.start = self.search / "start.safetensors"
        self.end = self.search / "end.safetensors"
        self.ticket = self.path / "ticket.safetensors"
        self._writes = writes

    def open(self, job: dict[str, Any], *, resume: bool) -> None:
        """Makes the folder this job's, or checks that it is.

        A folder of the very same job is started over when `resume` is false; the earlier run is moved aside in it.

        Raises:
            CheckpointError: If it belongs to another job or training, or there is nothing to resume.
        """
        found = self._read(_JOB)
        if found is not None:
            self._refuse_other(found, job)
        elif resume:
            raise CheckpointError(f"no job to resume in {self.path}: train without resume_from_checkpoint")
        elif checkpoints(self.path):
            raise CheckpointError(
                f"{self.path} holds checkpoints of another training ({checkpoints(self.path)[-1].name}): use another "
                "output_dir"
            )
        if not self._writes:
            return
        if resume:
            if self.ticket.exists():
                self._drop_search_checkpoints()
            return
        if found is not None:
            self._move_aside()
        self.search.mkdir(parents=True, exist_ok=True)
        write_json(self.path / _JOB, job)

    def save_weights(self, path: Path, model: nn.Module) -> None:
        """Writes all weights of a model, tied ones once each under every name, never a part of a file."""
        if self._writes:
            part = path.with_name(f"{path.name}.part")
            save_file({k: v.detach().cpu().clone().contiguous() for k, v in model.state_dict().items()}, part)
            part.replace(path)

    def load_weights(self, path: Path, model: nn.Module) -> None:
        """Puts weights written by `save_weights` back.

        Raises:
            CheckpointError: If the file is missing, damaged, or for another model.
        """
        try:
            model.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"cannot put back the weights in {path} ({reason}): start the job over in another output_dir"
            ) from error

    def save_ticket(self, ticket: RobustTicket, report: dict[str, Any], progress: dict[str, Any]) -> None:
        """Writes the result of the search; `ticket.safetensors` last, for it says that the search is over."""
        if not self._writes:
            return
        write_json(self.path / "search_log.json", progress)
        write_json(self.path / "ticket.json", {**report, **ticket.summary()})
        ticket.save(self.ticket)
        self._drop_search_checkpoints()

    def load_progress(self) -> tuple[list[dict[str, Any]], list[RobustTicket]]:
        """The records and the tickets of a search that is over."""
        content = self._read("search_log.json")
        if content is None:
            return [], []
        return content["log"], unpack_tickets(content["detector"])

    def load_cost(self) -> dict[str, dict[str, float]]:
        """The costs of the phases that are over."""
        return self._read("cost.json") or {}

    def save_cost(self, cost: dict[str, dict[str, float]]) -> None:
        """Writes the costs of the phases so far."""
        if self._writes:
            write_json(self.path / "cost.json", cost)

    def _drop_search_checkpoints(self) -> None:
        for checkpoint in self.search.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)

    def _move_aside(self) -> None:
        """Keeps an earlier run of the same job where it is not mistaken for the new one."""
        number = 1 + len(list(self.path.glob("_earlier-*")))
        aside = self.path / f"_earlier-{number}"
        logger.warning("%s holds an earlier run of the same job: it is moved to %s", self.path, aside.name)
        aside.mkdir()
        # The job's description last: while it is here, a run that is killed now is still known.
        for name in [*(path.name for path in checkpoints(self.path)), *_FILES, _JOB]:
            if (self.path / name).exists():
                (self.path / name).rename(aside / name)

    def _read(self, name: str) -> Any | None:
        try:
            return json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return None
        except json.JSONDecodeError as error:
            raise CheckpointError(f"{self.path / name} is damaged ({error}): start over in another folder") from error

    def _refuse_other(self, found: dict[str, Any], job: dict[str, Any]) -> None:
        for key in sorted(found.keys() | job.keys()):
            if found.get(key, _LATER.get(key)) != job.get(key):
                raise CheckpointError(
                    f"{self.path} belongs to another job: expected {key}={job.get(key)!r}, got {found.get(key)!r}; "
                    "use another output_dir, or the same options"
                )


def describe_job(
    model: nn.Module, args: TrainingArguments, options: TicketOptions, adversary: AdversaryOptions, dataset: Any
) -> dict[str, Any]:
    """What makes a search the same search: model, size of data and batch, options of search and ticket, seed."""
    architecture = get_architecture(model)
    job: dict[str, Any] = {
        "format": 1,
        "model": type(model).__name__,
        "heads": architecture.num_heads(model),
        "neurons": architecture.num_neurons(model),
        "hidden_size": getattr(model.config, "hidden_size", None),  # residual networks have several
        "name_or_path": model.config._name_or_path,
        "seed": args.seed,
        "batch_size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        "num_examples": _length(dataset),
    }
    for group, kind in ((options, TicketOptions), (adversary, AdversaryOptions)):
        job |= {f.name: getattr(group, f.name) for f in fields(kind) if f.name not in _FINETUNING}
    return job


def _length(dataset: Any) -> int | None:
    return len(dataset) if hasattr(dataset, "__len__") else None


def refuse_foreign_checkpoint(checkpoint: str | Path, ticket: RobustTicket) -> None:
    """Checks that a fine-tuning checkpoint was made with this ticket.

    Raises:
        CheckpointError: If it was not.
    """
    try:
        config = json.loads((Path(checkpoint) / "config.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{checkpoint} is no complete checkpoint ({error}): give another one") from error
    found = (config.get("robust_ticket") or {}).get("fingerprint")
    if found != ticket.fingerprint():
        raise CheckpointError(
            f"{checkpoint} was not made with this job's ticket: expected fingerprint {ticket.fingerprint()[:12]}, "
            f"got {found[:12] if found else 'a model that is not pruned'}; use another output_dir"
        )
