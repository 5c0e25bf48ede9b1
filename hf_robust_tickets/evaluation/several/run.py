"""Runs recipes on several decisions per text, and keeps what was found as it comes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm.auto import tqdm

from ...errors import ConfigurationError
from ..config import EvaluationConfig
from ..fingerprints import describe_model, seeded, tokenizer_fingerprint
from ..recipes import get_recipe
from ..runner.preparation import PreparedRecipe, prepare
from ..runner.query_budget import QueryBudget, can_change
from ..runner.store import Outcomes, OutcomeStore
from ..victim.model import evaluation_mode
from .result import SeveralOutcome, SeveralReport, SeveralResult
from .victim import LabelVictim


@dataclass(frozen=True)
class Row:
    """An example.

    Attributes:
        index: Row in the data set.
        text: Its text; of words, joined by spaces.
        truth: A number per label, or the tag of each word.
    """

    index: int
    text: str
    truth: np.ndarray


@dataclass(frozen=True)
class SeveralRun:
    """What all recipes of an evaluation have in common.

    Attributes:
        task: "labels" or "tags".
        victim: The model.
        examples: What is attacked.
        config: Settings that evaluations share.
        query_budget: Most queries per example; None for no end.
        criterion: The threshold of labels, the share of tags.
    """

    task: Literal["labels", "tags"]
    victim: LabelVictim
    examples: Sequence[Row]
    config: EvaluationConfig
    query_budget: int | None
    criterion: float

    def report(
        self, recipes: Sequence[str], parts: dict[str, Any], folder: str | os.PathLike[str] | None, resume: bool
    ) -> SeveralReport:
        """Runs the recipes.

        Args:
            recipes: Their names.
            parts: Models and tables that they are made of.
            folder: Where outcomes are kept as they come, and the report; None for memory.
            resume: Whether what is in the folder counts.

        Raises:
            CheckpointError: If the folder holds another evaluation.
            ConfigurationError: If a recipe does not do for the task.
            MissingResourceError: If no recipe can run for want of a resource.
        """
        chosen = [get_recipe(name) for name in dict.fromkeys(recipes)]
        prepared, failures = prepare(chosen, self.victim, **parts, columns=["text"])
        for one in prepared:
            _fit(one, self.task, self.victim, self.criterion)
        model, settings = describe_model(self.victim.model), self._settings()
        fixed = {**settings, "model": model["sha256"]}
        outcomes = Outcomes() if folder is None else self._open(folder, resume, fixed, prepared)
        try:
            with evaluation_mode(self.victim.model):
                results = tuple(self._attack_all(one, outcomes) for one in prepared)
        finally:
            outcomes.close()
        used = {**asdict(self.config), **settings, "recipes": list(recipes)}
        report = SeveralReport(self.task, results, failures, used, model)
        if folder is not None:
            report.save(Path(folder) / f"{self.task}.json")
        return report

    def _settings(self) -> dict[str, Any]:
        criterion = "threshold" if self.task == "labels" else "min_share"
        return {"query_budget": self.query_budget, criterion: self.criterion}

    def _open(
        self,
        folder: str | os.PathLike[str],
        resume: bool,
        fixed: dict[str, Any],
        prepared: Sequence[PreparedRecipe],
    ) -> OutcomeStore:
        """What was found before, of the same model, texts and settings."""
        rows = [(row.index, row.text, row.truth.tolist()) for row in self.examples]
        fixed |= {name: getattr(self.config, name) for name in ("seed", "batch_size", "max_length", "bf16")}
        fixed |= {"task": self.task, "tokenizer": tokenizer_fingerprint(self.victim.tokenizer)}
        fixed["sample"] = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        descriptions = {one.recipe.name: one.fingerprint for one in prepared}
        words = {"sample": f"{len(rows)} examples"}
        return OutcomeStore(folder, fixed, descriptions, resume, words, SeveralOutcome)

    def _attack_all(self, one: PreparedRecipe, outcomes: Outcomes) -> SeveralResult:
        attack, name = one.attacker.attack, one.recipe.name
        budget = QueryBudget(attack, self.query_budget)
        for row in tqdm(self.examples, desc=name, disable=not self.config.progress):
            if outcomes.has(name, row.index):
                continue
            began = time.perf_counter()
            budget.begin()
            with seeded(self.config.seed, name, row.index):
                found = _attack(attack, budget, self.task, self.victim, row)
            for cache in one.attacker.caches:
                cache.forget()
            outcomes.append({name: found}, {name: time.perf_counter() - began})
        return SeveralResult(
            recipe=name,
            outcomes=tuple(outcomes.found[name][row.index] for row in self.examples),
            description=repr(attack),
            resources=one.resources,
            seconds=outcomes.seconds[name],
        )


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


def _attack(attack: Any, budget: QueryBudget, task: str, victim: LabelVictim, row: Row) -> SeveralOutcome:
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
