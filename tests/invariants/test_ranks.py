"""Gates and the whole job on two ranks: real processes, gloo on the CPU."""

from __future__ import annotations

import shutil

import pytest
import torch

from hf_robust_tickets import load_pruned
from hf_robust_tickets.tickets import attach_gates
from tests.testing.families import tiny_inputs, tiny_model
from tests.testing.jobs import make_trainer
from tests.testing.paths import ROOT
from tests.testing.ranks import ACCELERATE, FSDP, TORCHRUN, run_ranks
from tests.testing.tiny import tiny_bert

GATES = """
import sys
sys.path.insert(0, {root!r})
import torch
from torch.nn.parallel import DistributedDataParallel
from hf_robust_tickets.tickets import attach_gates
from tests.testing.families import tiny_inputs, tiny_model
torch.distributed.init_process_group("gloo")
model = tiny_model()
gates = attach_gates(model)
model.double()
inputs = tiny_inputs(batch=4)
half = len(inputs["input_ids"]) // 2
rank = torch.distributed.get_rank()
wrapped = DistributedDataParallel(model)
wrapped(**{{k: v[rank * half : (rank + 1) * half] for k, v in inputs.items()}})[0].mean().backward()
if rank == 0:
    torch.save([gate.grad for gate in gates.parameters()], {folder!r} + "/gates.pt")
torch.distributed.destroy_process_group()
"""

JOB = """
import sys
sys.path.insert(0, {root!r})
import torch
from tests.testing.sharded_on_cpu import allow_sharding_on_cpu
from tests.testing.tiny import tiny_bert
from tests.testing.jobs import make_trainer
allow_sharding_on_cpu()
trainer = make_trainer(
    {folder!r},
    tiny_bert(initializer_range=0.4),
    use_cpu=True,
    ddp_backend="gloo",
    per_device_train_batch_size=4,
    **{options!r},
)
trainer.train()
trainer.save_model({folder!r} + "/small")
print("TICKET", trainer.ticket.fingerprint(), trainer.state.global_step, trainer.search_log[-1]["step"], flush=True)
print("KIND", type(trainer.model_wrapped).__name__, flush=True)
"""
# Nothing random, and an optimiser that does not blow up gradients near zero; gates that leave 1 by more than rounding.
EXACT = {"optim": "sgd", "learning_rate": 0.1, "gate_learning_rate": 1.0, "adversary_init_magnitude": 0.0}
SAVING = {"save_strategy": "steps", "save_steps": 3}
SCORING = {"score_warmup": 3, "score_batches": 4, "gate_shadow": True}


