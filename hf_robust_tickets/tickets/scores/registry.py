"""Scores by name, for arguments and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ConfigurationError, UnknownNameError

if TYPE_CHECKING:
    from .base import Score

_SCORES: dict[str, type[Score]] = {}


def register_score(name: str, score: type[Score]) -> None:
    """Makes a score available by name.

    Args:
        name: The name users type, e.g. `"taylor"`.
        score: A class derived from `Score` that is made without arguments.

    Raises:
        ConfigurationError: If the name is taken by another class.
    """
    if _SCORES.get(name, score) is not score:
        raise ConfigurationError(f"the score {name!r} is registered already: choose another name")
    _SCORES[name] = score


def list_scores() -> list[str]:
    """Names of all registered scores, sorted."""
    return sorted(_SCORES)


def get_score(name: str) -> Score:
    """Builds a score from its name.

    Raises:
        UnknownNameError: If no score has this name.
    """
    if name not in _SCORES:
        raise UnknownNameError(
            f"unknown score {name!r}: expected one of {', '.join(list_scores())}, or add yours with register_score"
        )
    return _SCORES[name]()
