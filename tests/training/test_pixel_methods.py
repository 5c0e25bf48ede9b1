"""Attacks on pixels, MART and adversarial weight perturbation inside the Trainer, against bare PyTorch."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from transformers import TrainerCallback

from hf_robust_tickets import AdversarialTrainer, AdversarialTrainingArguments
from hf_robust_tickets.adversaries import MART, PixelFast, PixelFree, PixelMART, PixelPGD, PixelTRADES, get_adversary
from hf_robust_tickets.errors import ConfigurationError, DataError
from hf_robust_tickets.training import SparseTrainingCallback
from hf_robust_tickets.training.extensions.awp import WeightPerturbation
from tests.testing.device import USE_CPU
from tests.testing.pixels import MEAN, STD, tiny_convnet, tiny_images
from tests.testing.tiny import tiny_bert, tiny_data

PIXELS = {"image_mean": MEAN, "image_std": STD}
RADIUS, STEP = 0.06, 0.04
LENGTHS = {"step_size": STEP, "max_norm": RADIUS, **PIXELS}
METHODS = {
    "pixel-pgd": PixelPGD(steps=3, init_magnitude=0.03, **LENGTHS),
    "pixel-fast": PixelFast(init_magnitude=0.03, **LENGTHS),
    "pixel-free": PixelFree(steps=2, init_magnitude=0.03, **LENGTHS),
    "pixel-trades": PixelTRADES(steps=2, init_magnitude=0.03, **LENGTHS),
    "pixel-mart": PixelMART(steps=2, init_magnitude=0.03, **LENGTHS),
}
MODULES = {"uniform_start": ("text.pgd", "text.mart"), "normal_start": ("regularizer",)}


def start(x, mask, magnitude, *rest):
    """Depends on the entry alone, so that batches can be cut in different ways."""
    return magnitude * torch.cos(torch.arange(x[0].numel()).reshape(x[0].shape)).expand_as(x).clone()


@pytest.fixture
def same_starts(monkeypatch):
    for function, modules in MODULES.items():
        for module in modules:
            monkeypatch.setattr(f"hf_robust_tickets.adversaries.{module}.{function}", start)


class Watch(TrainerCallback):
    """The gradient of the first step."""

    gradient = None

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if self.gradient is None:
            self.gradient = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def trained(tmp_path, adversary, batch=8, callbacks=(), model=None, data=None, **options):
    values = {
        "output_dir": str(tmp_path), "max_steps": 1, "per_device_train_batch_size": batch, "save_strategy": "no",
        "report_to": "none", "disable_tqdm": True, "use_cpu": USE_CPU, "optim": "sgd", "learning_rate": 0.1,
        "max_grad_norm": 0, "lr_scheduler_type": "constant",
    }  # fmt: skip
    watch = Watch()
    trainer = AdversarialTrainer(
        model=tiny_convnet(num_labels=3) if model is None else model,
        args=AdversarialTrainingArguments(**(values | options)),
        train_dataset=tiny_images(8, classes=3) if data is None else data,
        adversary=adversary,
        callbacks=[watch, *callbacks],
    )
    trainer.train()
    return trainer, watch.gradient


def assert_close(one, other, atol=1e-6):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=atol, msg=name)


class Reference:
    """The papers' losses on the whole batch, in bare PyTorch."""

    def __init__(self):
        self.model = tiny_convnet(num_labels=3)
        images = tiny_images(8, classes=3)
        self.x, self.y = torch.tensor(images["pixel_values"]), torch.tensor(images["labels"])
        self.mean, self.std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
        self.pixels = self.x * self.std + self.mean

    def logits(self, delta=0.0):
        return self.model((self.pixels + delta - self.mean) / self.std).logits

    def boxed(self, delta):
        return (self.pixels + delta.clamp(-RADIUS, RADIUS)).clamp(0, 1) - self.pixels

    def climbed(self, objective, ascents):
        delta = self.boxed(start(self.x, None, 0.03))
        for _ in range(ascents):
            delta.requires_grad_()
            (gradient,) = torch.autograd.grad(objective(delta), delta)
            delta = self.boxed((delta + STEP * gradient.sign()).detach())
        return delta

    def cross_entropy(self, delta=0.0):
        return F.cross_entropy(self.logits(delta), self.y)

    def divergence(self, delta):
        clean, perturbed = self.logits().log_softmax(1), self.logits(delta).log_softmax(1)
        return (clean.exp() * (clean - perturbed)).sum(1)

    def loss_of(self, name):
        """The end of the ascent, and the loss there as a function of the weights."""
        if name == "pixel-trades":
            clean = self.logits().detach().log_softmax(1)
            delta = self.climbed(lambda d: (clean.exp() * (clean - self.logits(d).log_softmax(1))).sum(1).mean(), 2)
            return lambda: self.cross_entropy() + 6.0 * self.divergence(delta).mean()
        delta = self.climbed(self.cross_entropy, {"pixel-fast": 1, "pixel-free": 0}.get(name, 2))
        if name != "pixel-mart":
            return lambda: self.cross_entropy(delta)

        def mart():
            rows = torch.arange(8)
            p, clean = self.logits(delta).softmax(1), self.logits().softmax(1)
            others = p.clone()
            others[rows, self.y] = 0
            boosted = -p[rows, self.y].log() - (1 - others.max(1).values).log()
            return (boosted + 5.0 * self.divergence(delta) * (1 - clean[rows, self.y])).mean()

        return mart

    def gradient(self, loss):
        names, weights = zip(*self.model.named_parameters(), strict=True)
        return dict(zip(names, torch.autograd.grad(loss(), weights), strict=True))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_gradient_is_the_papers(name, tmp_path, same_starts):
    reference = Reference()
    _, gradient = trained(tmp_path, METHODS[name])
    assert_close(gradient, reference.gradient(reference.loss_of(name)))


