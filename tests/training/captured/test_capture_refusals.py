"""What cannot be captured is said in one line, most of it when the trainer is made."""

from __future__ import annotations

import pytest
import torch
from transformers import DataCollatorWithPadding

from hf_robust_tickets import AdversarialTrainer, SparseTrainingCallback
from hf_robust_tickets.adversaries import PGD, FreeAT, FreeLB
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.sparse import RandomMask
from tests.testing.device import USE_CPU
from tests.testing.jobs import make_trainer
from tests.testing.recorded_graph import graphs_on_the_cpu
from tests.testing.tiny import tiny_bert, tiny_data, tiny_tokenizer
from tests.testing.training import arguments

ONE_STEP = "capture_passes repeats one step as it was recorded, got "


def make(folder, adversary="freelb", model=None, **options):
    return AdversarialTrainer(
        model or tiny_bert(), arguments(folder, capture_passes=True, **options), train_dataset=tiny_data(),
        data_collator=DataCollatorWithPadding(tiny_tokenizer()), processing_class=tiny_tokenizer(),
        adversary=adversary,
    )  # fmt: skip


@pytest.mark.skipif(not USE_CPU, reason="speaks of a machine without a device")
def test_another_device_than_cuda(tmp_path):
    for adversary in ("freelb", None):
        with pytest.raises(ConfigurationError, match=r"expected a CUDA device, got cpu: leave it out here"):
            make(tmp_path, adversary)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"torch_compile": True}, "torch_compile, which makes graphs itself"),
        ({"gradient_checkpointing": True}, "checkpointing of activations, which puts the random generator back in it"),
        ({"activation_checkpointing": True}, "checkpointing of activations, which puts the random generator back"),
        ({"torch_empty_cache_steps": 1}, "torch_empty_cache_steps, which frees memory in it"),
        ({"adversary_warmup": 0.1}, "adversary_warmup or adversary_schedule, by which lengths change from step to st"),
        (
            {"adversary_schedule": "cosine"},
            "adversary_warmup or adversary_schedule, by which lengths change from step",
        ),
        ({"adversary_share_dropout": True}, "adversary_restarts or adversary_share_dropout"),
        ({"adversary_layer": 1}, "adversary_weight_perturbation or adversary_layer, with which it is untested"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options(options, reason, tmp_path):
    with graphs_on_the_cpu(), pytest.raises(ConfigurationError) as caught:
        make(tmp_path, **options)
    assert str(caught.value).startswith(ONE_STEP) and reason in str(caught.value) and "\n" not in str(caught.value)


def test_methods_and_their_options(tmp_path):
    cases = [
        (FreeAT(steps=2), {}, "free-at, which keeps a perturbation from step to step"),
        ("smart", {}, "smart with weight-average, which keep more than gradients"),
        ("yopo", {}, "yopo with first-layer, which keep more than gradients"),
        (PGD(init_magnitude=0.1), {"adversary_restarts": 2}, "adversary_restarts or adversary_share_dropout"),
        (PGD(), {"adversary_weight_perturbation": 0.01}, "adversary_weight_perturbation or adversary_layer"),
    ]
    with graphs_on_the_cpu():
        for adversary, options, reason in cases:
            with pytest.raises(ConfigurationError, match=f"{ONE_STEP}.*{reason}"):
                make(tmp_path, adversary, **options)


def test_sparse_gradients_dropped_layers_a_teacher_and_ticket_jobs(tmp_path):
    sparse = tiny_bert()
    sparse.bert.embeddings.word_embeddings.sparse = True
    with graphs_on_the_cpu():
        with pytest.raises(ConfigurationError, match="sparse gradients of embeddings"):
            make(tmp_path, model=sparse)
        dropping = tiny_bert(encoder_layerdrop=0.1)
        with pytest.raises(ConfigurationError, match="encoder_layerdrop, for which the host draws"):
            make(tmp_path, model=dropping)
        with pytest.raises(ConfigurationError, match="a teacher, with which it is untested"):
            AdversarialTrainer(
                tiny_bert(), arguments(tmp_path, capture_passes=True), train_dataset=tiny_data(), teacher=tiny_bert()
            )
        with pytest.raises(ConfigurationError, match="RobustTicketTrainer, which changes the model between steps"):
            make_trainer(tmp_path, capture_passes=True)


@pytest.mark.parametrize("what", ["n_gpu", "is_fsdp_enabled", "is_deepspeed_enabled", "scaler"])
def test_several_devices_and_scaled_losses(what, tmp_path, monkeypatch):
    """What this machine does not have, as the trainer would say it."""
    reason = {"n_gpu": "2 devices", "is_fsdp_enabled": "FSDP", "is_deepspeed_enabled": "DeepSpeed", "scaler": "fp16"}
    with graphs_on_the_cpu():
        trainer = make(tmp_path)
        if what == "n_gpu":
            monkeypatch.setattr(trainer.args, "_n_gpu", 2)
        elif what == "scaler":
            monkeypatch.setattr(trainer.accelerator, "scaler", torch.amp.GradScaler("cpu"))
        else:
            monkeypatch.setattr(trainer, what, True)
        with pytest.raises(ConfigurationError, match=f"{ONE_STEP}{reason[what]}"):
            trainer._take_capture()


def test_callbacks_that_follow_steps(tmp_path):
    with graphs_on_the_cpu() as graphs:
        trainer = make(tmp_path, FreeLB(steps=2))
        trainer.add_callback(SparseTrainingCallback(RandomMask(0.5)))
        with pytest.raises(ConfigurationError, match="SparseTrainingCallback, which follows steps as they run"):
            trainer.train()
    assert not graphs


def test_penalties_on_the_weights(tmp_path):
    with graphs_on_the_cpu() as graphs:
        trainer = make(tmp_path, FreeLB(steps=2))
        trainer.runner.terms.append(lambda model: model.classifier.weight.square().sum())
        with pytest.raises(ConfigurationError, match=r"penalties on the weights \(runner.terms\)"):
            trainer.train()
    assert not graphs
