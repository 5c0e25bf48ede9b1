"""AutoAttack on images: four attacks without a step size to tune, each on what the ones before have left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..._arguments import check_arguments
from ..._compat import require
from ..._provenance import describe_data
from ..._random_numbers import kept_random_numbers
from ...adversaries import PixelBox
from ...adversaries.pixels.space import processor_constants
from ...errors import ConfigurationError
from ..config import EvaluationConfig, EvaluationSettings
from ..datasets.labels import Classes
from ..fingerprints import describe_model, versions
from ..results import false_robustness, metrics
from ..results.base import EvaluationResult, log_warnings
from ..victim.classifier import as_classifier
from ..victim.model import evaluation_mode
from .auto_attack_checks import model_warnings
from .auto_attack_suite import PixelClassifier, frozen, make_suite, run_attack, shorten
from .images import image_rows
from .perturbed_model import make_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Croce and Hein (2020), section 5, as their package has them since August 2020.
VERSIONS = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
}
_NORMS = ("linf", "l2")
# The difference of logits ratio looks at three classes, its targeted form at four.
_LEAST_CLASSES = {"apgd-dlr": 3, "apgd-t": 4}


@dataclass(frozen=True)
class AutoAttackResult(EvaluationResult, kind="auto_attack"):
    """Accuracy under AutoAttack.

    Attributes:
        clean_accuracy: Accuracy without perturbation, in [0, 1].
        robust_accuracy: Accuracy after all attacks, in [0, 1].
        accuracy_after: Attack -> accuracy after it and all before it.
        num_examples: Size of the sample.
        radius: Radius of the ball, in pixels in [0, 1].
        norm: `"linf"` or `"l2"`.
        version: `"standard"` or `"plus"`.
        library: The package that the attacks are of, with its version.
        queries: Queries of Square per example.
        iterations: Iterations of APGD and FAB.
        seconds: Measured time.
        robust: Whether each example held, in the order of the sample.
    """

    alike: ClassVar[tuple[str, ...]] = ("version", "queries", "iterations")

    clean_accuracy: float
    robust_accuracy: float
    accuracy_after: Mapping[str, float]
    num_examples: int
    radius: float
    norm: str
    version: str
    library: str
    queries: int = 5000
    iterations: int = 100
    seconds: float = 0.0
    robust: tuple[bool, ...] = field(default=(), repr=False)

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the robust accuracy."""
        return metrics.wilson_interval(round(self.robust_accuracy * self.num_examples), self.num_examples)

    @property
    def answers(self) -> dict[str, dict[int, bool]]:
        """Row -> whether the example held."""
        return {f"AutoAttack {self.norm} {self.radius:g}": dict(zip(self.sample_ids, self.robust, strict=True))}

    def derived(self) -> dict[str, Any]:
        """The interval of the robust accuracy."""
        return {"confidence_interval": list(self.confidence_interval)}

    @classmethod
    def _decoded(cls, name: str, value: Any) -> Any:
        return tuple(value) if name == "robust" else super()._decoded(name, value)


