"""Sparse training in the Trainer, against loops written without one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification, Trainer, TrainerCallback
from transformers.optimization import Adafactor

from hf_robust_tickets import (
    AdversarialTrainer,
    FlyingBird,
    RobustBird,
    SparseTrainingCallback,
    load_pruned,
    prune_,
    random_ticket,
    save_pruned,
)
from hf_robust_tickets.adversaries import PGD, FreeLB
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.sparse import (
    Dense,
    FixedMasks,
    MaskedWeights,
    Pattern,
    RandomMask,
    follows_pattern,
    select_weights,
)
from hf_robust_tickets.sparse.base import REGULAR
from hf_robust_tickets.training.sparse.updates import SparseRun
from tests.testing.device import device
from tests.testing.sparse_models import TwoLayers, vectors
from tests.testing.sparse_training import (
    METHODS,
    KeepBatches,
    arguments,
    assert_masked_weights_and_state_are_zero,
    train,
)
from tests.testing.tiny import tiny_bert, tiny_data


@pytest.mark.parametrize("reset", [False, True])
def test_flying_bird_equals_a_loop_written_by_hand(tmp_path, reset):
    """Dense gradients, SGD with momentum, masks applied after every step, an update after steps 3 and 6."""
    options = {"init": "uniform", "period": 3, "drop_fraction": 0.4, "final_drop_fraction": 0.1}
    method = FlyingBird(density=0.5, reset_regrown=reset, **options)
    sgd = (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9})
    options = {"max_steps": 8, "lr_scheduler_type": "constant", "max_grad_norm": 0}
    trainer, callback = train(tmp_path, method, kind=KeepBatches, options=options, optimizer_cls_and_kwargs=sgd)
    model = TwoLayers()
    optimizer = torch.optim.SGD(model.parameters(), **sgd[1])
    weights = {name: p for name, p in model.named_parameters() if p.dim() == 2}
    masks = method.initial_masks(weights, trainer.args.seed)

    def apply(kept):
        with torch.no_grad():
            for name, weight in weights.items():
                weight *= kept[name]
                if "momentum_buffer" in optimizer.state[weight]:
                    optimizer.state[weight]["momentum_buffer"] *= kept[name]

    apply(masks)
    for step, batch in enumerate(trainer.batches, start=1):
        optimizer.zero_grad()
        model(**batch)["loss"].backward()
        optimizer.step()
        apply(masks)
        if step % 3:
            continue
        fraction = 0.1 + 0.3 * (1 + torch.cos(torch.tensor(torch.pi * step / 8, dtype=torch.float64)).item()) / 2
        for name, weight in weights.items():
            kept = masks[name].nonzero().tolist()
            count = -int(-fraction * len(kept) // 1)
            dropped = sorted(kept, key=lambda at: abs(weight[tuple(at)].item()))[:count]
            survivors = masks[name].clone()
            for at in dropped:
                survivors[tuple(at)] = False
            free = (~survivors).nonzero().tolist()
            grown = sorted(free, key=lambda at: -abs(weight.grad[tuple(at)].item()))[:count]
            masks[name] = survivors
            if reset:
                apply({**{n: torch.ones_like(m) for n, m in masks.items()}, name: survivors})
            for at in grown:
                masks[name][tuple(at)] = True
        apply(masks)
    assert [entry["event"] for entry in callback.log] == ["start", "update", "update"]
    assert sum(entry["regrown"] for entry in callback.log[1:]) > 0
    assert {name: mask.tolist() for name, mask in callback.masks.items()} == {n: m.tolist() for n, m in masks.items()}
    for (name, ours), theirs in zip(trainer.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=name)


OPTIMISERS = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "foreach": False}),
    "sgd_foreach": (torch.optim.SGD, {"momentum": 0.9, "foreach": True, "weight_decay": 0.1}),
    "sgd_fused_nesterov": (torch.optim.SGD, {"momentum": 0.9, "fused": True, "nesterov": True}),
    "adam": (torch.optim.Adam, {"foreach": False, "amsgrad": True}),
    "adam_foreach": (torch.optim.Adam, {"foreach": True, "weight_decay": 0.1}),
    "adamw_fused": (torch.optim.AdamW, {"fused": True}),
    "adamw_foreach": (torch.optim.AdamW, {"foreach": True}),
    "rmsprop": (torch.optim.RMSprop, {"momentum": 0.5, "centered": True}),
    "adagrad": (torch.optim.Adagrad, {"initial_accumulator_value": 0.1}),  # masked after the step
    "asgd": (torch.optim.ASGD, {}),
    "nadam": (torch.optim.NAdam, {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    "radam": (torch.optim.RAdam, {"weight_decay": 0.1}),
    "adamax": (torch.optim.Adamax, {}),
    "adadelta": (torch.optim.Adadelta, {}),
    "rprop": (torch.optim.Rprop, {}),
    "muon": (torch.optim.Muon, {"weight_decay": 0.1}),  # moves whole matrices
    "adafactor_factored": (torch.optim.Adafactor, {"weight_decay": 0.1}),
    "adafactor": (Adafactor, {"scale_parameter": False, "relative_step": False, "beta1": 0.9}),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_masked_weights_and_state_are_exactly_zero_after_100_steps(name):
    kind, options = OPTIMISERS[name]
    model = TwoLayers()
    parameters = [p for p in model.parameters() if p.dim() == 2 or name != "muon"]
    optimizer = kind(parameters, lr=1e-2, **options)
    data = vectors(8)
    batch = {"x": torch.tensor(data["x"]), "labels": torch.tensor(data["labels"])}
    run = SparseRun(FlyingBird(density=0.3, period=7))
    state = SimpleNamespace(global_step=0, max_steps=100, epoch=0.0)
    run.start(MaskedWeights(select_weights(model)), state, optimizer, seed=0, steps_per_epoch=1)
    compared = 0
    for state.global_step in range(100):
        run.before_step(state)
        model(**batch)["loss"].backward()
        run.before_optimizer(state, optimizer)
        optimizer.step()
        run.after_optimizer(state, optimizer, REGULAR)
        optimizer.zero_grad()
        for key, weight in run.layers.weights.items():
            for value in (weight.detach(), *optimizer.state[weight].values()):
                if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                    assert value[~run.layers.masks[key]].abs().max() == 0
                    compared += 1
    # Factored moments have no entry per weight: there the weights alone are compared.
    assert (
        compared >= (200 if name == "adafactor_factored" else 400)
        and len(run.log) == 1 + 14
        and run.layers.density == 22 / 72
    )


@pytest.mark.parametrize("optim", ["adamw_torch_fused", "adafactor"])
def test_masked_weights_are_zero_with_the_trainers_own_optimisers(tmp_path, optim):
    trainer, callback = train(tmp_path, FlyingBird(density=0.3, period=3), options={"optim": optim})
    assert_masked_weights_and_state_are_zero(trainer, callback)


def test_two_of_four(tmp_path):
    trainer, callback = train(tmp_path, FlyingBird(density="2:4", period=4), model=tiny_bert())
    assert_masked_weights_and_state_are_zero(trainer, callback)
    assert len(callback.log) == 4 and {entry["density"] for entry in callback.log} == {0.5}
    for name in callback.masks:
        assert follows_pattern(dict(trainer.model.named_parameters())[name], Pattern(2, 4))
    gpt2 = GPT2ForSequenceClassification(GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=16))
    gpt2.config.pad_token_id = 0
    with pytest.raises(ConfigurationError, match="lies along the inputs, which come first in"):
        train(tmp_path, FlyingBird(density="2:4"), model=gpt2)


@pytest.mark.parametrize("name", METHODS)
def test_on_an_encoder_under_freelb(tmp_path, name):
    trainer, callback = train(
        tmp_path,
        METHODS[name],
        model=tiny_bert(),
        kind=AdversarialTrainer,
        adversary=FreeLB(steps=2),
        eval_dataset=tiny_data(16, seed=2),
        options={"eval_strategy": "epoch"},
    )
    assert_masked_weights_and_state_are_zero(trainer, callback)
    if name != "plus":
        assert sum(int(m.sum()) for m in callback.masks.values()) == round(0.2 * 13312 + 0.2 * 4096)
    plain = {"robust-bird": 8, "rigl": 2}.get(name, 0)  # two epochs of stage 1; updates after steps 3 and 6
    assert trainer.cost_meter.passes == 24 - plain
    assert not any(p._post_accumulate_grad_hooks for p in trainer.model.parameters())


def test_dense_control_is_plain_training(tmp_path):
    dense, callback = train(tmp_path, Dense())
    plain = Trainer(model=TwoLayers(), args=arguments(tmp_path), train_dataset=vectors())
    plain.train()
    assert callback.density == 1.0
    for ours, theirs in zip(dense.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_robust_bird_trains_plainly_first_and_then_anew(tmp_path):
    seen = []

    class Watch(TrainerCallback):
        def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
            seen.append((bare.pauses_attack, len(optimizer.optimizer.state)))

    bare = SparseTrainingCallback(RobustBird(density=0.2, tolerance=1e-9, patience=2, budget=0.5))
    trainer, callback = train(
        tmp_path, bare, model=tiny_bert(), kind=AdversarialTrainer, adversary=PGD(steps=3), callbacks=[Watch()]
    )
    assert [pauses for pauses, _ in seen] == [True] * 6 + [False] * 6
    assert seen[5][1] > 0 and seen[6][1] == 0  # a fresh optimiser
    assert callback.converged is False and len(callback.distances) == 2  # steps 4 and 6
    assert [(entry["step"], entry["event"]) for entry in callback.log] == [(6, "ticket")]
    assert trainer.cost_meter.passes == 6 + 18


def growth_masks(tmp_path, **options):
    return train(
        tmp_path, FlyingBird(density=0.3, period=1), options={"max_steps": 1, **options}, model=TwoLayers(hidden=32)
    )[1].masks


def differing_growth(folder, **options):
    """In how many places masks differ from those of the usual step."""
    whole, other = growth_masks(folder), growth_masks(folder, **options)
    return sum(int((other[name] != mask).sum()) for name, mask in whole.items())


@pytest.mark.parametrize(
    "options",
    [
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        {"max_grad_norm": 1e-3},
        {"max_grad_norm": 0},
    ],
    ids=str,
)
def test_growth_does_not_depend_on_accumulation_or_clipping(options, tmp_path):
    assert differing_growth(tmp_path, **options) == 0


def test_growth_hardly_depends_on_precision(tmp_path):
    assert differing_growth(tmp_path, bf16=True) <= 8


def test_clipping_sees_the_kept_weights_alone(tmp_path):
    norms = []

    class Norm(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            norms.append(float(torch.cat([p.grad.flatten() for p in model.parameters()]).norm()))

    callback = SparseTrainingCallback(RandomMask(density=0.1))
    train(tmp_path, callback, options={"max_steps": 2, "max_grad_norm": 1e-2}, callbacks=[Norm()])
    assert norms == pytest.approx([1e-2, 1e-2], rel=1e-3)


PRUNED = ["flying-bird", *(pytest.param(n, marks=pytest.mark.slow) for n in ("robust-bird", "plus"))]


@pytest.mark.parametrize("name", PRUNED)
def test_on_top_of_a_pruned_ticket(tmp_path, name):
    model = tiny_bert()
    prune_(model, random_ticket(model, head_sparsity=0.25, neuron_sparsity=0.5, round_to=1))
    size = sum(p.numel() for p in model.parameters())
    trainer, callback = train(
        tmp_path,
        METHODS[name],
        model=model,
        kind=AdversarialTrainer,
        adversary=FreeLB(steps=2),
        eval_dataset=tiny_data(16, seed=2),
        options={"eval_strategy": "epoch"},
    )
    assert_masked_weights_and_state_are_zero(trainer, callback)
    assert sum(p.numel() for p in trainer.model.parameters()) == size
    save_pruned(trainer.model, tmp_path / "pruned")
    again = load_pruned(tmp_path / "pruned").to(device())
    parameters = dict(again.named_parameters())
    for key, mask in callback.masks.items():
        assert torch.equal(parameters[key], dict(trainer.model.named_parameters())[key])
        assert parameters[key].detach()[~mask].abs().max() == 0
    masks = FixedMasks(callback.masks)  # training goes on under the same masks
    trainer, fixed = train(tmp_path / "on", masks, model=again, kind=AdversarialTrainer, adversary=FreeLB(steps=2))
    assert_masked_weights_and_state_are_zero(trainer, fixed)


def test_patterns_reach_the_callback(tmp_path):
    callback = SparseTrainingCallback("random", include="query", exclude=["layer.0"])
    train(tmp_path, callback, model=tiny_bert())
    assert list(callback.masks) == ["bert.encoder.layer.1.attention.self.query.weight"]
    with pytest.raises(ConfigurationError, match="matches none"):
        train(tmp_path, SparseTrainingCallback("random", include="quest"), model=tiny_bert())


def test_streams(tmp_path):
    data = vectors(96).to_iterable_dataset()
    _, callback = train(tmp_path, RobustBird(density=0.3, budget=0.5), train_dataset=data)
    assert callback.log[0]["step"] == 6 and callback.converged is False


def test_empty_before_training():
    callback = SparseTrainingCallback("flying-bird")
    assert callback.masks == {} and callback.log == [] and callback.density == 1.0 and not callback.pauses_attack
