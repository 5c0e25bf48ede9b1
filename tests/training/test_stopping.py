"""SIGTERM with the Trainer's just-in-time checkpoint: in any phase, what goes on ends as if uninterrupted."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import torch
from transformers import TrainerCallback

from hf_robust_tickets import AdversarialTrainer, FlyingBird
from hf_robust_tickets.errors import TrainingStopped
from hf_robust_tickets.training.jobs.checkpoints import last_complete_checkpoint
from tests.testing.jobs import SEARCHES, SLOW_SEARCH, make_trainer
from tests.testing.methods import METHODS
from tests.testing.sparse_training import make_sparse_trainer
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments, weights

JIT = {"enable_jit_checkpoint": True}


def ask_at(trainer, step, searching=False):
    """The signal has come, and its grace period is over, while this step (counted from 0) is on its way."""
    training_step = trainer.training_step

    def asked(*args, **kwargs):
        if trainer.state.global_step == step and trainer.args.output_dir.endswith("_search") == searching:
            trainer.stopping.jit_manager.is_checkpoint_requested = True
        return training_step(*args, **kwargs)

    trainer.training_step = asked
    return trainer


def assert_same(one, other):
    theirs = weights(other)
    assert weights(one).keys() == theirs.keys()
    assert all(torch.equal(weight, theirs[name]) for name, weight in weights(one).items())


# --- one phase ------------------------------------------------------------------------------------------------------


class Epochs(TrainerCallback):
    """Evaluations that were asked for at the end of an epoch."""

    def __init__(self):
        self.at = []

    def on_evaluate(self, args, state, control, **kwargs):
        self.at.append(state.global_step)


def plain(folder, seed=0, **options):
    values = {"num_train_epochs": 3, "max_steps": -1, "eval_strategy": "epoch", "save_strategy": "epoch", **JIT}
    args = arguments(folder, gradient_accumulation_steps=2, per_device_train_batch_size=4, **(values | options))
    model = tiny_bert(seed, hidden_dropout_prob=0.1)
    data = tiny_data()
    return AdversarialTrainer(
        model, args, train_dataset=data, eval_dataset=data, adversary=METHODS["ta-vat"], callbacks=[Epochs()]
    )


@pytest.mark.parametrize("step", [1, 3])
def test_within_an_epoch_and_at_its_end(tmp_path, step):
    """Step 1 of 4 is within the first epoch, step 3 its last: the evaluation belongs to the checkpoint."""
    whole = plain(tmp_path / "whole")
    whole.train()
    cut = ask_at(plain(tmp_path / "cut"), step)
    cut.train()
    assert cut.stopping.stopped and cut.state.global_step == step + 1
    assert cut.callback_handler.callbacks[-2].at == ([4] if step == 3 else [])
    resumed = plain(tmp_path / "cut", seed=5)
    resumed.train(resume_from_checkpoint=True)
    assert not resumed.stopping.stopped
    assert_same(resumed, whole)
    losses = [[log["eval_loss"] for log in t.state.log_history if "eval_loss" in log] for t in (resumed, whole)]
    assert losses[0] == losses[1] and len(losses[0]) == 3


def test_the_limit_on_checkpoints_spares_it(tmp_path):
    options = {"save_total_limit": 1, "load_best_model_at_end": True, "learning_rate": 1.0}
    cut = ask_at(plain(tmp_path, **options), 5)
    cut.train()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-6")
    assert cut.args.save_total_limit == 1


def test_a_step_that_cannot_be_saved_is_not_the_last(tmp_path):
    """A callback that comes later vetoes the checkpoint of the step: the next one is taken."""

    class Veto(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_save = control.should_save and state.global_step != 2

    cut = plain(tmp_path)
    cut.add_callback(Veto())
    ask_at(cut, 1).train()
    assert cut.stopping.stopped and cut.state.global_step == 3


def test_asked_for_in_the_last_step_it_is_the_end(tmp_path):
    cut = ask_at(plain(tmp_path), 11)
    cut.train()
    assert not cut.stopping.stopped and cut.state.global_step == 12


def test_the_signal_itself(tmp_path):
    """The Trainer's own handler, which waits before it asks; afterwards the signal is what it was."""
    before = signal.getsignal(signal.SIGTERM)
    trainer = plain(tmp_path, num_train_epochs=2000, save_strategy="no", eval_strategy="no")
    trainer.stopping.jit_manager.kill_wait = 0.2
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    trainer.train()
    assert trainer.stopping.stopped and last_complete_checkpoint(tmp_path) is not None
    assert signal.getsignal(signal.SIGTERM) == before


