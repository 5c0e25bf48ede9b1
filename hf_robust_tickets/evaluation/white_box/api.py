"""Attacks that see the gradients: projected ascent on embeddings, on hidden states, or on the pixels of an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack

import torch
from tqdm.auto import tqdm

from ..._arguments import check_arguments
from ..._provenance import describe_data
from ..._random_numbers import kept_random_numbers
from ...adversaries import PGD, Adversary, PerturbationHook, PixelPGD, PixelSpace, get_adversary
from ...adversaries.attack_loop import check_criterion, is_right, loss_gradient, run_attack
from ...adversaries.geometry import expand_mask, steepest_direction
from ...architectures import layer_module
from ...errors import ConfigurationError
from ..config import EvaluationConfig, EvaluationSettings
from ..fingerprints import describe_model, versions
from ..results import false_robustness, metrics
from ..results.base import EvaluationResult, log_warnings
from ..victim.classifier import as_classifier
from ..victim.model import checked_length, evaluation_mode
from .images import is_image_processor
from .perturbed_model import PerturbedBatch, make_batches, sample_rows
from .tally import Tally

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEFAULT_RADII = (0.1, 0.3, 1.0)

_BY_RADIUS = ("robust_accuracy", "single_step_accuracy")


@dataclass(frozen=True)
class WhiteBoxResult(EvaluationResult, kind="white_box"):
    """Accuracy inside balls around the input.

    Attributes:
        clean_accuracy: Accuracy without perturbation, in [0, 1].
        robust_accuracy: Radius -> accuracy under the worst perturbation that was found, in [0, 1].
        single_step_accuracy: Radius -> accuracy under one step to the edge of the ball.
        num_examples: Size of the sample.
        adversary: The attack's name and hyper-parameters, before they were scaled to each radius.
        restarts: Starts per example and radius.
        layer: What was perturbed: 0 the embeddings or pixels, n the output of layer n.
        criterion: When an example counts as robust: `"any"` or `"last"`, see `evaluate_white_box`.
    """

    clean_accuracy: float
    robust_accuracy: Mapping[float, float]
    single_step_accuracy: Mapping[float, float]
    num_examples: int
    adversary: Mapping[str, Any] = field(default_factory=dict)
    restarts: int = 1
    layer: int = 0
    criterion: str = "any"

    @property
    def confidence_interval(self) -> dict[float, tuple[float, float]]:
        """Radius -> Wilson's 95 % interval of the robust accuracy."""
        total = self.num_examples
        return {r: metrics.wilson_interval(round(value * total), total) for r, value in self.robust_accuracy.items()}

    @property
    def curve(self) -> list[dict[str, float]]:
        """The robustness curve: accuracy against radius, from radius 0 on, with Wilson's 95 % interval."""
        clean = metrics.wilson_interval(round(self.clean_accuracy * self.num_examples), self.num_examples)
        points = [(0.0, self.clean_accuracy, clean)]
        points += [(r, self.robust_accuracy[r], interval) for r, interval in self.confidence_interval.items()]
        return [{"radius": r, "accuracy": value, "low": low, "high": high} for r, value, (low, high) in points]

    def derived(self) -> dict[str, Any]:
        """The robustness curve."""
        return {"curve": self.curve}

    def _encoded(self, name: str, value: Any) -> Any:
        if name not in _BY_RADIUS:
            return super()._encoded(name, value)
        return [{"radius": radius, "accuracy": accuracy} for radius, accuracy in value.items()]

    @classmethod
    def _decoded(cls, name: str, value: Any) -> Any:
        if name not in _BY_RADIUS:
            return super()._decoded(name, value)
        return {point["radius"]: point["accuracy"] for point in value}


