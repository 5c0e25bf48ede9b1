"""The grammar of the synthetic reviews: clauses of a wanted polarity, and the patterns that join them to a review.

Every pattern takes the wanted label and chooses the words that fit it, so the label is right by construction. A
*negated* clause reaches its polarity through a word of the opposite one ("the plot is anything but dull"), a
*contrast* holds words of both and the main clause decides ("although the acting is wooden, the plot sparkles"), and
some sentences use the vocabulary of negation without negating ("nobody can deny that the plot is dull").
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .domains import Domain
from .lexicon import ABSOLUTES, DIMINISHERS, INTENSIFIERS, Polarity

Words = dict[bool, Polarity]

# Said "a useful ..." and "an honest ...": the article follows the sound, not the letter.
_CONSONANT_SOUND = ("use", "uni", "eu", "one")
_VOWEL_SOUND = ("honest", "hour")


class Part(NamedTuple):
    """What a clause speaks about, and whether its verb is in the plural."""

    noun: str
    plural: bool


def article(word: str) -> str:
    """The indefinite article with its word: `"a film"`, `"an opera"`."""
    vowel = word.startswith(_VOWEL_SOUND) or (word[0] in "aeiou" and not word.startswith(_CONSONANT_SOUND))
    return f"{'an' if vowel else 'a'} {word}"


def sentence(text: str) -> str:
    """A clause as a sentence: capital letter in front, full stop behind unless there is a mark already."""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


class Writer:
    """Writes clauses of one domain.

    Args:
        rng: Source of every choice.
        domain: What the review speaks about.
        words: Words by polarity (True = positive).
        rare_words: Held-out words, used in `rare_share` of the choices; None = never.
        rare_share: Share of the choices that take a held-out word, 0 to 1.
    """

    def __init__(
        self,
        rng: random.Random,
        domain: Domain,
        words: Words,
        rare_words: Words | None = None,
        rare_share: float = 0.0,
    ) -> None:
        self.rng = rng
        self.domain = domain
        self._words = words
        self._rare_words = rare_words
        self._rare_share = rare_share
        self.past = rng.random() < 0.5
        self._parts = [Part(n, False) for n in domain.parts] + [Part(n, True) for n in domain.plural_parts]
        rng.shuffle(self._parts)

    def one(self, options: Sequence[str]) -> str:
        """Draws one of several options."""
        return self.rng.choice(options)

    def part(self) -> Part:
        """The next part of the thing, none twice in a review."""
        return self._parts.pop()

    def thing(self) -> str:
        """A noun for the whole."""
        return self.one(self.domain.things)

    def words(self, positive: bool) -> Polarity:
        """The words to choose from, this time."""
        rare = self._rare_words is not None and self.rng.random() < self._rare_share
        return (self._rare_words if rare else self._words)[positive]

    def adjective(self, positive: bool) -> str:
        """A bare adjective, of the domain in one case of three."""
        words = self.words(positive)
        if self.rng.random() < 1 / 3:
            return self.one(words.domain[self.domain.name])
        return self.one(words.mild + words.clear + words.strong)

    def graded(self, positive: bool) -> str:
        """An adjective with the degree word that its strength allows, or with none."""
        words = self.words(positive)
        gradable = words.mild + words.clear + words.domain[self.domain.name]
        draw = self.rng.random()
        if draw < 0.25:
            return f"{self.one(INTENSIFIERS)} {self.one(gradable)}"
        if draw < 0.45:
            return f"{self.one(DIMINISHERS)} {self.one(words.mild)}"
        if draw < 0.6:
            return f"{self.one(ABSOLUTES)} {self.one(words.strong)}"
        return self.adjective(positive)

    def be(self, plural: bool = False) -> str:
        """The verb "to be" in the tense of the review."""
        return ("were" if plural else "was") if self.past else ("are" if plural else "is")

    def do(self, plural: bool = False) -> str:
        """The verb "to do" in the tense of the review."""
        return "did" if self.past else ("do" if plural else "does")

    def effect(self, positive: bool, plural: bool) -> str:
        """A verb for what the thing does to people, inflected."""
        base, third, past = self.rng.choice(self.words(positive).effects)
        return past if self.past else (base if plural else third)

    # Clauses -------------------------------------------------------------------------------------------------------

    def direct(self, positive: bool) -> str:
        """A clause that says it with words of its own polarity."""
        noun, plural = self.part()
        be = self.be(plural)
        kind = self.rng.randrange(8)
        if kind < 4:
            return f"the {noun} {be} {self.graded(positive)}"
        if kind == 4:
            return f"the {noun} {be} {self.one(('full of', 'marked by', 'brimming with'))} {self.quality(positive)}"
        if kind == 5:
            base, past = self.rng.choice(self.words(positive).feelings)
            return f"I {past if self.past else base} the {noun}"
        if kind == 6:
            return f"the {noun} {self.effect(positive, plural)}"
        return f"the {noun} {be} {self.adjective(positive)} and {self.graded(positive)}"

    def quality(self, positive: bool) -> str:
        """An uncountable noun such as "charm" or "tedium"."""
        return self.one(self.words(positive).nouns)

    def negated(self, positive: bool) -> str:
        """A clause that reaches its polarity by negating a word of the opposite one."""
        noun, plural = self.part()
        be, other = self.be(plural), not positive
        kind = self.rng.randrange(8)
        if kind < 2:
            negator = self.one(("not", "never", "hardly", "far from", "anything but", "by no means", "in no way"))
            return f"the {noun} {be} {negator} {self.adjective(other)}"
        if kind == 2:
            return f"there {self.be()} nothing {self.adjective(other)} about the {noun}"
        if kind == 3:
            caller = self.one(("I would not", "nobody could", "you can hardly", "I would never"))
            return f"{caller} call the {noun} {self.adjective(other)}"
        if kind == 4:
            absence = self.one(("without any", "free of all", "without a trace of", "devoid of"))
            return f"the {noun} {be} {absence} {self.quality(other)}"
        if kind == 5:
            base, _ = self.rng.choice(self.words(other).feelings)
            return f"I {'did' if self.past else 'do'} not {base} the {noun}"
        if kind == 6:
            base, _, _ = self.rng.choice(self.words(other).effects)
            return f"the {noun} {self.do(plural)} {self.one(('not', 'not once', 'in no way'))} {base}"
        return f"not once did the {noun} seem {self.adjective(other)}"

    def emphatic(self, positive: bool) -> str:
        """A clause with the vocabulary of negation that does not negate."""
        noun, plural = self.part()
        be, adjective = self.be(plural), self.adjective(positive)
        kind = self.rng.randrange(5)
        if kind == 0:
            return f"nobody can deny that the {noun} {be} {self.graded(positive)}"
        if kind == 1:
            return f"never before have I come across {article(adjective)} {self.thing()} like this"
        if kind == 2:
            return f"the {noun} could hardly be more {adjective}"
        if kind == 3:
            return f"I cannot stress enough how {adjective} the {noun} {be}"
        second = self.part()
        also = f"the {second.noun} {self.be(second.plural)} {self.graded(positive)} too"
        return f"not only {be} the {noun} {adjective}, {also}"

    def clause(self, positive: bool) -> str:
        """A direct clause or, in one case of four, a negated one."""
        return self.negated(positive) if self.rng.random() < 0.25 else self.direct(positive)


# Patterns ----------------------------------------------------------------------------------------------------------


def plain(w: Writer, positive: bool) -> str:
    """One direct clause, or two of the same polarity."""
    if w.rng.random() < 0.5:
        return sentence(w.direct(positive))
    joint = w.one((" and ", ", and on top of that ", "; besides, "))
    return sentence(w.direct(positive) + joint + w.direct(positive))


def negation(w: Writer, positive: bool) -> str:
    """One negated clause, alone or with a direct one of the same polarity."""
    if w.rng.random() < 0.6:
        return sentence(w.negated(positive))
    clauses = [w.negated(positive), w.direct(positive)]
    w.rng.shuffle(clauses)
    return sentence(" and ".join(clauses))


def emphasis(w: Writer, positive: bool) -> str:
    """Negation words that do not negate."""
    return sentence(w.emphatic(positive))


def contrast(w: Writer, positive: bool) -> str:
    """A concession of the opposite polarity and a main clause that decides, in either order."""
    other = not positive
    kind = w.rng.randrange(6)
    if kind == 0:
        return sentence(
            f"{w.one(('although', 'even though', 'granted that'))} {w.clause(other)}, {w.clause(positive)}"
        )
    if kind == 1:
        return sentence(f"{w.clause(positive)}, {w.one(('although', 'even though', 'even if'))} {w.clause(other)}")
    if kind == 2:
        joint = w.one((", but ", ", yet ", "; still, ", "; nevertheless, ", ", but in the end "))
        return sentence(w.clause(other) + joint + w.clause(positive))
    noun = w.part().noun
    concession = f"{w.one(('despite', 'in spite of', 'notwithstanding'))} the {w.adjective(other)} {noun}"
    if kind == 3:
        return sentence(f"{concession}, {w.clause(positive)}")
    if kind == 4:
        return sentence(f"{w.clause(positive)} {concession}")
    return sentence(f"for all the {w.quality(other)} of the {noun}, {w.clause(positive)}")


def expectation(w: Writer, positive: bool) -> str:
    """What was hoped, feared, or said by others, against what it is."""
    other, thing = not positive, w.thing()
    kind = w.rng.randrange(6)
    if kind == 0:
        return sentence(
            f"I expected {article(w.adjective(other))} {thing} and got {article(w.adjective(positive))} one"
        )
    if kind == 1:
        return sentence(f"what might have been {article(w.adjective(other))} {thing} turned out {w.graded(positive)}")
    if kind == 2:
        return sentence(f"this is not {article(w.adjective(other))} {thing} but {article(w.adjective(positive))} one")
    if kind == 3:
        return sentence(
            f"friends had called the {thing} {w.adjective(other)}, and in fact it {w.be()} {w.graded(positive)}"
        )
    noun = w.part().noun
    if kind == 4:
        verdict = w.one(("I disagree", "they are wrong", "I could not agree less", "that is simply untrue"))
        return sentence(f"others call the {noun} {w.adjective(other)}; {verdict}")
    verdict = w.one(("I can only agree", "they are right", "I could not agree more", "that is no exaggeration"))
    return sentence(f"others call the {noun} {w.adjective(positive)}; {verdict}")


def comparison(w: Writer, positive: bool) -> str:
    """A rival of the opposite polarity beside the thing under review."""
    other, rival, thing = not positive, w.one(w.domain.rivals), w.thing()
    kind = w.rng.randrange(3)
    if kind == 0:
        return sentence(f"{rival} was {w.graded(other)}; this {thing} {w.be()} {w.graded(positive)}")
    if kind == 1:
        return sentence(f"where {rival} was {w.adjective(other)}, this {thing} {w.be()} {w.graded(positive)}")
    return sentence(
        f"this {thing} {w.be()} {w.graded(positive)}, quite unlike {rival}, which was {w.adjective(other)}"
    )


def verdict(w: Writer, positive: bool) -> str:
    """A fixed verdict, alone, or as the last word against or after a clause."""
    final = w.one(w.words(positive).verdicts)
    draw = w.rng.random()
    if draw < 0.3:
        return sentence(final)
    if draw < 0.65:
        return f"{sentence(w.clause(positive))} {sentence(final)}"
    return f"{sentence(w.direct(not positive))} Even so: {final}."


PATTERNS: dict[str, tuple[float, Callable[[Writer, bool], str]]] = {
    "plain": (0.34, plain),
    "negation": (0.18, negation),
    "emphasis": (0.06, emphasis),
    "contrast": (0.20, contrast),
    "expectation": (0.10, expectation),
    "comparison": (0.06, comparison),
    "verdict": (0.06, verdict),
}
