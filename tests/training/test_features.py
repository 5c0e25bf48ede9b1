"""Every method under every option of the Trainer that could spoil a gradient, for docs/adversaries.md."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import TrainerCallback

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import Regularizer
from hf_robust_tickets.errors import ConfigurationError
from tests.testing.device import USE_CPU
from tests.testing.methods import EVERY, METHODS
from tests.testing.runs_on_ranks import ADVERSARIES, known_critic
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import KeepBatch, arguments, assert_equal_gradients, first_gradient, summed_loss, weights

# What TA-VAT remembers of the first half of a batch is where the second half starts.
ONE_BATCH = pytest.mark.parametrize("name", sorted(set(METHODS) - {"ta-vat", "mart"}))
OWN_LOSS = pytest.mark.parametrize("name", ["mart"])
ALL = pytest.mark.parametrize("name", sorted(ADVERSARIES))
ASCENDING = pytest.mark.parametrize("name", sorted(set(ADVERSARIES) - {"random-noise", "r-drop"}))


@pytest.fixture(autouse=True)
def same_critics():
    with known_critic():
        yield


@pytest.fixture(scope="module")
def references():
    """Gradients of the whole batch with no option at all, each computed once."""
    return {}


@pytest.fixture
def reference(references, tmp_path, same_starts):
    def gradient(name):
        if name not in references:
            references[name] = first_gradient(tmp_path / "reference", adversary=ADVERSARIES[name])
        return references[name]

    return gradient


@pytest.mark.feature("label smoothing")
@ONE_BATCH
def test_label_smoothing(name, tmp_path, reference):
    options = {"label_smoothing_factor": 0.3}
    whole = first_gradient(tmp_path / "a", adversary=METHODS[name], options=options)
    parts = first_gradient(tmp_path / "b", adversary=METHODS[name], options=options, batch=4, accumulation=2)
    assert_equal_gradients(whole, parts)
    assert differ(whole, reference(name))


@pytest.mark.feature("compute_loss_func")
@ONE_BATCH
def test_compute_loss_func(name, tmp_path, reference):
    for batch, accumulation in ((8, 1), (4, 2)):
        gradient = first_gradient(
            tmp_path / str(batch),
            adversary=METHODS[name],
            batch=batch,
            accumulation=accumulation,
            compute_loss_func=summed_loss,
        )
        assert_equal_gradients(reference(name), gradient)


@pytest.mark.feature("label smoothing", says="refused")
@OWN_LOSS
def test_label_smoothing_of_a_loss_of_its_own(name, tmp_path):
    with pytest.raises(ConfigurationError, match=f"{name} has a loss of its own, got label_smoothing_factor=0.3"):
        first_gradient(tmp_path, adversary=METHODS[name], options={"label_smoothing_factor": 0.3})


@pytest.mark.feature("compute_loss_func", says="refused")
@OWN_LOSS
def test_compute_loss_func_beside_a_loss_of_its_own(name, tmp_path):
    with pytest.raises(ConfigurationError, match=f"{name} has a loss of its own, got .* or compute_loss_func"):
        first_gradient(tmp_path, adversary=METHODS[name], compute_loss_func=summed_loss)


@pytest.mark.feature("activation checkpointing")
@ALL
def test_activation_checkpointing(name, tmp_path, reference):
    gradient = first_gradient(tmp_path, adversary=ADVERSARIES[name], options={"gradient_checkpointing": True})
    assert_equal_gradients(reference(name), gradient)


@pytest.mark.feature("bf16")
@ALL
def test_bf16(name, tmp_path, reference):
    gradient = first_gradient(tmp_path, adversary=ADVERSARIES[name], options={"bf16": True, "use_cpu": USE_CPU})
    assert_same_direction(reference(name), gradient)


@pytest.mark.feature("fp16 with a loss scaler")
@ALL
def test_fp16(name, tmp_path, reference):
    """accelerate gives CPUs no scaler: the same step with torch's own, and autocast around the model."""
    trainer, model = trainer_of_two_steps(tmp_path / "b", name), tiny_bert()
    plain = trainer_of_two_steps(tmp_path / "a", name, model)
    plain.train()
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    trainer.model.forward = torch.autocast("cpu", dtype=torch.float16)(trainer.model.forward)
    trainer.train()
    start = {key: p.detach() for key, p in tiny_bert().named_parameters()}
    assert_same_direction(changes(start, plain), changes(start, trainer))
    assert int(trainer.skipped_ascents) == 0 and trainer.accelerator.scaler.get_scale() == 2.0**10


