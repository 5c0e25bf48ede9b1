"""The layers below a hidden-layer attack, run once: the gradients of running them in every pass, in every family."""

from __future__ import annotations

import pytest
import transformers

from hf_robust_tickets.adversaries import FreeLB, RDrop
from hf_robust_tickets.training.steps.base import AdversarialStep
from tests.testing.families import FAMILIES, tiny_config
from tests.testing.methods import METHODS
from tests.testing.tiny import tiny_bert
from tests.testing.training import assert_equal_gradients, first_gradient, logged

# By any name that a family has for them.
NO_DROPOUT = dict.fromkeys(
    ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "seq_classif_dropout",
     "resid_pdrop", "embd_pdrop", "attn_pdrop", "classifier_dropout"), 0.0,
)  # fmt: skip
# These give all of their layers a bias on positions that was computed before the first.
SHARING = ["deberta-v3", "mpnet"]


def gradients(monkeypatch, folder, family, name, **options):
    """With the cache, and without."""
    options = {"adversary_layer": 1, **options}

    def gradient():
        known = {key: value for key, value in NO_DROPOUT.items() if hasattr(tiny_config(family), key)}
        config = tiny_config(family, num_labels=2, **known)
        transformers.set_seed(0)
        model = getattr(transformers, FAMILIES[family][2] + "ForSequenceClassification")(config)
        return first_gradient(folder, model=model, adversary=METHODS[name], options=options)

    cached = gradient()
    monkeypatch.setattr(AdversarialStep, "caches_layers", False)
    return cached, gradient()


@pytest.mark.parametrize("family", ["distilbert", "gpt2", "llama", "modernbert", "roberta", "deberta", *SHARING])
def test_cached_is_uncached_in_every_family(family, tmp_path, monkeypatch):
    assert_equal_gradients(*gradients(monkeypatch, tmp_path, family, "freelb"))


@pytest.mark.parametrize("family", SHARING)
@pytest.mark.parametrize("name", ["fgm", "pgd", "trades", "yopo"])
def test_what_all_layers_share_gets_its_gradient_once(family, name, tmp_path, monkeypatch, same_starts):
    assert_equal_gradients(*gradients(monkeypatch, tmp_path, family, name))


def test_what_all_layers_share_is_recomputed_too(tmp_path, monkeypatch):
    assert_equal_gradients(*gradients(monkeypatch, tmp_path, "deberta-v3", "freelb", gradient_checkpointing=True))


@pytest.mark.parametrize("family", SHARING)
def test_a_clean_pass_that_fills_the_cache(family, tmp_path, monkeypatch):
    assert_equal_gradients(*gradients(monkeypatch, tmp_path, family, "pgd", adversary_clean_weight=0.5))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_shared_dropout_masks_above_a_cache_that_a_clean_pass_filled(layer, tmp_path):
    """Equal passes have no divergence and no gap between them."""

    def entry(adversary, **options):
        model = tiny_bert(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3)
        options = {"adversary_share_dropout": True, "adversary_layer": layer, **options}
        return logged(tmp_path, adversary, model, **options)[0]

    assert entry(RDrop())["adversary_divergence"] == pytest.approx(0, abs=1e-9)
    still = FreeLB(steps=2, step_size=0.0, init_magnitude=0.0, step_unit="absolute")
    assert entry(still, adversary_clean_weight=0.5)["adversary_gap"] == pytest.approx(0, abs=1e-6)
    assert abs(entry(still, adversary_clean_weight=0.5, adversary_share_dropout=False)["adversary_gap"]) > 1e-4
