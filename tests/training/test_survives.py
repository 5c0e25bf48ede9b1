"""Adversarial training that is killed, that fills the disk, that is stopped early, searched over or made anew."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import PGD, FreeLB
from hf_robust_tickets.errors import ConfigurationError, SparsityError
from tests.testing.jobs import make_trainer
from tests.testing.killing import kill_at
from tests.testing.methods import METHODS
from tests.testing.mishaps import cut_trainer
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments, weights

# --- killing and resuming -------------------------------------------------------------------------------------------

# While a step begins, in the middle of the second save, and between the backward pass and the optimiser.
MOMENTS = {"free-at": ("begin", 3), "ta-vat": ("save", 4), "smart": ("between", 3)}
KILLED = """
import os, signal
from transformers import TrainerCallback
from tests.testing.mishaps import cut_trainer

class Kill(TrainerCallback):
    def __init__(self, moment):
        self.moment = moment

    def kill(self, here, state):
        if (here, state.global_step) == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_step_begin(self, args, state, control, **kwargs):
        self.kill("begin", state)

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.kill("between", state)

def die(folder, name):
    trainer = cut_trainer(name, folder)
    kill, save = Kill(MOMENTS[name]), trainer._save_rng_state
    trainer.add_callback(kill)

    def dying_save(folder):
        save(folder)
        kill.kill("save", trainer.state)

    trainer._save_rng_state = dying_save
    trainer.train()
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A folder with the outputs of trainings that were killed, one for each method."""
    folder = tmp_path_factory.mktemp("killed")
    kill_at(f"MOMENTS = {MOMENTS!r}\n{KILLED}", MOMENTS, folder, timeout=300)
    return folder


@pytest.mark.parametrize("name", sorted(MOMENTS))
def test_killed_and_resumed_equals_uninterrupted(name, killed, tmp_path):
    left = {path.name for path in (killed / name).iterdir()}
    assert "checkpoint-2" in left and ("checkpoint-4" in left) == (MOMENTS[name][0] == "save")
    whole = cut_trainer(name, str(tmp_path / "whole"))
    whole.train()
    # The script that resumes makes another random classifier; what counts is in the checkpoint.
    resumed = cut_trainer(name, str(killed / name), seed=7)
    resumed.train(resume_from_checkpoint=True)
    for key, weight in weights(whole).items():
        assert torch.equal(weight, weights(resumed)[key]), key
    assert resumed.cost_meter.passes == whole.cost_meter.passes == 10 * METHODS[name].num_passes
    keys = {"loss", "adversary_flips", "adversary_delta_norm"}
    assert [{k: log[k] for k in keys & log.keys()} for log in resumed.state.log_history if log["step"] == 4] == [
        {k: log[k] for k in keys & log.keys()} for log in whole.state.log_history if log["step"] == 4
    ]


# --- a full disk ----------------------------------------------------------------------------------------------------


def test_full_disk(tmp_path):
    """A real file system that is full: one line, and the training goes on from the last good checkpoint."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        with pytest.raises(Exception, match=r"no space left .*; the last complete one is .*checkpoint-\d"):
            cut_trainer("free-at", str(disk)).train()
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        resumed = cut_trainer("free-at", str(disk))
        resumed.train(resume_from_checkpoint=True)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    whole = cut_trainer("free-at", str(tmp_path / "whole"))
    whole.train()
    assert all(torch.equal(weight, weights(resumed)[key]) for key, weight in weights(whole).items())


# --- what the Trainer offers ----------------------------------------------------------------------------------------


def test_best_model_early_stopping_and_the_limit_on_checkpoints(tmp_path):
    options = arguments(
        tmp_path, max_steps=20, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1,
        save_total_limit=2, load_best_model_at_end=True, learning_rate=1.0,
    )  # fmt: skip
    data = tiny_data()
    trainer = AdversarialTrainer(
        tiny_bert(), options, train_dataset=data, eval_dataset=data, adversary=METHODS["ta-vat"],
        callbacks=[EarlyStoppingCallback(2)],
    )  # fmt: skip
    trainer.train()
    assert trainer.state.global_step < 20, "a learning rate of 1 makes the loss rise"
    best = Path(trainer.state.best_model_checkpoint)
    assert len(list(tmp_path.glob("checkpoint-*"))) <= 2 and best.is_dir()
    stored = load_file(best / "model.safetensors")
    assert all(torch.equal(weight, stored[key]) for key, weight in weights(trainer).items())
    losses = [log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses))