# --- jobs of two phases ---------------------------------------------------------------------------------------------


def job(folder, search, seed=99):
    options = {**SLOW_SEARCH, **SEARCHES[search], "save_strategy": "no", **JIT}
    return make_trainer(folder, model=tiny_bert(seed=seed, hidden_dropout_prob=0.1), **options)


@pytest.fixture(scope="module")
def whole_job(tmp_path_factory):
    """Jobs that nothing interrupts, by their search."""
    done = {}

    def whole(search):
        if search not in done:
            done[search] = job(tmp_path_factory.mktemp(search), search)
            done[search].train()
        return done[search]

    return whole


@pytest.mark.parametrize(
    ("search", "searching", "step"),
    [
        ("gate", True, 2),
        pytest.param("gate", True, 0, marks=pytest.mark.slow),
        ("gate", False, 1),
        ("taylor", True, 4),
        pytest.param("shadow", True, 2, marks=pytest.mark.slow),
        pytest.param("taylor", True, 2, marks=pytest.mark.slow),
        pytest.param("adversarial-taylor", True, 5, marks=pytest.mark.slow),
        pytest.param("adversarial-taylor", False, 6, marks=pytest.mark.slow),
    ],
)
def test_a_ticket_job(tmp_path, whole_job, search, searching, step):
    cut = ask_at(job(tmp_path, search), step, searching)
    if searching:
        with pytest.raises(TrainingStopped, match=rf"stopped as asked at step {step + 1} of \d+"):
            cut.train()
        assert cut.ticket is None and not (tmp_path / "ticket.safetensors").exists()
        assert not list(tmp_path.glob("checkpoint-*")), "no fine-tuning"
    else:
        cut.train()
        assert cut.stopping.stopped and cut.state.global_step == step + 1
    resumed, whole = job(tmp_path, search, seed=5), whole_job(search)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.ticket == whole.ticket and resumed.search_log == whole.search_log
    assert_same(resumed, whole)
    steps = {name: (phase["steps"], phase["passes"]) for name, phase in resumed.cost.items()}
    assert steps == {name: (phase["steps"], phase["passes"]) for name, phase in whole.cost.items()}


def test_asked_for_in_the_step_in_which_the_search_settles(tmp_path, whole_job):
    """The search is over and its ticket is kept; the fine-tuning does not begin."""
    whole = whole_job("gate")
    cut = ask_at(job(tmp_path, "gate"), whole.search_log[-1]["step"] - 1, True)
    with pytest.raises(TrainingStopped):
        cut.train()
    assert (tmp_path / "ticket.safetensors").exists() and not list(tmp_path.glob("checkpoint-*"))
    resumed = job(tmp_path, "gate", seed=5)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.ticket == whole.ticket
    assert_same(resumed, whole)


@pytest.mark.parametrize(("searching", "step"), [(True, 1), pytest.param(False, 4, marks=pytest.mark.slow)])
def test_robust_bird(tmp_path, searching, step):
    def make(folder, seed=0):
        trainer = make_sparse_trainer(folder, model=tiny_bert(seed, hidden_dropout_prob=0.1), args=JIT)
        return trainer

    whole = make(tmp_path / "whole")
    whole.train()
    cut = ask_at(make(tmp_path / "cut"), step, searching)
    if searching:
        with pytest.raises(TrainingStopped):
            cut.train()
        assert not (tmp_path / "cut/_search/sparse_masks.safetensors").exists()
    else:
        cut.train()
        assert cut.stopping.stopped
    resumed = make(tmp_path / "cut", seed=5)
    resumed.train(resume_from_checkpoint=True)
    assert_same(resumed, whole)
    assert all(torch.equal(mask, whole.masks[name]) for name, mask in resumed.masks.items())


@pytest.mark.slow
def test_flying_bird_stops_where_its_masks_can_go_on(tmp_path):
    def make(folder, seed=0):
        model = tiny_bert(seed, hidden_dropout_prob=0.1)
        return make_sparse_trainer(folder, model=model, method=FlyingBird(density=0.3, period=2), args=JIT)

    whole = make(tmp_path / "whole")
    whole.train()
    ask_at(make(tmp_path / "cut"), 5).train()
    resumed = make(tmp_path / "cut", seed=5)
    resumed.train(resume_from_checkpoint=True)
    assert_same(resumed, whole)
