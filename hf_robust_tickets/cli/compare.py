"""`robust-tickets compare`: whether models differ under the same attacks, tested on the examples they share."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import ConfigurationError, DataError
from ..evaluation import EvaluationResult
from ..reporting.tables import text_table
from .options import parse
from .report import ReportOptions, comparison_rows, read_files


@dataclass
class CompareOptions:
    """Which reports."""

    reports: list[str] = field(
        metadata={"help": "Two or more results (robustness.json, ...), or folders that hold them."}
    )
    names: list[str] | None = field(default=None, metadata={"help": "Names of the models; default: the folders'."})


def run(argv: list[str]) -> None:
    """Prints McNemar's test and the paired difference, with its interval, of each report and the next."""
    # `compare A.json B.json`, as well as `compare --reports A.json B.json`.
    bare = argv and not argv[0].startswith("-") and not argv[0].endswith((".yaml", ".yml"))
    (options,) = parse("compare", (CompareOptions,), ["--reports", *argv] if bare else argv)
    found = read_files(ReportOptions(options.reports, options.names))
    comparable = [(name, result) for name, result in found if result.answers]
    if len(comparable) < 2:
        others = {result.kind: result.why_no_answers for _, result in found if not result.answers}
        why = "".join(f"; {kind}: {reason}" for kind, reason in others.items())
        raise ConfigurationError(
            f"expected two reports or more to compare, got {len(comparable)}: name two files robustness.json, "
            f"hotflip.json or auto_attack.json, or folders that hold them{why}"
        )
    rows = comparison_rows(comparable)
    compared = [row for row in rows if row["attack"] is not None]
    if not compared:
        kinds = ", ".join(dict.fromkeys(_described(result) for _, result in comparable))
        why = rows[0]["remark"] if rows else f"expected two results of one kind, got {kinds}"
        raise DataError(why.removeprefix("no comparison: "))
    print(text_table(rows))


def _described(result: EvaluationResult) -> str:
    return f"{result.kind} ({', '.join(result.answers)})"
