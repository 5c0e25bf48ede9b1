"""Robustness as an `evaluate.evaluator`: a model or pipeline, data, a metric, and one dict of figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, pipeline

from ..._compat import require
from ...errors import ConfigurationError
from ..api import evaluate_robustness
from ..recipes import get_recipe

evaluate = require("evaluate", extra="metric")

METRIC = Path(__file__).parent / "robustness_metric"
"""The folder that `evaluate.load` opens; it needs no network."""


class RobustnessEvaluator(evaluate.TextClassificationEvaluator):
    """`evaluate`'s evaluator of text classifiers, with attacks in the place of plain predictions.

    Example:
        >>> task_evaluator = robustness_evaluator("text-classification")
        >>> task_evaluator.compute(
        ...     model_or_pipeline="me/bert-sst2-robust-ticket", data="nyu-mll/glue", subset="sst2", split="validation",
        ...     recipes=["deepwordbug"], num_examples=100,
        ... )["accuracy_under_attack"]
    """

    def compute(
        self,
        model_or_pipeline: Any = None,
        data: Any = None,
        subset: str | None = None,
        split: str | None = None,
        metric: str | evaluate.EvaluationModule | None = None,
        tokenizer: Any = None,
        recipes: Sequence[str] = ("deepwordbug",),
        input_column: str | None = None,
        second_input_column: str | None = None,
        label_column: str = "label",
        device: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Attacks, and computes the metric.

        Args:
            model_or_pipeline: As in `evaluate`: a pipeline, a model (with `tokenizer`), or the name of one.
            data: A data set, or the name of one.
            subset: Its configuration.
            split: Its split.
            metric: A metric that takes `predictions`, `references`, `attacked_predictions` and `queries`, its name or
                its folder; None for this package's.
            tokenizer: The tokenizer, where `model_or_pipeline` brings none.
            recipes: The attacks.
            input_column: The column of the text; None to guess.
            second_input_column: The second of a pair.
            label_column: Column of the labels.
            device: Where a model that is loaded by name goes.
            **options: Further arguments of `evaluate_robustness`, e.g. `num_examples`, `seed`, `output_dir`.

        Returns:
            The metric's figures; with several recipes, recipe -> figures.

        Raises:
            ConfigurationError: If the pipeline brings no model or tokenizer, or a recipe leaves no accuracy.
        """
        if reducing := [name for name in recipes if get_recipe(name).goal == "reduce"]:
            raise ConfigurationError(
                f"expected recipes that leave an accuracy under attack, got {', '.join(reducing)}: leave them out, or "
                "take evaluate_robustness"
            )
        pipe = model_or_pipeline
        if isinstance(pipe, str | PreTrainedModel):
            # the parent's own way asks transformers for its TensorFlow classes, which version 5 no longer has
            pipe = pipeline(self.task, model=pipe, tokenizer=tokenizer, device=device)
        if getattr(pipe, "model", None) is None or getattr(pipe, "tokenizer", None) is None:
            raise ConfigurationError(f"expected a pipeline with model and tokenizer, got {type(pipe).__name__}")
        columns = [name for name in (input_column, second_input_column) if name is not None]
        report = evaluate_robustness(
            pipe.model,
            self.load_data(data, subset, split),
            pipe.tokenizer,
            recipes=recipes,
            text_columns=columns or None,
            label_column=label_column,
            **options,
        )
        module = evaluate.load(str(METRIC)) if metric is None else self.prepare_metric(metric)
        figures = {
            recipe: module.compute(
                predictions=[outcome.original_prediction for outcome in result.outcomes],
                references=[outcome.label for outcome in result.outcomes],
                attacked_predictions=[outcome.perturbed_prediction for outcome in result.outcomes],
                queries=[outcome.queries for outcome in result.outcomes],
            )
            for recipe, result in report.items()
        }
        return next(iter(figures.values())) if len(recipes) == 1 else figures


def robustness_evaluator(task: str = "text-classification") -> RobustnessEvaluator:
    """The evaluator of a task, as `evaluate.evaluator(task)` gives one.

    Raises:
        ConfigurationError: If the task is none that recipes can attack.
    """
    if task not in ("text-classification", "sentiment-analysis"):
        raise ConfigurationError(f"expected the task text-classification, got {task!r}")
    return RobustnessEvaluator(task="text-classification")
