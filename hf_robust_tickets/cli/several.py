"""`robust-tickets evaluate --task labels` and `--task tags`: models that decide several things about a text."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from ..errors import ConfigurationError, MissingResourceError
from ..evaluation import SeveralReport, evaluate_label_sets, evaluate_tags
from .data import read_split, rows_of_file, sample_size
from .models import load_to_evaluate
from .options import DataOptions, ModelOptions

if TYPE_CHECKING:
    from .evaluate import EvaluateOptions

TASKS = ("classes", "labels", "tags")
NUM_EXAMPLES = 100

COLUMNS: dict[str, dict[str, Any]] = {
    "classes": {},
    "labels": {"label_column": "labels"},
    "tags": {"label_column": "tags", "text_columns": ["tokens"]},
}
"""Columns that a task has by default, where they are not those of `DataOptions`."""

UNUSED = (
    *("gate", "reference", "calibrate", "development_file", "development_split", "modify_columns"),
    *("num_processes", "concurrent_examples", "torch_compile", "until_width"),
)
"""Options of `evaluate` that these evaluations do not have."""


@dataclass
class TaskOptions:
    """What the model decides about a text."""

    task: str = field(
        default="classes",
        metadata={"help": "classes: one per text; labels: several at once; tags: one for each word."},
    )
    threshold: float = field(default=0.5, metadata={"help": "labels: probability from which one is predicted."})
    min_share: float = field(
        default=0.0, metadata={"help": "tags: share of a sentence's tags that have to become wrong; 0: one tag."}
    )

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigurationError(f"expected a task among {', '.join(TASKS)}, got {self.task!r}")


def run_several(
    model_options: ModelOptions, data_options: DataOptions, task: TaskOptions, options: EvaluateOptions, device: Any
) -> None:
    """Writes `labels.json` or `tags.json`, and prints a line per recipe; an attack that was cut off continues.

    Raises:
        ConfigurationError: If an option does not go together with the task.
        MissingResourceError: If a recipe did not run for want of a resource.
    """
    changed = [f"--{one.name}" for one in fields(options) if getattr(options, one.name) != one.default]
    if unused := [name for name in changed if name.removeprefix("--") in UNUSED]:
        raise ConfigurationError(f"expected --task {task.task} without {', '.join(unused)}, got both")
    auto = AutoModelForTokenClassification if task.task == "tags" else AutoModelForSequenceClassification
    model, tokenizer = load_to_evaluate(model_options, auto)
    with rows_of_file(data_options):
        report = _evaluate(task, model.to(device), tokenizer, data_options, options)
    print(f"{report}\nreport in {Path(options.output_dir) / f'{task.task}.json'}")
    if report.failures:
        reasons = "; ".join(f"{recipe}: {reason}" for recipe, reason in report.failures.items())
        raise MissingResourceError(f"not all recipes ran: {reasons}")


def _evaluate(
    task: TaskOptions, model: Any, tokenizer: Any, data_options: DataOptions, options: EvaluateOptions
) -> SeveralReport:
    columns = data_options.text_columns
    common: dict[str, Any] = {
        "recipes": options.recipes or ["textfooler"],
        "num_examples": sample_size(data_options, options.num_examples or NUM_EXAMPLES),
        "seed": options.seed,
        "text_columns": columns[0] if columns and len(columns) == 1 else columns,
        "label_column": data_options.label_column,
        "max_length": data_options.max_length,
        **{
            name: getattr(options, name)
            for name in (
                *("sentence_encoder", "masked_language_model", "word_vectors", "query_budget"),
                *("output_dir", "resume"),
            )
        },
        "batch_size": options.batch_size,
        "bf16": options.bf16,
    }
    data = read_split(data_options, "validation")
    if task.task == "tags":
        return evaluate_tags(model, data, tokenizer, min_share=task.min_share, **common)
    return evaluate_label_sets(model, data, tokenizer, threshold=task.threshold, **common)
