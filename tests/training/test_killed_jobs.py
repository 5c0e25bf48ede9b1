"""Jobs that are killed while the ticket is drawn or the model is pruned: resumed, they end as if nothing had been."""

from __future__ import annotations

import importlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.testing.killing import kill_at
from tests.testing.tiny import tiny_bert
from tests.training.test_ticket_trainer import SLOW_SEARCH, finish, make_trainer, weights

_TRAINER, _JOB, _TICKET = (
    f"hf_robust_tickets.{module}" for module in ("training.ticket_trainer", "training.jobs.folder", "tickets.ticket")
)
# Module, function and whether it is done when the process dies; and whether the ticket is in the folder then.
MOMENTS = {
    "before-draw": ((_JOB, "JobFolder.save_ticket", False), False),
    "logs-written": ((_TICKET, "RobustTicket.save", False), False),
    "ticket-written": ((_TICKET, "RobustTicket.save", True), True),
    "before-prune": ((_TRAINER, "prune_", False), True),
    "pruned": ((_TRAINER, "prune_", True), True),
    "pruned-files-written": ((_TRAINER, "write_pruned_files", True), True),
}

KILLED = """
from tests.training import test_killed_jobs as jobs

def die(folder, name):
    jobs.die(*jobs.MOMENTS[name][0])
    jobs.job(folder).train()
"""


def die(module: str, function: str, done: bool) -> None:
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


def job(folder: str) -> Any:
    return make_trainer(Path(folder), model=tiny_bert(seed=99, hidden_dropout_prob=0.1), **SLOW_SEARCH)


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A folder with the jobs that were killed, one for each moment."""
    folder = tmp_path_factory.mktemp("killed")
    kill_at(KILLED, MOMENTS, folder, timeout=500)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The job that nothing interrupts, and its weights."""
    folder = tmp_path_factory.mktemp("whole")
    return finish(folder, resume=False), weights(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", MOMENTS)
def test_killed_in_draw_or_prune_and_resumed_equals_uninterrupted(name, killed, whole):
    folder, (trainer, expected) = killed / name, whole
    assert (folder / "ticket.safetensors").exists() == MOMENTS[name][1]
    assert not list(folder.glob("checkpoint-*")), "the fine-tuning has not begun"
    # The script that resumes makes another random classifier: the rewind point is the one of the first run.
    resumed = finish(folder, resume=True, seed=5)
    assert resumed.ticket == trainer.ticket and resumed.search_log == trainer.search_log
    got = weights(folder)
    assert got.keys() == expected.keys() and all(torch.equal(got[key], expected[key]) for key in got)
    assert not list((folder / "_search").glob("checkpoint-*")), "what only the search needs is gone"
