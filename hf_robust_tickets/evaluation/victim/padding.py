"""Texts in batches: with little padding, and on the side on which it leaves the answers alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import ConfigurationError
from .copies import batch_to_device, on_host

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Row = Mapping[str, Sequence[Any]]

CPU_CALL_TOKENS, CALL_TOKENS = 64, 4096
"""Cost of a forward call in addition to its tokens, in tokens. On two cores MiniLM takes 0.13 ms per token and 10-18
ms per call; elsewhere an estimate: an accelerator is not full below some thousand tokens."""

ROUNDING, ROUNDING_OF_HALVES, LEAST = 1e-2, 1e-1, 1e-4
"""Share of the largest logit by which company may move a text's logits, in float32 and in half precision, and what it
may move them by in any case. Positions that are off move them by more: 8.8 (GPT-2), 0.27 (BERT), 0.19, 0.06."""


def find_padding_side(
    logits: Callable[[Mapping[str, Tensor]], Tensor],
    pad: Callable[[list[Row], str], Mapping[str, Tensor]],
    rows: Sequence[Row],
    half: bool,
) -> str:
    """The side on which the shortest of some texts can be padded, found by asking for it alone and beside the longest.

    Models that count positions from the first token read a text that is padded on the left at other positions, and so
    otherwise in other company; a tokenizer may say `left` all the same. Models that read the last token (XLNet) want
    the left.

    Args:
        logits: The model: inputs to (texts, classes).
        pad: Makes inputs of rows, padded on a side.
        rows: Texts as token lists, of two lengths or more.
        half: Whether the model runs in half precision.

    Raises:
        ConfigurationError: If a text's logits depend on its company whichever the side.
    """
    short, long = (choose(rows, key=lambda row: len(row["input_ids"])) for choose in (min, max))
    alone = logits(pad([short], "right"))[0]
    largest = float(alone.abs().max())
    allowed = (ROUNDING_OF_HALVES if half else ROUNDING) * largest + LEAST
    moved = 0.0
    for side in ("right", "left"):
        moved = float((logits(pad([short, long], side))[0] - alone).abs().max())
        # Logits that are no numbers are for the caller to refuse.
        if moved <= allowed or moved != moved:
            return side
    raise ConfigurationError(
        f"expected a text to get the same logits alone and beside a longer one, got a difference of {moved:.2g} "
        f"(largest logit {largest:.2g}), padded on either side: the model reads its padding; pass batch_size=1"
    )


def padded_batches(
    encoded: Mapping[str, list[Any]],
    tokenizer: PreTrainedTokenizerBase,
    batch_size: int,
    device: torch.device,
    side: str = "right",
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """What a model is called with to read some texts, with as little padding and as few calls as `cut_batches` finds.

    Args:
        encoded: What the tokenizer made of the texts, one list each.
        tokenizer: It pads; with `batch_size=1` it need not be able to.
        batch_size: Most texts per forward call.
        device: Where the tensors are going.
        side: Where padding goes, whatever the tokenizer says.

    Yields:
        The positions of the texts of one call, and its arguments, on the CPU, ready to be copied to the device.
    """
    lengths = [len(ids) for ids in encoded["input_ids"]]
    for chosen in cut_batches(lengths, batch_size, CPU_CALL_TOKENS if device.type == "cpu" else CALL_TOKENS):
        batch: Mapping[str, Any] = {name: [values[i] for i in chosen] for name, values in encoded.items()}
        if batch_size > 1:
            batch = tokenizer.pad(batch, return_tensors="pt", padding_side=side)
        yield chosen, {name: on_host(values, device) for name, values in batch.items()}


def pad_batch(
    batch: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, device: torch.device, side: str
) -> dict[str, Tensor]:
    """Texts of different lengths as tensors, padded on a side; arguments as of `padded_batches`."""
    return batch_to_device(tokenizer.pad(batch, return_tensors="pt", padding_side=side), device)


def cut_batches(lengths: Sequence[int], batch_size: int, call_tokens: int) -> list[list[int]]:
    """Cuts texts into batches so that padding and forward calls together cost least.

    Texts of all lengths in one batch are padded to the longest; a batch for each length is a call for each. Among all
    ways to cut the texts, sorted by length, between two lengths, dynamic programming finds the one with the smallest
    sum of padded tokens plus `call_tokens` per call.

    Args:
        lengths: Tokens of each text.
        batch_size: Most texts per batch.
        call_tokens: Cost of a forward call in addition to its tokens, in tokens.

    Returns:
        Positions in `lengths`, shortest first; batches in which positions of one length are in order.
    """
    ordered = sorted(range(len(lengths)), key=lengths.__getitem__)
    runs = [(length, list(run)) for length, run in groupby(ordered, key=lengths.__getitem__)]
    cheapest: list[tuple[float, int]] = [(0, 0)]  # for the first so many runs: their cost, and where the last cut is
    for end, (longest, _) in enumerate(runs, start=1):
        count, best = 0, (math.inf, 0)
        for begin in range(end - 1, -1, -1):
            count += len(runs[begin][1])
            calls = -(-count // batch_size)
            best = min(best, (cheapest[begin][0] + count * longest + calls * call_tokens, begin))
        cheapest.append(best)
    batches: list[list[int]] = []
    end = len(runs)
    while end:
        begin = cheapest[end][1]
        chosen = [i for _, run in runs[begin:end] for i in run]
        batches[:0] = [chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)]
        end = begin
    return batches
