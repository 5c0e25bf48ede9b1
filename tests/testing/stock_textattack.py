"""TextAttack's own wrapper, recipes and attacker: what the faster ones must agree with."""

from __future__ import annotations

import functools
from typing import Any

import nltk.corpus
import nltk.tag

from hf_robust_tickets.evaluation.components.stopwords import NLTK_ENGLISH
from hf_robust_tickets.evaluation.fingerprints import derive_seed

OUTCOMES = {
    "SuccessfulAttackResult": "succeeded",
    "FailedAttackResult": "failed",
    "SkippedAttackResult": "skipped",
    # Input Reduction has no success: the model keeps its prediction
    "MaximizedAttackResult": "failed",
}

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "a2t": ("A2TYoo2021", {}),
    "a2t-mlm": ("A2TYoo2021", {"mlm": True}),
    "bae": ("BAEGarg2019", {}),
    "bert-attack": ("BERTAttackLi2020", {}),
    "checklist": ("CheckList2020", {}),
    "clare": ("CLARE2020", {}),
    "deepwordbug": ("DeepWordBugGao2018", {}),
    "faster-genetic": ("FasterGeneticAlgorithmJia2019", {}),
    "genetic": ("GeneticAlgorithmAlzantot2018", {}),
    "iga": ("IGAWang2019", {}),
    "input-reduction": ("InputReductionFeng2018", {}),
    "kuleshov": ("Kuleshov2017", {}),
    "leap": ("LEAP2023", {}),
    "pruthi": ("Pruthi2019", {}),
    "pso": ("PSOZang2020", {}),
    "pwws": ("PWWSRen2019", {}),
    "textbugger": ("TextBuggerLi2018", {}),
    "textfooler": ("TextFoolerJin2019", {}),
}
"""Our name -> TextAttack's class and what its `build` is given."""


def build_stock(
    recipe: str,
    model: Any,
    tokenizer: Any,
    monkeypatch: Any,
    encoder: Any = None,
    vectors: Any = None,
    masked_lm: Any = None,
) -> Any:
    """A recipe as TextAttack builds it, from the same parts where it would download others."""
    import textattack
    import transformers
    from textattack import attack_recipes
    from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
    from textattack.constraints.semantics.sentence_encoders.sentence_bert import sbert
    from textattack.transformations import WordSwapHomoglyphSwap

    # NLTK reads its tagger's files at every call, more than half a second each
    monkeypatch.setattr(nltk.tag, "_get_tagger", functools.cache(nltk.tag._get_tagger))
    monkeypatch.setattr(nltk, "download", lambda *args, **kwargs: True)
    pin_stopwords(monkeypatch)
    if encoder is not None:
        monkeypatch.setattr(UniversalSentenceEncoder, "encode", lambda self, texts: encoder.encode(texts))
        monkeypatch.setattr(sbert.SBERT, "__init__", _without_model(sbert.SBERT))
        monkeypatch.setattr(sbert.SBERT, "encode", lambda self, texts: encoder.encode(texts))
    if vectors is not None:
        embedding = textattack.shared.WordEmbedding
        monkeypatch.setattr(embedding, "counterfitted_GLOVE_embedding", staticmethod(lambda: vectors))
    if masked_lm is not None:
        for name in ("AutoModelForMaskedLM", "AutoModelForCausalLM"):
            monkeypatch.setattr(getattr(transformers, name), "from_pretrained", lambda *args, **kwargs: masked_lm[0])
        monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *args, **kwargs: masked_lm[1])
    original = WordSwapHomoglyphSwap.__init__

    def tolerant(self: Any, **kwargs: Any) -> None:
        try:
            original(self, **kwargs)
        except FileNotFoundError:
            self.homos_intentional = {}

    monkeypatch.setattr(WordSwapHomoglyphSwap, "__init__", tolerant)
    name, arguments = RECIPES[recipe]
    wrapper = textattack.models.wrappers.HuggingFaceModelWrapper(model, tokenizer)
    return getattr(attack_recipes, name).build(wrapper, **arguments)


def pin_stopwords(monkeypatch: Any) -> None:
    """TextAttack's recipes ask NLTK for stop words: where it has none, they see those that ours are pinned to."""
    try:
        nltk.data.find("corpora/stopwords")
    except LookupError:
        pinned = {"words": staticmethod(lambda language: {"english": sorted(NLTK_ENGLISH)}[language])}
        monkeypatch.setattr(nltk.corpus, "stopwords", type("Pinned", (), pinned))


def _without_model(kind: Any) -> Any:
    base = kind.__mro__[1]

    def init(self: Any, model_name: str, **kwargs: Any) -> None:
        base.__init__(self, **kwargs)

    return init


def run_attack(attack: Any, recipe: str, rows: list[dict], seed: int) -> list[dict]:
    """Attacks rows with `index`, `text` and `label` one by one, each seeded as `evaluate_robustness` seeds it."""
    import textattack

    found = []
    for row in rows:
        seed_of_row = derive_seed(seed, recipe, row["index"])
        arguments = textattack.AttackArgs(num_examples=1, silent=True, disable_stdout=True, random_seed=seed_of_row)
        dataset = textattack.datasets.Dataset([(row["text"], row["label"])])
        attacker = textattack.Attacker(attack, dataset, arguments)
        result = next(iter(attacker.attack_dataset()))
        found.append(
            {
                "outcome": OUTCOMES[type(result).__name__],
                "perturbed": result.perturbed_result.attacked_text.text,
                "queries": result.num_queries,
            }
        )
    return found


def run_stock(
    recipe: str, model: Any, tokenizer: Any, rows: list[dict], encoder: Any, seed: int, monkeypatch: Any
) -> list[dict]:
    """What TextAttack's own recipe, wrapper and attacker make of the rows."""
    return run_attack(build_stock(recipe, model, tokenizer, monkeypatch, encoder), recipe, rows, seed)
