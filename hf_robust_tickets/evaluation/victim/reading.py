"""What a model reads of its texts, and what an attack takes for their words."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..results.example import tokenizer_input

UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana, Chinese characters
)
"""Characters of scripts that put no space between words, for a class of a regular expression."""

KNOWN = 0.2
"""A text of which the tokenizer knows less than this share of the tokens counts as not read by the model."""

NOTICEABLE = 0.05
"""Share of texts from which on something is worth a word."""

_LETTER, _UNSPACED = re.compile(r"\w"), re.compile(f"[{UNSPACED}]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CHINESE, _KANA = re.compile("[\u4e00-\u9fff]"), re.compile("[\u3040-\u30ff]")


def is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogate, which no tokenizer takes."""
    return _SURROGATE.search(text) is None


def is_unspaced(text: str) -> bool:
    """Whether at least half of a text's letters belong to a script without spaces between words."""
    return 2 * len(_UNSPACED.findall(text)) >= max(1, len(_LETTER.findall(text)))


def segmenter(text: str) -> str | None:
    """What cuts an unspaced text into words for TextAttack: of Chinese jieba, where it is installed; else nothing."""
    if _CHINESE.search(text) is None or _KANA.search(text) is not None or importlib.util.find_spec("jieba") is None:
        return None
    return f"jieba {importlib.metadata.version('jieba')}"


def describe_segmentation(texts: Iterable[Mapping[str, str]]) -> str | None:
    """How words of unspaced texts are found, for the settings of a report; None where all texts have spaces."""
    found = {
        segmenter(part) or "spaces and punctuation" for text in texts for part in text.values() if is_unspaced(part)
    }
    return ", ".join(sorted(found)) or None


def unsegmented_reason(texts: Sequence[Mapping[str, str]]) -> str | None:
    """Why an attack on words says little about these texts; None if it does not."""
    count = sum(any(is_unspaced(part) and segmenter(part) is None for part in text.values()) for text in texts)
    if count <= NOTICEABLE * len(texts):
        return None
    return (
        f"{count} texts are in a script without spaces, and a clause of theirs counts as one word, for nothing cuts "
        "them (pip install jieba, for Chinese)"
    )


def unread_reason(texts: Sequence[Mapping[str, str]], tokenizer: Any, max_length: int) -> str | None:
    """Why a model's answers say little about these texts: its tokenizer does not know them; None if it does."""
    count = sum(_is_unread(text, tokenizer, max_length) for text in texts)
    if count <= NOTICEABLE * len(texts):
        return None
    return f"{count} texts are not read: the tokenizer knows less than {KNOWN:.0%} of their tokens"


def unread_warnings(texts: Sequence[Mapping[str, str]], victim: Any) -> list[str]:
    """As `unread_reason`, for the warnings of a result of a `Victim`."""
    reason = unread_reason(texts, victim.tokenizer, victim.max_length)
    return [] if reason is None else [f"{reason}: the figures say nothing about them"]


def _is_unread(text: Mapping[str, str], tokenizer: Any, max_length: int) -> bool:
    if not all(map(is_unicode, text.values())):
        return True
    given = tokenizer_input(text)
    pair = given if isinstance(given, tuple) else (given,)
    unknown = tokenizer.unk_token_id
    special = {token for token in tokenizer.all_special_ids if token != unknown}
    tokens = [i for i in tokenizer(*pair, truncation=True, max_length=max_length)["input_ids"] if i not in special]
    return sum(i != unknown for i in tokens) < KNOWN * len(tokens) if tokens else True