@pytest.mark.parametrize("name", ["pixel-fast", "pixel-mart", "pixel-pgd", "pixel-trades"])
def test_weight_perturbation(name, tmp_path, same_starts):
    """The gradient at w + gamma * ||w_l|| * g_l / ||g_l||; the step is taken from w."""
    reference, gamma = Reference(), 0.05
    loss = reference.loss_of(name)
    plain = reference.gradient(loss)
    before = copy.deepcopy(reference.model.state_dict())
    with torch.no_grad():
        for key, weight in reference.model.named_parameters():
            if weight.dim() > 1:
                weight += gamma * weight.norm() * plain[key] / plain[key].norm()
    expected = reference.gradient(loss)
    trainer, gradient = trained(tmp_path, METHODS[name], adversary_weight_perturbation=gamma)
    assert_close(gradient, expected)
    assert max(float((expected[key] - plain[key]).abs().max()) for key in plain) > 1e-4
    for key, weight in trainer.model.named_parameters():
        torch.testing.assert_close(weight, before[key] - 0.1 * gradient[key], rtol=0, atol=1e-7)


@pytest.mark.feature("gradient accumulation")
@pytest.mark.parametrize("name", sorted(METHODS))
def test_batch_and_its_halves(name, tmp_path, same_starts):
    _, whole = trained(tmp_path / "a", METHODS[name])
    _, halves = trained(tmp_path / "b", METHODS[name], batch=4, gradient_accumulation_steps=2)
    assert_close(whole, halves)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_weights_come_back_bit_for_bit_and_pruned_ones_stay_zero(norm, tmp_path):
    seen = []

    class Look(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            self.handle = model.register_forward_pre_hook(
                lambda module, args: seen.append({k: p.detach().clone() for k, p in module.named_parameters()})
            )

        def on_train_end(self, *args, **kwargs):
            self.handle.remove()

    sparse = SparseTrainingCallback("flying-bird")
    adversary = replace(METHODS["pixel-pgd"], norm=norm)
    trainer, _ = trained(
        tmp_path, adversary, callbacks=[sparse, Look()], learning_rate=0.0, adversary_weight_perturbation=0.01
    )
    after = dict(trainer.model.named_parameters())
    assert len(seen) == 4  # two ascents, the pass that moves the weights, and the one that trains them
    assert all(torch.equal(seen[0][key], after[key]) for key in after)
    moved = [key for key in after if not torch.equal(seen[-1][key], after[key])]
    assert moved == [key for key, p in after.items() if p.dim() > 1]
    for key, mask in sparse.masks.items():
        assert not seen[-1][key][~mask].any() and not mask.all()
        assert float((seen[-1][key] - after[key]).norm() / after[key].norm()) == pytest.approx(0.01, rel=1e-4)


def test_weights_stay_where_a_gradient_is_infinite():
    model = torch.nn.Linear(2, 2, bias=False)
    before = model.weight.detach().clone()
    perturbation = WeightPerturbation(model, gamma=0.1)
    perturbation.climb(model.weight[0, 0] * 3e38 * 10.0 + model.weight.sum())  # as a loss scale too large makes it
    assert torch.equal(model.weight, before)


def test_free_replays_and_goes_on_from_its_delta(tmp_path):
    adversary = PixelFree(steps=3, **LENGTHS)
    trainer, _ = trained(tmp_path, adversary, max_steps=3, learning_rate=0.0)
    assert trainer.cost_meter.passes == 3 and trainer.state.epoch == pytest.approx(1.0)
    delta = trainer.adversarial_step.states["0"]["delta"]
    # Three steps of 0.04 in a ball of 0.06; where the box ends earlier, less.
    assert float(delta.abs().max()) == pytest.approx(RADIUS)


def test_mart_by_hand():
    clean = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    perturbed = torch.tensor([[0.8, 0.2], [0.4, 0.6]]).log()
    boosted = [-2 * torch.tensor(0.8).log(), -2 * torch.tensor(0.6).log()]
    divergences = [
        0.25 * torch.tensor(0.25 / 0.8).log() + 0.75 * torch.tensor(0.75 / 0.2).log(),
        0.5 * torch.tensor(0.5 / 0.4).log() + 0.5 * torch.tensor(0.5 / 0.6).log(),
    ]
    unsure = [1 - 0.25, 1 - 0.5]
    expected = sum(b + 2.0 * d * u for b, d, u in zip(boosted, divergences, unsure)) / 2
    value = MART(coefficient=2.0).objective(clean, perturbed, torch.tensor([0, 1]))
    torch.testing.assert_close(value, expected)
    three = torch.tensor([[0.5, 0.3, 0.2]]).log()
    only = MART(coefficient=0.0).objective(three, three, torch.tensor([0]))
    torch.testing.assert_close(only, -torch.tensor(0.5 * 0.7).log())
    # Probabilities that float32 rounds to 1 have a finite loss.
    sure = torch.tensor([[0.0, 40.0]])
    assert float(MART().objective(sure, sure, torch.tensor([0]))) == pytest.approx(80.0, rel=1e-4)


def test_mart_on_words(tmp_path):
    adversary = MART(steps=2, step_size=0.1, init_magnitude=0.1, max_norm=0.3, norm="l2", step_unit="absolute")
    options = {"model": tiny_bert(), "data": tiny_data(8), "logging_steps": 1, "max_steps": 2}
    trainer, gradient = trained(tmp_path, adversary, **options)
    entry = next(log for log in trainer.state.log_history if "loss" in log)
    assert {"adversary_divergence", "adversary_clean_loss"} <= entry.keys() and len(gradient) > 10
    assert trainer.cost_meter.passes == 2 * 4


def test_defaults_are_the_papers():
    assert (PixelTRADES().steps, PixelTRADES().coefficient, PixelTRADES().init_magnitude) == (10, 6.0, 0.001)
    assert (PixelMART().coefficient, PixelMART().max_norm, PixelMART().step_size) == (5.0, 8 / 255, 2 / 255)
    assert PixelFast().step_size == pytest.approx(1.25 * PixelFast().max_norm)
    assert (PixelFree().replays, PixelFree().step_size) == (8, 8 / 255)
    for name in (*METHODS, "mart"):
        assert get_adversary(name).name == name


@pytest.mark.parametrize(
    ("adversary", "options", "message"),
    [
        ("freelb", {}, "needs a method that trains on the end of its ascent, got freelb"),
        ("free-at", {}, "got free-at"),
        ("pgd", {"adversary_clean_weight": 0.5}, "with clean weight 0.5"),
        ("pgd", {"adversary_layer": 1}, "deepspeed or adversary_layer"),
        ("pgd", {"adversary_weight_perturbation": 1.0}, r"must be in \[0, 1\), got 1.0"),
        ("mart", {"label_smoothing_factor": 0.1}, "mart has a loss of its own"),
    ],
)
def test_refusals(adversary, options, message, tmp_path):
    options = {"adversary_weight_perturbation": 0.01, "model": tiny_bert(), "data": tiny_data(8)} | options
    with pytest.raises(ConfigurationError, match=message):
        trained(tmp_path, adversary, **options)


def test_mart_needs_classes():
    with pytest.raises(DataError, match="one class label per example"):
        MART().objective(torch.zeros(2, 5, 3), torch.zeros(2, 5, 3), torch.zeros(2, 5, dtype=torch.long))
