"""One evaluation from its prepared recipes to its report, in this process, in several, or on ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..fingerprints import sample_fingerprint, tokenizer_fingerprint, versions
from ..recipes.overlap import overlap_warnings, shared_with_training
from ..results.false_robustness import (
    chance_warnings,
    logit_scale_warnings,
    probability_warnings,
    temperature_warnings,
)
from ..results.report import RobustnessReport
from ..sampling import Example
from ..victim.long_texts import long_text_warnings
from ..victim.temperature import Temperature
from .attacker import SIDE_BY_SIDE, Attacker, Task, attack_all
from .calibrating import with_minimum
from .indigestible import warnings_of
from .preparation import PreparedRecipe
from .progress import Progress, representative_order
from .store import Outcomes, OutcomeStore

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class EvaluationRun:
    """An evaluation that is ready to run.

    Attributes:
        attackers: The recipes, built.
        order: The examples in the order in which they are begun.
        seed: The evaluation's seed.
        concurrent: Examples that one process attacks side by side.
        outcomes: What was found, and where it is kept.
        progress: Follows the outcomes and knows when it is enough.
    """

    attackers: list[Attacker]
    order: list[Example]
    seed: int
    concurrent: int
    outcomes: Outcomes
    progress: Progress

    def open_tasks(self) -> list[Task]:
        """What is left to do; what was found earlier is taken note of."""
        names = [attacker.recipe.name for attacker in self.attackers]
        tasks = []
        for example in self.order:
            known = {
                name: found[example.index] for name, found in self.outcomes.found.items() if example.index in found
            }
            self.progress.add(example.index, known, fresh=False)
            if missing := tuple(name for name in names if name not in known):
                tasks.append(Task(example, missing))
        return tasks

    def attack(self) -> None:
        """Attacks in this process."""

        def until_enough() -> Iterator[Task]:
            for task in self.open_tasks():
                if self.progress.enough is not None:
                    return
                yield task

        for result in attack_all(self.attackers, until_enough(), self.seed, self.concurrent):
            self.outcomes.append(result.found, result.seconds)
            self.progress.add(result.index, result.found)


def make_run(
    prepared: Sequence[PreparedRecipe],
    examples: Sequence[Example],
    seed: int,
    concurrent: int | None,
    outcomes: Outcomes,
    until_width: float | None,
    show: bool,
) -> EvaluationRun:
    """Puts an evaluation together.

    Args:
        prepared: The recipes.
        examples: The sample.
        seed: The evaluation's seed.
        concurrent: Examples side by side; None for the device's default.
        outcomes: What was found earlier, and where outcomes are kept.
        until_width: Width of the intervals at which it is enough; None to attack all.
        show: Whether to show a progress bar.
    """
    attackers = [recipe.attacker for recipe in prepared]
    order = representative_order(examples, seed)
    names = [recipe.recipe.name for recipe in prepared]
    reducing = {recipe.recipe.name for recipe in prepared if recipe.recipe.goal == "reduce"}
    if concurrent is None:
        device = next(attackers[0].victim.model.parameters()).device
        concurrent = 1 if device.type == "cpu" else SIDE_BY_SIDE
    concurrent = min(concurrent, len(examples))  # each has a thread
    return EvaluationRun(
        attackers, order, seed, concurrent, outcomes, Progress(order, names, until_width, show, reducing)
    )


def fixed_circumstances(
    settings: Mapping[str, Any],
    description: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    seed: int,
) -> dict[str, Any]:
    """What a folder that is continued must have been begun with.

    A recipe may be added; what else may change is only how fast it goes, and when it is enough.
    """
    fixed = {name: value for name, value in settings.items() if name not in {"recipes", "num_examples", "until_width"}}
    fixed |= {"model": description["sha256"], "tokenizer": tokenizer_fingerprint(tokenizer), "seed": seed}
    return {**fixed, "sample": sample_fingerprint(examples)}


def open_outcomes(
    folder: Path | None, fixed: Mapping[str, Any], prepared: Sequence[PreparedRecipe], examples: int, resume: bool
) -> Outcomes:
    """What an evaluation found before in a folder, and where it keeps what it finds; None: in memory."""
    if folder is None:
        return Outcomes()
    descriptions = {recipe.recipe.name: recipe.fingerprint for recipe in prepared}
    return OutcomeStore(folder, fixed, descriptions, resume, {"sample": f"{examples} examples"})


def make_report(
    run: EvaluationRun,
    prepared: Sequence[PreparedRecipe],
    failures: Mapping[str, str],
    examples: Sequence[Example],
    settings: dict[str, Any],
    description: Mapping[str, Any],
    warnings: list[str],
    probabilities: bool,
    temperature: Temperature | None = None,
) -> RobustnessReport:
    """The figures over the examples that were attacked, in the order of the data set.

    Args:
        run: The evaluation, at its end.
        prepared: Its recipes.
        failures: Recipe -> reason, for those that could not run.
        examples: The sample.
        settings: What bears on the figures.
        description: The model.
        warnings: What is known by now.
        probabilities: Whether the model puts out probabilities in place of logits.
        temperature: That of calibrated attacks; None for none.
    """
    enough = run.progress.enough
    attacked = {example.index for example in run.order[:enough]}
    used = [example for example in examples if example.index in attacked]
    results = {recipe.recipe.name: recipe.result(run.outcomes, used) for recipe in prepared}
    first = next(iter(results.values()))
    victim = run.attackers[0].victim
    treated = [outcome for outcome in first.outcomes if outcome.error is None]
    scale = [] if probabilities else logit_scale_warnings([outcome.margin for outcome in treated])
    right = sum(outcome.outcome != "skipped" for outcome in treated)
    warnings = [*warnings, *probability_warnings(probabilities), *scale]
    warnings += chance_warnings(right, len(treated), int(description["num_labels"]))
    warnings += warnings_of({name: result.outcomes for name, result in results.items()})
    warnings += long_text_warnings([example.texts for example in used], victim.tokenizer, victim.max_length)
    if enough is not None and enough < len(examples):
        warnings.append(
            f"stopped after {enough} of {len(examples)} examples: the widest interval is {run.progress.width:.4f} "
            f"wide, and {settings['until_width']} was asked for"
        )
    if budget := settings.get("query_budget"):
        given_up = {
            name: sum(outcome.outcome == "failed" and outcome.queries >= budget for outcome in result.outcomes)
            for name, result in results.items()
        }
        warnings.append(
            f"attacks were given up after {budget} queries, as asked for, and count as failed: "
            + ", ".join(f"{name} on {number} of {len(used)} examples" for name, number in given_up.items())
        )
    for before in run.outcomes.versions[:-1]:
        now = run.outcomes.versions[-1]
        changed = [name for name in now.keys() | before.keys() if now.get(name) != before.get(name)]
        warnings.append(
            "some outcomes were found with other versions: "
            + ", ".join(f"{name} {before.get(name)}, now {now.get(name)}" for name in sorted(changed))
        )
    attacks = [recipe.recipe for recipe in prepared if not recipe.calibrated]
    warnings += overlap_warnings(attacks, description["training_resources"])
    if temperature is not None:
        warnings += temperature_warnings(temperature)
    return RobustnessReport(
        results=with_minimum(results, prepared, temperature),
        clean_accuracy=first.clean_accuracy,
        sample_ids=tuple(example.index for example in used),
        seed=run.seed,
        failures=failures,
        settings=settings,
        model={**description, "shared_with_training": shared_with_training(attacks, description)},
        versions=versions(),
        warnings=tuple(warnings),
    )
