"""The words of the synthetic review corpus: sentiment words by polarity, kind and strength, and neutral ones.

Every fourth sentiment word of each list is *held out*: it occurs in the validation and test splits only (see
`split_words`), so that a model which merely memorises the training words cannot reach the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HELD_OUT_STRIDE = 4


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, divided at white space."""
    return tuple(text.split())


# Adjectives that may describe nearly anything, by strength. "Mild" and "clear" ones take intensifiers and diminishers
# ("fairly pleasant"), "strong" ones only absolutes ("utterly superb").
POSITIVE_MILD = words_of("""
decent pleasant likeable solid agreeable respectable competent worthwhile presentable pleasing reassuring
capable welcome satisfactory tidy neat inoffensive well-meant creditable serviceable
""")
POSITIVE_CLEAR = words_of("""
good enjoyable impressive delightful charming excellent satisfying admirable appealing commendable
refreshing rewarding memorable attractive lovely praiseworthy graceful polished clever inspired accomplished first-rate
top-notch remarkable splendid engaging elegant stylish assured skilful distinguished enviable stellar exemplary
beguiling
""")
POSITIVE_STRONG = words_of("""
superb outstanding wonderful brilliant magnificent fantastic exceptional marvellous glorious
dazzling sublime flawless impeccable stunning extraordinary phenomenal exquisite spectacular breathtaking unforgettable
peerless sensational faultless masterly unbeatable divine heavenly perfect amazing terrific resplendent
matchless
""")
NEGATIVE_MILD = words_of("""
mediocre underwhelming bland forgettable uneven lacklustre unremarkable patchy uninspired pedestrian
dated flimsy tepid middling drab indifferent tired unconvincing half-hearted humdrum
""")
NEGATIVE_CLEAR = words_of("""
bad poor disappointing dull weak unpleasant annoying tedious irritating shoddy careless inept
frustrating unsatisfying dreary tiresome unappealing inferior second-rate amateurish substandard lousy slapdash joyless
grating charmless lifeless botched shabby incompetent feeble regrettable off-putting infuriating laughable
clumsy
""")
NEGATIVE_STRONG = words_of("""
terrible awful dreadful horrible atrocious abysmal appalling dismal disastrous unbearable pathetic
horrendous ghastly abominable deplorable woeful hideous insufferable lamentable inexcusable disgraceful catastrophic
miserable intolerable excruciating repellent unforgivable rotten vile unacceptable execrable calamitous
""")

POSITIVE_NOUNS = words_of("""
charm wit warmth elegance grace polish flair finesse imagination energy care skill confidence style
substance character craftsmanship ingenuity integrity sparkle poise sophistication precision generosity verve subtlety
originality soul brilliance sincerity refinement vitality
""")
NEGATIVE_NOUNS = words_of("""
clumsiness sloppiness tedium pretension carelessness mediocrity laziness monotony arrogance
confusion shoddiness bluster dishonesty indifference gloom incompetence blandness vulgarity cynicism neglect
awkwardness greed chaos ugliness dreariness hostility crudeness banality smugness stinginess clutter
drudgery
""")

# Base form / past form, with a person as the subject.
POSITIVE_FEELINGS = words_of("""
adore/adored love/loved enjoy/enjoyed relish/relished admire/admired cherish/cherished
savour/savoured appreciate/appreciated applaud/applauded praise/praised treasure/treasured commend/commended
""")
NEGATIVE_FEELINGS = words_of("""
hate/hated loathe/loathed detest/detested dislike/disliked despise/despised resent/resented
deplore/deplored regret/regretted abhor/abhorred curse/cursed bemoan/bemoaned condemn/condemned
""")

# Base form / third person / past form, with the thing reviewed as the subject.
POSITIVE_EFFECTS = words_of("""
shine/shines/shone delight/delights/delighted impress/impresses/impressed
dazzle/dazzles/dazzled sparkle/sparkles/sparkled excel/excels/excelled enchant/enchants/enchanted
satisfy/satisfies/satisfied succeed/succeeds/succeeded captivate/captivates/captivated please/pleases/pleased
triumph/triumphs/triumphed
""")
NEGATIVE_EFFECTS = words_of("""
disappoint/disappoints/disappointed annoy/annoys/annoyed fail/fails/failed
grate/grates/grated irritate/irritates/irritated falter/falters/faltered frustrate/frustrates/frustrated
infuriate/infuriates/infuriated bore/bores/bored exasperate/exasperates/exasperated stumble/stumbles/stumbled
flounder/flounders/floundered
""")