@check_arguments
def evaluate_white_box(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    adversary: Adversary | str | None = None,
    restarts: int = 1,
    radii: Sequence[float] | None = None,
    pixel_range: tuple[float, float] | None = None,
    layer: int = 0,
    criterion: str = "any",
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> WhiteBoxResult:
    """Measures accuracy inside balls around the word embeddings (texts), the pixels (images), or hidden states.

    By the criterion `"any"` an example counts as robust at a radius if it is classified right without perturbation and
    under every perturbation that any restart visits, the last and the ones on the way (Madry et al., ICLR 2018; worst
    case over restarts). What breaks an example inside a small ball breaks it inside a larger one too, so accuracy
    never rises with the radius. By `"last"`, which most papers report, it counts if it is right at the end of the
    ascent of every restart; figures are then a little higher.

    Args:
        model: A classifier; it is put into evaluation mode and back.
        dataset: Texts with a tokenizer, images (an `Image` column) with an image processor; otherwise rows with
            `input_ids` or `pixel_values`; and labels.
        tokenizer: The model's tokenizer, for texts; its image processor, for images: attacks on pixels then take
            their constants from it.
        adversary: The attack, an `Adversary` or its name; its `max_norm`, `step_size` and `init_magnitude` are scaled
            together to each radius. None: PGD with 10 steps of a quarter of the radius, l2 ball over the sentence;
            with an image processor PGD-20 on pixels, linf ball of 8/255.
        restarts: Starts per example. From the second on they are random, with the radius as magnitude where the
            adversary itself starts at zero.
        radii: Radii of the balls, in the adversary's `step_unit`: shares of the norm of what is perturbed, or units of
            the embedding or pixel tensor; None: the adversary's own, or, without one, 0.1, 0.3 and 1.0 (absolute).
        pixel_range: Smallest and largest value of a pixel after normalisation; None for no bounds. `PixelPGD` knows
            its own, and its radii are in pixels in [0, 1].
        layer: What is perturbed: 0 the embeddings or pixels, n the output of layer n, -n that of the n-th layer from
            the end. Absolute radii are then in units of that layer's output.
        criterion: `"any"` or `"last"`: right at every point that the attack visits, or at the end of each ascent.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`. Batches hold 32 examples by
            default.

    Returns:
        Accuracy per radius, and warnings where it may be false.

    Raises:
        ConfigurationError: If an argument cannot work.
        DataError: If data set and model do not fit.
    """
    if adversary is None and is_image_processor(tokenizer):
        adversary = PixelPGD(steps=21)
    config = EvaluationConfig.merged(evaluate_white_box, config, settings, batch_size=32)
    model = as_classifier(model)
    check_criterion(criterion)
    if adversary is None and is_image_processor(tokenizer):
        adversary = PixelPGD(steps=21)
    attack, chosen_radii = _attack_and_radii(adversary, radii, restarts)
    if isinstance(attack, PixelSpace):
        attack = attack.with_processor(tokenizer)
    rows = sample_rows(model, dataset, tokenizer, config)
    warnings = false_robustness.mode_warnings(model)
    tally = Tally(chosen_radii)
    # a convolutional network has no input embedding
    hidden = layer != 0 or "pixel_values" not in rows[0]
    injector = PerturbationHook(layer_module(model, layer)) if hidden else None
    try:
        with (
            evaluation_mode(model),
            kept_random_numbers(next(model.parameters()).device),
            tqdm(total=len(rows), disable=not config.progress) as bar,
        ):
            torch.manual_seed(config.seed)
            box = attack.box if isinstance(attack, PixelSpace) else None
            look = box.look if box is not None and injector is None else None
            for inputs, labels in make_batches(rows, config.batch_size, model, tokenizer, config.bf16, look):
                batch = PerturbedBatch(model, injector, inputs, labels, pixel_range, box, config.bf16)
                _attack_batch(batch, attack, chosen_radii, restarts, criterion, tally)
                bar.update(len(labels))
    finally:
        if injector is not None:
            injector.remove()
    tally.read()
    warnings += tally.warnings()
    log_warnings(warnings)
    return WhiteBoxResult(
        clean_accuracy=tally.clean / tally.total,
        robust_accuracy={radius: count / tally.total for radius, count in tally.robust.items()},
        single_step_accuracy={radius: count / tally.total for radius, count in tally.single.items()},
        num_examples=tally.total,
        adversary=attack.describe(),
        restarts=restarts,
        layer=layer,
        criterion=criterion,
        model=describe_model(model),
        settings=_settings(model, dataset, tokenizer, config) | {"pixel_range": pixel_range},
        seed=config.seed,
        sample_ids=tuple(row["row"] for row in rows),
        warnings=tuple(warnings),
        versions=versions(),
    )


def _settings(model: Any, dataset: Any, tokenizer: Any, config: EvaluationConfig) -> dict[str, Any]:
    reads_texts = tokenizer is not None and not is_image_processor(tokenizer)
    length = {"max_length": checked_length(model, tokenizer, config.max_length)} if reads_texts else {}
    return {**length, **({"bf16": True} if config.bf16 else {}), "data": describe_data(dataset)}


def _attack_and_radii(
    adversary: Adversary | str | None, radii: Sequence[float] | None, restarts: int
) -> tuple[Adversary, list[float]]:
    if adversary is None:
        adversary = PGD(steps=11, step_size=0.25, max_norm=1.0, step_unit="absolute")
        radii = DEFAULT_RADII if radii is None else radii
    elif isinstance(adversary, str):
        adversary = get_adversary(adversary)
    if not isinstance(adversary, Adversary):
        raise ConfigurationError(f"expected an Adversary or its name, got {type(adversary).__name__}")
    if restarts < 1:
        raise ConfigurationError(f"expected restarts >= 1, got {restarts}")
    if radii is None:
        radii = [adversary.max_norm]
    if not radii or any(not radius > 0 for radius in radii):
        raise ConfigurationError(
            f"expected radii > 0, got {list(radii)}: pass radii=, or an adversary with max_norm > 0"
        )
    return adversary, sorted(set(map(float, radii)))


def _scaled(adversary: Adversary, radius: float, random_start: bool) -> Adversary:
    """The adversary for one radius: everything that is a length grows with the ball."""
    factor = radius / adversary.max_norm if adversary.max_norm else 1.0
    start = adversary.init_magnitude * factor
    if random_start and start == 0:
        start = radius
    return dataclasses.replace(
        adversary, max_norm=radius, step_size=adversary.step_size * factor, init_magnitude=start
    )


def _attack_batch(
    batch: PerturbedBatch, adversary: Adversary, radii: Sequence[float], restarts: int, criterion: str, tally: Tally
) -> None:
    """Attacks one batch at every radius, from the smallest on."""
    logits, gradient = loss_gradient(batch, torch.zeros_like(batch.x))
    right = is_right(logits, batch.labels)
    gradient = gradient * expand_mask(batch.mask, gradient)
    tally.look(logits, right, gradient.flatten(1))
    direction = steepest_direction(torch.nan_to_num(gradient), adversary.norm, adversary.scope)
    unit = adversary.unit(batch.x.float(), batch.mask)
    step = direction if unit is None else unit * direction
    robust = iterated = single = right
    found = []
    for radius in radii:
        single = single & _withstands(batch, batch.project(radius * step))
        if criterion == "last":
            iterated = torch.ones_like(right)
        for restart in range(restarts):
            # The one answer that the host waits for: it saves a whole ascent.
            if not iterated.any():
                break
            scaled = _scaled(adversary, radius, random_start=restart > 0)
            iterated = iterated & run_attack(batch, scaled, criterion).right
        # by "last", neither the clean input nor another radius is a point of this ascent
        robust = iterated if criterion == "last" else robust & single & iterated
        found.append((single, iterated, robust))
    tally.attacked(found)


@torch.no_grad()
def _withstands(batch: PerturbedBatch, delta: Tensor) -> Tensor:
    """Which examples are classified right under a perturbation, (batch,)."""
    return is_right(batch.logits(delta), batch.labels)
