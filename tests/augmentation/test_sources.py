"""Where other words come from."""

from __future__ import annotations

import importlib.util
import json
import random
import re

import pyarrow as pa
import pytest
from pyarrow import parquet

from hf_robust_tickets.augmentation import CharacterEdits, NeighbourList, build_source
from hf_robust_tickets.augmentation.wordnet import WordNetSynonyms, _synonyms
from hf_robust_tickets.errors import DataError, MissingResourceError
from hf_robust_tickets.evaluation.datasets.noise_tables import KEYBOARD
from hf_robust_tickets.evaluation.recipes.overlap import ATTACK_RESOURCES


def test_character_edits_are_one_of_four():
    rng, edits, seen = random.Random(0), CharacterEdits(), set()
    for _ in range(400):
        other = edits.replacement("Film", rng)
        assert other not in (None, "Film")
        if len(other) == 4 and sorted(other.lower()) == sorted("film"):
            seen.add("swap")
        elif len(other) == 4:
            ((old, new),) = [(a, b) for a, b in zip("Film", other, strict=True) if a != b]
            assert new.lower() in KEYBOARD[old.lower()] and old.isupper() == new.isupper()
            seen.add("substitute")
        elif len(other) == 3:
            assert any("Film"[:i] + "Film"[i + 1 :] == other for i in range(4))
            seen.add("delete")
        else:
            places = [i for i in range(5) if other[:i] + other[i + 1 :] == "Film"]
            assert any(other[i].lower() in KEYBOARD["Film"[i - 1].lower()] for i in places if i)
            seen.add("insert")
    assert seen == {"swap", "substitute", "delete", "insert"}
    assert edits.replacement("was", rng) is None
    assert (
        edits.replacement("\u0444\u0438\u043b\u044c\u043c", rng) is not None
    )  # letters that no key here has: swaps and deletions


def write_parquet(path, **columns):
    parquet.write_table(pa.table(columns), path)
    return path


def test_lists_of_neighbours(tmp_path):
    words = {
        "film": ["movie", "Picture", "film", "two words"],
        "Fine": ["good"],
        "x-ray": ["photo"],
        "alone": ["alone"],
    }
    (tmp_path / "list.json").write_text(json.dumps(words))
    write_parquet(tmp_path / "list.parquet", word=list(words), neighbors=list(words.values()))
    for name in ("list.json", "list.parquet"):
        found = NeighbourList.from_file(tmp_path / name)
        assert found.candidates("film") == ("movie", "picture") and found.candidates("fine") == ("good",)
        assert len(found) == 2 and found.resources == (f"neighbours:{name}",)
        rng = random.Random(0)
        assert {found.replacement("FILM", rng) for _ in range(20)} == {"MOVIE", "PICTURE"}
        assert found.replacement("Fine", rng) == "Good" and found.replacement("fine", rng) == "good"
        assert found.replacement("plot", rng) is None


@pytest.mark.parametrize(
    "content", ['["film"]', '{"film": "movie"}', '{"film": [1]}', "{}", "no json", '{"film": []}']
)
def test_a_file_that_is_no_list_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "list.json"
    path.write_text(content)
    with pytest.raises(DataError, match=re.escape(f"lists of neighbours in {path}, got")) as error:
        NeighbourList.from_file(path)
    assert "\n" not in str(error.value)


def test_other_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(DataError, match=r"none\.json, which does not exist"):
        build_source(str(tmp_path / "none.json"))
    with pytest.raises(DataError, match="got synonyms, which does not exist"):
        build_source("synonyms")
    path = write_parquet(tmp_path / "two.parquet", word=["a"], other=["b"])
    with pytest.raises(DataError, match=r"got columns word \(string\), other \(string\)"):
        build_source(str(path))
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read") as error:
        build_source(str(tmp_path / "bad.parquet"))
    assert "\n" not in str(error.value)


def test_resources_have_the_names_that_attacks_have(tmp_path):
    (tmp_path / "counterfitted_neighbors.json").write_text('{"film": ["movie"]}')
    fitted = NeighbourList.from_file(tmp_path / "counterfitted_neighbors.json")
    known = {name for names in ATTACK_RESOURCES.values() for name in names}
    assert "counter-fitted-neighbors" in fitted.resources and "counter-fitted-neighbors" in known
    assert {*CharacterEdits.resources, "wordnet"} <= known


def test_synsets_by_hand():
    lines = [
        "  1 This is the licence",
        "00001 00 n 03 film 0 moving_picture 1 Movie 0 001 @ 00002 n 0000 | a story on a screen",
        "00002 00 a 02 big(p) 0 large 0 000 | of size",
        "00003 00 n 01 alone 0 000 | nobody else",
    ]
    assert _synonyms(lines) == {"film": ("movie",), "movie": ("film",), "big": ("large",), "large": ("big",)}


def test_inflections_by_hand():
    lemmas = {"noun": {"film": ("movie",), "man": ("adult",)}, "verb": {"make": ("create",)}, "adj": {}, "adv": {}}
    found = WordNetSynonyms(lemmas, {"noun": {"men": "man"}, "verb": {"made": "make"}, "adj": {}, "adv": {}})
    rng = random.Random(0)
    assert found.candidates("films") == ("film", "movie") and found.candidates("film") == ("movie",)
    assert found.replacement("Making", rng) in ("Make", "Create")
    assert found.candidates("men") == ("adult", "man") and found.candidates("made") == ("create", "make")
    assert found.candidates("the") == () and found.replacement("xyzzy", rng) is None


def test_wordnet_is_missed_in_one_line(tmp_path, monkeypatch):
    nltk = pytest.importorskip("nltk")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    with pytest.raises(MissingResourceError, match="robust-tickets resources fetch wordnet"):
        build_source("wordnet")


def test_the_real_wordnet_has_what_nltk_finds():
    if importlib.util.find_spec("nltk") is None:
        pytest.skip("NLTK is not installed")
    from nltk.corpus import wordnet

    try:
        found = build_source("wordnet")
    except MissingResourceError:
        pytest.skip("WordNet is not there")
    assert found.resources == ("wordnet",) and len(found) > 30_000
    for word in ("film", "films", "brilliantly", "made", "worse", "boxes", "acting"):
        names = {name.lower() for synset in wordnet.synsets(word) for name in synset.lemma_names()}
        assert {name for name in names if name.isalpha()} - {word} <= set(found.candidates(word)), word
