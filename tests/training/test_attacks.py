"""Every method inside the Trainer: gradients against bare models, invariants, and what a checkpoint keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import TrainerCallback

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import ALUM, FGM, TRADES, FreeAT, Regularizer
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.training.steps.base import AdversarialStep
from tests.testing.methods import EVERY, METHODS
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import KeepBatch, arguments, assert_equal_gradients, first_gradient, weights


@EVERY
def test_every_method_trains_and_says_what_it_did(name, tmp_path):
    model = tiny_bert(hidden_dropout_prob=0.1)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    trainer = AdversarialTrainer(model, arguments(tmp_path), train_dataset=tiny_data(), adversary=METHODS[name])
    trainer.train()
    changed = [key for key, p in trainer.model.named_parameters() if not torch.equal(p, before[key])]
    assert len(changed) == len(before)
    entry = next(log for log in trainer.state.log_history if "loss" in log)
    last = "adversary_divergence" if isinstance(METHODS[name], Regularizer) else "adversary_loss"
    assert {last, "adversary_delta_norm", "adversary_skipped_ascents"} <= entry.keys()
    assert ("adversary_flips" in entry) == (METHODS[name].num_passes > 1)
    assert ("adversary_clean_loss" in entry) != ("adversary_start_loss" in entry)
    assert entry["adversary_skipped_ascents"] == 0
    assert entry["adversary_delta_norm"] > 0 or name == "r-drop"
    passes = METHODS[name].num_passes * 4
    assert trainer.cost_meter.passes == passes


# The second half of TA-VAT starts from what the first one left.
@pytest.mark.feature("gradient accumulation")
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"ta-vat"}))
def test_every_method_gives_the_same_gradient_for_one_batch_and_for_two_halves(name, tmp_path, same_starts):
    one = first_gradient(tmp_path / "a", batch=8, accumulation=1, adversary=METHODS[name])
    two = first_gradient(tmp_path / "b", batch=4, accumulation=2, adversary=METHODS[name])
    assert_equal_gradients(one, two)


LAYERED = sorted(set(METHODS) - {"ta-vat"})


@pytest.mark.feature("hidden layer: cached = uncached")
@pytest.mark.parametrize("name", LAYERED)
def test_caching_the_layers_below_changes_no_gradient(name, tmp_path, same_starts, monkeypatch):
    options = {"adversary_layer": 1}
    cached = first_gradient(tmp_path / "a", adversary=METHODS[name], options=options)
    checkpointed = {**options, "gradient_checkpointing": True}
    assert_equal_gradients(cached, first_gradient(tmp_path / "d", adversary=METHODS[name], options=checkpointed))
    monkeypatch.setattr(AdversarialStep, "caches_layers", False)
    plain = first_gradient(tmp_path / "b", adversary=METHODS[name], options=options)
    assert_equal_gradients(cached, plain)
    clean = first_gradient(tmp_path / "c", adversary=None)
    # R-Drop perturbs nothing, and FreeAT's first step starts at zero.
    assert any((cached[key] - clean[key]).abs().max() > 1e-5 for key in cached) or name in ("r-drop", "free-at")


def test_cached_layers_run_once(tmp_path):
    model, calls = tiny_bert(), []
    stock = type(model.bert.encoder.layer[0]).forward

    def count(self, *args, **kwargs):
        calls.append(self)
        return stock(self, *args, **kwargs)

    type(model.bert.encoder.layer[0]).forward = count
    try:
        options = arguments(tmp_path, max_steps=1, adversary_layer=1)
        AdversarialTrainer(model, options, train_dataset=tiny_data(), adversary=METHODS["freelb"]).train()
    finally:
        type(model.bert.encoder.layer[0]).forward = stock
    lower, upper = model.bert.encoder.layer
    assert calls.count(lower) == 1 and calls.count(upper) == 3
    assert "forward" not in lower.__dict__


def batch_of(data, size=8):
    return {key: torch.tensor(data[:size][key]) for key in data.column_names}


def test_trades_is_clean_loss_plus_divergence(tmp_path, same_starts):
    """One ascent by hand: delta0, gradient of KL(clean || perturbed), sign step, KL with gradient in both outputs."""
    adversary = TRADES(
        steps=1, step_size=0.05, init_magnitude=0.05, max_norm=0.08, coefficient=2.0, step_unit="absolute"
    )
    keep = KeepBatch()
    got = first_gradient(tmp_path, adversary=adversary, trainer_class=keep.trainer_class())
    inputs = keep.first
    model = tiny_bert().train()
    words, delta = model.get_input_embeddings(), torch.zeros(8, 8, 32)

    def run():
        handle = words.register_forward_hook(lambda module, args, output: output + delta)
        logits = model(**inputs).logits
        handle.remove()
        return logits

    def kl(p, q):
        return (p.softmax(-1) * (p.log_softmax(-1) - q.log_softmax(-1))).sum(-1).mean()

    clean = run()
    delta = 0.05 * torch.cos(torch.arange(8 * 32).reshape(8, 32)).expand(8, 8, 32)
    delta = delta.clone().requires_grad_()
    grad = torch.autograd.grad(kl(clean.detach(), run()), delta)[0]
    delta = (delta.detach() + 0.05 * grad.sign()).clamp(-0.08, 0.08)
    clean = model(**inputs).logits
    (F.cross_entropy(clean, inputs["labels"]) + 2.0 * kl(clean, run())).backward()
    assert_equal_gradients(got, {key: p.grad for key, p in model.named_parameters() if p.grad is not None})


def test_a_subclass_may_compute_the_loss_itself(tmp_path):
    class Doubled(AdversarialTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            outputs = model(**inputs)
            loss = 2 * F.cross_entropy(outputs.logits, inputs["labels"])
            return (loss, outputs) if return_outputs else loss

    for name in ("freelb", "pgd"):
        single = first_gradient(tmp_path / "a", adversary=METHODS[name])
        double = first_gradient(tmp_path / "b", adversary=METHODS[name], trainer_class=Doubled)
        assert_equal_gradients({key: 2 * value for key, value in single.items()}, double)


@pytest.mark.parametrize("name", ["free-at", "ta-vat", "smart", "freelb"])
def test_a_resumed_training_ends_with_the_same_weights(name, tmp_path):
    def trainer(**options):
        data, model = tiny_data(), tiny_bert(hidden_dropout_prob=0.1)
        options = arguments(tmp_path, max_steps=6, save_strategy="steps", save_steps=3, **options)
        return AdversarialTrainer(model, options, train_dataset=data, adversary=METHODS[name])

    whole = trainer()
    whole.train()
    again = trainer()
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    for key, weight in weights(whole).items():
        assert torch.equal(weight, weights(again)[key]), key
    if name != "freelb":
        broken = trainer()
        broken._load_optimizer_and_scheduler = super(AdversarialTrainer, broken)._load_optimizer_and_scheduler
        broken.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
        assert any(not torch.equal(weight, weights(broken)[key]) for key, weight in weights(whole).items())


def test_smart_is_pulled_towards_the_average_of_its_weights(tmp_path):
    def gradient_norm(coefficient):
        adversary = replace(METHODS["smart"], coefficient=0.0, proximal_coefficient=coefficient)
        trainer = AdversarialTrainer(
            tiny_bert(), arguments(tmp_path, max_steps=4), train_dataset=tiny_data(), adversary=adversary
        )
        start = weights(trainer)
        trainer.train()
        return sum((weight - start[key]).square().sum() for key, weight in weights(trainer).items()), trainer

    free, _ = gradient_norm(0.0)
    pulled, trainer = gradient_norm(1000.0)
    assert pulled < free
    name, average = next(iter(trainer.adversarial_step.extensions["weight-average"].average.tensors.items()))
    assert average.shape == dict(trainer.model.named_parameters())[name].shape


def test_free_at_replays_batches_and_carries_delta(tmp_path):
    seen, deltas = [], []

    class Watching(AdversarialTrainer):
        def training_step(self, model, inputs, *args, **kwargs):
            seen.append(inputs["input_ids"].clone())
            loss = super().training_step(model, inputs, *args, **kwargs)
            deltas.append(self.adversarial_step.states["0"]["delta"].clone())
            return loss

    adversary = FreeAT(steps=3, step_size=0.02, max_norm=0.05, step_unit="absolute")
    options = arguments(tmp_path, max_steps=-1, num_train_epochs=1, per_device_train_batch_size=5)
    trainer = Watching(tiny_bert(), options, train_dataset=tiny_data(12), adversary=adversary)
    trainer.train()
    assert len(seen) == 9 == trainer.state.global_step  # 12 examples: three blocks of five, the last filled up
    for block in range(3):
        assert all(torch.equal(seen[3 * block], seen[3 * block + i]) for i in range(3))
    assert len({tuple(ids.flatten().tolist()) for ids in seen}) == 3
    assert deltas[0].abs().max().item() == pytest.approx(0.02)
    assert deltas[1].abs().max().item() == pytest.approx(0.04)
    assert deltas[-1].abs().max().item() == pytest.approx(0.05)


@pytest.mark.parametrize("name", ["free-at", "ta-vat"])
def test_what_is_remembered_never_lies_on_padding(name, tmp_path, monkeypatch):
    """FreeAT keeps a whole batch, and TA-VAT a vocabulary in which padding may be a word (that ends the sentence)."""
    found, finish = [], AdversarialStep._finish

    def watched(step, context):
        perturbation = context.perturbation
        added = perturbation.adversary.added(perturbation.delta.detach())
        found.append(added[perturbation.mask == 0].abs().sum().item())
        finish(step, context)

    monkeypatch.setattr(AdversarialStep, "_finish", watched)
    rows = [
        {"input_ids": [*range(5, 4 + n), *[2] * (9 - n)], "attention_mask": [1] * n + [0] * (8 - n), "labels": n // 8}
        for n in [4, 8] * 8
    ]
    options = arguments(tmp_path, per_device_train_batch_size=4)
    dataset = Dataset.from_list(rows)
    AdversarialTrainer(tiny_bert(), options, train_dataset=dataset, adversary=METHODS[name]).train()
    assert found == [0.0] * 4


class Attacked(TrainerCallback):
    """Passes spent up to the end of each step."""

    def __init__(self):
        self.passes = []

    def on_step_end(self, args, state, control, **kwargs):
        self.passes.append(self.trainer.cost_meter.passes)


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({"adversary_every": 3}, [3, 1, 1, 3, 1, 1]),
        ({"adversary_every": 2, "adversary_start_step": 1}, [1, 3, 1, 3, 1, 3]),
        ({"adversary_clean_weight": 0.5}, [4] * 6),
        ({"adversary_start_step": 0.5}, [1, 1, 1, 3, 3, 3]),
    ],
)
def test_which_steps_are_attacked(options, passes, tmp_path):
    watch = Attacked()
    trainer = AdversarialTrainer(
        tiny_bert(),
        arguments(tmp_path, max_steps=6, **options),
        train_dataset=tiny_data(),
        adversary=METHODS["freelb"],
        callbacks=[watch],
    )
    watch.trainer = trainer
    trainer.train()
    assert [b - a for a, b in zip([0, *watch.passes], watch.passes)] == passes


def test_a_clean_pass_is_mixed_in_by_its_weight(tmp_path):
    clean = first_gradient(tmp_path / "a", adversary=None)
    attacked = first_gradient(tmp_path / "b", adversary=METHODS["freelb"])
    mixed = first_gradient(tmp_path / "c", adversary=METHODS["freelb"], options={"adversary_clean_weight": 0.25})
    assert_equal_gradients({key: 0.25 * clean[key] + 0.75 * attacked[key] for key in clean}, mixed)


@pytest.mark.parametrize(
    ("schedule", "lengths"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1, 1, 0.853553, 0.5, 0.146447]),
    ],
)
def test_lengths_follow_their_schedule(schedule, lengths, tmp_path):
    trainer = AdversarialTrainer(
        tiny_bert(),
        arguments(tmp_path, max_steps=6, logging_steps=1, adversary_warmup=2, adversary_schedule=schedule),
        train_dataset=tiny_data(),
        adversary=FGM(step_size=2.0, step_unit="absolute"),
    )
    trainer.train()
    norms = [log["adversary_delta_norm"] for log in trainer.state.log_history if "loss" in log]
    assert norms == pytest.approx([2.0 * length for length in lengths], rel=1e-4)


def test_options_that_a_method_cannot_use_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="coefficient"):
        AdversarialTrainer(tiny_bert(), arguments(tmp_path, adversary_clean_weight=0.5), adversary="trades")
    with pytest.raises(ConfigurationError, match="per word"):
        AdversarialTrainer(tiny_bert(), arguments(tmp_path, adversary_layer=1), adversary="ta-vat")
    with pytest.raises(ConfigurationError, match="no gradient"):
        ALUM(init_magnitude=0.0, step_unit="absolute")
