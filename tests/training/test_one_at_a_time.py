"""Two trainings in one output folder: the second is refused, and nothing is left of it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import torch

from hf_robust_tickets.errors import CheckpointError
from tests.testing.jobs import make_trainer
from tests.testing.mishaps import cut_trainer
from tests.testing.paths import ROOT
from tests.testing.ranks import TORCHRUN, run_ranks
from tests.testing.sparse_training import make_sparse_trainer
from tests.testing.training import weights

MAKERS = {
    "adversarial": lambda folder: cut_trainer("ta-vat", folder),
    "tickets": make_trainer,
    "robust-bird": make_sparse_trainer,
}


def files(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("second", "resume"), [("adversarial", True), ("tickets", None), ("tickets", True), ("robust-bird", None)]
)
def test_the_second_is_refused_while_the_first_trains(tmp_path, second, resume):
    whole = cut_trainer("ta-vat", tmp_path / "whole")
    whole.train()
    first = cut_trainer("ta-vat", tmp_path / "out")
    step, refused = first.training_step, []

    def meanwhile(*args, **kwargs):
        if first.state.global_step == 3 and not refused:
            state, before = torch.get_rng_state(), files(tmp_path / "out")
            with pytest.raises(CheckpointError, match=r"in which nothing trains, got .*another training runs"):
                MAKERS[second](tmp_path / "out").train(resume_from_checkpoint=resume)
            refused.append(files(tmp_path / "out") == before)
            torch.set_rng_state(state)
        return step(*args, **kwargs)

    first.training_step = meanwhile
    first.train()
    assert refused == [True]
    assert all(torch.equal(weight, weights(whole)[name]) for name, weight in weights(first).items())
    MAKERS["adversarial"](tmp_path / "out").train(resume_from_checkpoint=True)


WAITING = """
import sys, time
sys.path.insert(0, {root!r})
from tests.testing.mishaps import cut_trainer

trainer = cut_trainer("ta-vat", {folder!r})

def wait(*args, **kwargs):
    print("TRAINING", flush=True)
    time.sleep(300)

trainer.training_step = wait
trainer.train()
"""


def test_a_process_that_is_killed_leaves_no_lock(tmp_path):
    script = WAITING.format(root=str(ROOT), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert "TRAINING" in process.stdout.readline()
        with pytest.raises(CheckpointError, match="another training runs"):
            cut_trainer("ta-vat", tmp_path).train()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    cut_trainer("ta-vat", tmp_path).train()
    assert (tmp_path / "checkpoint-4").is_dir()


ON_RANKS = """
import os, sys
sys.path.insert(0, {root!r})
import filelock
from hf_robust_tickets.errors import CheckpointError
from tests.testing.mishaps import cut_trainer

trainer = cut_trainer("ta-vat", {folder!r})
if trainer.args.process_index == 0:
    other = filelock.FileLock({folder!r} + "/.training.lock")
    other.acquire(timeout=0)
try:
    trainer.train()
except CheckpointError as error:
    print("REFUSED", trainer.args.process_index, "another training runs" in str(error), flush=True)
if trainer.args.process_index == 0:
    other.release()
trainer.accelerator.wait_for_everyone()
trainer.train()
print("DONE", trainer.args.process_index, trainer.state.global_step, flush=True)
"""


@pytest.mark.slow
def test_all_ranks_hear_of_a_refusal(tmp_path):
    script = ON_RANKS.format(root=str(ROOT), folder=str(tmp_path / "out"))
    said = run_ranks(script, tmp_path / "ranks.py", TORCHRUN).split("\n")
    assert {f"REFUSED {rank} True" for rank in (0, 1)} <= set(said)
    assert {f"DONE {rank} 5" for rank in (0, 1)} <= set(said)
