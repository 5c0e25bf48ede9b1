"""Adversarial images made on one model, replayed on another."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..._arguments import check_arguments
from ..._provenance import describe_data
from ..._random_numbers import kept_random_numbers
from ...adversaries import Adversary, PixelBox, PixelPGD, PixelSpace, get_adversary
from ...adversaries.attack_loop import AttackOutcome, is_right, run_attack
from ...adversaries.pixels.space import image_processor, processor_constants
from ...errors import ConfigurationError, DataError
from ..config import EvaluationConfig, EvaluationSettings
from ..fingerprints import describe_model, versions
from ..results import false_robustness
from ..results.base import EvaluationResult, log_warnings
from ..results.metrics import wilson_interval
from ..victim.classifier import as_classifier
from ..victim.model import evaluation_mode
from ..white_box.api import WhiteBoxResult
from ..white_box.images import image_rows
from ..white_box.perturbed_model import PerturbedBatch, make_batches
from .labels import Classes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PER_IMAGE = ("clean", "robust", "source_clean", "source_robust")


@dataclass(frozen=True)
class ImageTransferResult(EvaluationResult, kind="image_transfer"):
    """How a model classifies images that were made to fool another.

    Every image of the sample is attacked on the source and replayed, whether it fooled the source or not.

    Attributes:
        clean: Whether the model classifies each image right without perturbation, in the order of the sample.
        robust: Whether it does so without perturbation and with the source's.
        source_clean: `clean` of the source.
        source_robust: `robust` of the source, under its own attack.
        adversary: The attack on the source and its hyper-parameters.
        restarts: Starts per image; the end of the highest loss on the source is replayed.
        source: The model that the images were made on; `model` is the one that they were replayed on.
        criterion: Where models are judged: `"last"`, at the end of the ascent, which is what is replayed.
    """

    clean: tuple[bool, ...] = field(repr=False)
    robust: tuple[bool, ...] = field(repr=False)
    source_clean: tuple[bool, ...] = field(repr=False)
    source_robust: tuple[bool, ...] = field(repr=False)
    adversary: Mapping[str, Any] = field(default_factory=dict)
    restarts: int = 1
    source: Mapping[str, Any] = field(default_factory=dict)
    criterion: str = "last"

    @property
    def num_examples(self) -> int:
        """Size of the sample."""
        return len(self.clean)

    @property
    def clean_accuracy(self) -> float:
        """Accuracy without perturbation, in [0, 1]."""
        return _mean(self.clean)

    @property
    def accuracy(self) -> float:
        """Share of all images that are right before and after, in [0, 1]: robust accuracy under transfer."""
        return _mean(self.robust)

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(sum(self.robust), self.num_examples)

    @property
    def source_accuracy(self) -> float:
        """Accuracy of the source under its own attack."""
        return _mean(self.source_robust)

    @property
    def transfer_rate(self) -> float:
        """Of the images that both had right and that fooled the source, the share that fools the model, or NaN."""
        figures = zip(self.clean, self.robust, self.source_clean, self.source_robust, strict=True)
        fooled = [not robust for clean, robust, was, held in figures if clean and was and not held]
        return _mean(fooled) if fooled else math.nan

    @property
    def fooled(self) -> tuple[int, ...]:
        """Rows that the model classified right before and wrong after."""
        figures = zip(self.sample_ids, self.clean, self.robust, strict=True)
        return tuple(row for row, clean, robust in figures if clean and not robust)

    @property
    def answers(self) -> dict[str, dict[int, bool]]:
        """Row -> whether the model was right before and after."""
        name = f"{self.adversary.get('name')} made on {str(self.source.get('sha256'))[:12]}"
        return {name: dict(zip(self.sample_ids, self.robust, strict=True))}

    def derived(self) -> dict[str, Any]:
        """Accuracies, the interval, the rate of transfer and the rows that were fooled."""
        names = ("num_examples", "clean_accuracy", "accuracy", "source_accuracy")
        rate = None if math.isnan(self.transfer_rate) else self.transfer_rate
        more = {"transfer_rate": rate, "confidence_interval": list(self.confidence_interval)}
        return {name: getattr(self, name) for name in names} | more | {"fooled": list(self.fooled)}

    @classmethod
    def _decoded(cls, name: str, value: Any) -> Any:
        return tuple(value) if name in _PER_IMAGE else super()._decoded(name, value)


@check_arguments
def evaluate_image_transfer(
    model: PreTrainedModel,
    dataset: Any,
    tokenizer: Any = None,
    *,
    source_model: PreTrainedModel,
    source_processor: Any = None,
    adversary: Adversary | str | None = None,
    restarts: int = 1,
    own: WhiteBoxResult | None = None,
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> ImageTransferResult:
    """Attacks the pixels of images on one model, and replays the ends of the ascents on another.

    An attack without access to the model (Papernot, McDaniel and Goodfellow, "Transferability in Machine Learning",
    2016). It bounds nothing, for it is weaker than one on the model itself; where it is stronger, gradients are masked
    (Athalye, Carlini and Wagner, ICML 2018, section 3.1).

    Args:
        model: What the images are replayed on; it is put into evaluation mode and back.
        dataset: Rows with an `Image` column, or with `pixel_values`, and labels.
        tokenizer: What prepares the input, here the image processor of `model`; None where `pixel_values` are pixels
            in [0, 1] themselves.
        source_model: What the images are made on: the same classes in the same order.
        source_processor: Its image processor, where it normalises otherwise; None for that of `model`.
        adversary: An attack on pixels, or its name; None for PGD-20 in the linf ball of 8/255.
        restarts: Starts per image; from the second on they are random.
        own: `evaluate_white_box` of `model`, same sample and radius: more damage by transfer gives a warning.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`.

    Raises:
        ConfigurationError: If the attack is none on pixels, or `own` is of another sample or radius.
        DataError: If data set and models do not fit.

    Example:
        >>> evaluate_image_transfer(ticket, test, processor, source_model=dense).accuracy
    """
    unused = ("text_columns", "max_length")
    config = EvaluationConfig.merged(evaluate_image_transfer, config, settings, unused=unused)
    model, source_model = as_classifier(model), as_classifier(source_model)
    attack, boxes = _attack_and_boxes(adversary, restarts, tokenizer, source_processor)
    _check_classes(model, source_model)
    classes = Classes.of_model(model.config)
    rows = image_rows(dataset, tokenizer, config.num_examples, config.seed, config.label_column, classes)
    found: list[tuple[Tensor, ...]] = []
    warnings = false_robustness.mode_warnings(model)
    warnings += [f"source: {text}" for text in false_robustness.mode_warnings(source_model)]
    kept = kept_random_numbers(next(model.parameters()).device, next(source_model.parameters()).device)
    with evaluation_mode(model), evaluation_mode(source_model), kept:
        torch.manual_seed(config.seed)
        with tqdm(total=len(rows), disable=not config.progress) as bar:
            for inputs, labels in make_batches(rows, config.batch_size, model, None, look=boxes[0].look):
                batches = _batches((model, source_model), boxes, inputs["pixel_values"], labels, config.bf16)
                found.append(_replay(*batches, attack, restarts))
                bar.update(len(labels))
    clean, robust, source_clean, source_robust = (tuple(torch.cat(each).tolist()) for each in zip(*found, strict=True))
    result = ImageTransferResult(
        clean,
        robust,
        source_clean,
        source_robust,
        adversary=attack.describe(),
        restarts=restarts,
        source=describe_model(source_model),
        model=describe_model(model),
        settings={**({"bf16": True} if config.bf16 else {}), "data": describe_data(dataset)},
        seed=config.seed,
        sample_ids=tuple(row["row"] for row in rows),
        versions=versions(),
    )
    warnings += false_robustness.chance_warnings(sum(clean), len(clean), model.config.num_labels)
    warnings += [] if own is None else _compared_with_own(result, own, attack.max_norm)
    log_warnings(warnings)
    return dataclasses.replace(result, warnings=tuple(warnings))


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


def _attack_and_boxes(
    adversary: Adversary | str | None, restarts: int, processor: Any, source_processor: Any
) -> tuple[Adversary, tuple[PixelBox, PixelBox]]:
    """The attack on the source, and what leads from pixels to the input of the model, and of the source."""
    attack = PixelPGD(steps=21) if adversary is None else adversary
    attack = get_adversary(attack) if isinstance(attack, str) else attack
    if not isinstance(attack, PixelSpace) or not isinstance(attack, Adversary):
        raise ConfigurationError(
            f"expected an attack on pixels, such as PixelPGD(), or its name, got {type(attack).__name__}"
        )
    if restarts < 1:
        raise ConfigurationError(f"expected restarts >= 1, got {restarts}")
    sizes = [getattr(image_processor(each), "size", None) for each in (processor, source_processor)]
    if source_processor is not None and sizes[0] is not None and sizes[0] != sizes[1]:
        raise DataError(
            f"expected models that see the same pixels, got processors of the sizes {sizes[0]} and {sizes[1]}: replay "
            "on a model of the same image size"
        )
    attack = attack.with_processor(processor if source_processor is None else source_processor)
    if processor is None:
        return attack, (attack.box if source_processor is None else PixelBox(None, None), attack.box)
    constants = processor_constants(processor)
    return attack, (PixelBox(constants["image_mean"], constants["image_std"]), attack.box)


def _check_classes(model: PreTrainedModel, source: PreTrainedModel) -> None:
    counts = model.config.num_labels, source.config.num_labels
    names = [[str(each.config.id2label[i]) for i in range(each.config.num_labels)] for each in (model, source)]
    if counts[0] != counts[1] or (sorted(names[0]) == sorted(names[1]) and names[0] != names[1]):
        raise DataError(
            f"expected models of the same classes in the same order, got {names[0]} and {names[1]}: train the source "
            "with the labels of the model"
        )


def _batches(
    models: tuple[PreTrainedModel, PreTrainedModel],
    boxes: tuple[PixelBox, PixelBox],
    values: Tensor,
    labels: Tensor,
    bf16: bool,
) -> tuple[PerturbedBatch, PerturbedBatch]:
    """The same pixels as the model is given them, and as the source is."""
    found = []
    for model, box in zip(models, boxes, strict=True):
        weight = next(model.parameters())
        seen = box.normalize(boxes[0].pixels(values.float())).to(weight.device, weight.dtype)
        inputs = {"pixel_values": seen}
        found.append(PerturbedBatch(model, None, inputs, labels.to(weight.device), box=box, bf16=bf16))
    return found[0], found[1]


def _replay(batch: PerturbedBatch, source: PerturbedBatch, attack: Adversary, restarts: int) -> tuple[Tensor, ...]:
    """Which images, (batch,), are right: clean and replayed on the model, clean and attacked on the source."""
    end = _strongest(source, attack, restarts)
    with torch.no_grad():
        clean, source_clean = (is_right(b.logits(torch.zeros_like(b.x)), b.labels) for b in (batch, source))
        replayed = is_right(batch.logits(batch.project(end.delta.to(batch.x.device))), batch.labels)
    return clean, clean & replayed, source_clean, source_clean & end.right


def _strongest(batch: PerturbedBatch, attack: Adversary, restarts: int) -> AttackOutcome:
    """Per image the end of the ascent that has the highest loss on the source."""
    best = run_attack(batch, attack, criterion="last")
    for _ in range(restarts - 1):
        random_start = attack if attack.init_magnitude else dataclasses.replace(attack, init_magnitude=attack.max_norm)
        other = run_attack(batch, random_start, criterion="last")
        higher = other.loss > best.loss
        best = AttackOutcome(
            torch.where(higher, other.right, best.right),
            torch.where(higher, other.loss, best.loss),
            torch.where(higher.view(-1, 1, 1, 1), other.delta, best.delta),
        )
    return best


def _compared_with_own(result: ImageTransferResult, own: WhiteBoxResult, radius: float) -> list[str]:
    """A warning where the images of another model do more damage than the attack on the model itself."""
    robust = next((value for key, value in own.robust_accuracy.items() if math.isclose(key, radius)), None)
    if robust is None or own.sample_ids != result.sample_ids:
        raise ConfigurationError(
            f"expected own= on the same {result.num_examples} examples at radius {radius:.4g}, got {own.num_examples} "
            f"examples at {sorted(own.robust_accuracy)}: pass the same seed, num_examples and radius to both"
        )
    if result.accuracy >= robust:
        return []
    return [
        f"images made on another model leave {result.accuracy:.1%} right, its own attack {robust:.1%}: its gradients "
        "mislead the attack, figures of its own attack flatter it"
    ]
