"""Static masks from scores inside the Trainer: what is scored when, what a resume needs, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.autograd import functional
from transformers import Trainer, TrainerCallback

from hf_robust_tickets import AdversarialTrainer, SparseTrainingCallback
from hf_robust_tickets.adversaries import PGD, FreeLB
from hf_robust_tickets.errors import CheckpointError, ConfigurationError
from hf_robust_tickets.sparse import SNIP, GraSP, SynFlow, Taylor, load_masks, select_weights
from hf_robust_tickets.sparse.base import SparseMethod
from hf_robust_tickets.training import SparseTrainer
from hf_robust_tickets.training.sparse.curvature import Curvature
from hf_robust_tickets.training.sparse.updates import SparseRun
from tests.testing.sparse_models import TwoLayers, vectors
from tests.testing.sparse_training import (
    Interrupt,
    KeepBatches,
    arguments,
    assert_masked_weights_and_state_are_zero,
    train,
)
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.vision_models import tiny_image_model


class Product(nn.Module):
    """Half of (a b x - y)^2, with a and b as layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(1, 1, bias=False)
        self.b = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.a.weight.fill_(2.0)
            self.b.weight.fill_(3.0)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": 0.5 * (self.b(self.a(x)) - labels).square().sum()}


def test_the_product_with_the_hessian_by_hand():
    """a = 2, b = 3, x = 1, y = 5: the residual is 1, g = (3, 2), H = [[9, 7], [7, 4]], and H g = (41, 29)."""
    model = Product()
    curvature = Curvature(model)
    model(torch.ones(1, 1), torch.full((1, 1), 5.0))
    found = curvature.products(select_weights(model))
    assert {name: value.item() for name, value in found.items()} == {"a.weight": 41.0, "b.weight": 29.0}
    assert curvature.batches == [] and all(p.grad is None for p in model.parameters())
    # Two micro-batches: twice g and twice H.
    for _ in range(2):
        model(torch.ones(1, 1), torch.full((1, 1), 5.0))
    assert curvature.products(select_weights(model))["a.weight"].item() == 4 * 41.0
    curvature.close()
    assert not model._forward_pre_hooks


def test_the_product_is_that_of_the_whole_hessian():
    model, data = TwoLayers(), vectors(8)
    batch = {"x": torch.tensor(data["x"]), "labels": torch.tensor(data["labels"])}
    weights = select_weights(model)
    curvature = Curvature(model)
    model(**batch)
    found = torch.cat([value.flatten() for value in curvature.products(weights).values()])

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = flat.split([w.numel() for w in weights.values()])
        tensors = {name: part.view(weights[name].shape) for name, part in zip(weights, parts, strict=True)}
        return torch.func.functional_call(model.eval(), tensors, kwargs=batch)["loss"]

    flat = torch.cat([w.detach().flatten() for w in weights.values()])
    expected = functional.hessian(loss, flat) @ functional.jacobian(loss, flat)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_looking_at_the_curvature_leaves_no_trace():
    model = tiny_image_model("cifar_resnet").train()
    curvature = Curvature(model)
    inputs = {"pixel_values": torch.randn(4, 3, 8, 8), "labels": torch.tensor([0, 1, 2, 0])}
    model(**inputs)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    products = curvature.products(select_weights(model))
    assert all(value.abs().max() > 0 for value in products.values())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and all(module.training for module in model.modules())


def test_dropout_does_not_reach_the_curvature():
    found = []
    for rate in (0.0, 0.5):
        model = tiny_bert(hidden_dropout_prob=rate, attention_probs_dropout_prob=rate).train()
        curvature = Curvature(model)
        model(**{key: torch.tensor(value) for key, value in tiny_data(8).to_dict().items()})
        found.append(curvature.products(select_weights(model)))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def expected_masks(method: SparseMethod, batches: list, steps: range) -> dict[str, list]:
    """Plain training with SGD of rate 0.1 up to the last scored step, written without a Trainer."""
    model = TwoLayers()
    weights = {name: p for name, p in model.named_parameters() if p.dim() == 2}
    scores = {name: torch.zeros_like(w) for name, w in weights.items()}
    for step in range(1, steps.stop):
        model.zero_grad()
        model(**batches[step - 1])["loss"].backward()
        with torch.no_grad():
            for name, weight in weights.items():
                if step in steps:
                    scores[name] += (weight * weight.grad).abs()
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
    return {name: mask.tolist() for name, mask in method.masks_from_scores(scores).items()}


