"""One rank and two give the same training: real processes, gloo on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from hf_robust_tickets.tickets import attach_gates
from tests.tickets.models import tiny_inputs, tiny_model

ROOT = Path(__file__).resolve().parents[2]

WORKER = """
import sys
sys.path.insert(0, {root!r})
import torch
from tests.tiny import tiny_bert, tiny_data
from tests.training.test_trainer import KeepGradient
from hf_robust_tickets import AdversarialTrainer, AdversarialTrainingArguments
from hf_robust_tickets.adversaries import FreeLB, PGD

for name, adversary in (("freelb", FreeLB(steps=3, init_magnitude=0.0)), ("pgd", PGD(steps=3)), ("none", None)):
    keep = KeepGradient()
    args = AdversarialTrainingArguments(
        output_dir={folder!r}, per_device_train_batch_size={batch}, gradient_accumulation_steps={accumulation},
        max_steps=1, max_grad_norm=0, save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
        ddp_backend={backend!r})
    trainer = AdversarialTrainer(model=tiny_bert(), args=args, train_dataset=tiny_data(), adversary=adversary,
                                 callbacks=[keep])
    trainer.train()
    if trainer.is_world_process_zero():
        torch.save(keep.gradient, {folder!r} + "/" + name + ".pt")
"""

GATES = """
import sys
sys.path.insert(0, {root!r})
import torch
from torch.nn.parallel import DistributedDataParallel
from hf_robust_tickets.tickets import attach_gates
from tests.tickets.models import tiny_inputs, tiny_model
torch.distributed.init_process_group("gloo")
model = tiny_model()
gates = attach_gates(model)
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
from tests.training.test_ticket_trainer import make_trainer
trainer = make_trainer({folder!r}, use_cpu=True, ddp_backend="gloo", per_device_train_batch_size=4)
trainer.train()
trainer.save_model({folder!r} + "/small")
print("TICKET", trainer.ticket.fingerprint(), trainer.state.global_step, trainer.search_log[-1]["step"], flush=True)
"""


def run(script: str, path: Path, ranks: int) -> str:
    path.write_text(script)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *(launcher if ranks > 1 else []), str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def gradients(tmp_path: Path, ranks: int, batch: int, accumulation: int) -> dict[str, dict[str, torch.Tensor]]:
    folder = tmp_path / f"{ranks}-{accumulation}"
    folder.mkdir()
    script = WORKER.format(
        root=str(ROOT),
        folder=str(folder),
        batch=batch,
        accumulation=accumulation,
        backend="gloo" if ranks > 1 else None,
    )
    run(script, folder / "worker.py", ranks)
    loaded = {path.stem: torch.load(path) for path in folder.glob("*.pt")}
    # Under DDP the names carry the wrapper's prefix.
    return {k: {name.removeprefix("module."): g for name, g in gradient.items()} for k, gradient in loaded.items()}


def test_gradients_are_equal_on_one_and_two_ranks(tmp_path):
    one = gradients(tmp_path, ranks=1, batch=8, accumulation=1)
    for two in (
        gradients(tmp_path, ranks=2, batch=4, accumulation=1),
        gradients(tmp_path, ranks=2, batch=2, accumulation=2),
    ):
        assert one.keys() == two.keys() == {"freelb", "pgd", "none"}
        for method, expected in one.items():
            for name, gradient in expected.items():
                torch.testing.assert_close(two[method][name], gradient, rtol=1e-4, atol=1e-6)


def test_gates_get_the_gradient_of_the_whole_batch(tmp_path):
    model, inputs = tiny_model(), tiny_inputs(batch=4)
    gates = attach_gates(model)
    model(**inputs)[0].mean().backward()
    run(GATES.format(root=str(ROOT), folder=str(tmp_path)), tmp_path / "gates.py", ranks=2)
    for gate, gradient in zip(gates.parameters(), torch.load(tmp_path / "gates.pt"), strict=True):
        assert gradient.abs().sum() > 0
        torch.testing.assert_close(gradient, gate.grad, rtol=1e-4, atol=1e-7)


def test_whole_job_on_two_ranks(tmp_path):
    output = run(JOB.format(root=str(ROOT), folder=str(tmp_path)), tmp_path / "job.py", ranks=2)
    said = {line for line in output.splitlines() if line.startswith("TICKET")}
    assert output.count("TICKET") == 2 and len(said) == 1, output
    assert (tmp_path / "small" / "model.safetensors").exists()
