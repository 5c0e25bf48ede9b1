"""TextAttack's own wrapper, recipes and attacker: what the faster ones must agree with."""

from __future__ import annotations

import functools
from typing import Any

import nltk.tag

from hf_robust_tickets.evaluation.identity import derive_seed

OUTCOMES = {
    "SuccessfulAttackResult": "succeeded",
    "FailedAttackResult": "failed",
    "SkippedAttackResult": "skipped",
}


def stock_attack(recipe: str, model: Any, tokenizer: Any, encoder: Any, monkeypatch: Any) -> Any:
    """TextAttack's recipe over its own wrapper, with the given sentence encoder in place of its own."""
    import textattack
    from textattack import attack_recipes
    from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
    from textattack.transformations import WordSwapHomoglyphSwap

    # NLTK reads its tagger's files at every call, more than half a second each
    monkeypatch.setattr(nltk.tag, "_get_tagger", functools.cache(nltk.tag._get_tagger))
    monkeypatch.setattr(nltk, "download", lambda *args, **kwargs: True)
    if encoder is not None:
        monkeypatch.setattr(UniversalSentenceEncoder, "encode", lambda self, texts: encoder.encode(texts))
    build = {
        "textfooler": attack_recipes.TextFoolerJin2019,
        "pwws": attack_recipes.PWWSRen2019,
        "textbugger": attack_recipes.TextBuggerLi2018,
        "deepwordbug": attack_recipes.DeepWordBugGao2018,
    }[recipe]
    original = WordSwapHomoglyphSwap.__init__

    def tolerant(self: Any, **kwargs: Any) -> None:
        try:
            original(self, **kwargs)
        except FileNotFoundError:
            self.homos_intentional = {}

    monkeypatch.setattr(WordSwapHomoglyphSwap, "__init__", tolerant)
    return build.build(textattack.models.wrappers.HuggingFaceModelWrapper(model, tokenizer))


def run_stock(
    recipe: str, model: Any, tokenizer: Any, rows: list[dict], encoder: Any, seed: int, monkeypatch: Any
) -> list[dict]:
    """Attacks rows with `index`, `text` and `label` one by one, each seeded as `evaluate_robustness` seeds it."""
    return attack_rows(stock_attack(recipe, model, tokenizer, encoder, monkeypatch), recipe, rows, seed)


def attack_rows(attack: Any, recipe: str, rows: list[dict], seed: int) -> list[dict]:
    """What TextAttack's attacker finds for each row."""
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