def test_gates_get_the_gradient_of_the_whole_batch(tmp_path):
    model, inputs = tiny_model(), tiny_inputs(batch=4)
    gates = attach_gates(model)
    # A gate's gradient is a sum of terms that almost cancel: in float32 its rounding is as large as it is.
    model.double()
    model(**inputs)[0].mean().backward()
    run_ranks(GATES.format(root=str(ROOT), folder=str(tmp_path)), tmp_path / "gates.py", TORCHRUN)
    for gate, gradient in zip(gates.parameters(), torch.load(tmp_path / "gates.pt"), strict=True):
        assert gradient.dtype == torch.float64 and gradient.abs().sum() > 0
        torch.testing.assert_close(gradient, gate.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("launcher", "options", "kind"),
    [
        (TORCHRUN, {}, "DistributedDataParallel"),
        (TORCHRUN, {"gate_shadow": True}, "DistributedDataParallel"),
        (TORCHRUN, {"ticket_score": "taylor", **SCORING}, "DistributedDataParallel"),
        (TORCHRUN, {"ticket_score": "adversarial-taylor", **SCORING}, "DistributedDataParallel"),
        pytest.param(ACCELERATE, {}, "DistributedDataParallel", marks=pytest.mark.slow),
        pytest.param(ACCELERATE, FSDP, "FSDPBertForSequenceClassification", marks=pytest.mark.slow),
        pytest.param(
            TORCHRUN, {**FSDP, "rewind": False, "gate_shadow": True, **SAVING}, "FSDPBert", marks=pytest.mark.slow
        ),
        pytest.param(TORCHRUN, {**FSDP, "ticket_score": "taylor", **SCORING}, "FSDPBert", marks=pytest.mark.slow),
    ],
    ids=[
        "torchrun",
        "shadow",
        "taylor",
        "adversarial-taylor",
        "accelerate",
        "accelerate-fsdp2",
        "torchrun-fsdp2-no-rewind",
        "taylor-fsdp2",
    ],
)
def test_whole_job_on_two_ranks(launcher, options, kind, tmp_path):
    """Both ranks draw the same ticket; one rank with the whole batch draws it too."""
    folder, options = tmp_path / "two", {**EXACT, **options}
    output = run_ranks(JOB.format(root=str(ROOT), folder=str(folder), options=options), tmp_path / "job.py", launcher)
    said = {line for line in output.splitlines() if line.startswith("TICKET")}
    assert output.count("TICKET") == 2 and len(said) == 1, output
    assert f"KIND {kind}" in output
    options = {key: value for key, value in options.items() if key not in FSDP}
    # Weights as large as those of a trained model: else gates have gradients as small as their rounding.
    alone = make_trainer(tmp_path / "one", tiny_bert(initializer_range=0.4), use_cpu=True, **options)
    alone.train()
    assert f"TICKET {alone.ticket.fingerprint()} {alone.state.global_step}" in output
    small = load_pruned(folder / "small")
    for (name, weight), expected in zip(small.named_parameters(), alone.model.parameters(), strict=True):
        torch.testing.assert_close(weight, expected.cpu(), rtol=1e-3, atol=1e-4, msg=name)


def test_a_teacher_frozen_words_and_an_average_on_two_ranks(tmp_path):
    """The fine-tuning under attack, with all that may stand beside it, ends as on one rank."""
    teacher = tiny_bert(seed=5, initializer_range=0.4)
    teacher.save_pretrained(tmp_path / "teacher")
    beside = {
        "ticket_score": "taylor",
        **SCORING,
        "finetune_adversary": "freelb",
        "finetune_adversary_kwargs": {"steps": 2, "init_magnitude": 0.0, "step_size": 0.3, "layer": -2},
        "distillation_teacher": str(tmp_path / "teacher"),
        "average_weights_from": 3,
        "average_weights_every": 2,
        "freeze_embeddings": True,
    }
    folder, options = tmp_path / "two", {**EXACT, **beside}
    run_ranks(JOB.format(root=str(ROOT), folder=str(folder), options=options), tmp_path / "job.py", TORCHRUN)
    alone = make_trainer(tmp_path / "one", tiny_bert(initializer_range=0.4), use_cpu=True, **options)
    alone.train()
    small = load_pruned(folder / "small")
    for (name, weight), expected in zip(small.named_parameters(), alone.model.parameters(), strict=True):
        torch.testing.assert_close(weight, expected.cpu(), rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
def test_search_under_fsdp2_resumes_in_either_phase(tmp_path):
    """A job of two ranks, resumed from a checkpoint of the fine-tuning, ends with the weights it had."""
    # torch takes the device of an optimiser's state from its tensors: plain SGD, with none, does not load in FSDP2.
    options = {**FSDP, **SAVING, **EXACT, "optim": "adamw_torch", "learning_rate": 1e-3}
    run_ranks(JOB.format(root=str(ROOT), folder=str(tmp_path), options=options), tmp_path / "job.py", TORCHRUN)
    weights = (tmp_path / "small" / "model.safetensors").read_bytes()
    for folder in sorted(tmp_path.glob("checkpoint-*"))[1:]:
        shutil.rmtree(folder)
    resumed = JOB.replace(".train()", ".train(resume_from_checkpoint=True)")
    run_ranks(resumed.format(root=str(ROOT), folder=str(tmp_path), options=options), tmp_path / "resumed.py", TORCHRUN)
    assert (tmp_path / "small" / "model.safetensors").read_bytes() == weights
