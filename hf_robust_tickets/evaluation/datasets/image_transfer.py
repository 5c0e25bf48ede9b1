"""Adversarial images made on one model, replayed on another."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..._provenance import describe_data
from ...adversaries import Adversary, PixelBox, PixelPGD, PixelSpace, get_adversary
from ...adversaries.attack_loop import AttackOutcome, is_right, run_attack
from ...adversaries.pixels.space import image_processor, processor_constants
from ...errors import ConfigurationError, DataError
from ..config import EvaluationConfig, EvaluationSettings
from ..fingerprints import describe_model, versions
from ..results import false_robustness
from ..results.base import EvaluationResult, log_warnings
from ..results.metrics import wilson_interval
from ..victim.model import evaluation_mode
from ..white_box.api import WhiteBoxResult
from ..white_box.images import image_rows
from ..white_box.perturbed_model import PerturbedBatch, make_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class ImageTransferResult(EvaluationResult, kind="image_transfer"):
    """How a model classifies images that were made to fool another.

    All counts are over the whole sample: every image is attacked on the source and replayed, whether it fooled the
    source or not.

    Attributes:
        num_examples: Size of the sample.
        clean_right: Images that the model classifies right without perturbation.
        still_right: How many of those it classifies right after it too.
        source_clean_right: Images that the source classifies right without perturbation.
        source_still_right: How many of those it classifies right after its own attack.
        both_fooled: Images that both classify right without perturbation, and both wrong after it.
        source_fooled: Images that both classify right without perturbation, and the source wrong after it.
        fooled: Rows that the model classified right before and wrong after.
        adversary: The attack on the source and its hyper-parameters.
        restarts: Starts per image; the one of the highest loss on the source is replayed.
        criterion: Where the source is judged: `"last"`, at the end of the ascent, which is what is replayed.
        source: What the images were made on; `model` is what they were replayed on.
    """

    num_examples: int
    clean_right: int
    still_right: int
    source_clean_right: int
    source_still_right: int
    both_fooled: int
    source_fooled: int
    fooled: tuple[int, ...] = ()
    adversary: Mapping[str, Any] = field(default_factory=dict)
    restarts: int = 1
    criterion: str = "last"
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def clean_accuracy(self) -> float:
        """Accuracy without perturbation, in [0, 1]."""
        return self.clean_right / self.num_examples

    @property
    def accuracy(self) -> float:
        """Share of all images that are right before and after, in [0, 1]: robust accuracy under transfer."""
        return self.still_right / self.num_examples

    @property
    def source_accuracy(self) -> float:
        """The same of the source under its own attack."""
        return self.source_still_right / self.num_examples

    @property
    def transfer_rate(self) -> float:
        """Of the images that fooled the source, and that both had right, the share that fools the model; or NaN."""
        return self.both_fooled / self.source_fooled if self.source_fooled else math.nan

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(self.still_right, self.num_examples)

    def derived(self) -> dict[str, Any]:
        """Accuracies, rate and interval."""
        rate = None if math.isnan(self.transfer_rate) else self.transfer_rate
        figures = {name: getattr(self, name) for name in ("clean_accuracy", "accuracy", "source_accuracy")}
        return {**figures, "transfer_rate": rate, "confidence_interval": list(self.confidence_interval)}

    @classmethod
    def _decoded(cls, name: str, value: Any) -> Any:
        return tuple(value) if name == "fooled" else super()._decoded(name, value)


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
    attack, boxes = _attack_and_boxes(adversary, restarts, tokenizer, source_processor)
    _refuse_other_classes(model, source_model)
    rows = image_rows(dataset, tokenizer, config.num_examples, config.seed, config.label_column)
    found: list[Tensor] = []
    modes = false_robustness.mode_warnings(model)
    modes += [f"source: {text}" for text in false_robustness.mode_warnings(source_model)]
    with evaluation_mode(model), evaluation_mode(source_model), torch.random.fork_rng():
        torch.manual_seed(config.seed)
        with tqdm(total=len(rows), disable=not config.progress) as bar:
            for inputs, labels in make_batches(rows, config.batch_size, model, None):
                found.append(
                    _replay(
                        (model, source_model), inputs["pixel_values"], labels, attack, boxes, restarts, config.bf16
                    )
                )
                bar.update(len(labels))
    clean, still, source_clean, source_still = torch.cat(found, dim=1)
    both = clean & source_clean & ~source_still
    result = ImageTransferResult(
        num_examples=len(rows),
        clean_right=int(clean.sum()),
        still_right=int(still.sum()),
        source_clean_right=int(source_clean.sum()),
        source_still_right=int(source_still.sum()),
        both_fooled=int((both & ~still).sum()),
        source_fooled=int(both.sum()),
        fooled=tuple(
            row["row"] for row, was, is_right in zip(rows, clean, still, strict=True) if was and not is_right
        ),
        adversary=attack.describe(),
        restarts=restarts,
        seed=config.seed,
        sample_ids=tuple(row["row"] for row in rows),
        model=describe_model(model),
        source=describe_model(source_model),
        settings={**({"bf16": True} if config.bf16 else {}), "data": describe_data(dataset)},
        versions=versions(),
    )
    warnings = modes + ([] if own is None else _compare(result, own, attack.max_norm))
    log_warnings(warnings)
    return dataclasses.replace(result, warnings=tuple(warnings))


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


def _refuse_other_classes(model: PreTrainedModel, source: PreTrainedModel) -> None:
    counts = model.config.num_labels, source.config.num_labels
    names = [[str(each.config.id2label[i]) for i in range(each.config.num_labels)] for each in (model, source)]
    if counts[0] != counts[1] or (sorted(names[0]) == sorted(names[1]) and names[0] != names[1]):
        raise DataError(
            f"expected models of the same classes in the same order, got {names[0]} and {names[1]}: train the source "
            "with the labels of the model"
        )


def _replay(
    models: tuple[PreTrainedModel, PreTrainedModel],
    values: Tensor,
    labels: Tensor,
    attack: Adversary,
    boxes: tuple[PixelBox, PixelBox],
    restarts: int,
    bf16: bool,
) -> Tensor:
    """Whether each image is right: clean and replayed on the model, clean and attacked on the source, (4, batch)."""
    (model, source), (own, other) = models, boxes
    own.check(values)
    device = next(source.parameters()).device
    seen = other.normalize(own.pixels(values.float())).to(device)
    batch = PerturbedBatch(source, None, {"pixel_values": seen}, labels.to(device), box=other, bf16=bf16)
    replay = PerturbedBatch(model, None, {"pixel_values": values}, labels, box=own, bf16=bf16)
    end = _strongest(batch, attack, restarts)
    pixels = (own.pixels(values.float()) + end.delta.to(values.device)).clamp(0, 1)
    with torch.no_grad():
        source_clean = is_right(batch.logits(torch.zeros_like(seen)), batch.labels)
        clean = is_right(replay.run({"pixel_values": values}), labels)
        replayed = is_right(replay.run({"pixel_values": own.normalize(pixels).to(values.dtype)}), labels)
    return torch.stack([clean.cpu(), (clean & replayed).cpu(), source_clean.cpu(), (source_clean & end.right).cpu()])


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


def _compare(result: ImageTransferResult, own: WhiteBoxResult, radius: float) -> list[str]:
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
