"""`robust-tickets evaluate`: attacks a model and writes the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import MissingResourceError
from ..evaluation import evaluate_robustness
from .data import load_split
from .models import load_classifier, load_tokenizer
from .options import DataOptions, ModelOptions, parse


@dataclass
class EvaluateOptions:
    """How to attack, and where the report goes."""

    recipes: list[str] = field(
        default_factory=lambda: ["textfooler"],
        metadata={
            "help": "Names of recipes (`robust-tickets resources list` has them all), or my_module:build, or "
            "path/to/file.py:build."
        },
    )
    num_examples: int = field(default=1000, metadata={"help": "Size of the stratified sample that is attacked."})
    seed: int = field(default=0, metadata={"help": "Chooses the sample and seeds the attacks."})
    sentence_encoder: str = field(
        default="use", metadata={"help": "use, or a sentence-transformers model: a name, a folder, or minilm."}
    )
    masked_language_model: str | None = field(
        default=None,
        metadata={"help": "For recipes that use one: a name on the Hub or a folder; default: the papers'."},
    )
    modify_columns: list[str] | None = field(
        default=None, metadata={"help": "Of a pair of texts, the columns that may change; default: the papers' rule."}
    )
    batch_size: int = field(default=256, metadata={"help": "Sentences per forward pass of the victim."})
    output_dir: str = field(default="robustness", metadata={"help": "Folder for robustness.json."})


def run(argv: list[str]) -> None:
    """Writes `robustness.json` and prints the table; an attack that was cut off continues."""
    model_options, data_options, options = parse("evaluate", (ModelOptions, DataOptions, EvaluateOptions), argv)
    report = evaluate_robustness(
        load_classifier(model_options),
        load_tokenizer(model_options),
        load_split(data_options, "validation", seed=options.seed),
        recipes=options.recipes,
        num_examples=options.num_examples,
        seed=options.seed,
        text_columns=data_options.text_columns,
        label_column=data_options.label_column,
        sentence_encoder=options.sentence_encoder,
        masked_language_model=options.masked_language_model,
        modify_columns=options.modify_columns,
        batch_size=options.batch_size,
        max_length=data_options.max_length,
        output_dir=options.output_dir,
    )
    print(report.summary())
    print(f"report in {Path(options.output_dir) / 'robustness.json'}")
    if report.failures:
        raise MissingResourceError("; ".join(f"{name} did not run: {why}" for name, why in report.failures.items()))
