"""A fast tokenizer as its file describes it: its pieces, what each is made of, and the same with fewer.

Taking pieces away changes what a text is cut into only where the text used one of them, or used one on the way:

- WordPiece takes the longest piece that fits, and the longest of all is among those that stay.
- Unigram takes the cut of the highest score, and that one stays possible. The score of an unknown character depends on
  the lowest score of all pieces, so that piece stays.
- BPE merges the pair of the lowest rank, and finds it as long as the merges on the way to a piece stay.

A word with characters that no piece has is the exception: what was unknown as a whole may be spelt with the pieces
that are left. `Pieces.inside` gives what has to stay for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from ...errors import ConfigurationError

_KINDS = ("BPE", "Unigram", "WordLevel", "WordPiece")
_BYTES = 256


class Pieces:
    """The pieces of a fast tokenizer, and those that go with them.

    Args:
        tokenizer: The tokenizer of the `tokenizers` library.

    Attributes:
        ids: The number of each piece, added tokens included.
        names: The reverse.
        added: The added tokens.

    Raises:
        ConfigurationError: If it is of a kind that is not known, or leaves out merges at random.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._content: dict[str, Any] = json.loads(tokenizer.to_str())
        self.model: dict[str, Any] = self._content["model"]
        self.kind: str = self.model.get("type", "")
        if self.kind not in _KINDS:
            raise ConfigurationError(f"expected a tokenizer of kind {', '.join(_KINDS)}, got {self.kind or 'another'}")
        if self.model.get("dropout"):
            raise ConfigurationError("expected a tokenizer that cuts a text always alike, got one with BPE dropout")
        vocabulary = self.model["vocab"]
        if self.kind == "Unigram":
            self.ids = {piece: i for i, (piece, _) in enumerate(vocabulary)}
        else:
            self.ids = dict(vocabulary)
        self._own = frozenset(self.ids)
        self.added = [token["content"] for token in self._content["added_tokens"]]
        self.ids |= {token["content"]: token["id"] for token in self._content["added_tokens"]}
        merges = self.model.get("merges", ())
        self._merges = [tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in merges]
        self.names = {number: piece for piece, number in self.ids.items()}
        self._ranks = {pair: rank for rank, pair in enumerate(self._merges)}
        self._prefix = self.model.get("continuing_subword_prefix") or ""
        self._suffix = self.model.get("end_of_word_suffix") or ""

    def always(self) -> set[str]:
        """What no cut takes away: added tokens, that of the unknown, single bytes, the lowest score."""
        kept = set(self.added)
        unknown = self.model.get("unk_token")
        if unknown in self.ids:
            kept.add(unknown)
        if self.kind == "Unigram":
            scores = self.model["vocab"]
            kept.add(min(scores, key=lambda entry: entry[1])[0])
            if self.model.get("unk_id") is not None:
                kept.add(scores[self.model["unk_id"]][0])
        if self.model.get("byte_fallback"):
            kept |= {f"<0x{byte:02X}>" for byte in range(_BYTES)} & self._own
        if "ByteLevel" in json.dumps([self._content["pre_tokenizer"], self._content["normalizer"]]):
            kept |= set(ByteLevel.alphabet()) & self._own
        return kept

    def characters(self) -> set[str]:
        """The pieces that are one character, with which any word can still be spelt."""
        return {piece for piece in self._own if len(self._bare(piece)) == 1}

    def with_parts(self, pieces: Iterable[str]) -> set[str]:
        """These pieces, and for BPE all that are merged on the way to them."""
        found = set(pieces)
        if self.kind != "BPE":
            return found
        for piece in list(found & self._own):
            found |= self._parts(piece)
        return found & set(self.ids)

    def inside(self, word: str) -> set[str]:
        """All pieces that a word, normalised and split off, can be cut into: with them nothing about it changes."""
        spans = {word[i:j] for i in range(len(word)) for j in range(i + 1, len(word) + 1)}
        forms = (lambda s: s, lambda s: self._prefix + s, lambda s: s + self._suffix)
        return {form(span) for span in spans for form in forms} & self._own

    def shrunk(self, kept: Iterable[int]) -> Tokenizer:
        """The tokenizer with these pieces alone, numbered anew in the same order."""
        new = {old: number for number, old in enumerate(kept)}
        pieces = {piece for piece, old in self.ids.items() if old in new}
        model = dict(self.model)
        if self.kind == "Unigram":
            model["vocab"] = [entry for i, entry in enumerate(self.model["vocab"]) if i in new]
            if model.get("unk_id") is not None:
                model["unk_id"] = new[model["unk_id"]]
        else:
            model["vocab"] = {piece: new[old] for piece, old in self.model["vocab"].items() if old in new}
        if self.kind == "BPE":
            model["merges"] = [list(pair) for pair in self._merges if {*pair, self._joined(*pair)} <= pieces]
        content = {**self._content, "model": model}
        content["added_tokens"] = sorted(
            ({**token, "id": new[token["id"]]} for token in self._content["added_tokens"]), key=lambda each: each["id"]
        )
        content["post_processor"] = _renumbered(self._content["post_processor"], new)
        if content.get("padding"):
            content["padding"] = {**content["padding"], "pad_id": new[content["padding"]["pad_id"]]}
        return Tokenizer.from_str(json.dumps(content))

    def _bare(self, piece: str) -> str:
        return piece.removeprefix(self._prefix).removesuffix(self._suffix) or piece

    def _joined(self, left: str, right: str) -> str:
        return left + right.removeprefix(self._prefix)

    def _parts(self, piece: str) -> set[str]:
        # What happens inside a piece's span does not depend on what is around it: the piece alone tells its merges.
        inside = piece.removeprefix(self._prefix)
        symbols = [inside[0] if inside == piece else self._prefix + inside[0]]
        symbols += [self._prefix + character for character in inside[1:]]
        if self._suffix and piece.endswith(self._suffix):
            symbols = symbols[: len(symbols) - len(self._suffix)]
            symbols[-1] += self._suffix
        found = set(symbols)
        while len(symbols) > 1:
            ranks = [self._ranks.get(pair, len(self._ranks)) for pair in pairwise(symbols)]
            best = min(range(len(ranks)), key=ranks.__getitem__)
            if ranks[best] == len(self._ranks):
                break  # a piece that is looked up as a whole, before any merge
            symbols[best : best + 2] = [self._joined(*symbols[best : best + 2])]
            found.add(symbols[best])
        return found


def _renumbered(processor: Any, new: dict[int, int]) -> Any:
    """A post-processor with the numbers of the tokens that it adds."""
    if not isinstance(processor, dict):
        return processor
    changed = dict(processor)
    if processor.get("type") == "Sequence":
        changed["processors"] = [_renumbered(each, new) for each in processor["processors"]]
    if processor.get("type") == "TemplateProcessing":
        changed["special_tokens"] = {
            name: {**token, "ids": [new[old] for old in token["ids"]]}
            for name, token in processor["special_tokens"].items()
        }
    for name in ("cls", "sep"):
        if isinstance(processor.get(name), list):
            token, old = processor[name]
            changed[name] = [token, new[old]]
    return changed