@pytest.mark.parametrize(("warmup", "scored"), [(0, 1), (0, 4), (3, 1), (3, 2)])
def test_steps_after_the_warm_up_are_scored(tmp_path, warmup, scored):
    method = Taylor(density=0.4, warmup_steps=warmup, scored_steps=scored)
    options = {"max_steps": 6, "lr_scheduler_type": "constant", "max_grad_norm": 0}
    sgd = (torch.optim.SGD, {"lr": 0.1})
    trainer, callback = train(tmp_path, method, kind=KeepBatches, options=options, optimizer_cls_and_kwargs=sgd)
    expected = expected_masks(method, trainer.batches, range(warmup + 1, warmup + scored + 1))
    assert {name: mask.tolist() for name, mask in callback.masks.items()} == expected
    assert [(entry["step"], entry["event"]) for entry in callback.log] == [(warmup + scored - 1, "start")]
    assert_masked_weights_and_state_are_zero(trainer, callback)


def test_one_step_without_a_warm_up_is_snip(tmp_path):
    once = Taylor(density=0.3, warmup_steps=0, scored_steps=1)
    masks = [train(tmp_path, method, model=tiny_bert())[1].masks for method in (once, SNIP(density=0.3))]
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())


def test_grasp_in_the_trainer(tmp_path):
    method = GraSP(density=0.4)
    trainer, callback = train(tmp_path, method, kind=KeepBatches)
    model = TwoLayers()
    curvature = Curvature(model)
    model(**{key: value for key, value in trainer.batches[0].items() if key in ("x", "labels")})
    weights = select_weights(model)
    expected = method.masks_from_scores(method.score(weights, curvature.products(weights)))
    assert all(torch.equal(mask, expected[name]) for name, mask in callback.masks.items())
    assert callback.log[0]["step"] == 0 and callback.density == pytest.approx(0.4, abs=0.01)
    assert_masked_weights_and_state_are_zero(trainer, callback)
    assert not trainer.model._forward_pre_hooks


def test_micro_batches_make_one_first_batch(tmp_path):
    whole = train(tmp_path, GraSP(density=0.4))[1].masks
    options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    parts = train(tmp_path, GraSP(density=0.4), options=options)[1].masks
    assert all(torch.equal(mask, parts[name]) for name, mask in whole.items())


STATIC = {
    "grasp": SparseTrainingCallback(GraSP(density=0.2)),
    "taylor": SparseTrainingCallback(Taylor(density=0.2, warmup_steps=2, scored_steps=3)),
    "synflow": SparseTrainingCallback(SynFlow(density=0.2, iterations=10), exclude=["query", "key"]),
}


@pytest.mark.parametrize(("name", "passes"), [("grasp", 23), ("taylor", 24), ("synflow", 24)])
def test_on_an_encoder_under_freelb(tmp_path, name, passes):
    """GraSP's first step alone is not attacked: it looks at the standard loss."""
    callback = STATIC[name]
    model = tiny_bert(hidden_dropout_prob=0.1)
    trainer, _ = train(tmp_path, callback, model=model, kind=AdversarialTrainer, adversary=FreeLB(steps=2))
    assert_masked_weights_and_state_are_zero(trainer, callback)
    assert callback.density == pytest.approx(0.2, abs=1e-3) and trainer.cost_meter.passes == passes
    assert not any(p._post_accumulate_grad_hooks for p in trainer.model.parameters())


def test_on_a_convolutional_network(tmp_path):
    from datasets import Dataset

    data = Dataset.from_dict({"pixel_values": torch.randn(16, 3, 8, 8).tolist(), "labels": [0, 1] * 8})
    for method in (
        GraSP(density=0.3),
        SynFlow(density=0.3, iterations=5),
        Taylor(0.3, warmup_steps=1, scored_steps=1),
    ):
        model = tiny_image_model("cifar_resnet")
        trainer, callback = train(tmp_path, method, model=model, train_dataset=data, options={"max_steps": 4})
        assert_masked_weights_and_state_are_zero(trainer, callback)


