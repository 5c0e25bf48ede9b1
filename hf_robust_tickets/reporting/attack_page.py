"""A robustness report as a web page: the figures, and every attacked text beside what became of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .differences import mark_changes
from .escaping import Html
from .formatting import format_percent
from .html import Facts, Note, Section, Table, table, write_summary
from .views import calibration_sections, view_sections

_OUTCOMES = {"succeeded": "fooled", "failed": "withstood", "skipped": "wrong before the attack"}


@dataclass(frozen=True)
class TextPairs:
    """Texts before and after an attack, side by side, with the changed words marked.

    Args:
        outcomes: As `outcomes` of a recipe in the JSON of a report.
        labels: Names of the classes; numbers where there are none.
    """

    outcomes: Sequence[Mapping[str, Any]]
    labels: Mapping[int, str] | None = None

    def html(self) -> Html:
        """The pairs as a table."""
        rows = [self._row(outcome) for outcome in self.outcomes]
        return table(("Row", "Before", "After", "Outcome"), rows, (True, False, False, False))

    def _row(self, outcome: Mapping[str, Any]) -> list[str]:
        before, after = mark_changes(_joined(outcome["original"]), _joined(outcome["perturbed"]))
        if outcome.get("error"):
            return [str(outcome["index"]), before, after, f"not attacked: {outcome['error']}"]
        became = _OUTCOMES[outcome["outcome"]]
        if outcome["outcome"] == "succeeded":
            became += f": {self._name(outcome['original_prediction'])} → {self._name(outcome['perturbed_prediction'])}"
        return [str(outcome["index"]), before, after, f"{became}, {outcome['queries']} queries"]

    def _name(self, label: int) -> str:
        return (self.labels or {}).get(label, str(label))


def write_attack_page(
    path: str | os.PathLike[str],
    reports: Mapping[str, Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]] = (),
    max_examples: int = 200,
    views: Sequence[tuple[str, Mapping[str, Any]]] = (),
) -> Path:
    """Writes one page about one or several reports.

    Args:
        path: The file to write.
        reports: Name of the model -> JSON of its report (`RobustnessReport.to_dict()`).
        comparisons: Rows of paired comparisons, for a table of their own.
        max_examples: Texts shown per model and recipe, the successful attacks first; the page says when it cuts.
        views: (name of the model, JSON of another view of it): white-box, noise, contrast sets, transfer.

    Returns:
        The path.
    """
    figures: list[Any] = []
    if reports:
        figures.append(Table([row for name, report in reports.items() for row in _rows(name, report)]))
    if comparisons:
        figures.append(Table(comparisons, caption="Paired on the same examples."))
    # What all models share is said once.
    warnings = dict.fromkeys(warning for name, report in reports.items() for warning in _warnings(name, report))
    figures.extend(Note(warning, "warning") for warning in warnings)
    sections = [Section("Figures", figures)] if figures else []
    sections += view_sections(views)
    sections += calibration_sections(reports)
    for name, report in reports.items():
        for recipe, result in report["recipes"].items():
            sections.append(
                _examples(f"{name}: {recipe}" if len(reports) > 1 else recipe, report, result, max_examples)
            )
    first = next(iter([*reports.values(), *(view for _, view in views)]))
    versions = ", ".join(f"{package} {version}" for package, version in first.get("versions", {}).items())
    names = dict.fromkeys([*reports, *(name for name, _ in views)])
    examples = f": {first['num_examples']} examples" if "num_examples" in first else ""
    by = f", attacked by {', '.join(first['recipes'])}" if reports else ""
    return write_summary(
        path,
        title="Robustness under attack",
        lead=f"{', '.join(names)}{examples}{by}.",
        sections=sections,
        footer=" · ".join(
            part for part in ("" if first.get("seed") is None else f"seed {first['seed']}", versions) if part
        ),
    )


def _rows(name: str, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for recipe, result in report["recipes"].items():
        lower, upper = result["confidence_interval"]
        under = result["accuracy_under_attack"]
        if result.get("goal") == "reduce" and result["mean_words"] is not None:
            shown = f"{result['mean_words_left']:.1f} of {result['mean_words']:.1f} words left"
        else:
            shown = "–" if under is None else format_percent(under)
        rows.append(
            {
                "model": name,
                "attack": recipe,
                "clean": format_percent(report["clean_accuracy"]),
                "under attack": shown,
                "95 % interval": "–" if lower is None else f"{100 * lower:.1f}–{100 * upper:.1f}",
                "queries": "–" if result["mean_queries"] is None else f"{result['mean_queries']:.1f}",
                "comparable": "no" if result["not_comparable"] else "yes",
            }
        )
    failed = [
        {"model": name, "attack": recipe, "under attack": f"did not run: {why}"}
        for recipe, why in report["failures"].items()
    ]
    return rows + failed


def _warnings(name: str, report: Mapping[str, Any]) -> list[str]:
    stand_ins = [
        f"{recipe}: not comparable with published numbers, because {'; '.join(result['not_comparable'])}"
        for recipe, result in report["recipes"].items()
        if result["not_comparable"]
    ]
    return stand_ins + [f"{name}: {warning}" for warning in report["warnings"]]


def _examples(title: str, report: Mapping[str, Any], result: Mapping[str, Any], most: int) -> Section:
    order = {"succeeded": 0, "failed": 1, "skipped": 2}
    outcomes = sorted(result["outcomes"], key=lambda outcome: order[outcome["outcome"]])
    names = {int(key): value for key, value in (report["model"].get("id2label") or {}).items()}
    counts = {name: result[key] for key, name in _OUTCOMES.items()}
    blocks: list[Any] = [Facts(counts)]
    if len(outcomes) > most:
        blocks.append(Note(f"{most} of {len(outcomes)} texts are shown; the report's JSON holds all."))
    return Section(title, [*blocks, TextPairs(outcomes[:most], names)])


def _joined(text: str | Mapping[str, str]) -> str:
    return text if isinstance(text, str) else "\n".join(f"{column}: {part}" for column, part in text.items())
