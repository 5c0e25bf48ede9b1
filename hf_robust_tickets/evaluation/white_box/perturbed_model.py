"""Model inputs for white-box attacks, and a batch of them as a function of the perturbation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..._reading import require_tokenizer
from ...adversaries import PerturbationHook, PixelBox, PixelHook, perturbation_mask
from ...errors import ConfigurationError, DataError
from ..config import EvaluationConfig
from ..datasets.labels import Classes, labelled_rows
from ..sampling import check_split, select_examples, stratified_sample
from ..victim.classifier import checked_logits, class_logits
from ..victim.copies import batch_to_device, to_device
from ..victim.model import checked_length, runs_in_half
from ..victim.padding import find_padding_side
from .images import class_labels, image_rows, is_image_processor

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "pixel_values")
_PER_TOKEN = frozenset({"input_ids", "attention_mask", "token_type_ids"})


class PerturbedBatch:
    """One batch of a model as a function of the perturbation; an `AttackTarget`.

    Args:
        model: The classifier, in evaluation mode.
        injector: A hook on the module whose output is perturbed; None to perturb `pixel_values`.
        inputs: What the model takes.
        labels: True classes, (batch,).
        pixel_range: Smallest and largest value of a pixel; None for no bounds.
        box: Perturbations are in pixels before normalisation, and stay in this box; None for model inputs.
        bf16: Whether to run the model under bfloat16 autocast.

    Raises:
        DataError: If the adversary perturbs pixels, and the batch has none.

    Attributes:
        x: What is perturbed: embeddings (batch, tokens, dim) or pixels (batch, channels, height, width).
        mask: 1 where a perturbation may be: (batch, tokens), or (batch,) for images.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        injector: PerturbationHook | None,
        inputs: dict[str, Tensor],
        labels: Tensor,
        pixel_range: tuple[float, float] | None = None,
        box: PixelBox | None = None,
        bf16: bool = False,
    ) -> None:
        self.bf16 = bf16
        self.model, self.injector, self.inputs, self.labels = model, injector, inputs, labels
        self.pixel_range, self.box = pixel_range, box
        if box is not None and injector is not None:
            raise DataError("the adversary perturbs pixels, got texts: pass pixel_values, or another adversary")
        self.x = self._clean_input()
        self.mask = (
            torch.ones(len(self.x), device=self.x.device) if injector is None else perturbation_mask(inputs, self.x)
        )

    @classmethod
    def of_training(
        cls, model: PreTrainedModel, injector: PerturbationHook | PixelHook, inputs: dict[str, Tensor], labels: Tensor
    ) -> PerturbedBatch:
        """A batch that is perturbed where a trainer's hook perturbs."""
        if isinstance(injector, PixelHook):
            return cls(model, None, inputs, labels, box=injector.box)
        return cls(model, injector, inputs, labels)

    def _clean_input(self) -> Tensor:
        if self.injector is None:
            return self.inputs["pixel_values"]
        seen: list[Tensor] = []

        def look(clean: Tensor) -> Tensor:
            seen.append(clean.detach())
            return torch.zeros_like(clean)

        with torch.no_grad(), self.injector.armed(look):
            self._run(self.inputs)
        if not seen:
            raise ConfigurationError(
                f"expected a pass through the module that is perturbed, got none with the inputs "
                f"{', '.join(self.inputs)}: give the model input_ids, not inputs_embeds"
            )
        return seen[0]

    def logits(self, delta: Tensor) -> Tensor:
        """Logits under a perturbation, (batch, classes)."""
        if self.injector is not None:
            with self.injector.armed(lambda clean: delta):
                return self._run(self.inputs)
        pixels = self.x + delta.to(self.x.dtype) if self.box is None else self.box.add(self.x, delta)
        if self.pixel_range is not None:
            pixels = pixels.clamp(*self.pixel_range)
        return self._run({**self.inputs, "pixel_values": pixels})

    def _run(self, inputs: dict[str, Tensor]) -> Tensor:
        if "pixel_values" in inputs:
            # kept in float32 until here: steps are smaller than a half's spacing
            inputs = {**inputs, "pixel_values": inputs["pixel_values"].to(next(self.model.parameters()).dtype)}
        with torch.autocast(self.labels.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            logits = class_logits(self.model(**inputs)).float()
        if logits.dim() != self.labels.dim() + 1:
            raise ConfigurationError(
                f"expected logits for labels of the shape {tuple(self.labels.shape)}, got {tuple(logits.shape)}: "
                "evaluate a classifier of what the labels stand for"
            )
        return logits

    def project(self, delta: Tensor) -> Tensor:
        """The perturbation that leaves an image an image; others are left as they are."""
        return delta if self.box is None else self.box.project(self.x, delta)


def sample_rows(
    model: PreTrainedModel,
    dataset: Any,
    tokenizer: PreTrainedTokenizerBase | None,
    config: EvaluationConfig,
) -> list[dict[str, Any]]:
    """Draws the sample as model inputs, each with `labels` and `row`, its place in the data set.

    Arguments as in `evaluate_white_box`.

    Raises:
        DataError: If data set and model do not fit.
    """
    check_split(dataset)
    if is_image_processor(tokenizer):
        classes = Classes.of_model(model.config)
        return image_rows(dataset, tokenizer, config.num_examples, config.seed, config.label_column, classes)
    if tokenizer is not None:
        require_tokenizer(tokenizer)
        examples = select_examples(dataset, model.config, config)
        limit = checked_length(model, tokenizer, config.max_length)
        return [
            {
                **tokenizer(*example.texts.values(), truncation=True, max_length=limit),
                "labels": example.label,
                "row": example.index,
            }
            for example in examples
        ]
    names = [name for name in MODEL_INPUTS if name in dataset[0]]
    label = next((name for name in (config.label_column, "labels") if name in dataset[0]), None)
    if label is None or not {"input_ids", "pixel_values"} & set(names):
        raise DataError(
            f"expected input_ids or pixel_values, and {config.label_column!r} or 'labels', got {sorted(dataset[0])}: "
            "pass tokenizer= for texts"
        )
    labels = class_labels(dataset, label, Classes.of_model(model.config))
    known = labelled_rows(labels)
    chosen = [known[i] for i in stratified_sample([labels[row] for row in known], config.num_examples, config.seed)]
    found = [{name: dataset[i][name] for name in names} | {"labels": labels[i], "row": i} for i in chosen]
    return [_without_padding(row) for row in found]


def make_batches(
    rows: list[dict[str, Any]],
    batch_size: int,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    bf16: bool = False,
    look: Callable[[Mapping[str, Tensor]], None] | None = None,
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Batches of similar lengths, padded to the longest of each, on the model's device.

    Texts are padded on the side on which their logits do not depend on their company; see `find_padding_side`.

    Args:
        rows: As `sample_rows` gives them.
        batch_size: Most rows per batch.
        model: The model, in evaluation mode.
        tokenizer: For its padding token.
        bf16: Whether the model runs under bfloat16 autocast.
        look: Is shown each batch while it is on the host, where its numbers can be asked for without waiting.
    """
    device = next(model.parameters()).device
    pad_id = getattr(tokenizer, "pad_token_id", None)
    fill = pad_id if pad_id is not None else getattr(model.config, "pad_token_id", None)

    def pad(chosen: Sequence[Mapping[str, Any]], side: str) -> dict[str, Tensor]:
        return batch_to_device(_padded(chosen, fill or 0, side), device)

    def logits(inputs: Mapping[str, Tensor]) -> Tensor:
        with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            return checked_logits(model(**inputs), model.config.num_labels)

    order = sorted(range(len(rows)), key=lambda i: len(rows[i].get("input_ids", ())))
    side = "right"
    if batch_size > 1 and len({len(row.get("input_ids", ())) for row in rows}) > 1:
        side = find_padding_side(logits, pad, rows, bf16 or runs_in_half(model))
    for start in range(0, len(order), batch_size):
        chosen = [rows[i] for i in order[start : start + batch_size]]
        inputs = _padded(chosen, fill or 0, side)
        if look is not None:
            look(inputs)
        yield batch_to_device(inputs, device), to_device([row["labels"] for row in chosen], device)


def _padded(rows: Sequence[Mapping[str, Any]], fill: int, side: str) -> dict[str, Tensor]:
    """What a model takes, of rows of any lengths."""
    inputs = {}
    for name in (name for name in rows[0] if name in MODEL_INPUTS):
        values = [torch.as_tensor(row[name]) for row in rows]
        if name == "input_ids" and "attention_mask" not in rows[0]:
            inputs["attention_mask"] = _stacked([torch.ones_like(value) for value in values], 0, side)
        inputs[name] = _stacked(values, fill if name == "input_ids" else 0, side)
    return inputs


def _stacked(values: Sequence[Tensor], fill: int, side: str) -> Tensor:
    return pad_sequence(list(values), batch_first=True, padding_value=fill, padding_side=side)


def _without_padding(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the padding that it was given on the way, on either side."""
    mask = row.get("attention_mask")
    if mask is None or "input_ids" not in row or all(mask):
        return row
    real = [place for place, value in enumerate(mask) if value]
    first, last = (real[0], real[-1] + 1) if real else (0, len(mask))
    return {name: value[first:last] if name in _PER_TOKEN else value for name, value in row.items()}
