"""Imperceptible changes (Boucher et al. 2021), searched by differential evolution, on texts and pairs of texts.

This module imports TextAttack: import it inside functions only.
"""

# ruff: noqa: E402  (TextAttack has to be imported by its shim before anything is imported from it)

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from ..._compat import import_textattack
from ..._files import read_text
from ...errors import MissingResourceError

import_textattack()

from textattack.search_methods import DifferentialEvolution
from textattack.shared import AttackedText
from textattack.transformations import (
    WordSwapDeletions,
    WordSwapHomoglyphSwap,
    WordSwapInvisibleCharacters,
    WordSwapReorderings,
)


class _Spent(Exception):
    """No query is left."""


class Evolution(DifferentialEvolution):
    """Ends with the best text so far when no query is left; TextAttack's asks on, and fails for want of an answer."""

    def check_transformation_compatibility(self, transformation: Any) -> bool:
        """Takes from the transformation what the search needs of it."""
        self.can_change = transformation.can_change
        return super().check_transformation_compatibility(transformation)

    def perform_search(self, initial_result: Any) -> Any:
        """The best result, which is the last of the best."""
        ask, best = self.get_goal_results, None

        def ask_while_allowed(texts: list[Any]) -> tuple[list[Any], bool]:
            nonlocal best
            results, spent = ask(texts)
            if not results:
                raise _Spent
            if best is None or results[0].score >= best.score:
                best = results[0]
            return results, spent

        self.get_goal_results = ask_while_allowed
        try:
            return super().perform_search(initial_result)
        except _Spent:
            found = initial_result if best is None else best
            found.num_queries = self.goal_function.num_queries
            return found
        finally:
            self.get_goal_results = ask


class _OneColumn:
    """Changes one text of a pair; TextAttack's classes make one text of both, which a model for pairs cannot read.

    Attributes:
        columns: The columns that may change, of which the last is taken; None for whichever comes last.
    """

    columns: tuple[str, ...] | None = None

    def get_bounds_and_precomputed(self, current_text: Any, max_perturbs: int) -> Any:
        """Bounds of the search, and what each query needs."""
        return super().get_bounds_and_precomputed(self._part(current_text)[1], max_perturbs)

    def apply_perturbation(self, current_text: Any, perturbation_vector: Any, precomputed: Any) -> Any:
        """The text that a point of the search stands for."""
        column, part = self._part(current_text)
        changed = super().apply_perturbation(part, perturbation_vector, precomputed)
        texts = OrderedDict(current_text._text_input)
        texts[column] = changed.text
        return AttackedText(texts)

    def can_change(self, text: Any) -> bool:
        """Whether there is anything in a text that can be changed."""
        return True

    def _part(self, text: Any) -> tuple[str, Any]:
        known = [column for column in text.column_labels if self.columns is None or column in self.columns]
        column = (known or text.column_labels)[-1]
        return column, AttackedText(text._text_input[column])


class InvisibleCharacters(_OneColumn, WordSwapInvisibleCharacters):
    """Inserts characters that are not drawn."""


class InvisibleDeletions(_OneColumn, WordSwapDeletions):
    """Inserts a character and a backspace that takes it away."""


class Reorderings(_OneColumn, WordSwapReorderings):
    """Swaps two characters in memory, and with control characters back on the screen."""

    def can_change(self, text: Any) -> bool:
        """Whether there are two characters."""
        return len(self._part(text)[1].text) > 1


class Homoglyphs(_OneColumn, WordSwapHomoglyphSwap):
    """Replaces characters by others that look alike.

    Args:
        path: Unicode's `intentional.txt`, which the wheel of TextAttack 0.3.11 lacks.
    """

    def __init__(self, path: Path) -> None:
        self.random_one = False
        self.homos: dict[str, str] = {}
        self.homos_intentional = read_homoglyphs(path)

    def apply_perturbation(self, current_text: Any, perturbation_vector: Any, precomputed: Any) -> Any:
        """The text that a point of the search stands for; itself where no character has a look-alike."""
        if not precomputed[0]:
            return current_text
        return super().apply_perturbation(current_text, perturbation_vector, precomputed)


def read_homoglyphs(path: Path) -> dict[str, list[str]]:
    """Reads Unicode's list of intentional confusables: character -> those that are drawn alike.

    Raises:
        MissingResourceError: If the file holds none.
        CheckpointError: If it is no file of text.
    """
    found: dict[str, list[str]] = {}
    for line in read_text(path, "a list of look-alike characters").removeprefix("\ufeff").splitlines():
        codes = line.partition("#")[0].split(";")
        if len(codes) < 2:
            continue
        source, target = (codes[i].split() for i in (0, 1))
        if len(source) == len(target) == 1:
            try:
                found.setdefault(chr(int(source[0], 16)), []).append(chr(int(target[0], 16)))
            except (ValueError, OverflowError) as error:
                raise MissingResourceError(
                    f"expected lines `0061 ; 0430 # ...` in {path}, got {line!r:.80}: get the file again"
                ) from error
    if not found:
        raise MissingResourceError(
            f"expected lines `0061 ; 0430 # ...` in {path}, got none: run `robust-tickets resources fetch homoglyphs`"
        )
    return found