def trainer_of_two_steps(folder, name, model=None):
    options = arguments(
        folder, max_steps=2, optim="sgd", learning_rate=0.1, lr_scheduler_type="constant", max_grad_norm=0
    )
    return AdversarialTrainer(model or tiny_bert(), options, train_dataset=tiny_data(), adversary=ADVERSARIES[name])


def changes(start, trainer):
    return {key: weight - start[key] for key, weight in weights(trainer).items()}


@pytest.mark.feature("non-finite gradient: the ascent is skipped and counted")
@ASCENDING
def test_non_finite_gradient(name, tmp_path):
    adversary, poisoned, model = ADVERSARIES[name], [], tiny_bert()

    def spoil(gradient):
        if poisoned:
            return gradient
        poisoned.append(True)
        return gradient * float("nan")

    model.bert.encoder.layer[0].register_forward_hook(lambda module, args, output: _hook(output, spoil))
    options = arguments(tmp_path, max_steps=1, max_grad_norm=0, logging_steps=1)
    trainer = AdversarialTrainer(model, options, train_dataset=tiny_data(), adversary=adversary)
    trainer.train()
    # YOPO's two ascents of its first pass go by one gradient.
    assert int(trainer.skipped_ascents) == (2 if name == "yopo" else 1)
    entry = next(log for log in trainer.state.log_history if "loss" in log)
    assert entry["adversary_skipped_ascents"] == int(trainer.skipped_ascents)
    assert entry["adversary_delta_norm"] == entry["adversary_delta_norm"] < float("inf")
    if adversary.loss_weight(0) == 0 or isinstance(adversary, Regularizer):
        # The spoiled pass was for the ascent alone.
        assert all(torch.isfinite(weight).all() for weight in weights(trainer).values())


def _hook(output, spoil):
    first = output[0] if isinstance(output, tuple) else output
    if first.requires_grad:
        first.register_hook(spoil)


@pytest.mark.parametrize("name", ["freelb", "infobert", "pgd", "trades"])
def test_overflow_under_the_scaler(name, tmp_path):
    """Too large a scale: no ascent, no step, and half the scale for the next one."""
    trainer = trainer_of_two_steps(tmp_path, name)
    trainer.args.max_steps = 1
    start = weights(trainer)
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    trainer.model.forward = torch.autocast("cpu", dtype=torch.float16)(trainer.model.forward)
    trainer.train()
    ascents = ADVERSARIES[name].num_passes - (2 if isinstance(ADVERSARIES[name], Regularizer) else 1)
    assert ascents > 0 and int(trainer.skipped_ascents) == ascents
    assert all(torch.equal(weight, start[key]) for key, weight in weights(trainer).items())
    assert trainer.accelerator.scaler.get_scale() == 2.0**59


