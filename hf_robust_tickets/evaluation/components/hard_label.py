"""A search that sees the predicted class and nothing else: a random start, and the way back to the original.

This module imports TextAttack: import it inside functions only.
"""

# ruff: noqa: E402  (TextAttack has to be imported by its shim before anything is imported from it)

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..._compat import import_textattack
from .constraints import universal_tags
from .encoders import TextEncoder

import_textattack()

from textattack.goal_function_results import GoalFunctionResultStatus
from textattack.search_methods import SearchMethod
from textattack.shared.validators import transformation_consists_of_word_swaps

Words = tuple[str, ...]
"""A text by its words, as many as the original has, in the same places."""

CHANGED_TAGS = frozenset({"ADJ", "ADV", "VERB", "NOUN"})
"""Parts of speech that are replaced (authors' code)."""


class HardLabelSearch(SearchMethod):
    """Maheshwary, Maheshwary, Pudi: Generating Natural Language Attacks in a Hard Label Black Box Setting, AAAI 2021.

    Three steps: synonyms at random until another class is predicted; words put back to the original's as
    long as it stays so; a genetic search among the texts that fool the model for one that changes fewer words or means
    more of the same.

    Args:
        encoder: Says how alike two texts are, by the cosine of their vectors.
        tries: Random texts with all words replaced (authors' code: 2500).
        population: Texts of a generation (authors' code: 30).
        generations: Most generations (authors' code: 1000).
        patience: Generations without a better text after which it ends (authors' code: 15).
        block: Random texts that are asked about at once.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        tries: int = 2500,
        population: int = 30,
        generations: int = 1000,
        patience: int = 15,
        block: int = 10,
    ) -> None:
        self._encoder = encoder
        self.tries, self.population, self.generations = tries, population, generations
        self.patience, self.block = patience, block

    def perform_search(self, initial_result: Any) -> Any:
        """The best text that fools the model; the original where none was found."""
        walk = _Walk(self, initial_result)
        start = walk.random_start()
        if start is None:
            return initial_result
        best = walk.back_to_original(start)
        if not walk.spent and len(walk.changed(best)) > 1:
            best = walk.genetic(best)
        return walk.results[best]

    def check_transformation_compatibility(self, transformation: Any) -> bool:
        """Words must keep their places."""
        return transformation_consists_of_word_swaps(transformation)

    @property
    def is_black_box(self) -> bool:
        """It sees labels alone."""
        return True

    def extra_repr_keys(self) -> list[str]:
        """What reports show."""
        return ["tries", "population", "generations", "patience", "block"]


class _Walk:
    """The search on one example.

    Attributes:
        results: Text -> what the goal function said, of every text that fools the model.
        spent: Whether the query budget is spent.
    """

    def __init__(self, search: HardLabelSearch, initial: Any) -> None:
        self._search, self._text = search, initial.attacked_text
        self._original: Words = tuple(self._text.words)
        self._synonyms = self._find_synonyms()
        self._similar: dict[Words, float] = {}
        self.results: dict[Words, Any] = {}
        self.spent = False

    def _find_synonyms(self) -> Mapping[int, Words]:
        """Place -> its synonyms, in random order of the places; parts of speech and constraints as in the original."""
        tags = universal_tags(list(self._original))
        places = [i for i in sorted(self._search.get_indices_to_order(self._text)[1]) if tags[i] in CHANGED_TAGS]
        found = {}
        for i in np.random.permutation(places).astype(int).tolist():
            texts = self._search.get_transformations(self._text, original_text=self._text, indices_to_modify=[i])
            if words := tuple(dict.fromkeys(text.words[i] for text in texts)):
                found[i] = words
        return found

    def _fool(self, texts: Sequence[Words]) -> list[bool]:
        """Which texts fool the model; none of those that the budget does not reach."""
        if self.spent or not texts:
            return [False] * len(texts)
        places = range(len(self._original))
        asked = [self._text.replace_words_at_indices(places, words) for words in texts]
        found, self.spent = self._search.get_goal_results(asked)
        verdicts = [result.goal_status == GoalFunctionResultStatus.SUCCEEDED for result in found]
        self.results |= {words: result for words, result, wrong in zip(texts, found, verdicts) if wrong}
        return verdicts + [False] * (len(texts) - len(verdicts))

    def changed(self, words: Words) -> list[int]:
        """Places where a text differs from the original."""
        return [i for i, (before, after) in enumerate(zip(self._original, words)) if before != after]

    def _put(self, words: Words, place: int, word: str) -> Words:
        return (*words[:place], word, *words[place + 1 :])

    def _similarities(self, texts: Sequence[Words]) -> np.ndarray:
        """How alike each text is to the original, in [-1, 1]."""
        unseen = [words for words in dict.fromkeys(texts) if words not in self._similar]
        if unseen:
            vectors = self._search._encoder.encode([" ".join(words) for words in (self._original, *unseen)])
            cosines = torch.nn.functional.cosine_similarity(vectors[:1], vectors[1:])
            self._similar.update(zip(unseen, cosines.tolist()))
        return np.array([self._similar[words] for words in texts])

    def _drawn(self, count: int) -> Words:
        """The original with random synonyms in the first places of the random order."""
        words = self._original
        for place in list(self._synonyms)[:count]:
            words = self._put(words, place, str(np.random.choice(self._synonyms[place])))
        return words

    def random_start(self) -> Words | None:
        """Step 1: one word more each time, then all words again and again; None if no draw fools the model."""
        places = len(self._synonyms)
        # of few texts, ten times as many draws leave out one in e^10
        tries = min(self._search.tries, 10 * math.prod(map(len, self._synonyms.values())))
        counts = [*range(1, places), *([places] * tries)] if places else []
        for begin in range(0, len(counts), self._search.block):
            texts = [self._drawn(count) for count in counts[begin : begin + self._search.block]]
            for words, wrong in zip(texts, self._fool(texts)):
                if wrong:
                    return words
            if self.spent:
                break
        return None

    def back_to_original(self, words: Words) -> Words:
        """Step 2: the original's words one after the other, those first that make the text most alike."""
        while places := self.changed(words):
            texts = [self._put(words, place, self._original[place]) for place in places]
            able = [(place, text) for place, text, wrong in zip(places, texts, self._fool(texts)) if wrong]
            if not able:
                break
            ranked = np.argsort(-self._similarities([text for _, text in able]), kind="stable")
            words = able[ranked[0]][1]
            for place, _ in (able[i] for i in ranked[1:]):
                text = self._put(words, place, self._original[place])
                if not self._fool([text])[0]:
                    break
                words = text
        return words

    def genetic(self, best: Words) -> Words:
        """Step 3: crossover and mutation of texts that fool the model."""
        places = self.changed(best)
        members = [text for place in places if (text := self._mutated(best, place)) is not None]
        unchanged = 0
        for _ in range(self._search.generations):
            better = min([best, *members], key=self._cost)
            unchanged = 0 if self._cost(better) < self._cost(best) else unchanged + 1
            best = better
            if self.spent or not members or unchanged >= self._search.patience or len(self.changed(best)) <= 1:
                break
            children = self._children([*members, best], best)
            members = []
            for child in children:
                place = int(np.random.choice(places))
                text = child if child[place] == self._original[place] else self._mutated(child, place)
                members += [] if text is None else [text]
        return best

    def _cost(self, words: Words) -> tuple[int, float]:
        """Fewer changed words are better; of equally many, the more alike text."""
        return len(self.changed(words)), -float(self._similarities([words])[0])

    def _mutated(self, words: Words, place: int) -> Words | None:
        """The original's word there, else the synonym that keeps most of the meaning; None if neither fools the model
        or the text would mean less of the same.
        """
        back = self._put(words, place, self._original[place])
        if self._fool([back])[0]:
            return back
        texts = [self._put(words, place, word) for word in self._synonyms[place] if word != words[place]]
        kept = [text for text, wrong in zip(texts, self._fool(texts)) if wrong]
        if not kept:
            return None
        similar = self._similarities(kept)
        return kept[int(similar.argmax())] if similar.max() >= self._similarities([words])[0] else None

    def _children(self, members: Sequence[Words], best: Words) -> list[Words]:
        """Words of two parents each, drawn by softmax of their likeness; those that fool the model and cost no more
        than the best.
        """
        similar = self._similarities(members)
        shares = np.exp(similar - similar.max())
        drawn = np.random.choice(len(members), size=(self._search.population - 1, 2), p=shares / shares.sum())
        children = []
        for first, second in drawn.tolist():
            takes = np.random.uniform(size=len(best)) < 0.5
            children.append(tuple(a if take else b for a, b, take in zip(members[first], members[second], takes)))
        children = list(dict.fromkeys(child for child in children if self._cost(child) <= self._cost(best)))
        return [child for child, wrong in zip(children, self._fool(children)) if wrong]
