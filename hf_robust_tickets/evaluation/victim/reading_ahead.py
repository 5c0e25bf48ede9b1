"""From texts to padded batches: the next ones are tokenised in another thread while the model computes the present."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from ...errors import DataError
from .padding import padded_batches

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")
TextInput = str | tuple[str, str]
"""What a tokenizer takes for one example: a text, or a pair of texts."""

SLICE_BATCHES = 16
"""Full batches of one slice of a request, which is tokenised whole. Batches are cut within a slice: of 4,096 sentences
of SST-2 slices of 16 x 64 cost 0.4 % more padding than none, those of 4 x 64 2.4 %, as much as tokenising takes."""


def ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """Yields what an iterator yields, found in another thread while the caller is busy with the item before.

    That thread alone advances the iterator. It ends with the iterator, and when this generator is closed: take it in
    `contextlib.closing`, or an error of the caller leaves the thread until its traceback is forgotten.

    Args:
        items: What to go through.
        depth: Most items that are found before they are asked for.

    Raises:
        BaseException: What the iterator raises, after the items before it and with the traceback that it has there.
    """
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        found = deque(pool.submit(next, items, end) for _ in range(depth))
        while (item := found.popleft().result()) is not end:
            found.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def cut_slices(texts: Sequence[TextInput], size: int) -> list[list[int]]:
    """Positions of the texts of each slice; of more than one, by length in characters, the shortest first.

    Characters are known before anything is tokenised, and texts of as many have about as many tokens.

    Args:
        texts: The texts, or pairs.
        size: Most texts of a slice.
    """
    order = list(range(len(texts)))
    if len(texts) > size:
        order.sort(key=lambda i: len(texts[i]) if isinstance(texts[i], str) else sum(map(len, texts[i])))
    return [order[start : start + size] for start in range(0, len(order), size)]


class Reader:
    """Makes batches of texts for a model.

    The tokenizer is used by one thread at a time: by that of the caller until it knows the side to pad on, then by one
    that ends with the request.

    Args:
        tokenizer: The model's tokenizer.
        batch_size: Most texts per batch.
        max_length: Truncation in tokens.
        vocabulary: How many tokens the model has embeddings for; None if it cannot be told.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, batch_size: int, max_length: int, vocabulary: int | None
    ) -> None:
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.max_length = max_length
        self.vocabulary = vocabulary

    def batches(
        self,
        texts: Sequence[TextInput],
        device: torch.device,
        find_side: Callable[[Mapping[str, list[Any]]], str | None],
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Batches of a request: texts of similar length, padded to the longest of each.

        Args:
            texts: The request.
            device: Where they are going; they are made on the host, ready to be copied.
            find_side: From a slice that was tokenised to the side to pad on; None where it cannot be told yet. The
                caller's thread asks it.

        Returns:
            Positions of the texts of a batch, and the model's arguments, on the CPU; close it in the end.

        Raises:
            DataError: If the model has no embedding for a token.
        """
        slices = cut_slices(texts, SLICE_BATCHES * self.batch_size)
        encoded = map(self._encode, ([texts[i] for i in chosen] for chosen in slices))
        side, read = None, []
        while side is None and (one := next(encoded, None)) is not None:
            read.append(one)
            side = find_side(one)
        batches = self._padded(zip(slices, itertools.chain(read, encoded)), device, side or "right")
        return ahead(batches, SLICE_BATCHES) if len(texts) > self.batch_size else batches

    def _encode(self, texts: list[TextInput]) -> Mapping[str, list[Any]]:
        encoded = self.tokenizer(texts, truncation=True, max_length=self.max_length)
        most = max((max(ids, default=0) for ids in encoded["input_ids"]), default=0)
        # An index beyond the embeddings is a crash without a name on an accelerator.
        if self.vocabulary is not None and most >= self.vocabulary:
            raise DataError(
                f"expected token numbers below {self.vocabulary}, the model's embeddings, got {most}: take the "
                "tokenizer of this model, or call model.resize_token_embeddings(len(tokenizer))"
            )
        return encoded

    def _padded(
        self, slices: Iterator[tuple[list[int], Mapping[str, list[Any]]]], device: torch.device, side: str
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        for positions, encoded in slices:
            for chosen, inputs in padded_batches(encoded, self.tokenizer, self.batch_size, device, side):
                yield [positions[i] for i in chosen], inputs
