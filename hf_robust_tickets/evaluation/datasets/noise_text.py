"""Texts with natural noise, one word at a time."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from ...errors import ConfigurationError
from .noise_tables import KEYBOARD, OCR

SEVERITIES = {1: 0.05, 2: 0.1, 3: 0.2, 4: 0.4, 5: 0.8}
"""Severity -> share of the words that are changed, one edit each; never less than one word."""

_WORD = re.compile(r"\S+")


def _typo(word: str, rng: random.Random) -> str:
    """Two letters swapped, one left out, or one typed twice: Damerau's slips (CACM 7, 1964), no foreign letters."""
    place = rng.randrange(len(word))
    swaps = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
    kinds = ["twice", *(["swap"] if swaps else []), *(["out"] if len(word) > 1 else [])]
    kind = rng.choice(kinds)
    if kind == "swap":
        i = rng.choice(swaps)
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    return word[:place] + (word[place] * 2 if kind == "twice" else "") + word[place + 1 :]


def _keyboard(word: str, rng: random.Random) -> str:
    """A neighbouring key instead of the right one."""
    places = [i for i, letter in enumerate(word) if letter.lower() in KEYBOARD]
    if not places:
        return word
    i = rng.choice(places)
    key = rng.choice(KEYBOARD[word[i].lower()])
    return word[:i] + (key.upper() if word[i].isupper() else key) + word[i + 1 :]


def _casing(word: str, rng: random.Random) -> str:
    """All capitals, the first letter's case changed, or all small."""
    forms = {word.upper(), word.lower(), word[:1].swapcase() + word[1:]} - {word}
    return rng.choice(sorted(forms)) if forms else word


def _whitespace(word: str, rng: random.Random) -> str:
    """A space inside the word, or several after it."""
    if len(word) > 1 and rng.random() < 0.5:
        i = rng.randrange(1, len(word))
        return word[:i] + " " + word[i:]
    return word + " " * rng.randrange(1, 4)


def _ocr(word: str, rng: random.Random) -> str:
    """One letter, or two, read as what they look like."""
    places = [(i, size) for size in (1, 2) for i in range(len(word) - size + 1) if word[i : i + size] in OCR]
    if not places:
        return word
    i, size = rng.choice(places)
    return word[:i] + rng.choice(OCR[word[i : i + size]]) + word[i + size :]


KINDS: dict[str, Callable[[str, random.Random], str]] = {
    "typos": _typo,
    "keyboard": _keyboard,
    "casing": _casing,
    "whitespace": _whitespace,
    "ocr": _ocr,
}
"""Kind -> what it does to one word."""


def add_noise(text: str, kind: str, severity: int, rng: random.Random) -> str:
    """A text with noise.

    Args:
        text: The text.
        kind: One of `KINDS`.
        severity: 1 to 5, see `SEVERITIES`.
        rng: Where chance comes from.

    Returns:
        The text with one edit in each of the words that were drawn; a text that offers nothing stays as it is.

    Raises:
        ConfigurationError: If kind or severity is unknown.
    """
    check_noise([kind], [severity])
    words = list(_WORD.finditer(text))
    places = list(range(len(words)))
    rng.shuffle(places)
    left = max(1, round(SEVERITIES[severity] * len(words)))
    edits: dict[int, str] = {}
    for place in places:
        if len(edits) == left:
            break
        changed = KINDS[kind](words[place].group(), rng)
        # a word without a letter that the kind knows: another takes its turn
        if changed != words[place].group():
            edits[place] = changed
    parts, end = [], 0
    for place, word in enumerate(words):
        parts += [text[end : word.start()], edits.get(place, word.group())]
        end = word.end()
    return "".join([*parts, text[end:]])


def check_noise(kinds: Sequence[str], severities: Sequence[int]) -> None:
    """Refuses kinds and severities that do not exist.

    Raises:
        ConfigurationError: If there is one, or none at all.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ConfigurationError(f"expected kinds of noise among {', '.join(KINDS)}, got {unknown or 'none'}")
    beyond = [severity for severity in severities if severity not in SEVERITIES]
    if beyond or not severities:
        raise ConfigurationError(f"expected severities among 1 to {max(SEVERITIES)}, got {beyond or 'none'}")
