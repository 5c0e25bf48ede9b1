"""Attacks on text classifiers with TextAttack's recipes: sample, attack, report."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._provenance import describe_data
from ..errors import ConfigurationError
from .fingerprints import describe_model, sample_fingerprint, tokenizer_fingerprint, versions
from .recipes import Recipe, get_recipe
from .results.false_robustness import logit_scale_warnings, mode_warnings
from .results.report import RobustnessReport
from .runner.attacker import SIDE_BY_SIDE, Job
from .runner.preparation import Prepared, prepare
from .runner.processes import run_processes
from .runner.progress import Progress, representative_order
from .runner.ranks import Crew
from .runner.store import REPORT, Outcomes, OutcomeStore
from .sampling import Example, select_examples
from .victim.long_texts import long_text_warnings
from .victim.model import Victim, evaluation_mode

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


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
    torch_compile: bool = False,
    concurrent_examples: int | None = None,
    num_processes: int = 1,
    distributed: bool = False,
    until_width: float | None = None,
    query_budget: int | None = None,
    word_vectors: str | os.PathLike[str] | None = None,
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
        progress: Shows a progress bar, with the figures so far and the time that is left.
        torch_compile: Compiles the model first: worth it for long evaluations on an accelerator.
        concurrent_examples: Examples that are attacked side by side, whose texts share forward calls. It changes no
            outcome, text or query count, but last digits of `margin`. None for 1 on a CPU, where it saves 5-20 % of
            the time, and 32 elsewhere.
        num_processes: Processes of this machine that share the work: over cores, or over its accelerators. They are
            spawned, so a script needs `if __name__ == "__main__":`.
        distributed: All ranks that a launcher has started call this and share the work; each gets the same report.
            Over several hosts, `output_dir` has to be a folder that all of them see.
        until_width: Stops when the widest 95 % interval of the accuracies under attack is this narrow (upper minus
            lower end): the report is then about a smaller, still stratified sample, and says so.
        query_budget: Gives an example up after so many queries, and counts it as failed; the report says so.
        word_vectors: For recipes that use counter-fitted vectors: a folder with `paragram.npy`, `wordlist.pickle` and
            `nn.npy`, laid out as TextAttack's; None for those in its cache. The report holds their checksum.

    Returns:
        The report; saved as `robustness.json` in `output_dir` if that is given.

    Raises:
        DataError: If data set and model do not fit.
        UnknownNameError: If a recipe is unknown.
        MissingResourceError: If no recipe can run for want of a resource.
        MissingDependencyError: If TextAttack is not installed.
        CheckpointError: If `output_dir` holds another evaluation.
        RobustTicketsError: If one of several processes died; the outcomes until then are kept.
    """
    chosen = _chosen(recipes)
    _check(chosen, concurrent_examples, num_processes, distributed, until_width, query_budget)
    if model.config.num_labels < 2:
        raise ConfigurationError(f"expected a classifier with two or more classes, got {model.config.num_labels}")
    sample = {"num_examples": num_examples, "label_column": label_column}
    examples = select_examples(dataset, model.config, seed=seed, text_columns=text_columns, **sample)
    columns = list(examples[0].texts)
    crew = Crew() if distributed else None
    how = {"batch_size": batch_size, "max_length": max_length, "bf16": bf16, "torch_compile": torch_compile}
    victim = Victim(model, tokenizer, **how)
    settings = {"text_columns": columns, "recipes": [recipe.name for recipe in chosen], **sample}
    settings |= {"max_length": victim.max_length, "bf16": bf16}
    # absent where they are off: a folder of before they existed can be continued
    optional = {"torch_compile": torch_compile, "until_width": until_width, "query_budget": query_budget}
    settings |= {name: value for name, value in optional.items() if value}
    parts = {"sentence_encoder": sentence_encoder, "masked_language_model": masked_language_model}
    parts |= {"word_vectors": word_vectors, "columns": columns, "modify_columns": modify_columns}
    parts["query_budget"] = query_budget
    together = contextlib.nullcontext if crew is None else crew.together
    with together():
        prepared, failures = prepare(chosen, victim, **parts)
    description = describe_model(model)
    folder = None if output_dir is None else Path(output_dir)
    leads = crew is None or crew.leads
    with together():
        if crew is not None:
            crew.agree({recipe.recipe.name: recipe.resources for recipe in prepared})
        fixed = _fixed(settings, description, tokenizer, examples, seed)
        outcomes = _outcomes(folder if leads else None, fixed, prepared, len(examples), resume)
        job = _job(prepared, examples, seed, concurrent_examples, outcomes, until_width, show=progress and leads)
        with evaluation_mode(model), contextlib.closing(job.progress), contextlib.closing(outcomes):
            _run(job, crew, num_processes, {"victim": how, "parts": parts}, prepared, folder)
        if not leads:
            return RobustnessReport.from_dict(crew.share(None))
        settings["data"] = describe_data(dataset)
        # evaluation_mode has put the model back into the mode that it was handed over in
        report = _report(job, prepared, failures, examples, settings, description, mode_warnings(model))
        if folder is not None:
            report.save(folder / REPORT)
        if crew is not None:
            crew.share(report.to_dict())
    for warning in report.warnings:
        logger.warning("%s", warning)
    return report


