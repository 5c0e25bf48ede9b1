"""`robust-tickets report`: reports of `evaluate` as a web page, and how the models in them differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, DataError
from ..evaluation import RobustnessReport, compare_reports
from ..evaluation.white_box.hotflip import NAME as HOTFLIP
from ..reporting.attack_page import write_attack_page
from ..reporting.tables import text_table
from ..reporting.views import SCHEMAS
from .options import parse

_VIEWS = tuple(schema.rpartition("/")[2] for schema in SCHEMAS)
"""Names that `probe` gives its files."""


@dataclass
class ReportOptions:
    """Which reports, and where the page goes."""

    reports: list[str] = field(
        metadata={"help": "Files of `evaluate` or `probe` (robustness.json, white_box.json, ...), or their folders."}
    )
    names: list[str] | None = field(default=None, metadata={"help": "Names of the models; default: the folders'."})
    output_file: str | None = field(
        default=None, metadata={"help": "The page; default: robustness.html beside the first report."}
    )
    max_examples: int = field(default=200, metadata={"help": "Texts shown per model and recipe."})


def run(argv: list[str]) -> None:
    """Prints the figures, compares the reports in pairs, and writes the page."""
    # `report A.json B.json`, as well as `report --reports A.json B.json`.
    bare = argv and not argv[0].startswith("-") and not argv[0].endswith((".yaml", ".yml"))
    (options,) = parse("report", (ReportOptions,), ["--reports", *argv] if bare else argv)
    reports, views = read_files(options)
    first = Path(options.reports[0])
    output_file = options.output_file or (first if first.is_dir() else first.parent) / "robustness.html"
    for name, report in reports.items():
        print(f"{name}\n{report.summary()}\n")
    if rows := comparison_rows(reports):
        print(text_table(rows))
    values = {name: report.to_dict() for name, report in reports.items()}
    print(f"page: {write_attack_page(output_file, values, rows, options.max_examples, views)}")


def comparison_rows(reports: Mapping[str, RobustnessReport]) -> list[dict[str, Any]]:
    """How the models differ, each and the next: reports of recipes among themselves, and those of `probe hotflip`.

    Two that cannot be compared are a row with the reason.
    """
    flips = {name: report for name, report in reports.items() if tuple(report) == (HOTFLIP,)}
    recipes = {name: report for name, report in reports.items() if name not in flips}
    rows: list[dict[str, Any]] = []
    for group in (recipes, flips):
        for (first, a), (second, b) in pairwise(group.items()):
            try:
                rows += [found.to_row() for found in compare_reports({first: a, second: b})]
            except DataError as error:
                rows.append({"attack": None, "models": f"{first} → {second}", "remark": f"no comparison: {error}"})
    return rows


def read_files(options: ReportOptions) -> tuple[dict[str, RobustnessReport], list[tuple[str, dict[str, Any]]]]:
    """Name -> report, and (name, JSON) of other views, in the order given. A second report of a folder is named after
    its file too; a file that is given twice, by itself and by its folder, is read once.

    Raises:
        DataError: If a file is missing.
        ConfigurationError: If there are not as many names as paths, or two are equal.
    """
    found = _once(_files(Path(path)) for path in options.reports)
    for file in (file for files in found for file in files):
        if not file.is_file():
            raise DataError(f"expected a report at {file}, got no such file: make it with `robust-tickets evaluate`")
    names = options.names or _names([files[0] for files in found])
    if len(names) != len(found) or len(set(names)) != len(names):
        raise ConfigurationError(f"expected {len(found)} different names, got {names}: give one per report in --names")
    reports: dict[str, RobustnessReport] = {}
    views: list[tuple[str, dict[str, Any]]] = []
    for name, file in ((name, file) for name, files in zip(names, found) for file in files):
        view = _view(file)
        if view is None:
            reports[f"{name}, {file.stem}" if name in reports else name] = RobustnessReport.load(file)
        else:
            views.append((name, view))
    return reports, views


def _view(file: Path) -> dict[str, Any] | None:
    """What a file of `probe` holds; None for a report, whose own reader says what may be wrong with it."""
    try:
        values = json.loads(file.read_text(encoding="utf-8", errors="surrogatepass"))
    except json.JSONDecodeError:
        return None
    return values if isinstance(values, dict) and values.get("schema") in SCHEMAS else None


def _files(path: Path) -> list[Path]:
    """A file itself; of a folder its report and the files of `probe`."""
    if not path.is_dir():
        return [path]
    found = [path / f"{name}.json" for name in ("robustness", HOTFLIP, *_VIEWS)]
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


def _names(files: list[Path]) -> list[str]:
    """The folders' names; the whole paths where these are equal."""
    in_folder = ("robustness", *_VIEWS)
    short = [_folder_name(file) if file.stem in in_folder else file.stem for file in files]
    return short if len(set(short)) == len(short) else [str(file) for file in files]


def _folder_name(file: Path) -> str:
    """The folder's name; of `.../NAME/robustness/`, which is where `evaluate` puts its report, NAME."""
    folder = file.resolve().parent
    return folder.parent.name if folder.name == "robustness" and folder.parent.name else folder.name
