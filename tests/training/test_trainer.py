"""The adversarial step inside the Trainer, against gradients computed without one."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

from hf_robust_tickets import AdversarialTrainer, AdversarialTrainingArguments
from hf_robust_tickets.adversaries import FGM, PGD, FreeLB
from hf_robust_tickets.errors import CheckpointError, ConfigurationError, UnknownNameError
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import KeepGradient, arguments, assert_equal_gradients, first_gradient, summed_loss


def freelb_by_hand(batch, adversary: FreeLB):
    """Algorithm 1 of the paper, on the bare model, with delta given to the embedding's output by hand."""
    model = tiny_bert().train()
    words, delta = model.get_input_embeddings(), None
    inputs = {key: torch.tensor(value) for key, value in batch.items()}

    def perturb(module, args, output):
        return output + delta

    for _ in range(adversary.steps):
        delta = torch.zeros(*inputs["input_ids"].shape, 32) if delta is None else delta
        delta = delta.detach().requires_grad_()
        handle = words.register_forward_hook(perturb)
        (model(**inputs).loss / adversary.steps).backward()
        handle.remove()
        lengths = delta.grad.flatten(1).norm(dim=1).reshape(-1, 1, 1)
        delta = delta + adversary.step_size * delta.grad / lengths
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


class KeepBatch(AdversarialTrainer):
    batches: list = []  # noqa: RUF012

    def training_step(self, model, inputs, *args, **kwargs):
        self.batches.append({key: value.clone() for key, value in inputs.items()})
        return super().training_step(model, inputs, *args, **kwargs)


def test_freelb_equals_the_papers_algorithm(tmp_path):
    KeepBatch.batches = []
    adversary = FreeLB(steps=4, step_size=0.3, init_magnitude=0.0, step_unit="absolute")
    keep = KeepGradient()
    args = AdversarialTrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=8, max_steps=1, max_grad_norm=0, save_strategy="no"
    )
    KeepBatch(model=tiny_bert(), args=args, train_dataset=tiny_data(), adversary=adversary, callbacks=[keep]).train()
    batch = {key: value.tolist() for key, value in KeepBatch.batches[0].items()}
    assert_equal_gradients(keep.gradient, freelb_by_hand(batch, adversary))


def test_pgd_trains_on_the_last_pass_alone(tmp_path):
    # With steps of length zero every pass sees the clean input: PGD is then plain training, FGM twice that.
    plain = first_gradient(tmp_path, adversary=None)
    assert_equal_gradients(
        plain, first_gradient(tmp_path, adversary=PGD(steps=4, step_size=0.0, step_unit="absolute"))
    )
    twice = {name: 2 * gradient for name, gradient in plain.items()}
    assert_equal_gradients(twice, first_gradient(tmp_path, adversary=FGM(step_size=0.0, step_unit="absolute")))


def test_attack_changes_the_gradient(tmp_path):
    plain = first_gradient(tmp_path, adversary=None)
    attacked = first_gradient(tmp_path, adversary=PGD(steps=3, step_size=1.0, max_norm=0, step_unit="absolute"))
    assert any((plain[name] - attacked[name]).abs().max() > 1e-3 for name in plain)


