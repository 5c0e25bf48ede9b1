"""`robust-tickets bench MODEL`: speed, memory and size of a pruned model against the dense one."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass, field
from pathlib import Path

from .._files import write_text
from ..evaluation.efficiency.speed import measure_speed
from ..reporting.escaping import markdown
from ..reporting.plots import plot_speed
from ..reporting.tables import markdown_table, text_table
from .options import ModelOptions, parse

logger = logging.getLogger(__name__)


@dataclass
class BenchOptions:
    """What to measure, and where the result goes."""

    batch_sizes: list[int] = field(default_factory=lambda: [1, 8, 32], metadata={"help": "Examples per pass."})
    lengths: list[int] = field(default_factory=lambda: [32, 128], metadata={"help": "Tokens per example."})
    rounds: int = field(default=7, metadata={"help": "Repetitions; medians are reported."})
    dtype: str = field(default="float32", metadata={"help": "float32, bfloat16 or float16."})
    output_dir: str = field(default="bench", metadata={"help": "Folder for bench.json, bench.md and bench.png."})


def run(argv: list[str]) -> None:
    """Measures, prints the table, and writes it with a picture."""
    if argv and not argv[0].startswith("-") and not argv[0].endswith((".yaml", ".yml")):
        argv = ["--model_name_or_path", *argv]
    model, options = parse("bench", (ModelOptions, BenchOptions), argv)
    report = measure_speed(
        model.model_name_or_path,
        batch_sizes=options.batch_sizes,
        lengths=options.lengths,
        rounds=options.rounds,
        dtype=options.dtype,
        revision=model.model_revision,
    )
    folder = Path(options.output_dir)
    report.save(folder / "bench.json")
    threads = f"{report.threads} thread{'s' * (report.threads > 1)}"
    how = f"{report.device}, {report.dtype}, {threads}, medians of {report.rounds} rounds in turn"
    title = report.model["name_or_path"]
    table = markdown_table(report.rows())
    write_text(folder / "bench.md", markdown("# {}\n\n{}.\n\n{}\n", title, how, table))
    if importlib.util.find_spec("matplotlib") is None:
        logger.warning("no picture: matplotlib is not installed; run `pip install 'hf_robust_tickets[plots]'`")
    else:
        plot_speed(report.rows(), folder / "bench.png", subtitle=f"{how}.")
    print(text_table(report.rows()))
    print(f"{how}; saved in {folder}")
