"""What an attack on several decisions is after, as TextAttack's searches see it.

This module imports TextAttack: import it inside functions only.
"""

# ruff: noqa: E402  (TextAttack has to be imported by its shim before anything is imported from it)

from __future__ import annotations

import math
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from ..._compat import import_textattack
from ..components.goals import ModelWrapper
from .victim import LabelVictim, TagVictim

import_textattack()

from textattack.constraints import Constraint
from textattack.goal_functions import UntargetedClassification
from textattack.shared import validators


class LabelSetGoal(UntargetedClassification):
    """Change the set of predicted labels: one label too many, or one too few.

    A candidate's score is that of the label that is nearest to being wrong: the probability that it has the wrong
    answer, in [0, 1]. Above `threshold` (or at it, for a label that should not be there) the set has changed.

    Args:
        victim: The attacked model.
        threshold: Probability from which a label is predicted.

    Attributes:
        truth: The true labels, a boolean per label; set before each example.
    """

    def __init__(self, victim: LabelVictim, threshold: float = 0.5) -> None:
        super().__init__(ModelWrapper(victim), use_cache=False, model_batch_size=2**31)
        self._victim = victim
        self._threshold = threshold
        self.truth = np.zeros(0, dtype=bool)

    def predicted(self, output: np.ndarray) -> np.ndarray:
        """Which labels the model gives, a boolean per label."""
        return output >= self._threshold

    def _call_model_uncached(self, attacked_text_list: list[Any]) -> list[np.ndarray]:
        return self._victim([text.tokenizer_input for text in attacked_text_list])

    def _get_displayed_output(self, raw_output: np.ndarray) -> str:
        return str(self.predicted(raw_output).astype(int).tolist())

    def _is_goal_complete(self, model_output: np.ndarray, attacked_text: Any) -> bool:
        return bool((self.predicted(model_output) != self.truth).any())

    def _get_score(self, model_output: np.ndarray, attacked_text: Any) -> float:
        return float(np.where(self.truth, 1 - model_output, model_output).max())


class TagGoal(UntargetedClassification):
    """Change the tags of words that stay as they are.

    A word that the attack replaced may deserve another tag, so it never counts. A candidate's score is that of the
    word whose change would complete the goal: of its margin (true tag's probability minus the largest other one, in
    [-1, 1]) the part that is gone, in [0, 1].

    Args:
        victim: The attacked model.
        min_share: Share of the words with a tag that have to be wrong; at least one word.

    Attributes:
        truth: Tag of each word, negative where it has none; set before each example.
        words: The words of the example; likewise.
    """

    def __init__(self, victim: TagVictim, min_share: float = 0.0) -> None:
        super().__init__(ModelWrapper(victim), use_cache=False, model_batch_size=2**31)
        self._victim = victim
        self._min_share = min_share
        self.truth = np.zeros(0, dtype=int)
        self.words: list[str] = []

    def wrong(self, output: np.ndarray, text: str) -> np.ndarray:
        """Places, in the example, of the unchanged words whose tag is not the true one."""
        places, now = self._unchanged(text)
        return places[np.nan_to_num(output[now], nan=-np.inf).argmax(axis=1) != self.truth[places]]

    def _unchanged(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Places of the words with a tag that stayed as they are: in the example, and in the text."""
        words = text.split(" ")
        if len(words) == len(self.words):
            pairs = [(i, i) for i, (one, other) in enumerate(zip(words, self.words)) if one == other]
        else:  # a search that leaves a word out to see how much it matters
            blocks = SequenceMatcher(None, self.words, words, autojunk=False).get_matching_blocks()
            pairs = [(block.a + i, block.b + i) for block in blocks for i in range(block.size)]
        found = np.array(pairs, dtype=int).reshape(-1, 2)
        found = found[self.truth[found[:, 0]] >= 0]
        return found[:, 0], found[:, 1]

    @property
    def _needed(self) -> int:
        return max(1, math.ceil(self._min_share * int((self.truth >= 0).sum())))

    def _call_model_uncached(self, attacked_text_list: list[Any]) -> list[np.ndarray]:
        return self._victim([text.tokenizer_input for text in attacked_text_list])

    def _get_displayed_output(self, raw_output: np.ndarray) -> str:
        return str(np.nan_to_num(raw_output, nan=-np.inf).argmax(axis=1).tolist())

    def _is_goal_complete(self, model_output: np.ndarray, attacked_text: Any) -> bool:
        return len(self.wrong(model_output, attacked_text.tokenizer_input)) >= self._needed

    def _get_score(self, model_output: np.ndarray, attacked_text: Any) -> float:
        places, now = self._unchanged(attacked_text.tokenizer_input)
        if len(places) < self._needed:
            return 0.0
        logits, rows = model_output[now], np.arange(len(places))
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        own = chances[rows, self.truth[places]].copy()
        chances[rows, self.truth[places]] = -np.inf
        gone = (1 + chances.max(axis=1) - own) / 2
        return float(np.sort(gone)[-self._needed])


class SameWords(Constraint):
    """No candidate has more or fewer words than the text, so that each keeps its place and its tag."""

    def __init__(self) -> None:
        super().__init__(compare_against_original=True)

    def _check_constraint(self, transformed_text: Any, reference_text: Any) -> bool:
        return len(transformed_text.tokenizer_input.split(" ")) == len(reference_text.tokenizer_input.split(" "))


# Goal functions look their class up here and print a warning about models that they do not know.
for kind in (LabelSetGoal, TagGoal):
    validators.MODELS_BY_GOAL_FUNCTION[kind] = [".*"]