@pytest.mark.parametrize(
    "adversary",
    [
        None,
        FGM(step_size=0.5, step_unit="absolute"),
        PGD(steps=3),
        FreeLB(steps=3, init_magnitude=0, step_unit="absolute"),
    ],
)
@pytest.mark.parametrize("extra", ["plain", "label_smoothing", "compute_loss_func"])
def test_accumulation_does_not_change_the_gradient(tmp_path, adversary, extra):
    options = {"label_smoothing_factor": 0.1} if extra == "label_smoothing" else {}
    kwargs = {"adversary": adversary, "options": options}
    if extra == "compute_loss_func":
        kwargs["compute_loss_func"] = summed_loss
    whole = first_gradient(tmp_path, batch=8, **kwargs)
    for accumulation in (2, 4):
        parts = first_gradient(tmp_path, batch=8 // accumulation, accumulation=accumulation, **kwargs)
        assert_equal_gradients(whole, parts)


def test_no_adversary_is_trainer(tmp_path):
    ours = first_gradient(tmp_path, adversary=None)
    stock = first_gradient(tmp_path, trainer_class=Trainer)
    assert_equal_gradients(ours, stock, rtol=0, atol=0)


def test_stock_trainer_still_misses_the_division(tmp_path):
    # When this fails, transformers#47688 is fixed and the shim in _compat.py can go.
    ours = first_gradient(tmp_path, batch=2, accumulation=4, adversary=None)
    stock = first_gradient(tmp_path, trainer_class=Trainer, batch=2, accumulation=4)
    ratio = stock["classifier.weight"].norm() / ours["classifier.weight"].norm()
    assert ratio.item() == pytest.approx(4.0, rel=1e-3)


def test_plain_arguments_mean_the_defaults(tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path))
    assert AdversarialTrainer(model=tiny_bert(), args=args).adversary == FreeLB()
    args = AdversarialTrainingArguments(output_dir=str(tmp_path), adversary="pgd", adversary_steps=7)
    assert AdversarialTrainer(model=tiny_bert(), args=args).adversary == PGD(steps=7)
    assert AdversarialTrainer(model=tiny_bert(), args=args, adversary="freelb").adversary == FreeLB(steps=7)
    with pytest.raises(ConfigurationError, match="FGM has exactly 2 passes"):
        AdversarialTrainer(model=tiny_bert(), args=args, adversary="fgm")
    args = AdversarialTrainingArguments(output_dir=str(tmp_path), adversary="none")
    assert AdversarialTrainer(model=tiny_bert(), args=args).adversary is None


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_hidden_layers_can_be_attacked(tmp_path, layer):
    attacked = first_gradient(
        tmp_path,
        adversary=PGD(steps=2, step_size=2.0, max_norm=0, step_unit="absolute"),
        options={"adversary_layer": layer},
    )
    plain = first_gradient(tmp_path, adversary=None)
    assert any((plain[name] - attacked[name]).abs().max() > 1e-3 for name in plain)


def test_layer_that_does_not_exist(tmp_path):
    with pytest.raises(ConfigurationError, match=r"a layer from 1 to 2 \(from the end: -1 to -2\), got 3"):
        first_gradient(tmp_path, options={"adversary_layer": 3})


def test_delayed_start(tmp_path):
    early = first_gradient(
        tmp_path, adversary=PGD(steps=2, step_size=2.0, step_unit="absolute"), options={"adversary_start_step": 5}
    )
    assert_equal_gradients(first_gradient(tmp_path, adversary=None), early)


@pytest.mark.parametrize("layer", [0, 1])
def test_shared_dropout_masks_make_equal_passes(tmp_path, layer):
    # Passes that see the same input and the same masks have the same gradient: two of weight 1/2 are one.
    def gradient(**options):
        options["adversary_layer"] = layer
        model = tiny_bert(hidden_dropout_prob=0.5)
        adversary = options.pop("adversary", FreeLB(steps=2, step_size=0.0, init_magnitude=0.0, step_unit="absolute"))
        return first_gradient(tmp_path, model=model, adversary=adversary, options=options)

    plain = gradient(adversary=None)
    assert_equal_gradients(plain, gradient(adversary_share_dropout=True))
    other = gradient()
    assert any((plain[name] - other[name]).abs().max() > 1e-4 for name in plain)


def test_non_finite_gradient_skips_the_ascent_and_is_counted(tmp_path):
    args = AdversarialTrainingArguments(output_dir=str(tmp_path), max_steps=1, save_strategy="no")
    model = tiny_bert()
    trainer = AdversarialTrainer(model=model, args=args, train_dataset=tiny_data(), adversary=FreeLB(steps=3))
    first = []

    def poison(module, inputs, output):
        if not first and output.requires_grad:
            first.append(output.register_hook(lambda gradient: gradient * float("nan")))

    model.bert.encoder.layer[0].register_forward_hook(poison)
    trainer.train()
    assert int(trainer.skipped_ascents) == 1


