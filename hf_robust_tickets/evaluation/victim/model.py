"""The attacked model as attacks see it: texts in, logits out, without a token of padding more than needed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..._reading import check_padding, require_tokenizer, require_vocabulary
from ..._sharding import is_sharded
from ...errors import ConfigurationError, DataError
from .classifier import as_classifier, checked_logits
from .copies import batch_to_device
from .padding import find_padding_side, pad_batch
from .reading_ahead import Reader, TextInput
from .request_batching import AnswerCache

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

UNLIMITED = 1_000_000
"""Tokenizers without a limit report 1e30."""

DEFAULT_MAX_LENGTH = 512
"""Truncation where the tokenizer has no limit, as in TextAttack's wrapper."""

POSITION_TABLES = frozenset({"position_embeddings", "wpe", "embed_positions"})
"""What models call the embeddings of positions."""


@dataclass
class VictimStatistics:
    """What the attacks cost the model.

    Attributes:
        texts: Texts that were asked about.
        forwarded: Texts that went through the model; the others were in the cache, or asked by two at a time.
        batches: Forward calls.
    """

    texts: int = 0
    forwarded: int = 0
    batches: int = 0


class Victim:
    """A classifier and its tokenizer as one function from texts to logits.

    TextAttack's wrapper pads every batch to the tokenizer's maximum, 512 tokens for a sentence of 20. Here the texts
    of a call are sorted by length, cut into batches of similar length, padded to the longest of each batch, and
    answered from a cache where they were asked before. Logits differ from the other wrapper's by rounding. They are
    padded on the side on which a text's answer does not depend on its company, whatever the tokenizer says.

    The texts of examples that are attacked side by side (`request_batching`) go through the model together. The last
    bits of a text's logits depend on the other texts of its batch: on padding, and on how an accelerator or BLAS cuts
    a matrix into blocks.

    Args:
        model: A sequence classifier; it stays on its device, in its mode (see `evaluation_mode`).
        tokenizer: Its tokenizer.
        batch_size: Most texts per forward call.
        max_length: Truncation in tokens; None for the tokenizer's limit.
        bf16: Whether to run the model under bfloat16 autocast: faster where the hardware has it, rounder logits.
        torch_compile: Whether to compile the model first, for any shape.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int = 64,
        max_length: int | None = None,
        bf16: bool = False,
        torch_compile: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"expected batch_size >= 1, got {batch_size}")
        model = as_classifier(model)
        require_tokenizer(tokenizer)
        require_vocabulary(tokenizer, "the tokenizer of this evaluation")
        check_padding(model, tokenizer)
        if batch_size > 1 and tokenizer.pad_token_id is None:
            raise ConfigurationError(
                "expected a tokenizer with a padding token, got none: set tokenizer.pad_token and "
                "model.config.pad_token_id, or batch_size=1"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.max_length = checked_length(model, tokenizer, max_length)
        self.bf16 = bf16
        self.statistics = VictimStatistics()
        self._reader = Reader(tokenizer, batch_size, self.max_length, _embeddings_of(model))
        self._sharded = any(map(is_sharded, model.parameters()))
        self._call = torch.compile(model, dynamic=True) if torch_compile else model
        self._cache = AnswerCache()
        self._padding_side: str | None = None

    def __call__(self, texts: Sequence[TextInput]) -> Tensor:
        """Logits of texts.

        Args:
            texts: Texts, or pairs.

        Returns:
            Logits, (texts, classes), float32, on the CPU.

        Raises:
            DataError: If the model answers with NaN or infinity.
        """
        if not texts:
            return torch.empty(0, self.model.config.num_labels)
        self.statistics.texts += len(texts)
        return torch.stack(self._cache.ask(self._forward, texts))

    def forget(self) -> None:
        """Empties the cache. Done after each example, it bounds memory and makes an example's logits independent of
        which examples came before: a resumed evaluation gives the same bits.
        """
        self._cache.forget()

    def _forward(self, texts: list[TextInput]) -> Tensor:
        # FSDP2 gathers into memory that the next training step uses again, which inference mode forbids.
        with torch.no_grad() if self._sharded else torch.inference_mode():
            return self._logits(texts)

    def _logits(self, texts: list[TextInput]) -> Tensor:
        self.statistics.forwarded += len(texts)
        device = next(self.model.parameters()).device
        order: list[int] = []
        answers: list[Tensor] = []
        autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.bf16)
        batches = self._reader.batches(texts, device, lambda encoded: self._side(encoded, device))
        with contextlib.closing(batches):
            for chosen, inputs in batches:
                with autocast:
                    answers.append(self._answers(batch_to_device(inputs, device)))
                self.statistics.batches += 1
                order += chosen
        # An accelerator computes while the next batch is padded: nothing is copied back before all are under way.
        found = torch.cat(answers).cpu()
        stacked = torch.empty_like(found)
        stacked[order] = found
        if not torch.isfinite(stacked).all():
            raise DataError(
                f"expected finite logits, got NaN or infinity for {int((~torch.isfinite(stacked)).any(1).sum())} of "
                f"{len(texts)} texts: check the model's weights, or evaluate with bf16=False"
            )
        return stacked

    def _side(self, encoded: Mapping[str, list[Any]], device: torch.device) -> str | None:
        """Where to pad; asked of the model with the first texts of different lengths, None before there are any."""
        if self.batch_size == 1:
            return "right"
        if self._padding_side is not None or len(set(map(len, encoded["input_ids"]))) == 1:
            return self._padding_side

        def logits(inputs: Mapping[str, Tensor]) -> Tensor:
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.bf16):
                return checked_logits(self.model(**inputs), self.model.config.num_labels)

        def pad(rows: list[Mapping[str, Any]], side: str) -> dict[str, Tensor]:
            return pad_batch({name: [row[name] for row in rows] for name in rows[0]}, self.tokenizer, device, side)

        rows = [{name: values[i] for name, values in encoded.items()} for i in range(len(encoded["input_ids"]))]
        self._padding_side = find_padding_side(logits, pad, rows, self.bf16 or runs_in_half(self.model))
        return self._padding_side

    def _answers(self, inputs: dict[str, Tensor]) -> Tensor:
        """What one forward call says of its texts, one row each, where it was computed."""
        return checked_logits(self._call(**inputs), self.model.config.num_labels)


def _innermost(forward: Any) -> Callable[..., Any]:
    """The function inside Accelerate's wrappers: each knows what it wraps."""
    while hasattr(forward, "__wrapped__"):
        forward = forward.__wrapped__
    return getattr(forward, "__func__", forward)


