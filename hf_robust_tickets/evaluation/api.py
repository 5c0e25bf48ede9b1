"""Attacks on text classifiers with TextAttack's recipes: sample, attack, report."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from .._arguments import check_arguments
from .._files import check_folder
from .._provenance import describe_data
from ..errors import ConfigurationError
from .config import EvaluationConfig, EvaluationSettings
from .fingerprints import describe_model
from .recipes import Recipe, get_recipe
from .results.base import log_warnings
from .results.example import ExampleOutcome, Text, tokenizer_input
from .results.false_robustness import are_probabilities, mode_warnings
from .results.report import RobustnessReport
from .runner.calibrating import (
    check_calibration,
    circumstances,
    common_temperature,
    development_sample,
    development_warnings,
    keep_temperature,
    with_scores,
)
from .runner.evaluation_run import EvaluationRun, fixed_circumstances, make_report, make_run, open_outcomes
from .runner.preparation import PreparedRecipe, prepare
from .runner.processes import run_processes
from .runner.ranks import RankGroup
from .runner.store import REPORT
from .sampling import Example, select_examples
from .victim.classifier import as_classifier
from .victim.model import Victim, evaluation_mode
from .victim.reading import describe_segmentation, is_unicode

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LOOKED_AT = 16
"""Clean answers that are looked at to see whether they are logits."""


@check_arguments
def evaluate_robustness(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    recipes: Sequence[str] = ("textfooler",),
    sentence_encoder: str | os.PathLike[str] | SentenceTransformer = "use",
    masked_language_model: str | os.PathLike[str] | tuple[Any, Any] | None = None,
    word_vectors: str | os.PathLike[str] | None = None,
    calibrate: bool = False,
    development_data: Dataset | Sequence[Mapping[str, Any]] | None = None,
    modify_columns: str | Sequence[str] | None = None,
    query_budget: int | None = None,
    until_width: float | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    resume: bool = True,
    torch_compile: bool = False,
    concurrent_examples: int | None = None,
    num_processes: int = 1,
    distributed: bool = False,
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> RobustnessReport:
    """Attacks a text classifier and reports how much of its accuracy is left.

    "All" examples are a seeded, stratified sample of the split. Choose models and tickets on a development split and
    attack another. The recipes are pinned; see `list_recipes()` and `docs`.

    Args:
        model: A sequence classifier, dense or pruned. It stays on its device; it is put into evaluation mode and back.
        dataset: One split: a `datasets.Dataset` or a list of dicts.
        tokenizer: The model's tokenizer.
        recipes: Names of recipes, or Python paths of one's own (`my_module:build`, `path/to/file.py:build`). One whose
            resources are missing is reported in `failures`, the others run.
        sentence_encoder: "use" (the papers'), "minilm", the name or folder of a sentence-transformers model, or one.
        masked_language_model: For recipes that use one: a name, a folder, or `(model, tokenizer)`; None for the
            papers' (`docs/recipes.md`).
        modify_columns: Of a pair of texts, the columns that may change; None for the papers' rule.
        output_dir: Folder for outcomes as they come and for the report; None to keep everything in memory.
        resume: Continues the evaluation in `output_dir`; False starts over.
        torch_compile: Compiles the model first: worth it for long evaluations on an accelerator.
        concurrent_examples: Examples that are attacked side by side, whose texts share forward calls. It changes no
            outcome, text or query count, but last digits of `margin`, unless candidates tie to within rounding. None
            for 1 on a CPU, where it saves 5-20 % of the time, and 32 elsewhere.
        num_processes: Processes of this machine that share the work: over cores, or over its accelerators. They are
            spawned, so a script needs `if __name__ == "__main__":`.
        distributed: All ranks that a launcher has started call this and share the work; each gets the same report.
            Over several hosts, `output_dir` has to be a folder that all of them see.
        until_width: Stops when the widest 95 % interval of the accuracies under attack is this narrow (upper minus
            lower end): the report is then about a smaller, still stratified sample, and says so.
        query_budget: Gives an example up after so many queries, and counts it as failed; the report says so.
        word_vectors: For recipes that use counter-fitted vectors: a folder with `paragram.npy`, `wordlist.pickle` and
            `nn.npy`, laid out as TextAttack's; None for those in its cache. The report holds their checksum.
        calibrate: Runs each recipe that ranks candidates by scores twice: on the model as it is (T = 1), and on its
            log-odds in float64 at the temperature T* that minimises the negative log-likelihood on `development_data`.
            The result is the one of smaller accuracy; it holds both. What multiplies or rounds the logits hides the
            way to a wrong answer from the first attack, not from the second.
        development_data: What T* is fitted on, with the columns of `dataset`: texts that are neither attacked nor were
            trained on.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`; 1000 examples by default.

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
    config = EvaluationConfig.merged(evaluate_robustness, config, settings, num_examples=1000)
    chosen = _chosen(recipes)
    _check(chosen, concurrent_examples, num_processes, distributed, until_width, query_budget)
    check_calibration(calibrate, development_data, torch_compile)
    if output_dir is not None:
        check_folder(output_dir)
    model = as_classifier(model)
    examples = select_examples(dataset, model.config, config, any_text=True)
    columns = list(examples[0].texts)
    how = {**config.victim_options, "torch_compile": torch_compile}
    victim = Victim(model, tokenizer, **how)
    development = development_sample(development_data, model, config) if calibrate else []
    # left out when off: folders that were begun before these options existed can be continued
    optional = {"torch_compile": torch_compile, "until_width": until_width, "query_budget": query_budget}
    optional |= {"calibrate": calibrate, **(circumstances(development) if calibrate else {})}
    used = {
        "text_columns": columns,
        "recipes": [recipe.name for recipe in chosen],
        "num_examples": config.num_examples,
        "label_column": config.label_column,
        "max_length": victim.max_length,
        "bf16": config.bf16,
        **{name: value for name, value in optional.items() if value},
    }
    if cut := describe_segmentation([example.texts for example in examples]):
        used["segmenter"] = cut
    parts = {"sentence_encoder": sentence_encoder, "masked_language_model": masked_language_model}
    parts |= {"word_vectors": word_vectors, "columns": columns, "modify_columns": modify_columns}
    parts["query_budget"] = query_budget
    ranks = RankGroup() if distributed else None
    together = contextlib.nullcontext if ranks is None else ranks.together
    description = describe_model(model)
    folder = None if output_dir is None else Path(output_dir)
    leads = ranks is None or ranks.leads
    fixed = fixed_circumstances(used, description, tokenizer, examples, config.seed)
    temperature = None
    with together():
        probabilities = _puts_out_probabilities(victim, examples)
        if calibrate:
            temperature = common_temperature(victim, development, folder if resume else None, fixed, ranks)
            victim, parts["temperature"] = with_scores(model, tokenizer, how, temperature.head), temperature
        prepared, failures = prepare(chosen, victim, **parts)
    with together():
        if ranks is not None:
            ranks.agree({recipe.recipe.name: recipe.resources for recipe in prepared})
        outcomes = open_outcomes(folder if leads else None, fixed, prepared, len(examples), resume)
        if temperature is not None and folder is not None and leads:
            keep_temperature(folder, fixed, temperature)
        show = config.progress and leads
        run = make_run(prepared, examples, config.seed, concurrent_examples, outcomes, until_width, show)
        with evaluation_mode(model), contextlib.closing(run.progress), contextlib.closing(outcomes):
            _carry_out(run, ranks, num_processes, {"victim": how, "parts": parts}, prepared, folder)
        if not leads:
            return RobustnessReport.from_dict(ranks.share(None))
        used["data"] = describe_data(dataset)
        if temperature is not None:
            used["temperature"] = {**vars(temperature), "data": describe_data(development_data)}
        # evaluation_mode has put the model back into the mode that it was handed over in
        warnings = [*mode_warnings(model), *development_warnings(development, examples)]
        report = make_report(
            run, prepared, failures, examples, used, description, warnings, probabilities, temperature
        )
        if folder is not None:
            report.save(folder / REPORT)
        if ranks is not None:
            ranks.share(report.to_dict())
    log_warnings(report.warnings)
    return report


def _puts_out_probabilities(victim: Victim, examples: Sequence[Example]) -> bool:
    """Whether a model's first answers have been through a softmax: it answers before anything is written."""
    readable = [example.texts for example in examples if all(map(is_unicode, example.texts.values()))]
    with evaluation_mode(victim.model):
        answers = victim([tokenizer_input(texts) for texts in readable[:LOOKED_AT]])
    victim.forget()
    return are_probabilities(answers)


@check_arguments
def attack_text(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: Text | tuple[str, str],
    label: int | str,
    recipe: str = "textfooler",
    **options: Any,
) -> ExampleOutcome:
    """Attacks one text, for the person who wants to see what becomes of it.

    Args:
        model: A sequence classifier; it is put into evaluation mode and back.
        tokenizer: Its tokenizer.
        text: The text; a pair as a tuple, or as `{column: text}` where the recipe's rule asks what may change
            (`{"premise": ..., "hypothesis": ...}`).
        label: The true class, by its number or by the model's name for it.
        recipe: Name of a recipe, or a Python path of one's own.
        **options: Further arguments of `evaluate_robustness`, e.g. `sentence_encoder`, `query_budget`, `seed`.

    Returns:
        What became of the text; `print` shows it before and after, with the changes marked.

    Raises:
        ConfigurationError: If an option is unknown, or one that speaks of many examples.
        DataError: If text or label do not fit the model.
        MissingResourceError: If the recipe lacks a resource.

    Example:
        >>> print(attack_text(model, tokenizer, "a wonderful film", "positive", recipe="deepwordbug"))
        succeeded after 7 queries: positive → negative
        before: a [[wonderful]] film
        after:  a [[wondeful]] film
    """
    if isinstance(text, tuple):
        if len(text) != 2:
            raise ConfigurationError(f"expected a text or a pair of texts, got {len(text)}")
        text = {"sentence1": text[0], "sentence2": text[1]}
    texts = {"text": text} if isinstance(text, str) else dict(text)
    settings = {"num_examples": None, "text_columns": list(texts), "label_column": "label", "progress": False}
    if taken := [name for name in ("recipes", "output_dir", *settings) if name in options]:
        raise ConfigurationError(f"expected options that concern one text, got {', '.join(taken)}")
    report = evaluate_robustness(
        model, [{**texts, "label": label}], tokenizer, recipes=[recipe], **settings, **options
    )
    names = {int(number): str(name) for number, name in model.config.id2label.items()}
    return replace(report[recipe].outcomes[0], class_names=names)


def _carry_out(
    run: EvaluationRun,
    ranks: RankGroup | None,
    num_processes: int,
    arguments: dict[str, Any],
    prepared: Sequence[PreparedRecipe],
    folder: Path | None,
) -> None:
    if ranks is not None:
        ranks.attack(run, folder)
    elif num_processes > 1:
        victim = run.attackers[0].victim
        # a recipe that was found by a Python path is found again by it
        recipes = [one.recipe.name if one.recipe.source else one.recipe for one in prepared if not one.calibrated]
        materials = {"model": victim.model, "tokenizer": victim.tokenizer, "recipes": recipes, **arguments}
        run_processes(run, num_processes, materials, folder)
    else:
        run.attack()


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
    if query_budget is None and (blind := [recipe.name for recipe in chosen if recipe.label_only]):
        raise ConfigurationError(
            f"expected a query budget for {', '.join(blind)}, which would search on and on, got none: pass "
            "query_budget=500 (--query_budget 500)"
        )
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


def _chosen(recipes: Sequence[str]) -> list[Recipe]:
    if isinstance(recipes, str) or not recipes:
        raise ConfigurationError(f"expected a list of recipe names, got {recipes!r}: pass recipes=['textfooler']")
    return [get_recipe(name) for name in dict.fromkeys(recipes)]