def test_cost_counts_passes(tmp_path):
    args = AdversarialTrainingArguments(
        output_dir=str(tmp_path), max_steps=3, save_strategy="no", gradient_accumulation_steps=2
    )
    trainer = AdversarialTrainer(model=tiny_bert(), args=args, train_dataset=tiny_data(64), adversary=FreeLB(steps=5))
    trainer.train()
    cost = trainer.cost_meter.cost(trainer.state)
    assert (cost.steps, cost.passes) == (3, 30)
    assert trainer.step_cost == 5 and cost.seconds > 0 and cost.peak_memory_bytes > 1e6
    plain = AdversarialTrainer(model=tiny_bert(), args=args, train_dataset=tiny_data(64), adversary=None)
    plain.train()
    assert cost.theoretical_flops == pytest.approx(5 * plain.state.total_flos)
    pgd = AdversarialTrainer(model=tiny_bert(), args=args, adversary=PGD(steps=4))
    assert pgd.step_cost == pytest.approx(3)


def test_hooks_are_gone_after_training(tmp_path):
    model = tiny_bert()
    first_gradient(tmp_path, model=model, adversary=FreeLB())
    assert not model.get_input_embeddings()._forward_hooks


def test_evaluation_is_not_attacked(tmp_path):
    args = AdversarialTrainingArguments(output_dir=str(tmp_path), report_to="none")
    data = tiny_data()
    ours = AdversarialTrainer(
        model=tiny_bert(), args=args, eval_dataset=data, adversary=FGM(step_size=9.0, step_unit="absolute")
    ).evaluate()
    stock = Trainer(
        model=tiny_bert(), args=TrainingArguments(str(tmp_path), report_to="none"), eval_dataset=data
    ).evaluate()
    assert ours["eval_loss"] == stock["eval_loss"]


def test_inputs_that_go_round_the_embedding(tmp_path):
    data = Dataset.from_dict({"inputs_embeds": torch.randn(8, 4, 32).tolist(), "labels": [0, 1] * 4})
    args = AdversarialTrainingArguments(str(tmp_path), max_steps=1, save_strategy="no")
    with pytest.raises(ConfigurationError, match="did not go through the module to perturb"):
        AdversarialTrainer(model=tiny_bert(), args=args, train_dataset=data).train()


def test_regression_with_a_loss_that_ignores_the_number_of_items(tmp_path):
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4,
        num_labels=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = ViTForImageClassification(config)
    args = AdversarialTrainingArguments(str(tmp_path))
    assert AdversarialTrainer(model=model, args=args, adversary=None).model_accepts_loss_kwargs is False
    model.config.num_labels = 3
    assert AdversarialTrainer(model=model, args=args, adversary=None).model_accepts_loss_kwargs is True


def test_unknown_adversary(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown adversary 'frelb'"):
        AdversarialTrainingArguments(output_dir=str(tmp_path), adversary="frelb")


def test_nothing_to_resume(tmp_path):
    args = AdversarialTrainingArguments(output_dir=str(tmp_path))
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        AdversarialTrainer(model=tiny_bert(), args=args, train_dataset=tiny_data()).train(resume_from_checkpoint=True)


def test_a_checkpoint_of_the_stock_trainer_is_continued(tmp_path):
    """Without an adversary, from the checkpoint of a stock training to the weights that it ends with."""
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    stock = Trainer(tiny_bert(), arguments(tmp_path, **options), train_dataset=tiny_data())
    stock.train()
    ours = AdversarialTrainer(tiny_bert(), arguments(tmp_path, **options), train_dataset=tiny_data(), adversary=None)
    ours.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for expected, weight in zip(stock.model.parameters(), ours.model.parameters(), strict=True):
        assert torch.equal(weight, expected)
    assert ours.cost_meter.passes == 2 and (tmp_path / "checkpoint-4" / "training_cost.json").exists()