def _fixed(
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


def _outcomes(
    folder: Path | None, fixed: Mapping[str, Any], prepared: Sequence[Prepared], examples: int, resume: bool
) -> Outcomes:
    if folder is None:
        return Outcomes()
    descriptions = {recipe.recipe.name: recipe.fingerprint for recipe in prepared}
    return OutcomeStore(folder, fixed, descriptions, resume, {"sample": f"{examples} examples"})


def _job(
    prepared: Sequence[Prepared],
    examples: Sequence[Example],
    seed: int,
    concurrent: int | None,
    outcomes: Outcomes,
    until_width: float | None,
    show: bool,
) -> Job:
    attackers = [recipe.attacker for recipe in prepared]
    order = representative_order(examples, seed)
    names = [recipe.recipe.name for recipe in prepared]
    reducing = {recipe.recipe.name for recipe in prepared if recipe.recipe.goal == "reduce"}
    if concurrent is None:
        device = next(attackers[0].victim.model.parameters()).device
        concurrent = 1 if device.type == "cpu" else SIDE_BY_SIDE
    return Job(attackers, order, seed, concurrent, outcomes, Progress(order, names, until_width, show, reducing))


def _run(
    job: Job,
    crew: Crew | None,
    num_processes: int,
    arguments: dict[str, Any],
    prepared: Sequence[Prepared],
    folder: Path | None,
) -> None:
    if crew is not None:
        crew.run(job, folder)
    elif num_processes > 1:
        victim = job.attackers[0].victim
        # a recipe that was found by a Python path is found again by it
        recipes = [one.recipe.name if one.recipe.source else one.recipe for one in prepared]
        materials = {"model": victim.model, "tokenizer": victim.tokenizer, "recipes": recipes, **arguments}
        run_processes(job, num_processes, materials, folder)
    else:
        job.run()


def _check(
    chosen: Sequence[Recipe],
    concurrent_examples: int | None,
    num_processes: int,
    distributed: bool,
    until_width: float | None,
    query_budget: int | None,
) -> None:
    for name, value in {"concurrent_examples": concurrent_examples, "query_budget": query_budget}.items():
        if value is not None and value < 1:
            raise ConfigurationError(f"expected {name} >= 1 or None, got {value}")
    if num_processes < 1:
        raise ConfigurationError(f"expected num_processes >= 1, got {num_processes}")
    if until_width is not None and not 0 < until_width < 1:
        raise ConfigurationError(f"expected until_width between 0 and 1 (0.03: three points), got {until_width}")
    if distributed and num_processes > 1:
        raise ConfigurationError(
            f"expected the launcher's processes (distributed=True) or num_processes, got both ({num_processes}): "
            "tell the launcher how many"
        )
    if until_width is not None and all(recipe.goal == "reduce" for recipe in chosen):
        raise ConfigurationError(
            f"expected a recipe with an accuracy under attack for until_width, got {[r.name for r in chosen]}: "
            "add one, or leave until_width out"
        )


def _report(
    job: Job,
    prepared: Sequence[Prepared],
    failures: Mapping[str, str],
    examples: Sequence[Example],
    settings: dict[str, Any],
    description: Mapping[str, Any],
    warnings: list[str],
) -> RobustnessReport:
    """The figures over the examples that were attacked, in the order of the data set."""
    enough = job.progress.enough
    attacked = {example.index for example in job.order[:enough]}
    used = [example for example in examples if example.index in attacked]
    results = {recipe.recipe.name: recipe.result(job.outcomes, used) for recipe in prepared}
    first = next(iter(results.values()))
    victim = job.attackers[0].victim
    warnings = [*warnings, *logit_scale_warnings([outcome.margin for outcome in first.outcomes])]
    warnings += long_text_warnings([example.texts for example in used], victim.tokenizer, victim.max_length)
    if enough is not None and enough < len(examples):
        warnings.append(
            f"stopped after {enough} of {len(examples)} examples: the widest interval is {job.progress.width:.4f} "
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
    for before in job.outcomes.versions[:-1]:
        now = job.outcomes.versions[-1]
        changed = [name for name in now.keys() | before.keys() if now.get(name) != before.get(name)]
        warnings.append(
            "some outcomes were found with other versions: "
            + ", ".join(f"{name} {before.get(name)}, now {now.get(name)}" for name in sorted(changed))
        )
    return RobustnessReport(
        results=results,
        clean_accuracy=first.clean_accuracy,
        sample_ids=tuple(example.index for example in used),
        seed=job.seed,
        failures=failures,
        settings=settings,
        model=description,
        versions=versions(),
        warnings=tuple(warnings),
    )


def _chosen(recipes: Sequence[str]) -> list[Recipe]:
    if isinstance(recipes, str) or not recipes:
        raise ConfigurationError(f"expected a list of recipe names, got {recipes!r}: pass recipes=['textfooler']")
    return [get_recipe(name) for name in dict.fromkeys(recipes)]