# Whole verdicts, without a single polar word to lean on where that is possible.
POSITIVE_VERDICTS = (
    "worth every penny",
    "I would do it all again tomorrow",
    "I have already told all my friends to try it",
    "go, and take everyone you know",
    "ten out of ten from me",
    "I cannot wait for the next one",
    "my expectations were left far behind",
    "this one goes straight on my list of favourites",
    "five stars, and I rarely give four",
    "I left with a grin on my face",
    "money well spent",
    "I have been raving about it ever since",
    "it raised the bar for all the others",
    "if only all of them were like this",
    "count me among the converted",
    "it deserves every award it can get",
)
NEGATIVE_VERDICTS = (
    "a waste of money",
    "I want my evening back",
    "I have already told all my friends to stay away",
    "save yourself the trouble",
    "zero stars if that were possible",
    "once was more than enough",
    "I asked for a refund the next morning",
    "this one goes straight on my blacklist",
    "one star, and that is generous",
    "I left with a headache",
    "money down the drain",
    "I have been grumbling about it ever since",
    "it scrapes the bottom of the barrel",
    "look elsewhere",
    "never again",
    "somebody should be made to apologise for it",
)

INTENSIFIERS = words_of("very really truly thoroughly remarkably genuinely deeply particularly consistently decidedly")
ABSOLUTES = words_of("absolutely utterly simply completely positively quite downright altogether")
DIMINISHERS = ("fairly", "rather", "somewhat", "mostly", "a little", "a bit", "reasonably", "more or less")

FILLERS = (
    "My sister picked it.",
    "This was last week.",
    "It was our second attempt.",
    "We had an hour to spare.",
    "I had read about it in the paper.",
    "A colleague brought it up over lunch.",
    "I am writing this on the train home.",
    "There were four of us.",
    "I paid for it myself.",
    "It was raining that day.",
    "I took my father along.",
    "For the record, I am forty-two.",
    "This is my first review here.",
    "I came to it without any plan.",
    "It was a present from my aunt.",
    "I have thought about it for a few days.",
    "You may know the name from the radio.",
    "Somebody had to go first.",
)


@dataclass(frozen=True)
class Polarity:
    """The words of one polarity that a split may use.

    Attributes:
        mild: Adjectives of the least strength; they take diminishers.
        clear: Adjectives of middle strength.
        strong: Adjectives of the greatest strength; they take absolutes.
        nouns: Uncountable qualities ("charm").
        feelings: Verbs with a person as the subject, (base, past).
        effects: Verbs with the thing as the subject, (base, third person, past).
        verdicts: Whole clauses.
        domain: Adjectives by name of the domain in which they make sense.
    """

    mild: tuple[str, ...]
    clear: tuple[str, ...]
    strong: tuple[str, ...]
    nouns: tuple[str, ...]
    feelings: tuple[tuple[str, ...], ...]
    effects: tuple[tuple[str, ...], ...]
    verdicts: tuple[str, ...]
    domain: dict[str, tuple[str, ...]]

    def surface_forms(self) -> frozenset[str]:
        """All single words of this polarity, inflected, verdicts left out."""
        words = {*self.mild, *self.clear, *self.strong, *self.nouns}
        words.update(form for verb in (*self.feelings, *self.effects) for form in verb)
        words.update(word for adjectives in self.domain.values() for word in adjectives)
        return frozenset(words)


def split_words(words: Sequence[str], *, held_out: bool | None) -> tuple[str, ...]:
    """Divides a list into its training words and its held-out words.

    Args:
        words: The list, whose order decides: every `HELD_OUT_STRIDE`-th word is held out.
        held_out: True for the held-out words, False for the training words, None for all.

    Returns:
        The chosen words in their order.
    """
    if held_out is None:
        return tuple(words)
    return tuple(w for i, w in enumerate(words) if (i % HELD_OUT_STRIDE == HELD_OUT_STRIDE - 1) == held_out)


def polarity(positive: bool, domain_adjectives: dict[str, Sequence[str]], *, held_out: bool | None = None) -> Polarity:
    """Collects the words of one polarity.

    Args:
        positive: Which polarity.
        domain_adjectives: Adjectives of that polarity by name of the domain.
        held_out: As for `split_words`.

    Returns:
        The words.
    """

    def pick(good: Sequence[str], bad: Sequence[str]) -> tuple[str, ...]:
        return split_words(good if positive else bad, held_out=held_out)

    return Polarity(
        mild=pick(POSITIVE_MILD, NEGATIVE_MILD),
        clear=pick(POSITIVE_CLEAR, NEGATIVE_CLEAR),
        strong=pick(POSITIVE_STRONG, NEGATIVE_STRONG),
        nouns=pick(POSITIVE_NOUNS, NEGATIVE_NOUNS),
        feelings=tuple(tuple(verb.split("/")) for verb in pick(POSITIVE_FEELINGS, NEGATIVE_FEELINGS)),
        effects=tuple(tuple(verb.split("/")) for verb in pick(POSITIVE_EFFECTS, NEGATIVE_EFFECTS)),
        verdicts=pick(POSITIVE_VERDICTS, NEGATIVE_VERDICTS),
        domain={name: split_words(words, held_out=held_out) for name, words in domain_adjectives.items()},
    )
