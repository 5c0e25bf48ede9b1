"""`robust-tickets report`: results of evaluations as a web page, and how the models in them differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, DataError
from ..evaluation import EvaluationResult, RobustnessReport, compare_results, load_result
from ..evaluation.white_box.hotflip import NAME as HOTFLIP
from ..reporting.attack_page import write_attack_page
from ..reporting.tables import text_table
from .options import parse

FILES = (
    *("robustness", HOTFLIP, "accuracy", "white_box", "auto_attack", "noise", "contrast", "transfer"),
    *("image_transfer", "bench", "gate"),
)
"""What results are called in the folder of a model."""


@dataclass
class ReportOptions:
    """Which reports, and where the page goes."""

    reports: list[str] = field(
        metadata={
            "help": "Results of `evaluate`, `probe` or `bench` (robustness.json, white_box.json, ...), or folders."
        }
    )
    names: list[str] | None = field(
        default=None, metadata={"help": "Names of the models; default: what they were opened as, else folders."}
    )
    output_file: str | None = field(
        default=None, metadata={"help": "The page; default: robustness.html beside the first report."}
    )
    max_examples: int = field(default=200, metadata={"help": "Texts shown per model and recipe."})


def run(argv: list[str]) -> None:
    """Prints the figures, compares the reports in pairs, and writes the page."""
    # `report A.json B.json`, as well as `report --reports A.json B.json`.
    bare = argv and not argv[0].startswith("-") and not argv[0].endswith((".yaml", ".yml"))
    (options,) = parse("report", (ReportOptions,), ["--reports", *argv] if bare else argv)
    found = read_files(options)
    reports = reports_of(found)
    views = [(name, result.to_dict()) for name, result in found if not isinstance(result, RobustnessReport)]
    first = Path(options.reports[0])
    output_file = options.output_file or (first if first.is_dir() else first.parent) / "robustness.html"
    for name, report in reports.items():
        print(f"{name}\n{report.summary()}\n")
    if rows := comparison_rows(found):
        print(text_table(rows))
    values = {name: report.to_dict() for name, report in reports.items()}
    print(f"page: {write_attack_page(output_file, values, rows, options.max_examples, views)}")


def reports_of(found: Sequence[tuple[str, EvaluationResult]]) -> dict[str, RobustnessReport]:
    """Name -> report of attacked texts; a second one of a name is named after its attack too."""
    reports: dict[str, RobustnessReport] = {}
    for name, result in found:
        if isinstance(result, RobustnessReport):
            reports[f"{name}, {_attack(result)}" if name in reports else name] = result
    return reports


def comparison_rows(found: Sequence[tuple[str, EvaluationResult]]) -> list[dict[str, Any]]:
    """How the models differ, each and the next, among results of one kind that hold an answer per example.

    Reports of recipes are compared among themselves, and those of `probe hotflip`. Two that cannot be compared are a
    row with the reason.
    """
    reports = reports_of(found)
    groups: list[Mapping[str, EvaluationResult]] = [
        {name: report for name, report in reports.items() if _attack(report) != HOTFLIP},
        {name: report for name, report in reports.items() if _attack(report) == HOTFLIP},
        {name: result for name, result in found if result.answers and not isinstance(result, RobustnessReport)},
    ]
    rows: list[dict[str, Any]] = []
    for group in groups:
        for (first, a), (second, b) in pairwise(group.items()):
            try:
                rows += [comparison.to_row() for comparison in compare_results({first: a, second: b})]
            except DataError as error:
                rows.append({"attack": None, "models": f"{first} → {second}", "remark": f"no comparison: {error}"})
    return rows


def _attack(report: RobustnessReport) -> str:
    return HOTFLIP if tuple(report) == (HOTFLIP,) else "robustness"


def read_files(options: ReportOptions) -> list[tuple[str, EvaluationResult]]:
    """(name of the model, result) in the order given; a file that is given twice, by itself and by its folder, is read
    once.

    Raises:
        CheckpointError: If a file holds no result of an evaluation, or a damaged one.
        DataError: If a file is missing.
        ConfigurationError: If there are not as many names as paths, or two are equal.
    """
    found = _once(_files(Path(path)) for path in options.reports)
    for file in (file for files in found for file in files):
        if not file.is_file():
            raise DataError(f"expected a report at {file}, got no such file: make it with `robust-tickets evaluate`")
    results = [[load_result(file) for file in files] for files in found]
    names = options.names or _model_names([each[0] for each in results]) or _names([files[0] for files in found])
    if len(names) != len(found) or len(set(names)) != len(names):
        raise ConfigurationError(f"expected {len(found)} different names, got {names}: give one per report in --names")
    return [(name, result) for name, each in zip(names, results) for result in each]


def _files(path: Path) -> list[Path]:
    """A file itself; of a folder the results of its model."""
    if not path.is_dir():
        return [path]
    found = [path / f"{name}.json" for name in FILES]
    found += sorted(path.glob("transfer-*.json"))
    return [file for file in found if file.is_file()] or found[:1]


def _once(found: Iterable[list[Path]]) -> list[list[Path]]:
    """Each file where it comes first, without the lists that are left empty."""
    seen: set[Path] = set()
    left = []
    for files in found:
        new = [file for file in files if file.resolve() not in seen]
        seen.update(file.resolve() for file in new)
        left += [new] if new else []
    return left


def _model_names(results: Sequence[EvaluationResult]) -> list[str] | None:
    """What the models are called where they were opened: a repository, or the last part of a folder's path.

    None where one has no name, or two have the same.
    """
    paths = [str((getattr(result, "model", None) or {}).get("name_or_path") or "") for result in results]
    names = [path if path.count("/") == 1 and not path.startswith((".", "/")) else Path(path).name for path in paths]
    return names if all(names) and len(set(names)) == len(names) else None


def _names(files: list[Path]) -> list[str]:
    """The folders' names; the whole paths where these are equal."""
    short = [_folder_name(file) if file.stem in FILES and file.stem != HOTFLIP else file.stem for file in files]
    return short if len(set(short)) == len(short) else [str(file) for file in files]


def _folder_name(file: Path) -> str:
    """The folder's name; of `.../NAME/robustness/`, which is where `evaluate` puts its report, NAME."""
    folder = file.resolve().parent
    return folder.parent.name if folder.name == "robustness" and folder.parent.name else folder.name
