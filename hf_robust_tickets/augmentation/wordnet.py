"""Synonyms from WordNet, read from its own files."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from ..errors import MissingResourceError
from ..evaluation.components.stopwords import NLTK_ENGLISH
from ..evaluation.resources import RESOURCES, ensure_resources
from .base import ListedWords

# Endings that WordNet's `morphy` takes off, and what it puts in their place (morphy(7WN)).
_ENDINGS = {
    "noun": "s: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y",
    "verb": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "adj": "er: est: er:e est:e",
    "adv": "",
}


class WordNetSynonyms(ListedWords):
    """Replaces a word by a lemma that shares a synset with it, whatever its part of speech.

    As in PWWS (Ren et al., ACL 2019) and TextAttack's `WordSwapWordNet`, but for what takes a tagger: the part of
    speech is not asked for. Lemmas are single words, uninflected; NLTK's stop words stay as they are. The files are
    read once and as a whole: NLTK's own reader seeks in files that stay open, which worker processes would share.

    Fellbaum (ed.), *WordNet: An Electronic Lexical Database*, MIT Press, 1998.
    """

    def __init__(self, lemmas: dict[str, dict[str, tuple[str, ...]]], irregular: dict[str, dict[str, str]]) -> None:
        super().__init__({}, ("wordnet",))
        self._lemmas = lemmas
        self._found: dict[str, tuple[str, ...]] = {}
        self._irregular = irregular

    @classmethod
    def load(cls) -> Self:
        """Reads WordNet where NLTK finds it.

        Raises:
            MissingDependencyError: If NLTK is not installed.
            MissingResourceError: If WordNet is not there; the message says how to fetch it.
        """
        ensure_resources(["wordnet"])
        files = RESOURCES["wordnet"].found()
        lemmas = {kind: _synonyms(_lines(files, f"data.{kind}")) for kind in _ENDINGS}
        irregular = {kind: dict(_exceptions(_lines(files, f"{kind}.exc"))) for kind in _ENDINGS}
        return cls(lemmas, irregular)

    def __len__(self) -> int:
        return sum(map(len, self._lemmas.values()))

    def candidates(self, word: str) -> tuple[str, ...]:
        """Synonyms of a word, or of what it is an inflection of, in the order of the alphabet."""
        if word not in self._found:
            self._found[word] = () if word in NLTK_ENGLISH else tuple(sorted(self._synonyms_of(word) - {word}))
        return self._found[word]

    def _synonyms_of(self, word: str) -> set[str]:
        found: set[str] = set()
        for kind, lemmas in self._lemmas.items():
            found.update(*((base, *lemmas[base]) for base in self._bases(word, kind) if base in lemmas))
        return found

    def _bases(self, word: str, kind: str) -> Iterator[str]:
        yield word
        if word in self._irregular[kind]:
            yield self._irregular[kind][word]
            return
        for ending, _, other in (rule.partition(":") for rule in _ENDINGS[kind].split()):
            if word.endswith(ending) and len(word) > len(ending):
                yield word[: -len(ending)] + other


def _lines(files: list[Path], name: str) -> list[str]:
    """The lines of one of WordNet's files, from a folder or from the archive that NLTK downloads."""
    for file in files:
        if file.name == name:
            return file.read_text(encoding="utf-8").splitlines()
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                inside = [entry for entry in archive.namelist() if Path(entry).name == name]
                if inside:
                    return archive.read(inside[0]).decode("utf-8").splitlines()
    raise MissingResourceError(
        f"expected {name} in WordNet, got {', '.join(sorted(file.name for file in files))}: run "
        f"`{RESOURCES['wordnet'].command}`"
    )


def _synonyms(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Lemma -> the other lemmas of its synsets (wndb(5WN): offset, file, type, number of words, then the words)."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        if line.startswith(" "):  # the licence
            continue
        fields = line.split(" ", 4)
        entries = fields[4].split(" ", 2 * int(fields[3], 16))[: 2 * int(fields[3], 16) : 2]
        # Adjectives may be followed by where they stand: "galore(ip)".
        words = [word for entry in entries if (word := entry.partition("(")[0].lower()).isalpha()]
        for word in words if len(words) > 1 else ():
            found[word].update(words)
    return {word: tuple(sorted(others - {word})) for word, others in found.items()}


def _exceptions(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        inflected, *bases = line.split()
        yield inflected, bases[0]
