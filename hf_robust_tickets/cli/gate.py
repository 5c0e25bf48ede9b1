"""`robust-tickets evaluate --gate`: every check of robustness, one table, one verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._files import write_text
from ..errors import ConfigurationError
from ..evaluation import GateResult, evaluate_gate
from ..reporting.escaping import markdown
from ..reporting.tables import markdown_table, text_table
from .data import load_development, load_evaluation, sample_size
from .models import load_to_evaluate
from .options import DataOptions, ModelOptions

if TYPE_CHECKING:
    from .evaluate import EvaluateOptions

NUM_EXAMPLES, LABEL_QUERIES = 200, 500

UNUSED = ("torch_compile", "until_width", "calibrate")
"""Options of `evaluate` that the gate decides itself."""


def run_gate(model_options: ModelOptions, data_options: DataOptions, options: EvaluateOptions, device: Any) -> None:
    """Writes `gate.json` and `verdict.md`, and prints the table; a run that was cut off continues.

    Raises:
        ConfigurationError: If an option does not go together with the gate.
    """
    if unused := [f"--{name}" for name in UNUSED if getattr(options, name)]:
        raise ConfigurationError(f"expected --gate without {', '.join(unused)}, got both: the gate decides about it")
    development = load_development(data_options, options.development_file, options.development_split)
    if development is None:
        raise ConfigurationError(
            "expected development data for --gate, got none: pass --development_file or --development_split"
        )
    model, tokenizer = load_to_evaluate(model_options)
    reference = None
    if options.reference is not None:
        other, its_tokenizer = load_to_evaluate(
            ModelOptions(options.reference, trust_remote_code=model_options.trust_remote_code)
        )
        reference = other.to(device), its_tokenizer
    attack = {
        name: getattr(options, name)
        for name in (
            *("sentence_encoder", "masked_language_model", "word_vectors", "modify_columns"),
            *("resume", "num_processes", "concurrent_examples"),
        )
    }
    chosen = {} if options.recipes is None else {"recipes": options.recipes}
    result = evaluate_gate(
        model.to(device),
        load_evaluation(data_options),
        tokenizer,
        development_data=development,
        reference=reference,
        label_queries=options.query_budget or LABEL_QUERIES,
        output_dir=options.output_dir,
        attack=attack,
        num_examples=sample_size(data_options, options.num_examples or NUM_EXAMPLES),
        seed=options.seed,
        text_columns=data_options.text_columns,
        label_column=data_options.label_column,
        batch_size=options.batch_size,
        max_length=data_options.max_length,
        bf16=options.bf16,
        **chosen,
    )
    folder = Path(options.output_dir)
    write_text(folder / "verdict.md", verdict_page(result))
    print(f"{text_table(result.to_table())}\n{result.conclusion()}")
    print(f"verdict in {folder / 'verdict.md'}, figures in {folder / 'gate.json'}")


def verdict_page(result: GateResult) -> str:
    """The table and the conclusion as Markdown."""
    lines = [markdown("- {}", line) for line in result.conclusion().splitlines()]
    return "\n".join(["# Verdict", "", markdown_table(result.to_table()), "", *lines, ""])
