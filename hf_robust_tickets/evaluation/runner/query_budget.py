"""Between TextAttack's searches and their goal: texts without anything to change, and queries that are spent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textattack import Attack


class QueryBudget:
    """Stands between a search and its goal, and gives no more answers once the budget is spent.

    Args:
        attack: The attack; its search asks through this object from now on.
        query_budget: Queries after which it is given no answers; None for no limit.

    Attributes:
        withheld: Whether an answer was withheld since `begin`. Searches that do not expect it fail in their own ways
            (an index, the largest of nothing); that is the end of the example and no error.
    """

    def __init__(self, attack: Attack, query_budget: int | None) -> None:
        self.withheld = False
        if query_budget is not None:
            self._ask = attack.goal_function.get_results
            attack.goal_function.query_budget = query_budget
            attack.search_method.get_goal_results = self

    def begin(self) -> None:
        """Called before each example."""
        self.withheld = False

    def __call__(self, texts: list[Any], **options: Any) -> tuple[list[Any], bool]:
        """Results of texts, and whether the budget is spent."""
        results, spent = self._ask(texts, **options)
        self.withheld |= len(results) < len(texts)
        return results, spent


def can_change(attack: Attack, text: Any) -> bool:
    """Whether an attack finds anything in a text that it may change.

    Several of TextAttack's searches and goals divide by the number of words, or take the best of none.

    Args:
        attack: The attack.
        text: A TextAttack `AttackedText`.
    """
    if hasattr(attack.search_method, "can_change"):
        return attack.search_method.can_change(text)
    return bool(text.words) and attack.get_indices_to_order(text)[0] > 0