class Saves(TrainerCallback):
    def __init__(self) -> None:
        self.steps = []

    def on_save(self, args, state, control, **kwargs):
        self.steps.append(state.global_step)


@pytest.mark.parametrize("cut_at", [7])
def test_a_resumed_training_scores_as_one_that_was_not_cut_off(tmp_path, cut_at):
    """Scored are steps 6, 7 and 8; the training is cut off after the seventh and goes on from the fifth."""
    method = Taylor(density=0.2, warmup_steps=5, scored_steps=3)
    options = {"save_strategy": "steps", "save_steps": 1, "max_steps": 10, "save_total_limit": None}

    def run(folder, **kwargs):
        model = tiny_bert(hidden_dropout_prob=0.1)
        adversary = PGD(steps=2)
        return train(
            folder, method, model=model, kind=AdversarialTrainer, options=options, adversary=adversary, **kwargs
        )

    saves = Saves()
    whole, expected = run(tmp_path / "whole", callbacks=[saves])
    assert saves.steps == [1, 2, 3, 4, 5, 8, 9, 10]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", callbacks=[Interrupt()])
    resumed, callback = run(tmp_path / "cut", resume=True)
    assert callback.log == json.loads(json.dumps(expected.log))
    assert all(torch.equal(mask, expected.masks[key]) for key, mask in callback.masks.items())
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_between_scored_steps_is_refused():
    run = SparseRun(Taylor())
    state = run.state_dict() | {"scored": 2}
    with pytest.raises(CheckpointError, match="got one after 2 of them, whose scores it does not hold"):
        run.load_state_dict(state)


def test_sparse_trainer_takes_them_by_name(tmp_path):
    method = {"name": "taylor", "density": 0.3, "warmup_steps": 1, "scored_steps": 2}
    trainer = SparseTrainer(
        model=tiny_bert(),
        args=arguments(tmp_path),
        train_dataset=tiny_data(),
        adversary=FreeLB(steps=2),
        method=method,
    )
    trainer.train()
    saved = load_masks(tmp_path / "sparse_masks.safetensors")
    assert all(torch.equal(mask, saved[name]) for name, mask in trainer.masks.items())
    assert trainer.card_facts().sparse["method"]["name"] == "taylor"


def test_a_training_that_is_too_short(tmp_path):
    with pytest.raises(ConfigurationError, match=r"Taylor needs 60 \+ 30 steps before it masks, got a training of 12"):
        train(tmp_path, Taylor(density=0.3))


class WithoutLoss(TwoLayers):
    def forward(self, x, labels):
        return (nn.functional.cross_entropy(self.second(self.first(x)), labels, reduction="none"),)


class FusedBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gradient):
        return gradient.clone()

    @staticmethod
    def backward(ctx, _):
        raise NotImplementedError("derivative for fused_backward is not implemented")


class Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return FusedBackward.apply(gradient)


class FusedKernel(TwoLayers):
    def forward(self, x, labels):
        return {"loss": nn.functional.cross_entropy(self.second(Fused.apply(self.first(x).tanh())), labels)}


def test_losses_that_cannot_be_differentiated_twice(tmp_path):
    data = vectors(4)
    batch = {"x": torch.tensor(data["x"]), "labels": torch.tensor(data["labels"])}
    for model, message in (
        (WithoutLoss(), "got an output without one"),
        (FusedKernel(), r"does not allow \(derivative for"),
    ):
        curvature = Curvature(model)
        model(**batch)
        with pytest.raises(ConfigurationError, match=message):
            curvature.products(select_weights(model))
    with pytest.raises(ConfigurationError, match="label smoothing"):
        train(tmp_path, GraSP(density=0.3), model=tiny_bert(), options={"label_smoothing_factor": 0.1})


class Silent(SparseMethod):
    name = "silent"

    def initial_masks(self, weights, seed):
        return None


def test_a_method_without_masks_and_without_scores(tmp_path):
    with pytest.raises(ConfigurationError, match="Silent gives no initial masks, which a ScoredMethod"):
        train(tmp_path, Silent(density=0.3), kind=Trainer)
