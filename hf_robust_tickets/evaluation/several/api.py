"""Attacks on multi-label classifiers and on token classifiers with the recipes for texts."""

from __future__ import annotations

import os
import random
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
from tqdm.auto import tqdm

from ..._arguments import check_arguments
from ...errors import ConfigurationError, DataError
from ..config import EvaluationConfig, EvaluationSettings
from ..fingerprints import describe_model, seeded
from ..recipes import get_recipe
from ..runner.preparation import PreparedRecipe, prepare
from ..runner.query_budget import QueryBudget, can_change
from ..sampling import rows_of, text_columns_of, text_of
from ..victim.model import evaluation_mode
from .result import SeveralOutcome, SeveralReport, SeveralResult
from .rows import label_set, tagged_words
from .victim import LabelVictim, TagVictim

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class _Row:
    index: int
    text: str
    truth: np.ndarray


@check_arguments
def evaluate_label_sets(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    recipes: Sequence[str] = ("textfooler",),
    threshold: float = 0.5,
    query_budget: int | None = None,
    sentence_encoder: str | os.PathLike[str] | SentenceTransformer = "use",
    masked_language_model: str | os.PathLike[str] | tuple[Any, Any] | None = None,
    word_vectors: str | os.PathLike[str] | None = None,
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> SeveralReport:
    """Attacks a classifier of several labels at once: an attack succeeds when the set of predicted labels changes.

    Accuracy is subset accuracy: an example is right where all of its labels are. Examples that are wrong to begin with
    are not attacked.

    Args:
        model: A sequence classifier with a sigmoid per label; it is put into evaluation mode and back.
        dataset: One split.
        tokenizer: The model's tokenizer.
        recipes: Names of recipes that see scores.
        threshold: Probability from which a label is predicted.
        query_budget: As in `evaluate_robustness`, as are the next three.
        sentence_encoder: See there.
        masked_language_model: See there.
        word_vectors: See there.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`; by default 100 examples and `label_column="labels"`:
            a number per label, 0 or 1, or a list of label names.

    Returns:
        The report.

    Raises:
        ConfigurationError: If an option is unknown, or a recipe does not do for this task.
        DataError: If a row does not fit the model.
        MissingResourceError: If no recipe can run for want of a resource.
    """
    config = EvaluationConfig.merged(evaluate_label_sets, config, settings, num_examples=100, label_column="labels")
    if not 0 < threshold < 1:
        raise ConfigurationError(f"expected a threshold between 0 and 1, got {threshold}")
    data, labels = rows_of(dataset), config.label_column
    columns = text_columns_of(data, config.text_columns, labels)
    if len(columns) != 1:
        raise DataError(f"expected one text column, got the pair {list(columns)}: pass text_columns=")
    examples = [
        _Row(i, text_of(row.get(columns[0]), columns[0], i), label_set(row.get(labels), model.config, labels, i))
        for i, row in _sample(data, config)
    ]
    victim = LabelVictim(model, tokenizer, config.batch_size, config.max_length, config.bf16)
    parts = {"sentence_encoder": sentence_encoder, "masked_language_model": masked_language_model}
    parts["word_vectors"] = word_vectors
    return _evaluate("labels", victim, examples, recipes, config, parts, query_budget, threshold)


@check_arguments
def evaluate_tags(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    recipes: Sequence[str] = ("textfooler",),
    min_share: float = 0.0,
    query_budget: int | None = None,
    sentence_encoder: str | os.PathLike[str] | SentenceTransformer = "use",
    masked_language_model: str | os.PathLike[str] | tuple[Any, Any] | None = None,
    word_vectors: str | os.PathLike[str] | None = None,
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> SeveralReport:
    """Attacks a token classifier: an attack succeeds when a word that it left as it is gets another tag.

    Words that were replaced may deserve another tag and never count, so tags need no guess about what an edit means.
    (Simoncini and Spanakis, *SeqAttack: On Adversarial Attacks for Named Entity Recognition*, EMNLP 2021, bring the
    attacks on text classifiers to this task; the criterion here is stricter about which words count.) Recipes that
    replace word for word alone can be used. A sentence is right where fewer than the asked-for number of its tags are
    wrong: with `min_share=0`, where all are right. Others are not attacked.

    Args:
        model: A token classifier; it is put into evaluation mode and back.
        dataset: One split of words with their tags.
        tokenizer: The model's fast tokenizer; a word has the tag of its first token.
        recipes: Names of recipes that see scores and swap words.
        min_share: Share of a sentence's words with a tag that have to become wrong; 0: one word.
        query_budget: As in `evaluate_robustness`, as are the next three.
        sentence_encoder: See there.
        masked_language_model: See there.
        word_vectors: See there.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`; by default 100 examples, `text_columns="tokens"`, a
            list of words, and `label_column="tags"`, their tags by number (negative: none) or by the model's names.

    Returns:
        The report.

    Raises:
        ConfigurationError: If an option is unknown, or a recipe does not do for this task.
        DataError: If a row does not fit the model.
        MissingResourceError: If no recipe can run for want of a resource.
    """
    defaults = {"num_examples": 100, "text_columns": "tokens", "label_column": "tags"}
    config = EvaluationConfig.merged(evaluate_tags, config, settings, **defaults)
    if not 0 <= min_share <= 1:
        raise ConfigurationError(f"expected min_share between 0 and 1, got {min_share}")
    if not isinstance(config.text_columns, str):
        raise ConfigurationError(
            f"expected one column of words, got {config.text_columns!r}: pass text_columns='tokens'"
        )
    examples = [
        _Row(i, *tagged_words(row.get(config.text_columns), row.get(config.label_column), model.config, i))
        for i, row in _sample(rows_of(dataset), config)
    ]
    victim = TagVictim(model, tokenizer, config.batch_size, config.max_length, config.bf16)
    parts = {"sentence_encoder": sentence_encoder, "masked_language_model": masked_language_model}
    parts["word_vectors"] = word_vectors
    return _evaluate("tags", victim, examples, recipes, config, parts, query_budget, min_share)


def _sample(data: Any, config: EvaluationConfig) -> Iterator[tuple[int, Mapping[str, Any]]]:
    rows: Sequence[int] = range(len(data))
    if config.num_examples is not None and config.num_examples < len(data):
        rows = sorted(random.Random(config.seed).sample(rows, config.num_examples))
    return ((i, data[i]) for i in rows)


def _evaluate(
    task: Literal["labels", "tags"],
    victim: LabelVictim,
    examples: Sequence[_Row],
    recipes: Sequence[str],
    config: EvaluationConfig,
    parts: dict[str, Any],
    query_budget: int | None,
    criterion: float,
) -> SeveralReport:
    chosen = [get_recipe(name) for name in dict.fromkeys(recipes)]
    prepared, failures = prepare(chosen, victim, **parts, columns=["text"])
    for one in prepared:
        _fit(one, task, victim, criterion)
    with evaluation_mode(victim.model):
        results = tuple(_attack_all(one, task, victim, examples, config, query_budget) for one in prepared)
    used = {**asdict(config), "query_budget": query_budget, "recipes": list(recipes)}
    used["threshold" if task == "labels" else "min_share"] = criterion
    return SeveralReport(task, results, failures, used, describe_model(victim.model))


def _fit(one: PreparedRecipe, task: str, victim: LabelVictim, criterion: float) -> None:
    """Puts the goal of the task in place of a recipe's, and refuses recipes that it would mean nothing to."""
    from textattack.transformations import CompositeTransformation, WordSwap

    from ..components.goals import Goal
    from .goals import LabelSetGoal, SameWords, TagGoal

    attack, name = one.attacker.attack, one.recipe.name
    if type(attack.goal_function) is not Goal or getattr(attack.search_method, "wir_method", "") == "gradient":
        raise ConfigurationError(
            f"expected recipes that lower the score of the truth, got {name}, which sees a predicted class, gradients "
            "or another goal: use textfooler, deepwordbug, pwws or their like"
        )
    if task == "tags":
        swap = attack.transformation
        swaps = swap.transformations if isinstance(swap, CompositeTransformation) else [swap]
        if other := [type(each).__name__ for each in swaps if not isinstance(each, WordSwap)]:
            raise ConfigurationError(
                f"expected recipes that replace word for word, got {name} with {other[0]}, after which tags have no "
                "words: use textfooler, deepwordbug, pwws or their like"
            )
        attack.constraints.append(SameWords())
        goal: Any = TagGoal(victim, criterion)
    else:
        goal = LabelSetGoal(victim, criterion)
    attack.goal_function = attack.search_method.goal_function = goal
    attack.search_method.get_goal_results = goal.get_results


def _attack_all(
    one: PreparedRecipe,
    task: str,
    victim: LabelVictim,
    examples: Sequence[_Row],
    config: EvaluationConfig,
    query_budget: int | None,
) -> SeveralResult:
    start = time.perf_counter()
    attack = one.attacker.attack
    budget = QueryBudget(attack, query_budget)
    outcomes = []
    for row in tqdm(examples, desc=one.recipe.name, disable=not config.progress):
        budget.begin()
        with seeded(config.seed, one.recipe.name, row.index):
            outcomes.append(_attack(attack, budget, task, victim, row))
        for cache in one.attacker.caches:
            cache.forget()
    return SeveralResult(
        recipe=one.recipe.name,
        outcomes=tuple(outcomes),
        description=repr(attack),
        resources=one.resources,
        seconds=time.perf_counter() - start,
    )


def _attack(attack: Any, budget: QueryBudget, task: str, victim: LabelVictim, row: _Row) -> SeveralOutcome:
    from textattack.shared import AttackedText

    goal, text = attack.goal_function, AttackedText(OrderedDict(text=row.text))
    clean = victim([row.text])[0]
    # What the model does not read has no tag.
    goal.truth = np.where(np.isnan(clean).any(axis=1), -1, row.truth) if task == "tags" else row.truth
    goal.words = row.text.split(" ")
    final, queries = text, 1
    outcome = "skipped" if goal._is_goal_complete(clean, text) else "failed"
    if outcome == "failed" and can_change(attack, text):
        try:
            result = attack.attack(text, 0)
            final, queries = result.perturbed_result.attacked_text, int(result.num_queries)
        except (IndexError, ValueError):  # of a search that did not expect the end of its budget
            if not budget.withheld:
                raise
            queries = goal.num_queries
    perturbed = victim([final.tokenizer_input])[0]
    if outcome == "failed" and goal._is_goal_complete(perturbed, final):
        outcome = "succeeded"

    def said(answer: np.ndarray) -> tuple[int, ...]:
        if task == "labels":
            return tuple(np.flatnonzero(goal.predicted(answer)).tolist())
        return tuple(np.where(np.isnan(answer).any(axis=1), -1, np.nan_to_num(answer).argmax(axis=1)).tolist())

    truth = (np.flatnonzero(row.truth) if task == "labels" else row.truth).tolist()
    return SeveralOutcome(
        index=row.index,
        original=row.text,
        perturbed=final.tokenizer_input,
        outcome=outcome,
        queries=queries,
        truth=tuple(truth),
        before=said(clean),
        after=said(perturbed),
    )
