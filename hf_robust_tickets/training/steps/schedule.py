"""How strong the attack is in the course of training."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerState, TrainingArguments

from ..arguments import AdversaryOptions


def first_step(start: float, state: TrainerState) -> float:
    """The step that an option in steps, or (below 1) in a fraction of all steps, speaks of."""
    return start * state.max_steps if start < 1 else start


def steps_per_epoch(args: TrainingArguments, state: TrainerState, dataloader: Any) -> int:
    """Optimiser steps of an epoch, as the Trainer counts them; of a stream, all steps of the run stand for it."""
    try:
        return max(1, math.ceil(len(dataloader) / args.gradient_accumulation_steps))
    except TypeError:
        return state.max_steps


def strength(options: AdversaryOptions, state: TrainerState) -> float:
    """The factor, in (0, 1], of all lengths of the adversary in the present step.

    It rises linearly over `adversary_warmup`, counted from the start of the attack, and then stays, or falls to 0 at
    the end of training, linearly or as half a cosine.
    """
    since = state.global_step - first_step(options.adversary_start_step, state)
    warmup = first_step(options.adversary_warmup, state)
    if since + 1 < warmup:
        return (since + 1) / warmup
    if options.adversary_schedule == "constant":
        return 1.0
    rest = state.max_steps - first_step(options.adversary_start_step, state) - warmup
    left = min(1.0, 1 - (since - warmup) / rest) if rest > 0 else 1.0
    return left if options.adversary_schedule == "linear" else (1 - math.cos(math.pi * left)) / 2
