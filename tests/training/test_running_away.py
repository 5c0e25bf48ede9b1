"""Adversarial training whose loss or weights are no longer finite."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import PGD, FreeLB
from hf_robust_tickets.errors import DivergenceError
from hf_robust_tickets.training.checks.nan_guard import FiniteWatch, has_finite_weights
from tests.testing.methods import METHODS
from tests.testing.mishaps import Poisoned
from tests.testing.paths import ROOT
from tests.testing.ranks import TORCHRUN, run_ranks
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments


def test_watch_notes_where_a_row_of_lost_losses_began():
    good, bad = torch.tensor(1.0), torch.tensor(float("nan"))
    strict, patient = FiniteWatch(), FiniteWatch(patience=3)
    assert strict.lost_since(good.device).item() == -1
    for step, loss in enumerate([good, bad, bad, good, bad / 0, bad, bad, good], start=1):
        strict.note(loss, step)
        patient.note(loss, step)
    assert strict.lost_since(good.device).item() == 2 and patient.lost_since(good.device).item() == 5


def test_watch_counts_steps_with_any_number_of_losses():
    good, bad = torch.tensor(1.0), torch.tensor(float("nan"))
    watch = FiniteWatch(patience=2)
    for step, losses in enumerate([[bad, bad, bad], [good, good], [good, bad, good], [good], [bad]], start=1):
        for loss in losses:
            watch.note(loss, step)
    assert watch.lost_since(good.device).item() == -1
    for loss in (good, bad, good):
        watch.note(loss, 6)
    assert watch.lost_since(good.device).item() == 5


def test_one_step_that_the_scaler_leaves_out_is_not_the_end(tmp_path):
    """Five passes over four micro-batches: as many losses as the patience has steps."""
    model, passes = tiny_bert(), []

    def spoil(module, args, output):
        passes.append(output)
        return output * float("nan") if len(passes) <= 20 else None

    model.classifier.register_forward_hook(spoil)
    options = arguments(
        tmp_path, max_steps=3, logging_steps=1, per_device_train_batch_size=2, gradient_accumulation_steps=4,
        max_grad_norm=0, optim="sgd",
    )  # fmt: skip
    trainer = AdversarialTrainer(model, options, train_dataset=tiny_data(), adversary=FreeLB(steps=5))
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    trainer.train()
    assert trainer.state.global_step == 3 and len(passes) == 60 and has_finite_weights(trainer.model)


def test_weights_that_train_must_be_finite():
    model = torch.nn.Linear(2, 2)
    assert has_finite_weights(model).tolist() == [1]
    model.bias.data[1] = float("inf")
    assert has_finite_weights(model).tolist() == [0]
    model.bias.requires_grad_(False)
    assert has_finite_weights(model).tolist() == [1]


def run_away(folder, adversary, hidden=False, **options):
    options = {"save_strategy": "steps", "save_steps": 1, "max_steps": 8, "logging_steps": 5} | options
    trainer = Poisoned(tiny_bert(), arguments(folder, **options), train_dataset=tiny_data(64), adversary=adversary)
    trainer.hidden = hidden
    trainer.train()


@pytest.mark.parametrize("name", ["freelb", "pgd", "trades", None])
def test_loss_that_is_no_number_stops_training_before_anything_is_saved(name, tmp_path):
    adversary = METHODS.get(name)
    message = r"the loss is not finite since step 4 \(of 8\); the last good checkpoint is .*checkpoint-3: lower " + (
        r"learning_rate \(0.001\) or the adversary's step size \([\d.]+\)" if adversary else "learning_rate"
    )
    with pytest.raises(DivergenceError, match=message):
        run_away(tmp_path, adversary)
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [f"checkpoint-{k}" for k in (1, 2, 3)]
    assert all(w.isfinite().all() for w in load_file(tmp_path / "checkpoint-3" / "model.safetensors").values())


def test_loss_is_asked_for_at_the_log_and_at_the_end(tmp_path):
    with pytest.raises(DivergenceError, match=r"since step 4 .* last good checkpoint is none: lower .* again$"):
        run_away(tmp_path / "a", FreeLB(steps=2), save_strategy="no")
    with pytest.raises(DivergenceError, match="since step 4"):
        run_away(tmp_path / "b", None, save_strategy="no", logging_strategy="no", max_steps=5)


def test_weights_are_looked_at_before_they_are_saved(tmp_path):
    # The loss of step 4 is finite, its gradient is not: only the weights tell.
    with pytest.raises(DivergenceError, match=r"the weights are not finite after step 4 .*checkpoint-3"):
        run_away(tmp_path, FreeLB(steps=2), hidden=True)
    assert not (tmp_path / "checkpoint-4").exists()


RANKS = """
import sys
sys.path.insert(0, {root!r})
from hf_robust_tickets.adversaries import FreeLB
from hf_robust_tickets.errors import DivergenceError
from tests.testing.mishaps import Poisoned
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments

class OneRank(Poisoned):
    def compute_loss(self, *args, **kwargs):
        self.poisoned_from = 4 if self.args.process_index == 1 else 99
        return super().compute_loss(*args, **kwargs)

options = arguments({folder!r}, max_steps=8, ddp_backend="gloo", per_device_train_batch_size=4)
try:
    OneRank(tiny_bert(), options, train_dataset=tiny_data(64), adversary=FreeLB(steps=2)).train()
except DivergenceError as error:
    print(f"STOPPED {{error}}", flush=True)  # one piece: the ranks write to one pipe
"""


@pytest.mark.slow
def test_all_ranks_stop_when_one_is_lost(tmp_path):
    output = run_ranks(RANKS.format(root=str(ROOT), folder=str(tmp_path)), tmp_path / "worker.py", TORCHRUN)
    assert output.count("STOPPED the loss is not finite since step 4") == 2, output


def test_a_training_that_ran_away_goes_on_from_its_last_good_checkpoint(tmp_path):
    with pytest.raises(FloatingPointError):
        run_away(tmp_path, PGD(steps=2))
    options = arguments(tmp_path, save_strategy="steps", save_steps=1, max_steps=8)
    mended = AdversarialTrainer(tiny_bert(), options, train_dataset=tiny_data(64), adversary=PGD(steps=2))
    mended.train(resume_from_checkpoint=True)
    assert mended.state.global_step == 8 and has_finite_weights(mended.model)