@check_arguments
def evaluate_auto_attack(
    model: PreTrainedModel,
    dataset: Any,
    tokenizer: Any = None,
    *,
    radius: float = 8 / 255,
    norm: str = "linf",
    version: str = "standard",
    queries: int = 5000,
    iterations: int = 100,
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> AutoAttackResult:
    """Measures accuracy under AutoAttack (Croce and Hein, "Reliable evaluation of adversarial robustness with an
    ensemble of diverse parameter-free attacks", ICML 2020), by the authors' implementation (extra `autoattack`).

    `"standard"` is APGD on the cross-entropy, targeted APGD on the difference of logits ratio, targeted FAB (nine
    targets each, or as many as there are) and Square; each attacks what is right still. The same seed, batch size and
    machine give the same figures. Attacks that need more classes than the model has are left out with a warning. The
    authors' checks are made too: models that are random, that put out probabilities, or whose computation depends on
    the input get a warning, for AutoAttack may be too weak for them.

    Args:
        model: An image classifier; it is put into evaluation mode and back, and its gradients are left alone.
        dataset: Rows with an `Image` column, or with `pixel_values`, and labels.
        tokenizer: What prepares the input, here the model's image processor; None where `pixel_values` are pixels in
            [0, 1] themselves.
        radius: Radius of the ball, in pixels in [0, 1].
        norm: `"linf"` or `"l2"`.
        version: `"standard"`, or `"plus"` (more restarts, untargeted attacks too).
        queries: Queries of Square per example; fewer than the paper's 5000 are noted as a warning.
        iterations: Iterations of APGD and FAB; fewer than the paper's 100 likewise.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`.

    Raises:
        ConfigurationError: If an argument cannot work.
        DataError: If data set and model do not fit.
        MissingDependencyError: If the package is not installed.
    """
    unused = ("text_columns", "max_length")
    config = EvaluationConfig.merged(evaluate_auto_attack, config, settings, unused=unused)
    model = as_classifier(model)
    _check(radius, norm, version, min(queries, iterations))
    library = require("pyautoattack", extra="autoattack")
    box = PixelBox(**_box_constants(tokenizer))
    classes = Classes.of_model(model.config)
    rows = image_rows(dataset, tokenizer, config.num_examples, config.seed, config.label_column, classes)
    attacks, warnings = _attacks(version, model.config.num_labels, queries, iterations)
    warnings += false_robustness.mode_warnings(model)
    began = time.perf_counter()
    with evaluation_mode(model), frozen(model), kept_random_numbers(next(model.parameters()).device):
        classifier = PixelClassifier(model, box, config.bf16)
        x, y = _pixels_and_labels(classifier, rows, config.batch_size, model)
        warnings += model_warnings(classifier, x[: config.batch_size], y[: config.batch_size])
        robust = torch.cat([classifier(part).argmax(1) == own for part, own in _batches(x, y, config.batch_size)])
        counts = {"clean": int(robust.sum())}
        suite = make_suite(library, classifier, (radius, norm, config.seed, version), model.config.num_labels)
        shorten(suite, queries, iterations)
        for name in tqdm(attacks, disable=not config.progress):
            run_attack(suite, name, classifier, x, y, robust, config.batch_size, radius, norm)
            counts[name] = int(robust.sum())
    warnings += false_robustness.chance_warnings(counts["clean"], len(rows), model.config.num_labels)
    warnings += _signs_of_masking(counts, len(rows))
    log_warnings(warnings)
    after = {name: count / len(rows) for name, count in counts.items()}
    return AutoAttackResult(
        clean_accuracy=after.pop("clean"),
        robust_accuracy=int(robust.sum()) / len(rows),
        accuracy_after=after,
        num_examples=len(rows),
        radius=radius,
        norm=norm,
        version=version,
        library=f"pyautoattack {library.__version__}",
        queries=queries,
        iterations=iterations,
        seconds=time.perf_counter() - began,
        robust=tuple(robust.tolist()),
        model=describe_model(model),
        settings={**({"bf16": True} if config.bf16 else {}), "data": describe_data(dataset)},
        seed=config.seed,
        sample_ids=tuple(row["row"] for row in rows),
        warnings=tuple(warnings),
        versions=versions(),
    )


def _check(radius: float, norm: str, version: str, least: int) -> None:
    if norm not in _NORMS or version not in VERSIONS:
        raise ConfigurationError(
            f"expected norm in {', '.join(_NORMS)} and version in {', '.join(VERSIONS)}, got {norm!r} and {version!r}"
        )
    if not radius > 0 or least < 1:
        raise ConfigurationError(
            f"expected radius > 0, and queries and iterations of at least 1, got {radius} and {least}"
        )


def _box_constants(processor: Any) -> dict[str, Any]:
    if processor is None:
        return {"mean": None, "std": None}
    constants = processor_constants(processor)
    return {"mean": constants["image_mean"], "std": constants["image_std"]}


def _attacks(version: str, classes: int, queries: int, iterations: int) -> tuple[list[str], list[str]]:
    """The attacks that a model with so many classes can be given, and what that leaves out."""
    if classes < 2:
        raise ConfigurationError(f"expected a classifier with two or more classes, got {classes}")
    names = [name for name in VERSIONS[version] if classes >= _LEAST_CLASSES.get(name, 2)]
    left_out = [name for name in VERSIONS[version] if name not in names]
    warnings = [f"left out {', '.join(left_out)}: {classes} classes are too few for it"] if left_out else []
    if queries < 5000 or iterations < 100:
        warnings.append(
            f"{queries} queries and {iterations} iterations in place of 5000 and 100: not comparable with published "
            "figures"
        )
    return names, warnings


def _pixels_and_labels(
    classifier: PixelClassifier, rows: list[dict[str, Any]], batch_size: int, model: Any
) -> tuple[Tensor, Tensor]:
    """All images of the sample as pixels in [0, 1], and their labels, on the model's device."""
    images, labels = [], []
    for inputs, classes in make_batches(rows, batch_size, model, None, look=classifier.box.look):
        values = inputs["pixel_values"].float()
        # Undoing normalisation in float32 leaves [0, 1] by its rounding alone, as was checked.
        images.append(classifier.box.pixels(values).clamp(0, 1))
        labels.append(classes)
    x, y = torch.cat(images), torch.cat(labels)
    return x, y


def _batches(x: Tensor, y: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(x.split(size), y.split(size), strict=True)


def _signs_of_masking(counts: Mapping[str, int], total: int) -> list[str]:
    """Square sees no gradients: what it alone breaks, gradients did not lead to."""
    names = list(counts)
    if "square" not in counts:
        return []
    alone = counts[names[names.index("square") - 1]] - counts["square"]
    if alone / total <= 0.01:
        return []
    return [
        f"Square, which sees no gradients, broke {alone} of {total} examples that the attacks before it did not: "
        "gradients may be masked, the accuracy may be lower still"
    ]
