"""The collator of augmented training data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ...augmentation import Edit, WordSubstitution, row_seed
from ...augmentation.substitution import apply_edits
from ...errors import DataError

_IDS, _MASK = "input_ids", "attention_mask"
_POSITIONS = ("start_positions", "end_positions", "position_ids")


class AugmentingCollator:
    """Replaces words in rows of ids, and hands the rows to another collator.

    What a row becomes is a function of the seed, the epoch and its ids: it is the same on any number of ranks, in any
    worker, and in a training that is resumed. Columns with an entry per token (mask, segment ids) follow; padding
    makes room, so a row that was padded keeps its length.

    Args:
        collator: Makes the batch.
        substitution: Replaces the words.
        tokenizer: Has the padding token.
        seed: Of the training.
        max_length: Most tokens of a row without padding; one that is longer already grows no more.
        keeps_length: Pad rows to the length they had: the collator stacks them as they are.
    """

    def __init__(
        self,
        collator: Callable[[list[Any]], Any],
        substitution: WordSubstitution,
        tokenizer: PreTrainedTokenizerBase,
        *,
        seed: int,
        max_length: int,
        keeps_length: bool = False,
    ) -> None:
        self.data_collator = collator
        self.substitution = substitution
        self.tokenizer = tokenizer
        self._seed, self._max_length, self._keeps_length = seed, max_length, keeps_length
        # Worker processes that live longer than an epoch see it change.
        self._epoch = torch.zeros((), dtype=torch.int64, device="cpu").share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch that is read, from 0."""
        return int(self._epoch)

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._epoch.fill_(value)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> Any:
        """A batch of these rows, with other words.

        Raises:
            DataError: If a row has no ids, several texts, or labels by token, which would no longer fit.
        """
        rows = [_Row(feature, self._keeps_length) for feature in features]
        texts = [row.text for row in rows]
        seeds = [row_seed(self._seed, self.epoch, text) for text in texts]
        limits = [row.room or max(self._max_length, len(row.text)) for row in rows]
        edits = self.substitution.edits(texts, seeds, limits)
        return self.data_collator([row.edited(edit, self._padding) for row, edit in zip(rows, edits, strict=True)])

    @property
    def _padding(self) -> dict[str, int | None]:
        types = self.tokenizer.pad_token_type_id
        return {_IDS: self.tokenizer.pad_token_id, _MASK: 0, "token_type_ids": types, "special_tokens_mask": 1}


class _Row:
    """One row of the data: its text, where padding is, and its columns with an entry per token."""

    def __init__(self, feature: Mapping[str, Any], keeps_length: bool) -> None:
        self._feature = feature
        ids = _as_list(feature.get(_IDS))
        if not ids or not isinstance(ids[0], int):
            raise DataError(
                f"expected rows with input_ids of one text each, got {', '.join(feature)} with "
                f"{_IDS}={str(ids)[:40]}: leave augment_rate at 0 for data of another form"
            )
        _refuse_places(feature, len(ids))
        mask = _as_list(feature.get(_MASK))
        if keeps_length and mask is None:
            raise DataError(
                "expected an attention_mask beside input_ids that are stacked as they are, got none: tokenize with "
                "return_attention_mask=True, or use a collator that pads"
            )
        real = [i for i, shown in enumerate(mask or ()) if shown] or range(len(ids))
        self._first, self._last = real[0], real[-1] + 1
        self._ids = ids
        self.text = ids[self._first : self._last]
        padded = len(self.text) < len(ids)
        self.room = len(ids) if padded or keeps_length else 0

    def edited(self, edits: list[Edit], padding: Mapping[str, int | None]) -> dict[str, Any]:
        """The row, with all of its columns."""
        if not edits:
            return dict(self._feature)
        size = len(self._ids)
        return {
            name: _like(value, self._edit(name, column, edits, padding))
            if (column := _as_list(value)) is not None and len(column) == size and not name.startswith("label")
            else value
            for name, value in self._feature.items()
        }

    def _edit(self, name: str, column: list[Any], edits: list[Edit], padding: Mapping[str, int | None]) -> list[Any]:
        before, after = column[: self._first], column[self._last :]
        text = apply_edits(column[self._first : self._last], edits, ids=name == _IDS)
        if self.room:
            # Padding gives way, or grows, on the side where it is.
            fill = (after or before or [padding.get(name, column[-1])])[-1 if after else 0]
            spare = self.room - len(before) - len(text)
            if before and not after:
                before = [fill] * (self.room - len(text))
            else:
                after = [fill] * spare
        return [*before, *text, *after]


class EpochWatch(TrainerCallback):
    """Tells a collator which epoch is read.

    Args:
        collator: It is told before the batches of an epoch are asked for.
    """

    def __init__(self, collator: AugmentingCollator) -> None:
        self.collator = collator
        self._begun = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A training that is resumed within an epoch begins with that one."""
        self._begun = False

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tells it; of a stream without a length, `state.epoch` is a fraction that does not count passes."""
        self.collator.epoch = self.collator.epoch + 1 if self._begun else int(state.epoch or 0)
        self._begun = True


def _refuse_places(feature: Mapping[str, Any], size: int) -> None:
    """Raises DataError for what speaks of places in the text: tokens move when words are replaced."""
    labels = _as_list(feature.get("labels", feature.get("label")))
    by_token = isinstance(labels, list) and len(labels) == size and all(isinstance(each, int) for each in labels)
    found = [name for name in _POSITIONS if name in feature] + (["labels by token"] if by_token else [])
    if found:
        raise DataError(
            f"expected rows that say nothing of places in the text, got {', '.join(found)}: words that are replaced "
            "move them; leave augment_rate at 0 for this task"
        )


def _as_list(value: Any) -> Any:
    """A column as a list; what is none (a number, a string) as None."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return list(value) if isinstance(value, (list, tuple)) else None


def _like(value: Any, column: list[Any]) -> Any:
    """A column in the form in which the row had it."""
    if isinstance(value, torch.Tensor):
        return torch.tensor(column, dtype=value.dtype, device=value.device)
    return np.asarray(column, dtype=value.dtype) if isinstance(value, np.ndarray) else column
