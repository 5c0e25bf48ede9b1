"""Jobs that are killed, run again, or run where the disk is full."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import torch

from hf_robust_tickets.errors import CheckpointError
from tests.testing.jobs import finish, make_trainer, saved_weights
from tests.testing.paths import ROOT

JOB = """
import sys
sys.path.insert(0, {root!r})
from tests.testing.jobs import slow_job
import os, signal

trainer = slow_job({folder!r}, search={search!r})
step = trainer.training_step

def killing_step(*args, **kwargs):
    if trainer.args.output_dir.endswith("_search") == {searching} and trainer.state.global_step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*args, **kwargs)

trainer.training_step = killing_step
trainer.train()
"""


@pytest.mark.parametrize(
    ("search", "searching", "step"),
    [
        ("gate", True, 1),
        ("gate", True, 3),
        ("gate", False, 1),
        ("gate", False, 5),
        ("shadow", True, 3),
        ("shadow", True, 7),
        ("taylor", True, 3),
        ("taylor", True, 5),
        ("taylor", True, 7),
        ("adversarial-taylor", True, 7),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(tmp_path, search, searching, step):
    script = JOB.format(root=str(ROOT), searching=searching, step=step, folder=str(tmp_path / "cut"), search=search)
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    # The script that resumes makes another random classifier head: the rewind point is the one of the first run.
    resumed = finish(tmp_path / "cut", resume=True, seed=5, search=search)
    whole = finish(tmp_path / "whole", resume=False, search=search)
    assert resumed.ticket == whole.ticket and resumed.search_log == whole.search_log
    one, other = saved_weights(tmp_path / "cut"), saved_weights(tmp_path / "whole")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert resumed.cost["finetune"]["passes"] == whole.cost["finetune"]["passes"] == 8
    assert resumed.cost["search"]["steps"] == whole.cost["search"]["steps"] > step or not searching


def test_killed_during_a_save_falls_back_to_the_last_good_checkpoint(tmp_path, caplog):
    trainer = make_trainer(tmp_path, save_strategy="steps", save_steps=2)
    trainer.train()
    newest = tmp_path / "checkpoint-8"
    content = (newest / "model.safetensors").read_bytes()
    (newest / "model.safetensors").write_bytes(content[: len(content) // 2])
    again = make_trainer(tmp_path, save_strategy="steps", save_steps=2)
    again.train(resume_from_checkpoint=True)
    assert "checkpoint-8 is incomplete" in caplog.text
    assert again.state.global_step == 8


def test_full_disk(tmp_path):
    """A real file system that is full: the error names the last good checkpoint, and the job goes on from there."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    options = {"save_strategy": "steps", "save_steps": 2}
    try:
        with pytest.raises(CheckpointError, match=r"no space left .*; the last complete one is .*checkpoint-\d"):
            make_trainer(disk, **options).train()
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        resumed = make_trainer(disk, **options)
        resumed.train(resume_from_checkpoint=True)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    whole = make_trainer(tmp_path / "whole", **options)
    whole.train()
    one, other = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_rerun_of_the_same_job_starts_over(tmp_path, caplog):
    first = make_trainer(tmp_path)
    first.train()
    second = make_trainer(tmp_path)
    second.train()
    assert "earlier run of the same job" in caplog.text and second.ticket == first.ticket
    assert (tmp_path / "_earlier-1" / "ticket.safetensors").exists()


def test_restarted_job_does_not_resume_the_earlier_one(tmp_path):
    make_trainer(tmp_path, save_strategy="epoch", num_train_epochs=2).train()
    make_trainer(tmp_path, num_train_epochs=1).train()
    assert not list(tmp_path.glob("checkpoint-*")) and (tmp_path / "_earlier-1" / "checkpoint-8").is_dir()


def test_a_job_of_a_version_that_did_not_name_an_option_is_the_same_job(tmp_path):
    make_trainer(tmp_path).search()
    job = tmp_path / "_job.json"
    found = json.loads(job.read_text())
    assert found.pop("keep_one")
    job.write_text(json.dumps(found))
    make_trainer(tmp_path).train(resume_from_checkpoint=True)
    with pytest.raises(CheckpointError, match="keep_one=False"):
        make_trainer(tmp_path, keep_one=False).train(resume_from_checkpoint=True)
