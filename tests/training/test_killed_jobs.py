"""Jobs that are killed while the ticket is drawn or the model is pruned: resumed, they end as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.testing.jobs import finish, saved_weights
from tests.testing.killing import kill_at

_TRAINER, _JOB, _TICKET = (
    f"hf_robust_tickets.{module}"
    for module in ("training.ticket_trainer", "training.jobs.ticket_folder", "tickets.ticket")
)
# Module, function and whether it is done when the process dies; and whether the ticket is in the folder then.
MOMENTS = {
    "before-draw": ((_JOB, "TicketFolder.save_search", False), False),
    "logs-written": ((_TICKET, "RobustTicket.save", False), False),
    "ticket-written": ((_TICKET, "RobustTicket.save", True), True),
    "before-prune": ((_TRAINER, "prune_", False), True),
    "pruned": ((_TRAINER, "prune_", True), True),
    "pruned-files-written": ((_TRAINER, "write_pruned_files", True), True),
}


KILLED = f"""
from tests.testing.jobs import slow_job
from tests.testing.killing import kill_when_called

def die(folder, name):
    kill_when_called(*{MOMENTS!r}[name][0])
    slow_job(folder).train()
"""


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
    return finish(folder, resume=False), saved_weights(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", MOMENTS)
def test_killed_in_draw_or_prune_and_resumed_equals_uninterrupted(name, killed, whole):
    folder, (trainer, expected) = killed / name, whole
    assert (folder / "ticket.safetensors").exists() == MOMENTS[name][1]
    assert not list(folder.glob("checkpoint-*")), "the fine-tuning has not begun"
    # The script that resumes makes another random classifier: the rewind point is the one of the first run.
    resumed = finish(folder, resume=True, seed=5)
    assert resumed.ticket == trainer.ticket and resumed.search_log == trainer.search_log
    got = saved_weights(folder)
    assert got.keys() == expected.keys() and all(torch.equal(got[key], expected[key]) for key in got)
    assert not list((folder / "_search").glob("checkpoint-*")), "what only the search needs is gone"
