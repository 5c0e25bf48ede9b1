"""What the gate found: one row per check, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from ..results.base import EvaluationResult
from ..results.compare import Comparison
from ..results.metrics import wilson_interval

Kind = Literal["clean", "scores", "labels", "transfer", "noise"]


@dataclass(frozen=True)
class GateRow:
    """One check.

    Attributes:
        check: What was done: an attack's name, a kind of noise, "clean".
        kind: "clean"; "scores", an attack that ranks candidates by calibrated scores; "labels", one that sees labels
            only; "transfer", texts that fooled the other model; "noise".
        right: Examples that the model gets right, of `examples`. None where the check was not run.
        examples: How many were tried.
        reference_right: The same of the reference.
        reference_examples: The same of the reference.
        difference: Accuracy of the model minus that of the reference, in [-1, 1]; None without a reference.
        interval: 95 % interval of the difference.
        judgement: "better" or "worse" than the reference where the interval leaves out 0, else "not told apart"; empty
            without a reference.
        shares: What the attack and the training of the model take words from alike: empty for an unseen attack.
        note: What a reader has to know; the reason, where the check was not run.
    """

    check: str
    kind: Kind
    right: int | None = None
    examples: int = 0
    reference_right: int | None = None
    reference_examples: int = 0
    difference: float | None = None
    interval: tuple[float, float] | None = None
    judgement: Literal["", "better", "worse", "not told apart"] = ""
    shares: tuple[str, ...] = ()
    note: str = ""

    @property
    def was_run(self) -> bool:
        """Whether the check was run on the model."""
        return self.right is not None

    @classmethod
    def paired(cls, comparison: Comparison, **details: Any) -> GateRow:
        """From the model (second) and the reference (first) on the same examples."""
        both, total = comparison.both, comparison.num_examples
        return cls(
            right=both + comparison.only_second,
            examples=total,
            reference_right=both + comparison.only_first,
            reference_examples=total,
            difference=comparison.difference,
            interval=comparison.confidence_interval,
            judgement=_judged(comparison.confidence_interval),
            **details,
        )

    @classmethod
    def unpaired(cls, right: tuple[int, int], reference: tuple[int, int], **details: Any) -> GateRow:
        """From (right, of so many) examples of each, which are not the same.

        The interval is Newcombe's (Statistics in Medicine 17, 1998, method 10), from Wilson's of both shares.
        """
        row = cls(right=right[0], examples=right[1], **details)
        if not right[1] or not reference[1]:
            return row
        (p, (lower, upper)), (q, (low, high)) = ((a / n, wilson_interval(a, n)) for a, n in (right, reference))
        interval = (
            p - q - ((p - lower) ** 2 + (high - q) ** 2) ** 0.5,
            p - q + ((upper - p) ** 2 + (q - low) ** 2) ** 0.5,
        )
        found = {"reference_right": reference[0], "reference_examples": reference[1]}
        found |= {"difference": p - q, "interval": interval, "judgement": _judged(interval)}
        return cls(right=right[0], examples=right[1], **found, **details)

    def to_row(self) -> dict[str, Any]:
        """One row of the table, in percent and points."""
        shown: dict[str, Any] = {"check": self.check, "sees": self.kind}
        shown["model"] = _percent(self.right, self.examples) if self.was_run else "not run"
        shown["reference"] = _percent(self.reference_right, self.reference_examples)
        if self.difference is not None and self.interval is not None:
            shown["difference"] = f"{100 * self.difference:+.1f}"
            shown["95 % interval"] = "{:+.1f} to {:+.1f}".format(*(100 * end for end in self.interval))
        else:
            shown |= {"difference": None, "95 % interval": None}
        shown["judgement"] = self.judgement or None
        shown["shares with the training"] = ", ".join(self.shares) or None
        shown["note"] = self.note if self.note and self.was_run else None
        return shown

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GateRow:
        """The inverse of `dataclasses.asdict`, as JSON has it."""
        found = {each.name: values[each.name] for each in fields(cls)}
        interval = found["interval"]
        return cls(**found | {"interval": interval and tuple(interval), "shares": tuple(found["shares"])})


@dataclass(frozen=True)
class GateResult(EvaluationResult, kind="gate"):
    """The result of `evaluate_gate`.

    Attributes:
        rows: One per check, those that were not run among them.
        verdict: One sentence.
        signs: Signs that the model only looks robust.
        reference: The reference, described as `model` is; empty without one.
    """

    rows: tuple[GateRow, ...]
    verdict: str
    signs: tuple[str, ...] = ()
    reference: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, check: str) -> GateRow:
        """The row of a check.

        Raises:
            KeyError: If there is none.
        """
        found = {row.check: row for row in self.rows}
        return found[check]

    def to_table(self) -> list[dict[str, Any]]:
        """One row per check; columns that are empty throughout are left out."""
        rows = [row.to_row() for row in self.rows]
        return [{name: row[name] for name in row if any(r[name] is not None for r in rows)} for row in rows]

    def conclusion(self) -> str:
        """What was not run and why, the signs, the warnings and the verdict, one line each."""
        lines = [f"not run: {row.check}: {row.note}" for row in self.rows if not row.was_run]
        lines += [f"sign of false robustness: {sign}" for sign in self.signs]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([*lines, f"verdict: {self.verdict}"])

    def summary(self) -> str:
        """All of it as text, one line per check."""
        lines = []
        for row in self.to_table():
            rest = [f"{name} {value}" for name, value in row.items() if name != "check" and value is not None]
            lines.append(f"{row['check']}: {'; '.join(rest)}")
        return "\n".join([*lines, self.conclusion()])

    def _encoded(self, name: str, value: Any) -> Any:
        return [asdict(row) for row in value] if name == "rows" else super()._encoded(name, value)

    @classmethod
    def _decoded(cls, name: str, value: Any) -> Any:
        if name == "rows":
            return tuple(map(GateRow.from_dict, value))
        return tuple(value) if name == "signs" else super()._decoded(name, value)


def _judged(interval: tuple[float, float]) -> Literal["better", "worse", "not told apart"]:
    if interval[0] > 0:
        return "better"
    return "worse" if interval[1] < 0 else "not told apart"


def _percent(right: int | None, examples: int) -> str | None:
    if right is None:
        return None
    return f"{100 * right / examples:.1f} % of {examples}" if examples else "of no example"
