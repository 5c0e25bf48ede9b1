"""From the rows of the gate to a verdict: which rules, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..datasets.transfer import TransferResult
from ..results.compare import Comparison
from ..results.report import RobustnessReport
from .result import GateRow

HIDDEN = 0.05
"""Accuracy that an attack at T* takes beyond the one at T = 1: from here on it is a sign."""

STRONGER = 0.10
"""Accuracy that an attack by labels takes beyond the one by scores with the same words: a search at random finds some
texts that a greedy one misses, on any model; from here on it is a sign."""

SAME_WORDS = "textfooler"
"""The attack by scores that has the words of the one by labels."""

DIRECT = frozenset({"scores", "labels"})
"""Attacks on the model itself; texts that were made on another confirm, and show no gain alone."""


def signs_of_false_robustness(
    scores: RobustnessReport, labels: RobustnessReport | None, transferred: Mapping[str, TransferResult]
) -> tuple[str, ...]:
    """What shows that a model misleads attacks instead of withstanding them.

    Args:
        scores: What attacks by calibrated scores found.
        labels: What the attack by labels found; None where it was not run.
        transferred: Recipe -> what the reference's texts did to this model; empty without a reference.
    """
    found = []
    for name, result in scores.items():
        if both := result.at_temperatures:
            found += _hidden(name, both["temperature"], both["accuracy_at_1"], both["accuracy_at_temperature"])
    for name, answers in ({} if labels is None else labels.answers).items():
        compared = _paired(scores.answers.get(SAME_WORDS, {}), answers)
        if compared is not None and compared.difference <= -STRONGER and compared.confidence_interval[1] < 0:
            found.append(
                f"{name}, which sees labels only, fools {-compared.difference:.1%} more of the examples than "
                f"{SAME_WORDS}, which has the same words and sees scores: the scores mislead"
            )
    for name, result in transferred.items():
        replayed = {row: row not in result.fooled for row in result.right_before}
        compared = _paired(scores.answers[name], replayed)
        if compared is not None and compared.confidence_interval[1] < 0:
            found.append(
                f"{name}: of {compared.num_examples} texts, those made on the reference fool "
                f"{compared.neither + compared.only_first}, the model's own attack "
                f"{compared.neither + compared.only_second}: its answers mislead the attack"
            )
    return tuple(found)


def _hidden(name: str, temperature: float, at_1: float, at_temperature: float) -> list[str]:
    if at_1 - at_temperature < HIDDEN:
        return []
    return [
        f"{name}: {at_1:.1%} accuracy at T = 1, {at_temperature:.1%} at T* = {temperature:.3g}: the scale of the "
        "logits hid the rest"
    ]


def _paired(first: Mapping[int, bool], second: Mapping[int, bool]) -> Comparison | None:
    """Two attacks on one model, on the rows that both have; None where there are none."""
    pairs = [(first[row], right) for row, right in second.items() if row in first]
    counts = [pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))]
    return Comparison("", "", "", *counts) if pairs else None


def verdict_of(rows: Sequence[GateRow], signs: Sequence[str], has_reference: bool) -> str:
    """One sentence, by these rules, the first that fits.

    1. A sign of false robustness: not to be believed.
    2. No reference: figures without a verdict.
    3. Some check better and some worse, or only worse ones: said so.
    4. An attack by scores better, and one by labels or by transferred texts too: confirmed.
    5. An attack by scores better, no other: not confirmed, and which checks were not run.

    Where nothing is better, or only texts that were made on another model, noise, clean texts, or attacks that the
    training has met, no gain is shown.

    "Better" and "worse" are rows whose 95 % interval leaves out 0.

    Args:
        rows: The rows.
        signs: `signs_of_false_robustness` of the model.
        has_reference: Whether there is one.
    """
    if signs:
        return f"not to be believed: {len(signs)} sign{'s' * (len(signs) > 1)} of false robustness"
    if not has_reference:
        return "no sign of false robustness; figures alone, since there is no reference to compare with"
    better = [row for row in rows if row.judgement == "better"]
    worse = [row for row in rows if row.judgement == "worse"]
    if worse and better:
        return f"mixed: better under {_named(better)}, worse under {_named(worse)}"
    if worse:
        return f"less robust or less accurate than the reference: worse under {_named(worse)}"
    attacked = [row for row in better if row.kind in DIRECT]
    if not attacked:
        return "no gain shown: " + (f"better under {_named(better)} alone" if better else "no row can be told apart")
    unseen = [row for row in attacked if not row.shares]
    if not unseen:
        return f"no gain shown beyond attacks that the training has met ({_named(attacked)})"
    if not any(row.kind == "scores" for row in attacked):
        return f"more robust under {_named(attacked)}, not under attacks that see scores"
    if any(row.kind in ("labels", "transfer") for row in better):
        return f"more robust than the reference, confirmed without scores: better under {_named(better)}"
    missing = [row.check for row in rows if row.kind in ("labels", "transfer") and not row.was_run]
    why = f"; not run: {', '.join(missing)}" if missing else ""
    return f"more robust under attacks that see scores ({_named(attacked)}), not confirmed by labels or transfer{why}"


def _named(rows: Sequence[GateRow]) -> str:
    return ", ".join(row.check for row in rows)