def test_model_init_makes_every_training_the_same(tmp_path):
    trainer = AdversarialTrainer(
        args=arguments(tmp_path),
        model_init=lambda: tiny_bert(hidden_dropout_prob=0.1),
        train_dataset=tiny_data(),
        adversary=METHODS["smart"],
    )
    trainer.train()
    first = weights(trainer)
    trainer.train()
    assert all(torch.equal(weight, first[key]) for key, weight in weights(trainer).items())


def adversary_space(trial):
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "adversary_step_size": trial.suggest_float("adversary_step_size", 0.01, 0.5, log=True),
        "adversary_steps": trial.suggest_int("adversary_steps", 2, 3),
    }


def test_hyper_parameter_search_sets_the_adversary(tmp_path):
    pytest.importorskip("optuna")
    seen = []

    class Watching(AdversarialTrainer):
        def training_step(self, *args, **kwargs):
            seen.append((self.adversary.step_size, self.adversary.steps))
            return super().training_step(*args, **kwargs)

    data = tiny_data()
    options = arguments(tmp_path, max_steps=2, adversary="freelb", adversary_step_size=9.0, eval_strategy="epoch")
    trainer = Watching(args=options, model_init=lambda: tiny_bert(), train_dataset=data, eval_dataset=data)
    best = trainer.hyperparameter_search(hp_space=adversary_space, n_trials=2, backend="optuna")
    assert len(set(seen)) == 2 and (best.hyperparameters["adversary_step_size"], 9.0) != (9.0, 9.0)
    assert (best.hyperparameters["adversary_step_size"], best.hyperparameters["adversary_steps"]) in seen
    with pytest.raises(ConfigurationError, match="steps must be an integer of at least 1, got 0"):
        trainer.hyperparameter_search(hp_space=lambda trial: {"adversary_steps": 0}, n_trials=1, backend="optuna")


def test_given_adversary_is_not_searched_over(tmp_path):
    pytest.importorskip("optuna")
    data = tiny_data()
    trainer = AdversarialTrainer(
        args=arguments(tmp_path, max_steps=1), model_init=lambda: tiny_bert(), train_dataset=data, eval_dataset=data,
        adversary=PGD(steps=2),
    )  # fmt: skip
    trainer.hyperparameter_search(hp_space=adversary_space, n_trials=1, backend="optuna")
    assert trainer.adversary == PGD(steps=2)


def test_hyper_parameter_search_over_whole_jobs(tmp_path):
    optuna = pytest.importorskip("optuna")

    def space(trial):
        return {"neuron_sparsity": trial.suggest_categorical("neuron_sparsity", [0.25, 0.5])}

    trainer = make_trainer(tmp_path, model_init=lambda: tiny_bert(hidden_dropout_prob=0.1), num_train_epochs=1)
    kept = []
    trainer.hyperparameter_search(
        hp_space=space,
        n_trials=2,
        backend="optuna",
        compute_objective=lambda metrics: kept.append(trainer.ticket.neuron_counts) or metrics["eval_loss"],
        sampler=optuna.samplers.GridSampler({"neuron_sparsity": [0.25, 0.5]}),
    )
    assert sorted(sum(counts) for counts in kept) == [pytest.approx(64, abs=1), pytest.approx(96, abs=1)]
    assert all((tmp_path / run / "ticket.safetensors").exists() for run in ("run-0", "run-1"))
    assert trainer.args.output_dir == str(tmp_path) and not (tmp_path / "ticket.safetensors").exists()
    with pytest.raises(SparsityError, match="neuron_sparsity must be in"):
        trainer.hyperparameter_search(hp_space=lambda trial: {"neuron_sparsity": 2.0}, n_trials=1, backend="optuna")


@pytest.mark.parametrize("pass_", [1, 3])
def test_out_of_memory_says_in_which_pass(pass_, tmp_path):
    model, calls = tiny_bert(), []

    def run_out(module, args, output):
        calls.append(True)
        if len(calls) == pass_ + 3:  # in the second step
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    model.classifier.register_forward_hook(run_out)
    adversary = FreeLB(steps=3)
    trainer = AdversarialTrainer(model, arguments(tmp_path), train_dataset=tiny_data(), adversary=adversary)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory") as raised:
        trainer.train()
    (note,) = raised.value.__notes__
    assert note.startswith(f"in pass {pass_} of a step under freelb") and "auto_find_batch_size=True" in note
