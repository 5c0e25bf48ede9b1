"""What attacks change texts with, and what of it a model has met in training: such an attack is no unseen one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .registry import Recipe

ATTACK_RESOURCES: Mapping[str, tuple[str, ...]] = {
    "a2t": ("counter-fitted-neighbors",),
    "a2t-mlm": ("masked-lm",),
    "bad-characters-deletions": ("control-characters",),
    "bad-characters-homoglyphs": ("homoglyphs",),
    "bad-characters-invisible": ("control-characters",),
    "bad-characters-reorderings": ("control-characters",),
    "bae": ("masked-lm",),
    "bert-attack": ("masked-lm",),
    "checklist": ("names-and-places",),
    "clare": ("masked-lm",),
    "deepwordbug": ("character-edits",),
    "faster-genetic": ("counter-fitted-neighbors",),
    "fudan-bertattack": ("counter-fitted-neighbors",),
    "genetic": ("counter-fitted-neighbors",),
    "hard-label": ("counter-fitted-neighbors",),
    "iga": ("counter-fitted-neighbors",),
    "input-reduction": (),
    "kuleshov": ("counter-fitted-neighbors",),
    "leap": ("wordnet",),
    "pruthi": ("character-edits", "qwerty"),
    "pso": ("hownet",),
    "pwws": ("wordnet",),
    "textbugger": ("character-edits", "counter-fitted-neighbors", "homoglyphs"),
    "textfooler": ("counter-fitted-neighbors",),
}
"""Recipe -> what it takes new words or characters from."""

NOISE_RESOURCES: Mapping[str, tuple[str, ...]] = {
    "typos": ("character-edits",),
    "keyboard": ("character-edits", "qwerty"),
    "casing": ("casing",),
    "whitespace": ("whitespace",),
    "ocr": ("look-alikes",),
}
"""Kind of natural noise -> the same."""

_OF_REGISTERED = {"counter-fitted-vectors": "counter-fitted-neighbors", "wordnet": "wordnet", "hownet": "hownet"}


def attack_resources(recipe: Recipe) -> tuple[str, ...]:
    """What a recipe takes new words or characters from; of a recipe of one's own, as far as what it needs tells."""
    if recipe.name in ATTACK_RESOURCES:
        return ATTACK_RESOURCES[recipe.name]
    found = [_OF_REGISTERED[name] for name in recipe.resources if name in _OF_REGISTERED]
    return (*found, *(["masked-lm"] if recipe.masked_lm else []))


def shared_resources(used: Iterable[str], trained_with: Iterable[str]) -> tuple[str, ...]:
    """What an attack and a training have in common, sorted.

    Args:
        used: What the attack takes words from.
        trained_with: `_provenance.training_resources` of the model.
    """
    return tuple(sorted({*used} & {*trained_with}))


def shared_with_training(recipes: Iterable[Recipe], model: Mapping[str, Any]) -> dict[str, list[str]]:
    """Recipe -> what it has in common with a model's training, as far as the model's configuration tells.

    Args:
        recipes: The attacks.
        model: `describe_model` of the model.
    """
    trained_with = model["training_resources"]
    return {recipe.name: list(shared_resources(attack_resources(recipe), trained_with)) for recipe in recipes}


def overlap_warnings(recipes: Iterable[Recipe], trained_with: Iterable[str]) -> list[str]:
    """Names the attacks that take words from where the training did.

    Returns:
        Warnings, one per attack; empty if all are unseen.
    """
    trained_with = tuple(trained_with)
    return [
        f"{recipe.name} is no unseen attack: the training data were augmented with {' and '.join(shared)} too"
        for recipe in recipes
        if (shared := shared_resources(attack_resources(recipe), trained_with))
    ]
