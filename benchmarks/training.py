"""Speed of steps and of whole jobs: sections of `bench.py`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Trainer

from benchmarks.steps import BASE, CORE_SECONDS, SMALL, bert, ratio, row, stepper
from hf_robust_tickets import AdversarialTrainer, EarlyBirdCallback, attach_gates, prune_, random_ticket
from hf_robust_tickets.adversaries import PGD, FreeLB
from hf_robust_tickets.training.jobs.gate_search import GatePenalty, GateSteps


def plain_step(rounds: int) -> list[dict[str, Any]]:
    model = bert(SMALL)
    value = ratio(stepper(AdversarialTrainer, model, adversary=None), stepper(Trainer, model), rounds, steps=6)
    return [row("AdversarialTrainer(adversary=None) step / Trainer step", value, 1.02)]


def freelb(rounds: int, passes: int = 5) -> list[dict[str, Any]]:
    model = bert(SMALL)
    attacked = stepper(AdversarialTrainer, model, adversary=FreeLB(steps=passes))
    value = ratio(attacked, stepper(Trainer, model), rounds) / passes
    return [row(f"FreeLB-{passes} step / {passes} x Trainer step", value, 1.05)]


def pgd(rounds: int) -> list[dict[str, Any]]:
    # A PGD step of 6 passes and one of 2 differ by 4 passes that need the gradient of delta alone.
    model = bert(SMALL)
    plain = stepper(Trainer, model)
    long = ratio(stepper(AdversarialTrainer, model, adversary=PGD(steps=6)), plain, rounds)
    short = ratio(stepper(AdversarialTrainer, model, adversary=PGD(steps=2)), plain, rounds)
    return [
        row("PGD pass without weight gradients / full pass", (long - short) / 4, 0.75),
        row("PGD-6 step / (5 x 0.67 + 1) Trainer steps", long / (5 * 0.67 + 1), 1.10),
        row("PGD-2 step / (0.67 + 1) Trainer steps", short / (0.67 + 1), 1.10),
    ]


def hidden_layer(rounds: int) -> list[dict[str, Any]]:
    # Layer 5 of 6: one pass through the layers below, three through the one above.
    model = bert(SMALL)
    attacked = stepper(AdversarialTrainer, model, adversary=FreeLB(steps=3), options={"adversary_layer": 5})
    value = ratio(attacked, stepper(Trainer, model), rounds)
    # Layer 11 of 12, where theory says 11/12 + 3/12.
    deep = bert({**SMALL, "num_hidden_layers": 12})
    last = stepper(
        AdversarialTrainer, deep, adversary=FreeLB(steps=3), options={"adversary_layer": -2}, **CORE_SECONDS
    )
    late = ratio(last, stepper(Trainer, deep, **CORE_SECONDS), rounds)
    return [
        row("FreeLB-3 step on the output of layer 5 of 6 / Trainer step", value, 1.6),
        row("FreeLB-3 step on the output of layer 11 of 12 / Trainer step, core seconds", late, 1.25),
    ]


def units(rounds: int) -> list[dict[str, Any]]:
    model = bert(SMALL)
    sides = [
        stepper(AdversarialTrainer, model, adversary=FreeLB(steps=3, step_unit=unit), **CORE_SECONDS)
        for unit in ("relative", "absolute")
    ]
    return [row("FreeLB-3 step with relative lengths / with absolute ones, core seconds", ratio(*sides, rounds), 1.02)]


def gates(rounds: int) -> list[dict[str, Any]]:
    gated, bare = bert(SMALL), bert(SMALL)
    attach_gates(gated)

    class Gated(AdversarialTrainer):
        """With the penalty on the gates, as in a search."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.runner.terms.append(GatePenalty(1e-4, 1e-4))

    # The default of 0.05 epoch is a ticket in every eleventh step of SST-2's 217: one ticket in 12 steps.
    def search(steps: int) -> list[float]:
        watch = EarlyBirdCallback(interval=0.9, patience=100)
        return stepper(Gated, gated, adversary=FreeLB(steps=2), callbacks=[GateSteps(), watch])(steps)

    bare_search = stepper(AdversarialTrainer, bare, adversary=FreeLB(steps=2))
    value = ratio(search, bare_search, max(1, rounds // 2), steps=11, centre=statistics.mean)
    return [row("search step (FreeLB-2) with gates and callback / without, mean", value, 1.03)]


def pruned(rounds: int) -> list[dict[str, Any]]:
    dense, small = bert(BASE), bert(BASE)
    prune_(small, random_ticket(small, 1 / 6, 0.4, head_scope="layer", neuron_scope="layer", round_to=64))
    ids = torch.randint(1000, 30000, (32, 128), generator=torch.Generator().manual_seed(0))
    flops = flops_of(small, ids) / flops_of(dense, ids)
    forward = ratio(forward_of(small, ids), forward_of(dense, ids), rounds)
    large = {"batch": 32, "length": 128}
    step = ratio(stepper(Trainer, small, **large), stepper(Trainer, dense, **large), max(2, rounds // 2), steps=1)
    return [
        row(f"pruned / dense BERT-base, 32 x 128, forward (FLOPs ratio {flops:.2f})", forward, 1.10 * flops),
        row(f"pruned / dense BERT-base, 32 x 128, training step (FLOPs ratio {flops:.2f})", step, 1.25 * flops),
    ]


def job(rounds: int) -> list[dict[str, Any]]:
    """Whole job against dense FreeLB-10 over ten epochs, from step times; patience 5 needs 0.3 epoch at least."""
    model, small = bert(SMALL), bert(SMALL)
    prune_(small, random_ticket(small, 1 / 6, 0.4, round_to=16))
    plain = stepper(Trainer, model)
    freelb_10 = ratio(stepper(AdversarialTrainer, model, adversary=FreeLB(steps=10)), plain, rounds)
    freelb_5 = ratio(stepper(AdversarialTrainer, model, adversary=FreeLB(steps=5)), plain, rounds)
    tuned = ratio(stepper(Trainer, small), plain, rounds)
    rows = []
    for epochs in (0.3, 0.5):
        value = (epochs * freelb_5 + 10 * tuned) / (10 * freelb_10)
        title = f"job with {epochs} epoch of FreeLB-5 search / dense FreeLB-10, 10 epochs (extrapolated from steps)"
        rows.append(row(title, value, 1 / 11))
    return rows


def flops_of(model: Any, ids: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(input_ids=ids)
    return counter.get_total_flops()


def forward_of(model: Any, ids: torch.Tensor) -> Callable:
    def run(steps: int) -> list[float]:
        times = []
        with torch.no_grad():
            model.eval()
            for _ in range(steps):
                began = time.perf_counter()
                model(input_ids=ids)
                times.append(time.perf_counter() - began)
        return times[1:]

    return run
