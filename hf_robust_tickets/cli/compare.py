"""`robust-tickets compare`: whether models differ under the same attacks, tested on the examples they share."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import ConfigurationError, DataError
from ..reporting.tables import text_table
from .options import parse
from .report import ReportOptions, comparison_rows, read_files


@dataclass
class CompareOptions:
    """Which reports."""

    reports: list[str] = field(metadata={"help": "Two or more files robustness.json, or folders that hold them."})
    names: list[str] | None = field(default=None, metadata={"help": "Names of the models; default: the folders'."})


def run(argv: list[str]) -> None:
    """Prints McNemar's test and the paired difference, with its interval, of each report and the next."""
    # `compare A.json B.json`, as well as `compare --reports A.json B.json`.
    bare = argv and not argv[0].startswith("-") and not argv[0].endswith((".yaml", ".yml"))
    (options,) = parse("compare", (CompareOptions,), ["--reports", *argv] if bare else argv)
    reports, _ = read_files(ReportOptions(options.reports, options.names))
    if len(reports) < 2:
        raise ConfigurationError(
            f"expected two reports or more to compare, got {len(reports)}: name two files robustness.json or "
            "hotflip.json, or folders that hold them"
        )
    rows = comparison_rows(reports)
    compared = [row for row in rows if row["attack"] is not None]
    if not compared:
        why = rows[0]["remark"] if rows else "no comparison: one is of recipes, the other of `probe hotflip`"
        raise DataError(why.removeprefix("no comparison: "))
    print(text_table(rows))
