"""Masked language models for the recipes that let one propose words: BERT-Attack, BAE, CLARE, A2T-MLM."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import ConfigurationError, MissingResourceError
from ..resources import handed_over_model, hub_snapshot, is_offline
from ..victim.classifier import class_logits
from ..victim.copies import batch_to_device, to_host
from ..victim.model import length_limit
from ..victim.padding import padded_batches
from ..victim.request_batching import AnswerCache, ask

MODEL_TYPES = ("bert", "bart", "electra", "gpt", "gpt2", "longformer", "roberta", "xlnet")
"""Kinds of models whose marks of sub-words TextAttack knows (`check_if_subword`)."""

MOST_TOKENS = 512
"""The length at which TextAttack cuts what a masked language model reads."""

TEXTS_PER_CALL = 16
"""As in TextAttack; each token of a text takes the memory of a whole vocabulary."""


@dataclass(eq=False)
class MaskedLM:
    """A masked language model, loaded. Attacks that run side by side (`request_batching`) ask it in one call.

    Attributes:
        name: How reports call it.
        model: The model, in evaluation mode.
        tokenizer: Its tokenizer.
        published: Whether it is the model of the recipe's paper.
    """

    name: str
    model: Any
    tokenizer: Any
    published: bool = False
    _cache: AnswerCache = field(default_factory=AnswerCache, init=False, repr=False)

    @functools.cached_property
    def most_tokens(self) -> int:
        """The length at which texts are cut."""
        return min(MOST_TOKENS, length_limit(self.model, self.tokenizer))

    def at_masks(self, texts: Sequence[str]) -> list[tuple[int, Tensor] | None]:
        """What could stand in place of the first mask of each text.

        Returns:
            For each text the position of its mask, in tokens, and the logits there, (vocabulary,), float32, on the
            CPU; None where the mask is cut off.
        """
        return list(ask(self._at_masks, texts))

    def likeliest(self, text: str, count: int) -> Tensor:
        """The likeliest tokens in place of each token of a text, which the model sees.

        Returns:
            Token ids, (tokens, count), likeliest first; of a text that was asked about before, they are remembered
            until `forget`.
        """
        return self._cache.ask(self._likeliest, [(text, count)])[0]

    def forget(self) -> None:
        """Empties the cache."""
        self._cache.forget()

    def _at_masks(self, texts: list[str]) -> list[tuple[int, Tensor] | None]:
        found: list[tuple[int, Tensor] | None] = [None] * len(texts)
        mask = self.tokenizer.mask_token_id
        read = [(i, ids.index(mask), logits[ids.index(mask)]) for i, ids, logits in self._read(texts) if mask in ids]
        for (i, position, _), logits in zip(read, to_host([logits.float() for *_, logits in read]), strict=True):
            found[i] = (position, logits)
        return found

    def _likeliest(self, questions: list[tuple[str, int]]) -> list[Tensor]:
        found = [torch.empty(0)] * len(questions)
        read = [
            (i, torch.topk(logits, questions[i][1]).indices)
            for i, _, logits in self._read([text for text, _ in questions])
        ]
        for (i, _), tokens in zip(read, to_host([tokens for _, tokens in read]), strict=True):
            found[i] = tokens
        return found

    def _read(self, texts: list[str]) -> Iterator[tuple[int, list[int], Tensor]]:
        """The number, the token ids and the logits, (tokens, vocabulary), of each text, in the order of length."""
        encoded = self.tokenizer(texts, max_length=self.most_tokens, truncation=True, return_attention_mask=True)
        device = next(self.model.parameters()).device
        for chosen, inputs in padded_batches(encoded, self.tokenizer, TEXTS_PER_CALL, device):
            with torch.inference_mode():
                logits = class_logits(self.model(**batch_to_device(inputs, device)))
            # Padding is on the right: what is read of a text is known without asking the device for the mask.
            for i, row in zip(chosen, logits):
                yield i, encoded["input_ids"][i], row[: len(encoded["input_ids"][i])]


def load_masked_lm(spec: Any, paper: str, device: torch.device) -> MaskedLM:
    """Loads the model that `masked_language_model=` asks for.

    Args:
        spec: None for the model of the recipe's paper, a name on the Hub, a folder, or `(model, tokenizer)`.
        paper: The name of the paper's model on the Hub.
        device: Where to put it.

    Returns:
        The model; it counts as the published one only under the published name.

    Raises:
        MissingResourceError: If it cannot be found or fetched.
        ConfigurationError: If it is no masked language model that the recipes can use.
    """
    import transformers

    if isinstance(spec, tuple | list):
        model, tokenizer = _pair(spec)
        name, published = getattr(model.config, "_name_or_path", "") or type(model).__name__, False
    else:
        name = paper if spec is None else os.fspath(spec)
        published = is_published_masked_lm(name, paper)
        folder = (handed_over_model(paper) if published else None) or name
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=is_offline())
            model = transformers.AutoModelForMaskedLM.from_pretrained(folder, local_files_only=is_offline())
        except (OSError, ValueError) as error:
            reason = str(error).split("\n", 1)[0][:200]
            raise MissingResourceError(
                f"masked language model {name!r} not found ({reason}): run `hf download {name}` with a network, or "
                "pass masked_language_model= a folder or name (then not comparable)"
            ) from error
    if model.config.model_type not in MODEL_TYPES:
        raise ConfigurationError(
            f"expected a masked language model of a kind among {', '.join(MODEL_TYPES)}, got "
            f"{model.config.model_type}: its marks of sub-words are not known to TextAttack; pass another"
        )
    if tokenizer.mask_token_id is None:
        raise ConfigurationError(f"expected a tokenizer with a mask token for {name!r}, got none: pass another")
    return MaskedLM(name, model.eval().to(device), tokenizer, published)


def _pair(spec: Any) -> tuple[Any, Any]:
    if len(spec) != 2 or not hasattr(spec[0], "config") or not callable(spec[1]):
        kinds = ", ".join(type(item).__name__ for item in spec)
        raise ConfigurationError(f"expected masked_language_model (model, tokenizer), got ({kinds})")
    return spec[0], spec[1]


def is_published_masked_lm(name: str, paper: str) -> bool:
    """Whether a name is that of the paper's model on the Hub."""
    return name in {paper, paper.partition("/")[2]} and not Path(name).is_dir()


def check_masked_lm(spec: Any) -> tuple[str | None, str]:
    """Why a model could not be loaded, as far as can be told without loading it (None if it is there), and a
    command that fetches it.
    """
    if not isinstance(spec, str | os.PathLike) or Path(spec).is_dir():
        return None, ""
    name = os.fspath(spec)
    if handed_over_model(name) or hub_snapshot(name):
        return None, ""
    return f"masked language model {name!r} not in the cache of the Hub", f"hf download {name}"
