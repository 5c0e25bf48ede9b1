"""`robust-tickets report`: reports of `evaluate` as a web page, and how the models in them differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigurationError, DataError
from ..evaluation import RobustnessReport, compare_reports
from ..reporting.attack_page import write_attack_page
from ..reporting.tables import text_table
from .options import parse


@dataclass
class ReportOptions:
    """Which reports, and where the page goes."""

    reports: list[str] = field(metadata={"help": "Files robustness.json, or the folders that hold them."})
    names: list[str] | None = field(default=None, metadata={"help": "Names of the models; default: the folders'."})
    output_file: str = field(default="robustness.html", metadata={"help": "The page."})
    max_examples: int = field(default=200, metadata={"help": "Texts shown per model and recipe."})


def run(argv: list[str]) -> None:
    """Prints the figures, compares the reports in pairs, and writes the page."""
    # `report A.json B.json`, as well as `report --reports A.json B.json`.
    bare = argv and not argv[0].startswith("-") and not argv[0].endswith((".yaml", ".yml"))
    (options,) = parse("report", (ReportOptions,), ["--reports", *argv] if bare else argv)
    reports = read_reports(options)
    rows = []
    for name, report in reports.items():
        print(f"{name}\n{report.summary()}\n")
    if len(reports) > 1:
        rows = [comparison.to_row() for comparison in compare_reports(reports)]
        print(text_table(rows))
    values = {name: report.to_dict() for name, report in reports.items()}
    print(f"page: {write_attack_page(options.output_file, values, rows, options.max_examples)}")


def read_reports(options: ReportOptions) -> dict[str, RobustnessReport]:
    """Name -> report, in the order given.

    Raises:
        DataError: If a file is missing.
        ConfigurationError: If there are not as many names as reports, or two are equal.
    """
    files = [Path(path) / "robustness.json" if Path(path).is_dir() else Path(path) for path in options.reports]
    for file in files:
        if not file.is_file():
            raise DataError(f"expected a report at {file}, got no such file: make it with `robust-tickets evaluate`")
    names = options.names or _names(files)
    if len(names) != len(files) or len(set(names)) != len(names):
        raise ConfigurationError(f"expected {len(files)} different names, got {names}: give one per report in --names")
    return {name: RobustnessReport.load(file) for name, file in zip(names, files)}


def _names(files: list[Path]) -> list[str]:
    """The folders' names; the whole paths where these are equal."""
    short = [file.resolve().parent.name if file.name == "robustness.json" else file.stem for file in files]
    return short if len(set(short)) == len(short) else [str(file) for file in files]
