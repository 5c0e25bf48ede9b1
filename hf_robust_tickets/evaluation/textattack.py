"""Attacks on text classifiers with TextAttack's recipes: sample, attack, report."""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from .._compat import import_textattack
from .._provenance import describe_data
from ..errors import ConfigurationError, MissingDependencyError, MissingResourceError
from .batched import Victim, evaluation_mode
from .checks import logit_scale_warnings, mode_warnings
from .encoders import TextEncoder
from .examples import Example, select_examples
from .identity import describe_model, sample_fingerprint, seeded, tokenizer_fingerprint, versions
from .masked_lm import MaskedLM
from .recipes import Recipe, columns_to_change, get_recipe, limit_columns
from .recipes.parts import Parts, describe_parts, stand_ins
from .resources import ensure_resources
from .result import ExampleOutcome, RecipeResult, RobustnessReport, Text
from .store import Outcomes, OutcomeStore

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from textattack import Attack
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

REPORT = "robustness.json"


def evaluate_robustness(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    recipes: Sequence[str] = ("textfooler",),
    num_examples: int | None = 1000,
    seed: int = 0,
    text_columns: str | Sequence[str] | None = None,
    label_column: str = "label",
    sentence_encoder: str | os.PathLike[str] | SentenceTransformer = "use",
    masked_language_model: str | os.PathLike[str] | tuple[Any, Any] | None = None,
    modify_columns: str | Sequence[str] | None = None,
    batch_size: int = 64,
    max_length: int | None = None,
    bf16: bool = False,
    output_dir: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: bool = True,
) -> RobustnessReport:
    """Attacks a text classifier and reports how much of its accuracy is left.

    "All" examples are a seeded, stratified sample of the split. Choose models and tickets on a development split and
    attack another. The recipes are pinned; see `list_recipes()` and `docs`.

    Args:
        model: A sequence classifier, dense or pruned. It stays on its device; it is put into evaluation mode and back.
        tokenizer: Its tokenizer.
        dataset: One split: a `datasets.Dataset` or a list of dicts.
        recipes: Names of recipes, or Python paths of one's own (`my_module:build`, `path/to/file.py:build`). One whose
            resources are missing is reported in `failures`, the others run.
        num_examples: Size of the sample; None for the whole split.
        seed: Seed of the sample and, with recipe and row, of each attack.
        text_columns: The text column, or two for tasks on pairs; None to guess.
        label_column: The column of class numbers or names.
        sentence_encoder: "use" (the papers'), "minilm", the name or folder of a sentence-transformers model, or one.
        masked_language_model: For recipes that use one: a name, a folder, or `(model, tokenizer)`; None for the
            papers' (`docs/recipes.md`).
        modify_columns: Of a pair of texts, the columns that may change; None for the papers' rule.
        batch_size: Most texts per forward call.
        max_length: Truncation in tokens; None for the tokenizer's limit.
        bf16: Runs the model under bfloat16 autocast.
        output_dir: Folder for outcomes as they come and for the report; None to keep everything in memory.
        resume: Continues the evaluation in `output_dir`; False starts over.
        progress: Shows a progress bar.

    Returns:
        The report; saved as `robustness.json` in `output_dir` if that is given.

    Raises:
        DataError: If data set and model do not fit.
        UnknownNameError: If a recipe is unknown.
        MissingResourceError: If no recipe can run for want of a resource.
        MissingDependencyError: If TextAttack is not installed.
        CheckpointError: If `output_dir` holds another evaluation.
    """
    chosen = _chosen(recipes)
    if model.config.num_labels < 2:
        raise ConfigurationError(f"expected a classifier with two or more classes, got {model.config.num_labels}")
    examples = select_examples(
        dataset,
        model.config,
        num_examples=num_examples,
        seed=seed,
        text_columns=text_columns,
        label_column=label_column,
    )
    import_textattack()
    victim = Victim(model, tokenizer, batch_size=batch_size, max_length=max_length, bf16=bf16)
    settings = {"text_columns": list(examples[0].texts), "label_column": label_column, "num_examples": num_examples}
    settings |= {"recipes": [recipe.name for recipe in chosen], "max_length": victim.max_length, "bf16": bf16}
    parts = Parts(victim, sentence_encoder, masked_language_model)
    prepared, failures = _prepare(chosen, parts, list(examples[0].texts), modify_columns)
    description = describe_model(model)
    descriptions = {attack.recipe.name: attack.fingerprint for attack in prepared}
    if output_dir is None:
        outcomes = Outcomes()
    else:
        # a recipe may be added to a folder; what else may change is only how fast it goes
        fixed = {name: value for name, value in settings.items() if name not in {"recipes", "num_examples"}}
        fixed |= {"model": description["sha256"], "tokenizer": tokenizer_fingerprint(tokenizer), "seed": seed}
        fixed["sample"] = sample_fingerprint(examples)
        outcomes = OutcomeStore(output_dir, fixed, descriptions, resume=resume)
    with evaluation_mode(model):
        _run(prepared, victim, examples, seed, outcomes, progress)
    results = {attack.recipe.name: attack.result(outcomes, examples) for attack in prepared}
    first = next(iter(results.values()))
    report = RobustnessReport(
        results=results,
        clean_accuracy=first.clean_accuracy,
        sample_ids=tuple(example.index for example in examples),
        seed=seed,
        failures=failures,
        settings={**settings, "data": describe_data(dataset)},
        model=description,
        versions=versions(),
        warnings=(*mode_warnings(model), *logit_scale_warnings([outcome.margin for outcome in first.outcomes])),
    )
    for warning in report.warnings:
        logger.warning("%s", warning)
    if output_dir is not None:
        report.save(Path(output_dir) / REPORT)
    return report