def runs_in_half(model: nn.Module) -> bool:
    """Whether a model's weights are in half precision."""
    return next(model.parameters()).dtype in (torch.float16, torch.bfloat16)


def _embeddings_of(model: nn.Module) -> int | None:
    """How many tokens a model has embeddings for; None if it cannot be told."""
    try:
        return model.get_input_embeddings().num_embeddings
    except (AttributeError, NotImplementedError):
        return None


def length_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The tokenizer's limit, but never more than the model has positions for."""
    limit = tokenizer.model_max_length
    limit = DEFAULT_MAX_LENGTH if limit is None or limit > UNLIMITED else limit
    positions = getattr(model.config, "max_position_embeddings", None)
    limit = min(limit, positions) if positions and positions > 0 else limit
    return min(limit, positions_of(model) or limit)


def checked_length(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int | None, pairs: bool = False
) -> int:
    """`max_length`, or the limit for None; `pairs` of texts need room for one token more.

    Raises:
        ConfigurationError: If special tokens leave no room for a text, or the model has fewer positions.
    """
    if max_length is None:
        return length_limit(model, tokenizer)
    if max_length < 1:
        raise ConfigurationError(f"expected max_length >= 1 or None, got {max_length}")
    special = tokenizer.num_special_tokens_to_add(pair=pairs)
    if max_length < special + 1 + pairs:
        raise ConfigurationError(
            f"expected max_length > {special + pairs}, got {max_length}: {special} special tokens leave nothing of a "
            "text to read"
        )
    positions = positions_of(model)
    if positions is not None and max_length > positions:
        raise ConfigurationError(
            f"expected max_length <= {positions}, the positions of this model, got {max_length}: leave it out"
        )
    return max_length


def positions_of(model: nn.Module) -> int | None:
    """How many tokens a table of positions holds; None for a model without one that is known.

    RoBERTa and its relatives count positions from the one after the padding's (of 514 they use 512), BART from
    `offset`.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in POSITION_TABLES:
            unused = getattr(module, "offset", 0) if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - unused
    return None


def require_right_padding(model: nn.Module, collator: Any) -> None:
    """Checks that batches of a training or of its callbacks give a text the positions that it has alone.

    Args:
        model: The model.
        collator: Makes batches; one without a tokenizer pads nothing.

    Raises:
        ConfigurationError: If it pads on the left for a model that counts positions from the first token.
    """
    collator = getattr(collator, "data_collator", collator)  # in the Trainer's wrapper that removes columns
    if getattr(getattr(collator, "tokenizer", None), "padding_side", "right") == "right" or not positions_of(model):
        return
    raise ConfigurationError(
        f"expected padding on the right, for a {type(model).__name__} counts positions from the first token, got the "
        "left: a text's answer would depend on its company; set tokenizer.padding_side = 'right'"
    )


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switches dropout and the like off, and the autocast that a trainer has left; all is as it was at the end.

    A `Trainer` with bf16 or fp16 leaves a model that computes in it whoever calls it: attacks would read rounded
    logits that nobody asked for, and that the model does not have once it is saved and loaded.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    wrapped = {module: vars(module)["forward"] for module in model.modules() if "_original_forward" in vars(module)}
    for module, forward in wrapped.items():
        module.forward = MethodType(_innermost(forward), module)
    try:
        yield
    finally:
        for module, forward in wrapped.items():
            module.forward = forward
        for module, mode in modes.items():
            module.training = mode
