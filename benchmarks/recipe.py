"""Speed of what is done to weights and data around a training: sections of `bench.py`."""

from __future__ import annotations

import copy
import statistics
import time
from typing import Any

import torch
from transformers import Trainer

from benchmarks.steps import BASE, CORE_SECONDS, SMALL, bert, ratio, row, stepper
from hf_robust_tickets import AdversarialTrainer, prune_, random_ticket
from hf_robust_tickets.tickets import refit
from hf_robust_tickets.training import WeightAveragingCallback


def refit_passes(rounds: int, sentences: int = 64, length: int = 32) -> list[dict[str, Any]]:
    """A refit in units of forward passes of the dense model over its sentences.

    Passes and sums grow with the sentences and solving does not: with 2,560 of them the ratio is no larger.
    """
    dense = bert(BASE).eval()
    ids = torch.randint(1000, 30000, (sentences, length), generator=torch.Generator().manual_seed(0))
    batches = [{"input_ids": part} for part in ids.split(32)]
    small = copy.deepcopy(dense)
    prune_(small, random_ticket(small, 0.5, 0.5, head_scope="layer", neuron_scope="layer"))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(max(1, rounds // 3)):
        began = time.perf_counter()
        with torch.no_grad():
            for batch in batches:
                dense(**batch)
        middle = time.perf_counter()
        refit(copy.deepcopy(small), dense, batches)
        times[0].append(time.perf_counter() - middle)
        times[1].append(middle - began)
    value = statistics.median(times[0]) / statistics.median(times[1])
    return [row(f"refit of half of BERT-base / forward pass of its {sentences} x {length} tokens", value, 60.0)]


def averaging(rounds: int) -> list[dict[str, Any]]:
    """Ten steps, of which one is averaged, as by default: their mean over that of plain ones."""
    model = bert(SMALL)
    # Before the clock's callback, which ends the step.
    callbacks = [WeightAveragingCallback(start=1, every=10)]
    averaged = stepper(AdversarialTrainer, model, adversary=None, callbacks=callbacks, **CORE_SECONDS)
    plain = stepper(Trainer, model, **CORE_SECONDS)
    value = ratio(averaged, plain, max(1, rounds // 2), steps=10, centre=statistics.mean)
    return [row("step with averaged weights, every tenth / Trainer step, mean, core seconds", value, 1.02)]


def teacher(rounds: int) -> list[dict[str, Any]]:
    """A teacher of the student's size: a forward pass more, a third of a step by theory."""
    model, other = bert(SMALL), bert(SMALL)
    taught = stepper(AdversarialTrainer, model, adversary=None, teacher=other, **CORE_SECONDS)
    value = ratio(taught, stepper(Trainer, model, **CORE_SECONDS), rounds)
    return [row("step with a teacher of the same size / Trainer step, core seconds", value, 1.40)]


def frozen(rounds: int) -> list[dict[str, Any]]:
    model = bert(SMALL)
    options = {"freeze_embeddings": True}
    still = stepper(AdversarialTrainer, model, adversary=None, options=options, **CORE_SECONDS)
    value = ratio(still, stepper(Trainer, model, **CORE_SECONDS), rounds)
    return [row("step with frozen embeddings / Trainer step, core seconds", value, 1.00)]
