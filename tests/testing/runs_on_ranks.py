"""Trains every method for two steps and writes what came of it: run by the tests of distribution, alone or on ranks.

python -m tests.testing.runs_on_ranks '{"folder": "/tmp/out", "runs": [{"title": "plain"}]}'
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from transformers import TrainerCallback

from hf_robust_tickets import AdversarialTrainingArguments, attach_gates
from hf_robust_tickets.adversaries import InfoBERT
from hf_robust_tickets.adversaries.text.infobert import AnchorCritic
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.training import AdversarialTrainer
from hf_robust_tickets.training.jobs.gate_search import GatePenalty
from tests.testing.device import USE_CPU
from tests.testing.methods import METHODS, START_PATCHES
from tests.testing.ranks import leave
from tests.testing.sharded_on_cpu import allow_sharding_on_cpu
from tests.testing.tiny import tiny_bert, tiny_data

NONE = "none"
# What FSDP2 calls for every group of parameters; the name changed in torch 2.13.
SHARDED = next(name for name in ("reduce_scatter_single", "reduce_scatter_tensor") if hasattr(torch.distributed, name))
EVERY_METHOD = [NONE, *sorted(METHODS)]
# Its terms speak of a micro-batch: it is compared where micro-batches are the same.
INFOBERT = InfoBERT(
    steps=2, step_size=0.5, init_magnitude=0.0, bottleneck_coefficient=0.3, anchor_coefficient=0.7, lowest=0.2
)
ADVERSARIES = {**METHODS, INFOBERT.name: INFOBERT}


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on this rank; all ranks must ask, for a sharded tensor is gathered."""
    if hasattr(tensor, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([tensor]):
            return tensor.detach().cpu().clone()
    tensor = tensor.detach()
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).cpu().clone()


class Watch(TrainerCallback):
    """The gradient of the first step, and how often and how much ranks tell each other of gradients in each step."""

    def __init__(self) -> None:
        self.gradient: dict[str, torch.Tensor] | None = None
        self.buckets: list[tuple[int, int]] = []
        self.trainer: Any = None

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        wrapped = self.trainer.model_wrapped
        if isinstance(wrapped, torch.nn.parallel.DistributedDataParallel):
            wrapped.register_comm_hook(None, self._count)
        self._stock = getattr(torch.distributed, SHARDED)
        setattr(torch.distributed, SHARDED, self._count_shards)

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        setattr(torch.distributed, SHARDED, self._stock)

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.buckets.append((0, 0))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if self.gradient is None:
            named = [(name.removeprefix("module."), p) for name, p in model.named_parameters()]
            self.gradient = {name: whole(p.grad) for name, p in named if p.grad is not None}

    # Without annotations: DDP compares them as objects, and here they are strings.
    def _count(self, state, bucket):
        self._note(bucket.buffer())
        return allreduce_hook(None, bucket)

    def _count_shards(self, *args: Any, **kwargs: Any) -> Any:
        self._note(kwargs["input"] if "input" in kwargs else args[1])
        return self._stock(*args, **kwargs)

    def _note(self, buffer: torch.Tensor) -> None:
        calls, size = self.buckets[-1]
        self.buckets[-1] = (calls + 1, size + buffer.numel() * buffer.element_size())


def known_critic() -> Any:
    """Critics whose first weights are the same in every run."""
    stock = AnchorCritic.__init__

    def known(self: AnchorCritic, dim: int) -> None:
        stock(self, dim)
        generator = torch.Generator().manual_seed(1)
        for parameter in self.parameters():
            parameter.data.copy_(0.2 * torch.randn(parameter.shape, generator=generator))

    return patch.object(AnchorCritic, "__init__", known)


@contextmanager
def same_starts() -> Iterator[None]:
    """Random starts that depend on the entry alone, however batches are cut."""
    with ExitStack() as stack:
        stack.enter_context(known_critic())
        for target, start in START_PATCHES.items():
            stack.enter_context(patch(target, start))
        yield


def train(
    name: str,
    folder: str,
    batch: int = 8,
    steps: int = 2,
    gates: bool = False,
    resume_from: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """One training, of gates too where asked for.

    Returns:
        `gradient` of the first step and `weights` after the last, by name; `buckets`, one pair of number and bytes
        per step; or `refused`, the reason.
    """
    watch = Watch()
    values = {
        "optim": "sgd",
        "learning_rate": 0.5,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": USE_CPU,
    }
    args = AdversarialTrainingArguments(
        output_dir=folder, per_device_train_batch_size=batch, max_steps=steps, **(values | options)
    )
    model = tiny_bert()
    if gates:
        attach_gates(model)
    try:
        trainer = AdversarialTrainer(
            model=model,
            args=args,
            # One step's batch: whatever the order, all ranks together see the same examples.
            train_dataset=tiny_data(8),
            adversary=ADVERSARIES.get(name),
            callbacks=[watch],
        )
        if gates:
            trainer.runner.terms.append(GatePenalty(0.1, 0.2))
        watch.trainer = trainer
        trainer.train(resume_from and f"{folder}/{resume_from}")
    except ConfigurationError as error:
        return {"refused": str(error)}
    named = trainer.accelerator.unwrap_model(trainer.model).named_parameters()
    return {
        "gradient": watch.gradient,
        "weights": {key: whole(p) for key, p in named},
        "buckets": watch.buckets,
        "skipped": int(trainer.skipped_ascents),
    }


def train_all(folder: str, runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """All methods (or `methods`) under each of `runs`: title -> method -> what `train` gives."""
    results: dict[str, dict[str, Any]] = {}
    with same_starts():
        for run in runs:
            options = dict(run)
            title, methods = options.pop("title"), options.pop("methods", EVERY_METHOD)
            results[title] = {name: train(name, folder, **options) for name in methods}
    return results


def main() -> None:
    request = json.loads(sys.argv[1])
    allow_sharding_on_cpu()
    results = train_all(request["folder"], request["runs"])
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        torch.save(results, Path(request["folder"]) / "results.pt")


if __name__ == "__main__":
    main()
    leave()
