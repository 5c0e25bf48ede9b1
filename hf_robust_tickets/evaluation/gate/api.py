"""Everything that a claim of robustness has to pass, in one call, with one verdict."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ..._arguments import check_arguments
from ..._files import check_folder
from ..._provenance import describe_data, training_resources
from ...errors import ConfigurationError
from ..config import EvaluationConfig, EvaluationSettings
from ..datasets.noise_text import check_noise
from ..datasets.transfer import TransferResult
from ..fingerprints import describe_model, versions
from ..recipes import get_recipe
from ..recipes.overlap import NOISE_RESOURCES, attack_resources, shared_resources
from ..results.compare import compare_reports
from ..results.report import RobustnessReport
from ..victim.classifier import as_classifier
from .evidence import Evidence, GateOptions, gather, replay
from .result import GateResult, GateRow
from .verdict import signs_of_false_robustness, verdict_of

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FILE = "gate.json"

RECIPES = ("textfooler", "pwws", "deepwordbug", "bae")
"""Words by neighbours, words by WordNet, characters, and words by a masked language model."""

LABEL_RECIPES = ("hard-label",)

NOISE = ("typos", "keyboard", "casing", "whitespace", "ocr")


@check_arguments
def evaluate_gate(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    development_data: Dataset | Sequence[Mapping[str, Any]],
    reference: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None = None,
    recipes: Sequence[str] = RECIPES,
    label_queries: int = 500,
    noise: Sequence[str] = NOISE,
    severity: int = 3,
    output_dir: str | os.PathLike[str] | None = None,
    attack: Mapping[str, Any] | None = None,
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> GateResult:
    """Attacks a model in every way that does not let itself be fooled, beside a reference if there is one.

    Calibrated attacks that see scores, an attack that sees labels only, natural noise, and, with a reference, texts
    that fooled one model replayed on the other, both ways. A recipe that cannot run is a row that says why. Cut off,
    the same call continues.

    Args:
        model: A sequence classifier, dense or pruned.
        dataset: The split that is attacked.
        tokenizer: The model's tokenizer.
        development_data: What temperatures are fitted on: texts that are neither attacked nor were trained on.
        reference: What the model is compared with, and its tokenizer: the dense model, say, after as many steps.
        recipes: Attacks that see scores.
        label_queries: Query budget of the attack that sees labels only.
        noise: Kinds of natural noise; none to leave it out.
        severity: Their severity, 1 to 5.
        output_dir: Folder for outcomes as they come, and for `gate.json`; None to keep everything in memory.
        attack: Further arguments of `evaluate_robustness`, for all attacks: `sentence_encoder`,
            `masked_language_model`, `word_vectors`, `modify_columns`, `resume`, `num_processes`,
            `concurrent_examples`.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`; 200 examples by default.

    Returns:
        One row per check, and the verdict.

    Raises:
        ConfigurationError: If an option cannot work.
        DataError: If data sets and models do not fit.
        MissingResourceError: If not one attack by scores can run.
    """
    config = EvaluationConfig.merged(evaluate_gate, config, settings, num_examples=200)
    model = as_classifier(model)
    if output_dir is not None:
        check_folder(output_dir)
    if label_queries < 1:
        raise ConfigurationError(f"expected label_queries >= 1, got {label_queries}")
    if development_data is None:
        raise ConfigurationError(
            "expected development data, got none: pass development_data= (--development_file), another split than "
            "the attacked one"
        )
    if blind := [name for name in recipes if get_recipe(name).label_only]:
        raise ConfigurationError(f"expected recipes that see scores, got {', '.join(blind)}: it is always run")
    check_noise(noise or NOISE, [severity])
    options = GateOptions(
        tuple(recipes), LABEL_RECIPES, label_queries, tuple(noise), severity, config, development_data, attack or {}
    )
    folder = None if output_dir is None else Path(output_dir)
    own = gather(model, dataset, tokenizer, options, _within(folder, "model"))
    other = (
        None
        if reference is None
        else gather(reference[0], dataset, reference[1], options, _within(folder, "reference"))
    )
    to_model = {} if other is None else replay(other, own, options, _within(folder, "model"))
    to_reference = {} if other is None else replay(own, other, options, _within(folder, "reference"))
    rows = [
        *_attack_rows(own, other, options),
        *_transfer_rows(to_model, to_reference, options, other is not None),
        *_noise_rows(own, other),
    ]
    rows = [_with_shares(row, model) for row in rows]
    signs = signs_of_false_robustness(own.scores, own.labels, to_model)
    result = GateResult(
        rows=tuple(rows),
        verdict=verdict_of(rows, signs, other is not None),
        signs=signs,
        reference={} if reference is None else describe_model(reference[0]),
        model=describe_model(model),
        settings=_settings(options, own, other, dataset),
        seed=config.seed,
        sample_ids=own.scores.sample_ids,
        warnings=_warnings(own, other),
        versions=versions(),
    )
    if folder is not None:
        result.save(folder / FILE)
    return result


def _within(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / name


def _attack_rows(own: Evidence, other: Evidence | None, options: GateOptions) -> list[GateRow]:
    rows = _report_rows(own.scores, None if other is None else other.scores, "scores", options.recipes, own, other)
    labels = None if other is None else other.labels
    if own.labels is not None:
        found = _report_rows(own.labels, labels, "labels", options.label_recipes, own, other)
        return rows + [row for row in found if row.kind != "clean"]
    return rows + [GateRow(name, "labels", note=own.not_run[name]) for name in options.label_recipes]


def _report_rows(
    own: RobustnessReport,
    other: RobustnessReport | None,
    kind: Any,
    recipes: Sequence[str],
    model: Evidence,
    reference: Evidence | None,
) -> list[GateRow]:
    """Clean accuracy and every recipe; in pairs where the reference was attacked alike."""
    both = {} if other is None else {c.recipe: c for c in compare_reports({"reference": other, "model": own})}
    rows = []
    for name in ["clean", *dict.fromkeys(recipes)]:
        what = "clean" if name == "clean" else kind
        if name in both:
            rows.append(GateRow.paired(both[name], check=name, kind=what, note=_note(own, name, both[name].remarks)))
        elif name == "clean":
            total = len(own.sample_ids)
            rows.append(GateRow(name, what, round(own.clean_accuracy * total), total))
        elif name in own.answers:
            missing = "" if reference is None else f"not run on the reference: {reference.not_run.get(name, '')}"
            answers = own.answers[name].values()
            rows.append(GateRow(name, what, sum(answers), len(answers), note=missing or _note(own, name)))
        else:
            reason = model.not_run.get(name, "it has no accuracy under attack")
            rows.append(GateRow(name, what, note=reason))
    return rows


def _note(report: RobustnessReport, name: str, remarks: Sequence[str] = ()) -> str:
    notes = list(remarks)
    if name in report and (both := report[name].at_temperatures):
        notes.insert(
            0,
            "T = 1: {:.1f}, T* = {:.3g}: {:.1f}".format(
                100 * both["accuracy_at_1"], both["temperature"], 100 * both["accuracy_at_temperature"]
            ),
        )
    if name in report and report.settings.get("query_budget"):
        notes.insert(0, f"{report.settings['query_budget']} queries")
    return "; ".join(notes)


def _transfer_rows(
    to_model: Mapping[str, TransferResult],
    to_reference: Mapping[str, TransferResult],
    options: GateOptions,
    has_reference: bool,
) -> list[GateRow]:
    """Of texts that fooled the other model, those that are still right, of those that were right before."""
    rows = []
    for name in dict.fromkeys(options.recipes):
        check = f"{name} (transferred)"
        if name in to_model and name in to_reference:
            right, reference = ((r.still_right, r.originally_right) for r in (to_model[name], to_reference[name]))
            note = "" if right[1] and reference[1] else "no text to replay on one side"
            rows.append(GateRow.unpaired(right, reference, check=check, kind="transfer", note=note))
        elif has_reference:
            rows.append(GateRow(check, "transfer", note="the attack was not run on both models"))
    return rows or [GateRow("transfer", "transfer", note="no second model (reference) to replay texts on")]


def _noise_rows(own: Evidence, other: Evidence | None) -> list[GateRow]:
    if own.noise is None:
        return [GateRow("noise", "noise", note="no kind was asked for")]
    rows = []
    for i, cell in enumerate(own.noise.cells):
        right = (cell.paired.both + cell.paired.only_second, cell.paired.num_examples)
        reference = (0, 0)
        if other is not None and other.noise is not None:
            there = other.noise.cells[i].paired
            reference = (there.both + there.only_second, there.num_examples)
        rows.append(
            GateRow.unpaired(right, reference, check=cell.kind, kind="noise", note=f"severity {cell.severity}")
        )
    return rows


def _with_shares(row: GateRow, model: PreTrainedModel) -> GateRow:
    name = row.check.removesuffix(" (transferred)")
    if row.kind == "noise":
        used = NOISE_RESOURCES.get(name, ())
    elif name in ("clean", "transfer"):
        used = ()
    else:
        used = attack_resources(get_recipe(name))
    return replace(row, shares=shared_resources(used, training_resources(model.config)))


def _settings(options: GateOptions, own: Evidence, other: Evidence | None, dataset: Any) -> dict[str, Any]:
    found = {"num_examples": options.config.num_examples, "label_queries": options.label_queries}
    found |= {"severity": options.severity, "data": describe_data(dataset)}
    found["temperature"] = own.scores.settings["temperature"]
    if other is not None:
        found["reference_temperature"] = other.scores.settings["temperature"]
    return found


def _warnings(own: Evidence, other: Evidence | None) -> tuple[str, ...]:
    """Of the attacks by scores; those of the reference say whose they are."""
    found = list(own.scores.warnings)
    found += [] if other is None else [f"reference: {warning}" for warning in other.scores.warnings]
    return tuple(found)
