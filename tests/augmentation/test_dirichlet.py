"""Words as points among their neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from hf_robust_tickets.augmentation import CharacterEdits, DirichletNeighbourhoods
from hf_robust_tickets.augmentation.base import ListedWords
from hf_robust_tickets.augmentation.dirichlet import MOST_NEIGHBOURS
from hf_robust_tickets.errors import ConfigurationError
from tests.testing.small_tokenizers import KINDS, wordpiece

# Of these, only "movie", "plot" and "great" are one token of every tokenizer.
SOURCE = ListedWords({"film": ("movie", "picture", "plot"), "good": ("great", "\u00e9")}, ())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_mixed(kind):
    tokenizer = KINDS[kind]()
    ids = tokenizer("the film was good", padding="max_length", max_length=20)["input_ids"]
    mixture = DirichletNeighbourhoods(tokenizer, SOURCE).draw([ids, ids[:3]], [1, 2])
    names = tokenizer.convert_ids_to_tokens
    found = [[name.strip("\u0120\u2581") for name in dict.fromkeys(names(row.tolist()))] for row in mixture.ids]
    assert list(zip(mixture.rows, mixture.columns)) == [(0, 2), (0, 4), (1, 2)]
    assert found == [["film", "movie", "plot"], ["good", "great"], ["film", "movie", "plot"]]
    assert mixture.ids.shape == mixture.weights.shape == (3, MOST_NEIGHBOURS + 1)
    np.testing.assert_allclose(mixture.weights.sum(1), 1, rtol=1e-6)
    assert (mixture.weights[0, :3] > 0).all() and (mixture.weights[0, 3:] == 0).all()
    assert (mixture.weights[1, 2:] == 0).all() and not np.array_equal(mixture.weights[0], mixture.weights[2])


def test_weights_are_those_of_dirichlet():
    """Mean 1/3 each, variance (1/3)(2/3)/(3 alpha + 1)."""
    tokenizer = wordpiece()
    row = tokenizer(" ".join(["film"] * 2000), add_special_tokens=False)["input_ids"]
    for alpha in (0.1, 1.0, 10.0):
        weights = DirichletNeighbourhoods(tokenizer, SOURCE, alpha).draw([row], [0]).weights[:, :3]
        np.testing.assert_allclose(weights.mean(0), 1 / 3, atol=0.04)
        np.testing.assert_allclose(weights.var(0), 2 / 9 / (3 * alpha + 1), rtol=0.15)


def test_a_row_depends_on_its_seed_alone():
    tokenizer = wordpiece()
    rows = [tokenizer(text)["input_ids"] for text in ("good film", "film film", "good good film")]
    mixing = DirichletNeighbourhoods(tokenizer, SOURCE)
    together, last = mixing.draw(rows, [5, 6, 7]), mixing.draw(rows[2:], [7])
    assert np.array_equal(together.weights[together.rows == 2], last.weights)
    assert not np.array_equal(mixing.draw(rows[2:], [8]).weights, last.weights)


def test_nothing_to_mix():
    mixture = DirichletNeighbourhoods(wordpiece(), SOURCE).draw([[2, 3]], [0])
    assert mixture.ids.shape == (0, MOST_NEIGHBOURS + 1) and len(mixture.rows) == 0


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigurationError, match="a positive alpha and a source that lists words, got 0"):
        DirichletNeighbourhoods(wordpiece(), SOURCE, 0.0)
    with pytest.raises(ConfigurationError, match=r"got 1\.0 and CharacterEdits"):
        DirichletNeighbourhoods(wordpiece(), CharacterEdits())
