"""Which side of a pair of texts an attack may change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import ConfigurationError
from .registry import Columns, Recipe

if TYPE_CHECKING:
    from textattack import Attack


def columns_to_change(recipe: Recipe, columns: Sequence[str], wanted: str | Sequence[str] | None) -> Columns:
    """The columns that a recipe may change: those wanted, else those of its papers' rule, else all.

    Args:
        recipe: The recipe.
        columns: The text columns, one or two.
        wanted: `modify_columns` of `evaluate_robustness`.

    Raises:
        ConfigurationError: If a wanted column is not among the text columns, or none is wanted.
    """
    if wanted is None:
        rules = {frozenset(pair): allowed for pair, allowed in recipe.pair_rule.items()}
        return rules.get(frozenset(columns), tuple(columns))
    chosen = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    if not chosen or not set(chosen) <= set(columns):
        raise ConfigurationError(
            f"expected modify_columns among the text columns {list(columns)}, got {list(chosen)}: name one or more"
        )
    return tuple(column for column in columns if column in chosen)


def limit_columns(attack: Attack, columns: Sequence[str], allowed: Sequence[str]) -> None:
    """Makes an attack change the allowed columns only, in place of what its recipe says.

    Args:
        attack: The attack.
        columns: The text columns; with one, nothing is done.
        allowed: Those that may change.
    """
    from textattack.constraints.pre_transformation import InputColumnModification

    for part in _parts(attack.transformation):
        if hasattr(part, "columns"):
            part.columns = tuple(allowed)
    if len(columns) < 2:
        return
    before = [item for item in attack.pre_transformation_constraints if isinstance(item, InputColumnModification)]
    ignored = set(columns) - set(allowed)
    fits = [item for item in before if item.matching_column_labels == list(columns)]
    if len(fits) == 1 and fits[0].columns_to_ignore == ignored:
        return
    kept = [item for item in attack.pre_transformation_constraints if item not in before]
    if ignored:
        kept.append(InputColumnModification(list(columns), ignored))
    attack.pre_transformation_constraints[:] = kept


def _parts(transformation: Any) -> Iterator[Any]:
    yield transformation
    for part in getattr(transformation, "transformations", ()):
        yield from _parts(part)
