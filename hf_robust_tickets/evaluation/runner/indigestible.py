"""Rows that an attack cannot digest: they are recorded, and the evaluation goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ...errors import RobustTicketsError
from ..results.example import ExampleOutcome, plain, tokenizer_input
from ..results.false_robustness import margins
from ..sampling import Example

# What an attack's code raises that does not expect a text. What a machine, a network or this package raises is not of
# the text, and ends the evaluation.
_OF_THE_TEXT = (ValueError, TypeError, LookupError, ArithmeticError, AssertionError, AttributeError, RecursionError)
# An attack that fails on more rows than these, and more than a share of all, is broken itself.
_FEW, _SHARE = 3, 0.25
UNREAD = -1
"""The class of a text that no tokenizer can read."""


class Failures:
    """Counts the rows that one attack could not digest."""

    def __init__(self) -> None:
        self._begun = self._failed = 0

    def begin(self) -> None:
        """Another row is attacked."""
        self._begun += 1

    def are_of_the_text(self, error: Exception) -> bool:
        """Whether an error is that of its row, and not one that would come with every row."""
        if isinstance(error, RobustTicketsError) or not isinstance(error, _OF_THE_TEXT):
            return False
        self._failed += 1
        return self._failed <= max(_FEW, _SHARE * self._begun)


def check_readable(texts: Mapping[str, str]) -> None:
    """Raises UnicodeEncodeError for a lone surrogate, which no tokenizer takes, before it is among other texts."""
    for text in texts.values():
        text.encode()


def record(
    example: Example, error: Exception, ask: Callable[[Sequence[str | tuple[str, ...]]], Tensor]
) -> ExampleOutcome:
    """The outcome of a row that was not attacked: withstood, where the model is right.

    Args:
        example: The row.
        error: Why it was not.
        ask: Texts -> logits; not called for a text that cannot be read.
    """
    text = plain(example.texts)
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    found = {"index": example.index, "label": example.label, "original": text, "perturbed": text, "error": reason}
    try:
        check_readable(example.texts)
    except UnicodeEncodeError:
        return ExampleOutcome(
            outcome="skipped", queries=0, original_prediction=UNREAD, perturbed_prediction=UNREAD, **found
        )
    logits = ask([tokenizer_input(example.texts)])[0]
    prediction = int(torch.softmax(logits, 0).argmax())
    probabilities = tuple(logits.double().softmax(0).tolist())
    return ExampleOutcome(
        outcome="failed" if prediction == example.label else "skipped",
        queries=1,
        original_prediction=prediction,
        perturbed_prediction=prediction,
        margin=margins(logits[None])[0],
        probabilities=probabilities,
        perturbed_probabilities=probabilities,
        **found,
    )


def warnings_of(results: Mapping[str, Sequence[ExampleOutcome]]) -> list[str]:
    """What to say of such rows, by recipe; nothing where there are none."""
    found = []
    for recipe, outcomes in results.items():
        rows = [outcome for outcome in outcomes if outcome.error is not None]
        if rows:
            named = ", ".join(str(outcome.index) for outcome in rows[:10]) + (", ..." if len(rows) > 10 else "")
            found.append(
                f"{recipe} could not treat {len(rows)} of {len(outcomes)} rows ({named}), first for {rows[0].error}: "
                "they were not attacked, and count as withstood where the model is right and as wrong where it is not "
                "or cannot read them"
            )
    return found
