"""Sparse adversarial training in one call, and what happens when it is cut off."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from hf_robust_tickets import FlyingBird, RobustBird
from hf_robust_tickets.errors import CheckpointError, ConfigurationError
from hf_robust_tickets.reporting.model_card import CardFacts
from hf_robust_tickets.sparse import load_masks
from hf_robust_tickets.training import sparse_cost
from tests.testing.paths import ROOT
from tests.testing.sparse_training import WatchRates, make_sparse_trainer
from tests.testing.tiny import tiny_bert

# Killed while it writes a checkpoint of stage 1 or 2: weights and optimiser are there, the state is not.
KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from hf_robust_tickets.training import SparseTrainingCallback
from tests.testing.sparse_training import WatchRates, make_sparse_trainer

state = SparseTrainingCallback.state
def killing(callback):
    at = callback.log[-1]["step"] if callback.log else 0
    if os.path.isdir({folder!r} + {checkpoint!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    return state(callback)
SparseTrainingCallback.state = killing
make_sparse_trainer({folder!r}).train()
"""


def test_robust_bird_in_two_trainings(tmp_path):
    watch = WatchRates()
    trainer = make_sparse_trainer(tmp_path, callbacks=[watch])
    trainer.train()
    assert trainer.search.converged and trainer.search.log[-1]["step"] == 8
    assert trainer.state.global_step == 16 and trainer.cost_meter.passes == 32
    # Stage 2 alone is seen by callbacks, with the whole schedule: from 1e-2 down, linearly.
    assert watch.rates == pytest.approx([1e-2 * (16 - n) / 16 for n in range(16)])
    parameters = dict(trainer.model.named_parameters())
    assert all(parameters[name].detach()[~mask].abs().max() == 0 for name, mask in trainer.masks.items())
    assert sum(int(mask.sum()) for mask in trainer.masks.values()) == round(0.2 * 17408)
    search = json.loads((tmp_path / "_search" / "search.json").read_text())
    assert search["method"]["density"] == 0.2
    assert search["converged"] is True and search["cost"]["steps"] == 8 and search["cost"]["passes"] == 8
    saved = load_masks(tmp_path / "sparse_masks.safetensors")
    assert all(torch.equal(mask, saved[name]) for name, mask in trainer.masks.items())
    batch = {key: torch.ones(1, 8, dtype=torch.long) for key in ("input_ids", "attention_mask")}
    cost = sparse_cost(trainer, batch)
    assert cost.steps == 24 and cost.seconds > search["cost"]["seconds"]
    dense, step = cost.dense_inference_flops, cost.inference_flops * 2 * 3  # FreeLB-2: both passes train weights
    assert cost.training_flops == pytest.approx(8 * (8 * 3 * dense + 16 * step))
    # The masks of a search are for the training that asked for them.
    with pytest.raises(CheckpointError, match=r"found with other options: expected .*'density': 0.5.*'density': 0.2"):
        make_sparse_trainer(tmp_path, method=RobustBird(density=0.5, patience=2, tolerance=0.3)).train(
            resume_from_checkpoint=True
        )


def test_other_methods_have_one_stage(tmp_path):
    trainer = make_sparse_trainer(tmp_path, method=FlyingBird(density=0.2, period=5), include="attention")
    trainer.train()
    assert trainer.search is None and [entry["step"] for entry in trainer.sparse.log] == [0, 5, 10, 15]
    assert len(trainer.masks) == 8 and load_masks(tmp_path / "sparse_masks.safetensors").keys() == trainer.masks.keys()


@pytest.mark.parametrize(
    "checkpoint", ["/_search/checkpoint-6", pytest.param("/checkpoint-6", marks=pytest.mark.slow)]
)
def test_a_killed_process_is_continued_to_the_same_end(tmp_path, checkpoint):
    whole = make_sparse_trainer(tmp_path / "whole")
    whole.train()
    folder = tmp_path / "killed"
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(root=str(ROOT), folder=str(folder), checkpoint=checkpoint))
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert not (folder / checkpoint.lstrip("/") / "trainer_state.json").exists()
    assert (folder / checkpoint.lstrip("/") / "optimizer.pt").exists()
    resumed = make_sparse_trainer(folder)
    resumed.train(resume_from_checkpoint=True)
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert all(torch.equal(mask, whole.masks[name]) for name, mask in resumed.masks.items())


def test_what_there_is_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match=r"no complete checkpoint in .*_search: train without resume"):
        make_sparse_trainer(tmp_path).train(resume_from_checkpoint=True)
    whole = make_sparse_trainer(tmp_path)
    whole.train()
    with pytest.raises(
        CheckpointError, match=r"expected a checkpoint of stage 2, got .*: use resume_from_checkpoint=True"
    ):
        make_sparse_trainer(tmp_path).train(resume_from_checkpoint=str(tmp_path / "_search" / "checkpoint-6"))
    (tmp_path / "_search" / "sparse_masks.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"expected a checkpoint of stage 1, got .*: use a checkpoint in .*_search"
    ):
        make_sparse_trainer(tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-15"))
    resumed = make_sparse_trainer(tmp_path / "on")
    shutil.copytree(tmp_path / "_search", tmp_path / "on" / "_search")
    resumed.train(resume_from_checkpoint=str(tmp_path / "on" / "_search" / "checkpoint-6"))
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_card_tells_of_the_masks(tmp_path):
    trainer = make_sparse_trainer(tmp_path)
    trainer.train()
    trainer.save_model()
    facts = CardFacts.load(tmp_path / "model_card.json")
    assert facts.sparse["method"]["name"] == "robust-bird" and facts.sparse["kept"] == round(0.2 * 17408)
    assert facts.search == {"converged": True, "epoch": 2.0, "step": 8, "tickets": 2}
    assert facts.cost["search"]["steps"] == 8 and facts.cost["train"]["steps"] == 16
    assert facts.adversaries["search"] is None and facts.adversaries["train"]["name"] == "freelb"
    card = (tmp_path / "README.md").read_text()
    assert (
        "trained under a mask: 3,482 of 17,408 maskable weights (20.0 %)" in card and "nothing was pruned" not in card
    )
    assert "| method" in card and "robust-bird" in card and "bert.encoder.layer.1.output.dense.weight" in card


def test_folders_in_use_and_options_that_cannot_work(tmp_path):
    (tmp_path / "checkpoint-3").mkdir()
    with pytest.raises(CheckpointError, match="holds another training: resume it, or use another output_dir"):
        make_sparse_trainer(tmp_path).train()
    model = tiny_bert()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ConfigurationError, match="needs a fresh optimiser and schedule"):
        make_sparse_trainer(tmp_path, model=model, optimizers=(optimizer, None))
