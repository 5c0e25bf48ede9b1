"""What the gate asks of one model: attacks by scores and by labels, and noise; each continues where it was cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import MissingDependencyError, MissingResourceError
from ..api import evaluate_robustness
from ..config import EvaluationConfig
from ..datasets.noise import NoiseResult, evaluate_noise
from ..datasets.transfer import TransferResult, evaluate_transfer
from ..results.report import RobustnessReport

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class GateOptions:
    """How the gate is run; the arguments of `evaluate_gate`.

    Attributes:
        recipes: Attacks that see scores.
        label_recipes: Attacks that see labels only.
        label_queries: Query budget of those.
        noise: Kinds of natural noise.
        severity: Their severity, 1 to 5.
        config: Settings that evaluations share.
        attack: Further arguments of `evaluate_robustness`: resources, and how the work is shared.
        development_data: What temperatures are fitted on.
    """

    recipes: tuple[str, ...]
    label_recipes: tuple[str, ...]
    label_queries: int
    noise: tuple[str, ...]
    severity: int
    config: EvaluationConfig
    development_data: Any
    attack: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What was found on one model.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        scores: Calibrated attacks by scores.
        labels: Attacks by labels; None where none could run.
        noise: Accuracy under noise; None where no kind was asked for.
        not_run: Recipe -> reason.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    scores: RobustnessReport
    labels: RobustnessReport | None
    noise: NoiseResult | None
    not_run: Mapping[str, str]


def gather(
    model: PreTrainedModel, dataset: Any, tokenizer: PreTrainedTokenizerBase, options: GateOptions, folder: Path | None
) -> Evidence:
    """Runs everything that concerns one model.

    Args:
        model: The model.
        dataset: The split that is attacked.
        tokenizer: The model's tokenizer.
        options: How.
        folder: Where outcomes are kept as they come; None for memory.

    Raises:
        MissingResourceError: If not one attack by scores can run.
    """

    def attack(name: str, recipes: Sequence[str], **more: Any) -> RobustnessReport:
        place = None if folder is None else folder / name
        return evaluate_robustness(
            model,
            dataset,
            tokenizer,
            recipes=recipes,
            output_dir=place,
            config=options.config,
            **options.attack,
            **more,
        )

    scores = attack("scores", options.recipes, calibrate=True, development_data=options.development_data)
    labels, not_run = None, dict(scores.failures)
    if options.label_recipes:
        try:
            labels = attack("labels", options.label_recipes, query_budget=options.label_queries)
            not_run |= labels.failures
        except (MissingResourceError, MissingDependencyError) as error:
            not_run |= dict.fromkeys(options.label_recipes, str(error))
    noise = None
    if options.noise:
        severities = [options.severity]
        noise = evaluate_noise(
            model, dataset, tokenizer, kinds=options.noise, severities=severities, config=options.config
        )
        if folder is not None:
            noise.save(folder / "noise.json")
    return Evidence(model, tokenizer, scores, labels, noise, not_run)


def replay(made_on: Evidence, model: Evidence, options: GateOptions, folder: Path | None) -> dict[str, TransferResult]:
    """Texts that fooled one model, on another.

    Args:
        made_on: The model that the texts were made on.
        model: The one that they are replayed on.
        options: How models are run.
        folder: Where results are written, if anywhere.

    Returns:
        Recipe -> what became of its texts, for attacks by scores that were run on both.
    """
    found = {}
    config = replace(options.config, num_examples=None)
    for name in made_on.scores:
        if name not in model.scores or made_on.scores[name].goal != "misclassify":
            continue
        found[name] = evaluate_transfer(
            model.model, made_on.scores[name], model.tokenizer, own=model.scores[name], config=config
        )
        if folder is not None:
            found[name].save(folder / f"transfer-{Path(name).name.replace(':', '-')}.json")
    return found
