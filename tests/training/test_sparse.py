"""Sparse training in the Trainer, against loops written without one."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2ForSequenceClassification, Trainer, TrainerCallback
from transformers.optimization import Adafactor

from hf_robust_tickets import (
    AdversarialTrainer,
    FlyingBird,
    FlyingBirdPlus,
    RobustBird,
    SparseTrainingCallback,
    load_pruned,
    prune_,
    random_ticket,
    save_pruned,
)
from hf_robust_tickets.adversaries import PGD, TRADES, FreeLB
from hf_robust_tickets.errors import CheckpointError, ConfigurationError, TicketError, UnknownNameError
from hf_robust_tickets.sparse import (
    SNIP,
    Dense,
    FixedMasks,
    MaskedWeights,
    Pattern,
    RandomMask,
    count_flops,
    follows_pattern,
    select_weights,
    training_flops,
)
from hf_robust_tickets.sparse.base import REGULAR
from hf_robust_tickets.training import sparse_cost
from hf_robust_tickets.training.sparse.ranks import refuse_surroundings_of_masks
from hf_robust_tickets.training.sparse.records import TrainingAccuracy
from hf_robust_tickets.training.sparse.updates import SparseRun
from tests.testing.sparse_models import TwoLayers, vectors
from tests.testing.sparse_training import (
    METHODS,
    arguments,
    assert_masked_weights_and_state_are_zero,
    train,
    train_adversarially,
)
from tests.testing.tiny import tiny_bert, tiny_data


class KeepBatches(Trainer):
    def training_step(self, model, inputs, *args, **kwargs):
        self.__dict__.setdefault("batches", []).append({key: value.clone() for key, value in inputs.items()})
        return super().training_step(model, inputs, *args, **kwargs)


def test_flying_bird_equals_a_loop_written_by_hand(tmp_path):
    """Dense gradients, SGD with momentum, masks applied after every step, an update after steps 3 and 6."""
    method = FlyingBird(density=0.5, init="uniform", period=3, drop_fraction=0.4, final_drop_fraction=0.1)
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
            apply({**{n: torch.ones_like(m) for n, m in masks.items()}, name: survivors})
            for at in grown:
                masks[name][tuple(at)] = True
    assert [entry["event"] for entry in callback.log] == ["start", "update", "update"]
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


def test_quantised_states_are_refused():
    model = TwoLayers()
    layers = MaskedWeights(select_weights(model))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.state[model.first.weight]["state1"] = torch.zeros(8, 6, dtype=torch.uint8)
    with pytest.raises(ConfigurationError, match=r"got torch\.uint8 for first\.weight: masks need"):
        layers.zero_state(optimizer)


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
    plain = {"robust_bird": 8, "rigl": 2}.get(name, 0)  # two epochs of stage 1; updates after steps 3 and 6
    assert trainer.cost_callback.passes == 24 - plain
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
    assert trainer.cost_callback.passes == 6 + 18


def growth_masks(tmp_path, **options):
    return train(
        tmp_path, FlyingBird(density=0.3, period=1), options={"max_steps": 1, **options}, model=TwoLayers(hidden=32)
    )[1].masks


def test_growth_does_not_depend_on_accumulation_clipping_or_precision(tmp_path):
    whole = growth_masks(tmp_path)
    for options in (
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        {"max_grad_norm": 1e-3},
        {"max_grad_norm": 0},
        {"bf16": True},
    ):
        other = growth_masks(tmp_path, **options)
        differing = sum(int((other[name] != mask).sum()) for name, mask in whole.items())
        assert differing <= (8 if "bf16" in options else 0), options


def test_clipping_sees_the_kept_weights_alone(tmp_path):
    norms = []

    class Norm(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            norms.append(float(torch.cat([p.grad.flatten() for p in model.parameters()]).norm()))

    callback = SparseTrainingCallback(RandomMask(density=0.1))
    train(tmp_path, callback, options={"max_steps": 2, "max_grad_norm": 1e-2}, callbacks=[Norm()])
    assert norms == pytest.approx([1e-2, 1e-2], rel=1e-3)


class Interrupt(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 7:
            raise KeyboardInterrupt


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["plus", "robust_bird", *(pytest.param(n, marks=SLOW) for n in ("flying_bird", "random_growth", "snip"))]
)
def test_resumed_training_equals_one_that_was_not_cut_off(tmp_path, name):
    options = {"save_strategy": "steps", "save_steps": 5, "eval_strategy": "epoch", "max_steps": 12}

    def run(folder, **kwargs):
        return train(
            folder, METHODS[name], model=tiny_bert(hidden_dropout_prob=0.1), kind=AdversarialTrainer, options=options,
            adversary=FreeLB(steps=2), eval_dataset=tiny_data(16, seed=2), **kwargs,
        )  # fmt: skip

    whole, expected = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", callbacks=[Interrupt()])
    resumed, callback = run(tmp_path / "cut", resume=True)
    assert callback.log == json.loads(json.dumps(expected.log)) and callback.records == expected.records
    assert callback.distances == expected.distances and callback.converged == expected.converged
    assert all(torch.equal(mask, expected.masks[key]) for key, mask in callback.masks.items())
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_restored_callbacks_are_as_good(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 5, "restore_callback_states_from_checkpoint": True}
    method = FlyingBird(density=0.3, period=2)
    whole, _ = train(tmp_path / "whole", method, options=options)
    resumed, _ = train(tmp_path / "resumed", method, options=options, resume=str(tmp_path / "whole" / "checkpoint-5"))
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_checkpoints_hold_fixed_masks_once_and_go_on_with_them(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 5, "restore_callback_states_from_checkpoint": True}
    masks = FlyingBird(density=0.5).initial_masks(select_weights(TwoLayers()), 3)
    whole, _ = train(tmp_path / "whole", FixedMasks(masks), options=options)
    record = json.loads((tmp_path / "whole/checkpoint-5/trainer_state.json").read_text())
    saved = record["stateful_callbacks"]["SparseTrainingCallback"]
    assert set(saved["args"]["method"]) == {"name", "density", "fingerprint"}
    path = str(tmp_path / "whole/checkpoint-5")
    resumed, _ = train(tmp_path / "resumed", FixedMasks(masks), options=options, resume=path)
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    other = FlyingBird(density=0.5).initial_masks(select_weights(TwoLayers()), 4)
    with pytest.raises(CheckpointError, match=r"another sparse training: expected method\.fingerprint"):
        train(tmp_path / "other", FixedMasks(other), options={"save_strategy": "no"}, resume=path)


def test_masks_belong_to_the_best_weights(tmp_path):
    scores = iter(range(0, -9, -1))

    def worse_and_worse(prediction):
        return {"steps_left": next(scores)}

    trainer, callback = train(
        tmp_path,
        FlyingBird(density=0.3, period=1, growth="random"),
        eval_dataset=vectors(16, seed=1),
        compute_metrics=worse_and_worse,
        options={"eval_strategy": "steps", "eval_steps": 4, "save_strategy": "steps", "save_steps": 4,
                 "load_best_model_at_end": True, "metric_for_best_model": "steps_left", "greater_is_better": True},
    )  # fmt: skip
    assert trainer.state.best_global_step == 4
    for name, mask in callback.masks.items():
        assert dict(trainer.model.named_parameters())[name].detach()[~mask].abs().max() == 0


def test_checkpoint_of_another_sparse_training(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 6}
    train(tmp_path, FlyingBird(density=0.3, period=2), options=options)
    with pytest.raises(CheckpointError, match=r"another sparse training: expected method.density 0.2, got 0.3;"):
        train(tmp_path, FlyingBird(density=0.2, period=2), options=options, resume=True)


def test_plus_follows_its_records(tmp_path):
    trainer, callback = train(
        tmp_path,
        METHODS["plus"],
        model=tiny_bert(),
        kind=AdversarialTrainer,
        adversary=PGD(steps=3, step_size=1.0),
        eval_dataset=tiny_data(16, seed=2),
        options={"eval_strategy": "epoch"},
    )
    records, updates = callback.records, callback.log[1:]
    assert [record.step for record in records] == [4, 8, 12] and [entry["step"] for entry in updates] == [3, 6, 9, 12]
    assert all(0 <= record.train_accuracy <= 1 and record.validation_loss > 0 for record in records)
    assert [(e["prune_more"], e["grow_more"]) for e in updates[:2]] == [(False, False)] * 2  # no difference yet
    widens = records[1].gap > records[0].gap
    rises = records[1].validation_loss >= records[0].validation_loss
    assert (updates[2]["prune_more"], updates[2]["grow_more"]) == (widens, rises)
    attacked = trainer.evaluate()["eval_loss"]  # clean
    assert records[-1].validation_loss > attacked


@pytest.mark.parametrize("adversary", [PGD(steps=3), TRADES()])
def test_plus_counts_the_last_pass_of_each_micro_batch(tmp_path, adversary):
    _, callback = train(
        tmp_path, METHODS["plus"], model=tiny_bert(), kind=AdversarialTrainer, adversary=adversary,
        eval_dataset=tiny_data(16, seed=2), options={"per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2, "max_steps": 3, "eval_strategy": "no"},
    )  # fmt: skip
    assert callback._history.accuracy.state()[1] == 3 * 8


@pytest.mark.parametrize(("growth", "attacked"), [("gradient", 6 + 3), ("random", 6)])
def test_masks_grow_by_the_adversarial_gradient_where_only_some_steps_are_attacked(tmp_path, growth, attacked):
    method, every = FlyingBird(density=0.3, period=4, growth=growth), {"adversary_every": 2}
    trainer, callback = train_adversarially(tmp_path, method, every)
    assert [entry["step"] for entry in callback.log] == [0, 4, 8, 12]
    # Steps 1, 3, ..., 11 are attacked in their turn, and those of the updates out of it; two passes each.
    assert trainer.cost_callback.passes == 12 + attacked
    # Before the attack begins there is none to grow by.
    trainer, _ = train_adversarially(tmp_path, method, {"adversary_start_step": 12})
    assert trainer.cost_callback.passes == 12


def test_plus_counts_steps_under_attack_alone(tmp_path):
    method, splits = FlyingBirdPlus(density=0.3, period=100), {"eval_dataset": tiny_data(16, seed=2)}
    _, callback = train_adversarially(tmp_path, method, {"adversary_every": 3}, **splits)
    assert callback._history.accuracy.state()[1] == 4 * 8
    options = {"adversary_start_step": 6, "eval_strategy": "steps", "eval_steps": 4}
    _, callback = train_adversarially(tmp_path, method, options, **splits)
    assert [record.step for record in callback.records] == [8, 12]  # none at 4, before the attack


def test_going_on_without_the_masks_is_refused(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 6}
    train(tmp_path, FlyingBird(density=0.3, period=2), model=tiny_bert(), kind=AdversarialTrainer, options=options)
    args = arguments(tmp_path, **options)
    trainer = AdversarialTrainer(tiny_bert(), args, train_dataset=tiny_data(), adversary=None)
    with pytest.raises(
        CheckpointError, match="expected the SparseTrainingCallback that the checkpoint was trained with"
    ):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))


def test_the_perturbed_pass_counts_where_it_has_no_labels_of_its_own():
    class Signs(nn.Module):
        def forward(self, x, labels=None):
            logits = torch.stack([-x, x], 1)
            return (logits,) if labels is None else (logits.sum(), logits)

    model, labels = Signs().train(), torch.tensor([0, 1, 1])
    accuracy = TrainingAccuracy()
    accuracy.watch(model)
    model(x=torch.tensor([-1.0, 1.0, 1.0]), labels=labels)  # all right
    with torch.no_grad():
        model(x=torch.tensor([1.0, -1.0, -1.0]))  # not a pass of the training
    model(x=torch.tensor([-1.0, -1.0, 1.0]))  # the second is wrong
    accuracy.commit()
    accuracy.commit()
    assert accuracy.state() == [2, 3]
    accuracy.leave()
    assert not model._forward_hooks


def test_plus_without_evaluations_says_so(tmp_path, caplog):
    _, callback = train(tmp_path, METHODS["plus"])
    assert "has no evaluations to decide on" in caplog.text and "never the test split" in caplog.text
    assert {entry["density"] for entry in callback.log} == {callback.density}


def test_a_test_split_decides_about_nothing(tmp_path, caplog):
    def run(dev):
        options = {"eval_strategy": "epoch", "max_steps": 6}
        return train(tmp_path, METHODS["plus"], model=tiny_bert(), eval_dataset=dev, options=options)[1].records

    def split(name):
        data = tiny_data(16, seed=2)
        return Dataset.from_dict(data.to_dict(), split=name)

    with pytest.raises(ConfigurationError, match="must be a development split, got the split 'test'"):
        run(split("test"))
    alone = run(split("validation"))
    among = run({"test": tiny_data(16, seed=3), "dev": split("validation"), "other": split("test")})
    assert len(alone) == 2 and [r.validation_loss for r in among] == [r.validation_loss for r in alone]
    assert "the evaluation 'eval_test' is of a test split and decides about nothing" in caplog.text
    with pytest.raises(ConfigurationError, match=r"must be a development split, got the split 'test\[:50%\]'"):
        run(split("test[:50%]"))


def test_plus_without_labels_in_training(tmp_path):
    with pytest.raises(ConfigurationError, match="expected class labels in the training batches"):
        train(
            tmp_path, METHODS["plus"], model=tiny_bert(), eval_dataset=tiny_data(16, seed=2),
            options={"eval_strategy": "epoch", "label_smoothing_factor": 0.1},
        )  # fmt: skip


PRUNED = ["flying_bird", *(pytest.param(n, marks=pytest.mark.slow) for n in ("robust_bird", "plus"))]


@pytest.mark.parametrize("name", PRUNED)
def test_on_top_of_a_pruned_ticket(tmp_path, name):
    model = tiny_bert()
    prune_(model, random_ticket(model, head_sparsity=0.25, neuron_sparsity=0.5))
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
    again = load_pruned(tmp_path / "pruned")
    parameters = dict(again.named_parameters())
    for key, mask in callback.masks.items():
        assert torch.equal(parameters[key], dict(trainer.model.named_parameters())[key])
        assert parameters[key].detach()[~mask].abs().max() == 0
    masks = FixedMasks(callback.masks)  # training goes on under the same masks
    trainer, fixed = train(tmp_path / "on", masks, model=again, kind=AdversarialTrainer, adversary=FreeLB(steps=2))
    assert_masked_weights_and_state_are_zero(trainer, fixed)


def test_cost_of_a_training(tmp_path):
    trainer, callback = train(
        tmp_path, FlyingBird(density=0.2, period=4), model=tiny_bert(), kind=AdversarialTrainer, adversary=PGD(steps=4)
    )
    batch = {"input_ids": torch.ones(2, 8, dtype=torch.long), "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    cost = sparse_cost(trainer, batch)
    flops = count_flops(trainer.model, batch)
    assert cost.dense_inference_flops == flops.forward() / 2
    assert cost.inference_flops == pytest.approx(flops.forward(callback.log[-1]["layer_density"]) / 2)
    # 12 steps of 8 sentences: one pass of three forward passes, three ascents of two
    assert cost.dense_training_flops == pytest.approx(12 * 4 * flops.forward() * (3 + 3 * 2))
    expected = training_flops(flops, callback.log, 12, full_passes=1, input_passes=3) * 4
    assert cost.training_flops == pytest.approx(expected) and cost.steps == 12 and cost.seconds > 0
    assert 0.5 < cost.theoretical_saving["training"] < cost.theoretical_saving["inference"] < 0.8
    weights = sum(mask.numel() for mask in callback.masks.values())
    assert (cost.weight_bytes, cost.mask_bytes) == (4 * weights, weights)
    assert [step for step, _ in cost.density] == [0, 4, 8, 12] and len(cost.layers) == 13
    assert json.loads(json.dumps(cost.as_dict())) == cost.as_dict()
    with pytest.raises(ConfigurationError, match="expected an AdversarialTrainer that has trained"):
        sparse_cost(Trainer(model=TwoLayers(), args=arguments(tmp_path)), batch)


def test_cost_of_a_run_that_is_all_search(tmp_path):
    method = RobustBird(density=0.2, tolerance=0.001, budget=5.0)
    trainer, _ = train(tmp_path, method, model=tiny_bert(), kind=AdversarialTrainer, adversary=PGD(steps=4))
    batch = {"input_ids": torch.ones(2, 8, dtype=torch.long), "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    cost = sparse_cost(trainer, batch)
    assert cost.dense_training_flops == 0 and cost.theoretical_saving["training"] is None


def test_cost_of_one_run_with_a_search(tmp_path):
    method = RobustBird(density=0.2, patience=2, tolerance=1.0, interval=0.5)
    trainer, callback = train(tmp_path, method, model=tiny_bert(), kind=AdversarialTrainer, adversary=PGD(steps=4))
    found = callback.log[0]["step"]
    batch = {"input_ids": torch.ones(2, 8, dtype=torch.long), "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    cost, flops = sparse_cost(trainer, batch), count_flops(trainer.model, batch)
    # Without masks and without the search, which was not attacked.
    assert 0 < found < 12
    assert cost.dense_training_flops == pytest.approx((12 - found) * 4 * flops.forward() * (3 + 3 * 2))


def test_patterns_reach_the_callback(tmp_path):
    callback = SparseTrainingCallback("random", include="query", exclude=["layer.0"])
    train(tmp_path, callback, model=tiny_bert())
    assert list(callback.masks) == ["bert.encoder.layer.1.attention.self.query.weight"]
    with pytest.raises(ConfigurationError, match="matches none"):
        train(tmp_path, SparseTrainingCallback("random", include="quest"), model=tiny_bert())


def test_masks_of_another_model(tmp_path):
    _, callback = train(tmp_path, RandomMask(density=0.3))
    again, fixed = train(tmp_path, FixedMasks(callback.masks), model=TwoLayers(seed=5))
    assert_masked_weights_and_state_are_zero(again, fixed)
    with pytest.raises(TicketError, match="for another model"):
        train(tmp_path, FixedMasks(callback.masks), model=TwoLayers(hidden=9))


def test_methods_that_are_none():
    with pytest.raises(UnknownNameError, match="unknown sparse method 'bird'"):
        SparseTrainingCallback("bird")
    for value in (0.2, {"density": 0.2}):
        with pytest.raises(ConfigurationError, match="expected a sparse method, its name, or a dict with its name"):
            SparseTrainingCallback(value)
    with pytest.raises(
        ConfigurationError, match=r"flying_bird has no option x: expected density, init, drop_fraction"
    ):
        SparseTrainingCallback({"name": "flying_bird", "x": 1})


class Unused(TwoLayers):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(20, 20)


@pytest.mark.parametrize("method", [FlyingBird(density=0.2, period=2), SNIP(density=0.2)])
def test_growth_without_a_gradient(tmp_path, method):
    with pytest.raises(TicketError, match=r"got none for 1 layers such as 'unused.weight': exclude"):
        train(tmp_path, method, model=Unused())
    train(tmp_path, FlyingBird(density=0.2, period=2, growth="random"), model=Unused())
    train(tmp_path, SparseTrainingCallback(method, exclude="unused"), model=Unused())


def test_gradients_that_are_not_finite_postpone_the_update():
    model = TwoLayers()
    layers = MaskedWeights(select_weights(model))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run = SparseRun(FlyingBird(density=0.3, period=2))
    state = SimpleNamespace(global_step=0, max_steps=10, epoch=0.0)
    run.start(layers, state, optimizer, seed=0, steps_per_epoch=5)
    for step, poison in ((1, False), (2, True), (3, True), (4, False)):
        state.global_step = step - 1
        run.before_step(state)
        model.zero_grad()
        model(torch.randn(4, 6), torch.tensor([0, 1, 2, 0]))["loss"].backward()
        if poison:
            model.first.weight.grad[0, 0] = float("inf")
        else:
            optimizer.step()
        run.before_optimizer(state, optimizer)
        run.after_optimizer(state, optimizer, REGULAR)
    assert [(entry["step"], entry["event"]) for entry in run.log] == [(0, "start"), (4, "update")]


def test_surroundings_that_cannot_be_right(tmp_path):
    with pytest.raises(ConfigurationError, match="does not move weights by their whole gradient"):
        refuse_surroundings_of_masks(arguments(tmp_path, optim="lomo"), TwoLayers(), named=False)
    with pytest.raises(ConfigurationError, match="got adamw_bnb_8bit, whose state is quantised"):
        refuse_surroundings_of_masks(arguments(tmp_path, optim="adamw_bnb_8bit"), TwoLayers(), named=False)
    adapted = get_peft_model(tiny_bert(), LoraConfig(task_type="SEQ_CLS", r=2))
    with pytest.raises(ConfigurationError, match="masks would lie on the adapters"):
        refuse_surroundings_of_masks(arguments(tmp_path), adapted, named=False)
    refuse_surroundings_of_masks(arguments(tmp_path), adapted, named=True)
    with pytest.raises(ConfigurationError, match="masks lie on whole weights, got FSDP"):
        surroundings = SimpleNamespace(deepspeed="zero3.json", fsdp=None, optim="sgd")
        refuse_surroundings_of_masks(surroundings, TwoLayers(), named=False)


def test_streams(tmp_path):
    data = vectors(96).to_iterable_dataset()
    _, callback = train(tmp_path, RobustBird(density=0.3, budget=0.5), train_dataset=data)
    assert callback.log[0]["step"] == 6 and callback.converged is False


def test_empty_before_training():
    callback = SparseTrainingCallback("flying_bird")
    assert callback.masks == {} and callback.log == [] and callback.density == 1.0 and not callback.pauses_attack
