"""Speed of what is done to weights and data around a training: sections of `bench.py`."""

from __future__ import annotations

import copy
import itertools
import json
import statistics
import string
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Trainer

from benchmarks.steps import BASE, CORE_SECONDS, SMALL, Laps, bert, ratio, row, stepper
from hf_robust_tickets import AdversarialTrainer, prune_, random_ticket
from hf_robust_tickets.adversaries import HotFlip
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
        began = time.process_time()
        with torch.no_grad():
            for batch in batches:
                dense(**batch)
        middle = time.process_time()
        refit(copy.deepcopy(small), dense, batches)
        times[0].append(time.process_time() - middle)
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


def substitution(rounds: int) -> list[dict[str, Any]]:
    """Steps whose words are replaced, or mixed in embedding space, in the training process, against one as it is."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, words = _tokenizer()
        path = Path(folder, "neighbours.json")
        path.write_text(json.dumps({word: words[i + 1 : i + 9] for i, word in enumerate(words[:-8])}))
        ids = torch.tensor(tokenizer.convert_tokens_to_ids(words))

        def sentences(batch: int, length: int, steps: int) -> Dataset:
            chosen = torch.randint(len(ids), (batch * steps, length), generator=torch.Generator().manual_seed(0))
            rows = ids[chosen].tolist()
            return Dataset.from_dict({"input_ids": rows, "labels": [i % 2 for i in range(len(rows))]})

        model, common = bert(SMALL), {"make_data": sentences, "processing_class": tokenizer, "clock": Laps}
        plain = stepper(Trainer, model, **common, **CORE_SECONDS)
        values = []
        for options in (
            {"augment_rate": 0.15, "augment_with": [str(path), "characters"]},
            {"dirichlet_neighbours": str(path)},
        ):
            augmented = stepper(AdversarialTrainer, model, adversary=None, options=options, **common, **CORE_SECONDS)
            values.append(ratio(augmented, plain, rounds, steps=6))
        exchanged = stepper(AdversarialTrainer, model, adversary=HotFlip(), **common, **CORE_SECONDS)
        values.append(ratio(exchanged, plain, rounds, steps=6) / 2)
    return [
        row("step with 15 % of the words replaced / Trainer step, loading included", values[0], 1.05),
        row("step with all words mixed of nine / Trainer step, loading included", values[1], 1.05),
        row("HotFlip / 2 Trainer steps, loading included", values[2], 1.05),
    ]


def _tokenizer() -> tuple[PreTrainedTokenizerFast, list[str]]:
    """A WordPiece tokenizer of 17,576 words of three letters, and all letters."""
    letters = string.ascii_lowercase
    words = ["".join(each) for each in itertools.product(letters, repeat=3)]
    vocabulary = ["[PAD]", "[UNK]", *words, *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    return fast, words
