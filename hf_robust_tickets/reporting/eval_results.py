"""Results in the files that the Hub reads beside the card's `model-index`: `.eval_results/*.yaml`.

The format is https://huggingface.co/docs/hub/eval-results, written with `huggingface_hub`'s own classes: one figure of
one task of a data set of the Hub. A data set that is no benchmark there is shown nowhere, and is no error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from .._files import write_text
from .model_card import CardFacts

FOLDER = ".eval_results"
_PREFIX = "robust-tickets-"


def eval_results(facts: CardFacts, reports: Mapping[str, Mapping[str, Any]]) -> dict[str, EvalResultEntry]:
    """Accuracy without an attack and under each recipe, for data that are on the Hub.

    The task of an attacked figure has a name of its own, `TASK_under_RECIPE`: it would mislead in the table of those
    without an attack.

    Args:
        facts: Those of the card.
        reports: Robustness reports, as for `model_card`.

    Returns:
        Name of a file -> the result in it.
    """
    found = {}
    if facts.data.get("repository") and facts.metrics.get("accuracy") is not None:
        notes = _notes("accuracy without an attack", facts.data)
        found[f"{_PREFIX}accuracy.yaml"] = _entry(facts.data, _task(facts.data), facts.metrics["accuracy"], notes)
    for name, report in reports.items():
        data = report["settings"].get("data") or {}
        if not data.get("repository"):
            continue
        for recipe, result in report["recipes"].items():
            if result["accuracy_under_attack"] is None:
                continue
            lower, upper = result["confidence_interval"]
            notes = _notes(
                f"accuracy under attack by {recipe} on a sample of {report['num_examples']} (seed {report['seed']}), "
                f"95 % interval {lower:.3f} to {upper:.3f}",
                data,
            )
            if result["not_comparable"]:
                notes += f"; not comparable with published figures: {'; '.join(result['not_comparable'])}"
            file = f"{_PREFIX}{_plain(Path(name).stem)}-{_plain(recipe)}.yaml"
            task = f"{_task(data)}_under_{_plain(recipe)}"
            found[file] = _entry(data, task, result["accuracy_under_attack"], notes)
    return found


def write_eval_results(folder: Path, facts: CardFacts, reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Writes them below a checkpoint; those that an earlier call wrote and that are no longer true are removed.

    Args:
        folder: That of the checkpoint.
        facts: As for `eval_results`.
        reports: As for `eval_results`.

    Returns:
        The paths of the files, from the folder.
    """
    found = eval_results(facts, reports)
    for old in own_files(folder):
        if old.name not in found:
            old.unlink()
    for name, entry in found.items():
        content = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True)
        write_text(folder / FOLDER / name, content)
    return [f"{FOLDER}/{name}" for name in found]


def own_files(folder: Path) -> Iterator[Path]:
    """Files of results below a checkpoint that this package has written."""
    yield from (path for path in sorted((folder / FOLDER).glob(f"{_PREFIX}*.yaml")) if path.is_file())


def _entry(data: Mapping[str, Any], task: str, value: float, notes: str) -> EvalResultEntry:
    return EvalResultEntry(
        dataset_id=data["repository"], task_id=task, value=value, dataset_revision=data.get("revision"), notes=notes
    )


def _task(data: Mapping[str, Any]) -> str:
    return data.get("config") or "default"


def _notes(what: str, data: Mapping[str, Any]) -> str:
    return f"{what}, split {data['split']}" if data.get("split") else what


def _plain(name: str) -> str:
    """A name as part of a file's name; that of a recipe may be a path."""
    return re.sub(r"[^\w.+-]+", "_", name)