@dataclass(frozen=True)
class _Prepared:
    """A recipe, built."""

    recipe: Recipe
    attack: Attack
    encoder: TextEncoder | None
    vectors: Any
    masked_lm: MaskedLM | None = None

    @property
    def resources(self) -> dict[str, Any]:
        return describe_parts(self)

    @property
    def not_comparable(self) -> tuple[str, ...]:
        return stand_ins(self)

    @property
    def fingerprint(self) -> str:
        return f"{self.attack!r} {self.resources}"

    def run(self, example: Example, victim: Victim, seed: int) -> ExampleOutcome:
        from textattack.attack_results import SkippedAttackResult, SuccessfulAttackResult
        from textattack.shared import AttackedText

        text = AttackedText(OrderedDict(example.texts))
        logits = victim([text.tokenizer_input])[0]
        top = logits.topk(2).values
        with seeded(seed, self.recipe.name, example.index):
            result = self.attack.attack(text, example.label)
        outcome = "failed"
        if isinstance(result, SkippedAttackResult):
            outcome = "skipped"
        elif isinstance(result, SuccessfulAttackResult):
            outcome = "succeeded"
        perturbed = victim([result.perturbed_result.attacked_text.tokenizer_input])[0]  # asked before: no query
        return ExampleOutcome(
            index=example.index,
            label=example.label,
            original=_plain(result.original_result.attacked_text),
            perturbed=_plain(result.perturbed_result.attacked_text),
            outcome=outcome,
            queries=int(result.num_queries),
            original_prediction=int(result.original_result.output),
            perturbed_prediction=int(result.perturbed_result.output),
            margin=float(top[0] - top[1]),
            probabilities=tuple(logits.double().softmax(0).tolist()),
            perturbed_probabilities=tuple(perturbed.double().softmax(0).tolist()),
        )

    def result(self, outcomes: Outcomes, examples: Sequence[Example]) -> RecipeResult:
        name = self.recipe.name
        return RecipeResult(
            recipe=name,
            outcomes=tuple(outcomes.found[name][example.index] for example in examples),
            seconds=outcomes.seconds[name],
            resources=self.resources,
            not_comparable=self.not_comparable,
            description=repr(self.attack),
            goal=self.recipe.goal,
        )


def _chosen(recipes: Sequence[str]) -> list[Recipe]:
    if isinstance(recipes, str) or not recipes:
        raise ConfigurationError(f"expected a list of recipe names, got {recipes!r}: pass recipes=['textfooler']")
    return [get_recipe(name) for name in dict.fromkeys(recipes)]


def _prepare(
    recipes: Sequence[Recipe], parts: Parts, columns: Sequence[str], modify_columns: str | Sequence[str] | None
) -> tuple[list[_Prepared], dict[str, str]]:
    """Builds the recipes whose resources are there, and says why the others are not."""
    prepared: list[_Prepared] = []
    errors: dict[str, MissingResourceError | MissingDependencyError] = {}
    allowed = {recipe.name: columns_to_change(recipe, columns, modify_columns) for recipe in recipes}
    for recipe in recipes:
        try:
            ensure_resources(recipe.resources)
            context = parts.context(recipe)
            attack = parts.build(recipe, context)
        except (MissingResourceError, MissingDependencyError) as error:
            logger.warning("recipe %s cannot run: %s", recipe.name, error)
            errors[recipe.name] = error
            continue
        limit_columns(attack, columns, allowed[recipe.name])
        prepared.append(_Prepared(recipe, attack, context.encoder, context.vectors, context.masked_lm))
    if not prepared:
        first = next(iter(errors.values()))
        if len(set(map(str, errors.values()))) == 1:
            raise first
        raise MissingResourceError("; ".join(f"{name}: {error}" for name, error in errors.items())) from first
    return prepared, {name: str(error) for name, error in errors.items()}


def _run(
    prepared: Sequence[_Prepared],
    victim: Victim,
    examples: Sequence[Example],
    seed: int,
    outcomes: Outcomes,
    progress: bool,
) -> None:
    """Attacks example by example, with all recipes: the clean text and the texts that recipes share are asked once."""
    with tqdm(total=len(examples), desc="attacks", unit="example", disable=not progress) as bar:
        for example in examples:
            found: dict[str, ExampleOutcome] = {}
            seconds: dict[str, float] = {}
            for attack in prepared:
                name = attack.recipe.name
                if outcomes.has(name, example.index):
                    continue
                start = time.perf_counter()
                try:
                    found[name] = attack.run(example, victim, seed)
                except Exception as error:
                    error.add_note(f"while attacking row {example.index} with {name}")
                    raise
                seconds[name] = time.perf_counter() - start
            if found:
                outcomes.append(found, seconds)
            victim.forget()
            for attack in prepared:
                if attack.encoder is not None:
                    attack.encoder.forget()
            bar.update()


def _plain(text: Any) -> Text:
    """A TextAttack text as a string, or as `{column: text}` for a pair."""
    value = text.tokenizer_input
    return value if isinstance(value, str) else dict(zip(text.column_labels, value))
