"""The output folder of a ticket job: what lies where, and whether the job found there is this one."""

from __future__ import annotations

import json
import logging
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from torch import nn
from transformers import TrainingArguments

from ..._files import make_folder
from ...architectures import get_architecture
from ...errors import CheckpointError
from ...tickets import RobustTicket
from ...tickets.packing import unpack_tickets
from ..arguments import AdversaryOptions
from ..augmentation.options import AugmentationOptions
from ..ticket_arguments import TicketOptions
from .checkpoints import checkpoints, last_complete_checkpoint
from .folder import JobFolder

if TYPE_CHECKING:
    from ..callbacks.tickets import TicketCallback

logger = logging.getLogger(__name__)

_JOB = "_job.json"
_FILES = ("ticket.safetensors", "ticket.json", "search_log.json", "cost.json", "_search")
# Options that change the fine-tuning alone: a job may be resumed with other values.
_FINETUNING = tuple(f.name for f in fields(TicketOptions) if f.name.startswith("finetune_"))
# Options that jobs of earlier versions do not name, with what these did.
_LATER = {
    "keep_one": True,
    "adversary_special_tokens": True,
    "adversary_step_unit": "absolute",
    "refit_examples": 0,
    "refit_ridge": 0.1,
}


class SearchResult(NamedTuple):
    """What a search has found.

    Attributes:
        ticket: What is cut by; `None` before it is drawn.
        tickets: All tickets drawn, oldest first.
        log: One dict per ticket drawn; see `TicketCallback.log`.
        converged: Whether the ticket had settled; `None` if it was not searched for.
    """

    ticket: RobustTicket | None = None
    tickets: list[RobustTicket] = []  # noqa: RUF012 - nobody adds to it
    log: list[dict[str, Any]] = []  # noqa: RUF012
    converged: bool | None = None

    @property
    def asked(self) -> bool:
        """Whether the ticket is that of a step that was asked for."""
        return bool(self.log and self.log[-1].get("asked"))

    @classmethod
    def of(cls, callback: TicketCallback) -> Self:
        """What the callback of a search that is over has found."""
        return cls(callback.result, callback.tickets, callback.log, callback.ticket is not None)


class TicketFolder(JobFolder):
    """Files of one ticket job.

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

    Args:
        path: As for `JobFolder`.
        writes: As for `JobFolder`.
    """

    def __init__(self, path: str | Path, writes: bool) -> None:
        super().__init__(path, writes)
        self.start = self.search / "start.safetensors"
        self.ticket = self.path / "ticket.safetensors"

    def open(self, job: dict[str, Any], *, resume: bool) -> None:
        """Makes the folder this job's, or checks that it is.

        A folder of the very same job is started over when `resume` is false; the earlier run is moved aside in it.

        Raises:
            CheckpointError: If it belongs to another job or training, or there is nothing to resume.
        """
        found = self.read(_JOB)
        if found is not None and not resume and not self.has_results:
            # Of a job that was refused or killed before it had anything, nothing is worth keeping.
            found = None
            if self.writes:
                self.forget()
        if found is not None:
            self._check_same(found, job)
        elif resume:
            raise CheckpointError(f"no job to resume in {self.path}: train without resume_from_checkpoint")
        elif checkpoints(self.path):
            raise CheckpointError(
                f"{self.path} holds checkpoints of another training ({checkpoints(self.path)[-1].name}): use another "
                "output_dir"
            )
        if not self.writes:
            return
        if resume:
            if self.ticket.exists():
                self.drop_search_checkpoints()
            return
        if found is not None:
            self._move_aside()
        make_folder(self.search)
        self.write(_JOB, job)

    @property
    def has_results(self) -> bool:
        """Whether there is anything that a job could be resumed from."""
        return self.ticket.exists() or bool(checkpoints(self.search) or checkpoints(self.path))

    def forget(self) -> None:
        """Removes what `open` and what follows it have written, unless there are results."""
        if not self.writes or self.has_results:
            return
        for path in (self.start, self.path / _JOB):
            path.unlink(missing_ok=True)
        if self.search.is_dir() and not any(self.search.iterdir()):
            self.search.rmdir()

    def save_search(self, found: SearchResult, progress: dict[str, Any]) -> None:
        """Writes the result of the search; `ticket.safetensors` last, for it says that the search is over.

        Args:
            found: The result.
            progress: `TicketCallback.found`.
        """
        report = {"searched": found.converged is not None, "converged": found.converged}
        self.write("search_log.json", progress)
        self.write("ticket.json", {**report, **found.ticket.summary()})
        if self.writes:
            found.ticket.save(self.ticket)
        self.drop_search_checkpoints()

    def load_search(self) -> SearchResult:
        """The result of the search; empty while it is not over."""
        if not self.ticket.exists():
            return SearchResult()
        content = self.read("search_log.json") or {"log": [], "detector": None}
        log, packed = content["log"], content["detector"]
        searched = (self.read("ticket.json") or {}).get("searched", bool(log))
        converged = bool(log and log[-1]["stop"]) if searched else None
        tickets = [] if packed is None else unpack_tickets(packed)
        return SearchResult(RobustTicket.load(self.ticket), tickets, log, converged)

    def load_cost(self) -> dict[str, dict[str, float]]:
        """The costs of the phases that are over."""
        return self.read("cost.json") or {}

    def save_cost(self, cost: dict[str, dict[str, float]]) -> None:
        """Writes the costs of the phases so far."""
        self.write("cost.json", cost)

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

    def _check_same(self, found: dict[str, Any], job: dict[str, Any]) -> None:
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
    return job | (args.augmentation_facts() if isinstance(args, AugmentationOptions) else {})


def _length(dataset: Any) -> int | None:
    return len(dataset) if hasattr(dataset, "__len__") else None


def checkpoint_of_finetuning(folder: str | Path, asked: str | bool | None, ticket: RobustTicket) -> str | None:
    """What the fine-tuning of a job goes on from; None for its beginning. Raises as `check_own_checkpoint`."""
    checkpoint = last_complete_checkpoint(folder) if asked is True else asked or None
    if checkpoint is not None:
        check_own_checkpoint(checkpoint, ticket)
    return checkpoint


def check_own_checkpoint(checkpoint: str | Path, ticket: RobustTicket) -> None:
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