@pytest.mark.feature("group_by_length")
@ALL
def test_group_by_length(name, tmp_path, same_starts):
    """The first batch, padded to its longest sentence, alone gives the same gradient."""
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(4, 60, (3 + i % 6,), generator=generator).tolist() for i in range(32)]
    data = Dataset.from_dict({"input_ids": ids, "labels": [i // 3 % 2 for i in range(32)]})
    keep, options = KeepBatch(), {"train_sampling_strategy": "group_by_length"}
    grouped = train_on(data, keep, tmp_path / "a", name, options)
    rows = [i for row in keep.first["input_ids"].tolist() for i in [ids.index([t for t in row if t])]]
    assert len({len(ids[i]) for i in rows}) < 6
    assert_equal_gradients(train_on(data.select(rows), KeepBatch(), tmp_path / "b", name, {}), grouped)


def train_on(data, keep, folder, name, options):
    return first_gradient(
        folder,
        trainer_class=keep.trainer_class(),
        adversary=ADVERSARIES[name],
        options=options,
        data_collator=pad,
        train_dataset=data,
    )


def pad(examples):
    length = max(len(example["input_ids"]) for example in examples)
    ids = torch.tensor([example["input_ids"] + [0] * (length - len(example["input_ids"])) for example in examples])
    labels = torch.tensor([example["labels"] for example in examples])
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}


@pytest.mark.feature("LoRA (PEFT)")
@EVERY
def test_lora(name, tmp_path, reference):
    """With B = 0 the adapted model is the dense one: dL/dB is `scaling * dL/dW A^T`, and dL/dA is 0."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=6, target_modules=["query", "value"])
    model = peft.get_peft_model(tiny_bert(), config)
    factors = {key: p.detach().clone() for key, p in model.named_parameters()}
    gradient, dense = first_gradient(tmp_path, model=model, adversary=METHODS[name]), reference(name)
    assert gradient and all("lora_" in key or "modules_to_save" in key for key in gradient)
    for key in gradient:
        if "lora_B" in key:
            weight = key.replace("base_model.model.", "").replace(".lora_B.default", "")
            expected = 3.0 * dense[weight] @ factors[key.replace("lora_B", "lora_A")].T
            torch.testing.assert_close(gradient[key], expected, rtol=1e-3, atol=1e-6)
        elif "lora_A" in key:
            assert gradient[key].abs().max() == 0


@pytest.mark.slow
@pytest.mark.feature("auto_find_batch_size")
@ALL
def test_auto_find_batch_size(name, tmp_path, same_starts):
    """Out of memory in the last pass of a step; the attempt after it starts from nothing."""
    sizes = []

    def run(folder, batch, **options):
        model = tiny_bert()
        trainer = AdversarialTrainer(
            model,
            arguments(
                folder, max_steps=2, optim="sgd", learning_rate=0.1, per_device_train_batch_size=batch, **options
            ),
            train_dataset=tiny_data(),
            adversary=ADVERSARIES[name],
            callbacks=[RunOutOnce(model, sizes, ADVERSARIES[name].num_passes)] if options else [],
        )
        trainer.train()
        return weights(trainer)

    found = run(tmp_path / "a", 8, auto_find_batch_size=True)
    assert sizes[0] == 8 and sizes[-1] < 8
    for key, weight in run(tmp_path / "b", sizes[-1]).items():
        torch.testing.assert_close(found[key], weight, rtol=0, atol=0)


class RunOutOnce(TrainerCallback):
    """Makes the model run out of memory in its n-th pass, once."""

    def __init__(self, model, sizes, passes):
        self.calls = 0

        def count(module, args, output):
            sizes.append(len(output))
            self.calls += 1
            if self.calls == passes:
                raise RuntimeError("CUDA out of memory.")

        model.classifier.register_forward_hook(count)


@pytest.mark.feature("NEFTune")
@ALL
def test_neftune(name, tmp_path, same_starts, monkeypatch):
    """Both hooks stand on the embedding: as if its own output were what the noise makes of it."""

    def noise(module, args, output):
        return output + 0.3 * torch.sin(torch.arange(output[0].numel()).reshape(output[0].shape))

    monkeypatch.setattr("transformers.integrations.neftune.neftune_post_forward_hook", noise)
    noisy = first_gradient(tmp_path / "a", adversary=ADVERSARIES[name], options={"neftune_noise_alpha": 5.0})
    model = tiny_bert()
    model.get_input_embeddings().register_forward_hook(noise)
    assert_equal_gradients(noisy, first_gradient(tmp_path / "b", adversary=ADVERSARIES[name], model=model))
    assert differ(noisy, first_gradient(tmp_path / "c", adversary=ADVERSARIES[name]))


COMPILED = {"torch_compile": True, "torch_compile_backend": "aot_eager", "use_cpu": USE_CPU}


@pytest.mark.slow
@pytest.mark.feature("torch.compile")
@ALL
def test_torch_compile(name, tmp_path, reference):
    torch._dynamo.reset()
    assert_equal_gradients(reference(name), first_gradient(tmp_path, adversary=ADVERSARIES[name], options=COMPILED))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["freelb", "pgd", "trades"])
def test_torch_compile_of_hidden_layers_runs_without_the_cache(name, tmp_path, same_starts, monkeypatch):
    torch._dynamo.reset()
    options = {"adversary_layer": 1}
    cached = first_gradient(tmp_path / "a", adversary=ADVERSARIES[name], options=options)
    monkeypatch.setattr("hf_robust_tickets.training.steps.base.LayerCache", None)
    assert_equal_gradients(
        cached, first_gradient(tmp_path / "b", adversary=ADVERSARIES[name], options={**options, **COMPILED})
    )


def differ(first, second):
    return any((first[key] - second[key]).abs().max() > 1e-5 for key in first)


def assert_same_direction(first, second):
    """Equal but for what half precision rounds away: the angle between the gradients, and their lengths."""
    a, b = (torch.cat([part[key].flatten().float() for key in sorted(first)]) for part in (first, second))
    assert F.cosine_similarity(a, b, dim=0).item() > 0.99
    assert b.norm().item() == pytest.approx(a.norm().item(), rel=0.05)
