"""How an evaluation differs from those of the papers, apart from replaced components."""

from __future__ import annotations

from collections.abc import Sequence

from ..victim.model import Victim, length_limit
from ..victim.reading import unread_reason, unsegmented_reason
from .example import ExampleOutcome, Text


def departures(
    victim: Victim,
    outcomes: Sequence[ExampleOutcome],
    query_budget: int | None,
    changed: Sequence[str],
    by_rule: Sequence[str],
) -> tuple[str, ...]:
    """Why figures cannot be compared with published ones, because of how the model was run; empty if they can.

    Args:
        victim: The attacked model.
        outcomes: What came of it.
        query_budget: Queries after which examples were given up; None for no limit.
        changed: Columns that might change.
        by_rule: Those that may by the papers' rule.
    """
    reasons = []
    if query_budget is not None:
        reasons.append(f"attacks were given up after {query_budget} queries")
    if shortened := _shortened(victim, outcomes):
        limit = length_limit(victim.model, victim.tokenizer)
        reasons.append(
            f"{shortened} texts were cut at {victim.max_length} tokens (max_length) where the model reads {limit}"
        )
    texts = [{"text": o.original} if isinstance(o.original, str) else o.original for o in outcomes]
    for reason in (unread_reason(texts, victim.tokenizer, victim.max_length), unsegmented_reason(texts)):
        reasons += [] if reason is None else [reason]
    if victim.bf16:
        reasons.append("the model ran under bfloat16 autocast")
    if set(changed) != set(by_rule):
        reasons.append(f"{', '.join(changed)} might change (modify_columns), in the papers {', '.join(by_rule)}")
    return tuple(reasons)


def _shortened(victim: Victim, outcomes: Sequence[ExampleOutcome]) -> int:
    """Examples of which the model would have read more, before or after the attack."""
    if victim.max_length >= length_limit(victim.model, victim.tokenizer):
        return 0
    return sum(any(_tokens(victim, text) > victim.max_length for text in (o.original, o.perturbed)) for o in outcomes)


def _tokens(victim: Victim, text: Text) -> int:
    pair = (text,) if isinstance(text, str) else tuple(text.values())
    return len(victim.tokenizer(*pair, truncation=True, max_length=victim.max_length + 1)["input_ids"])
