"""What a recipe is, and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ...errors import ConfigurationError, UnknownNameError
from ..components.encoders import TextEncoder, check_sentence_encoder
from ..components.masked_lm import MaskedLM, check_masked_lm
from ..resources import RESOURCES, HubModel, ResourceStatus, get_resource
from ..victim.model import Victim

if TYPE_CHECKING:
    from textattack import Attack

Columns = tuple[str, ...]

PAIR_RULE: Mapping[Columns, Columns] = {
    # The label of an inference task speaks of the hypothesis under a given premise: Alzantot et al. 2018 (section 4),
    # Jin et al. 2020 (section 4), Zang et al. 2020 (section 4) and Yoo & Qi 2021 change the hypothesis alone.
    ("premise", "hypothesis"): ("hypothesis",),
}
"""Columns of a pair, in any order -> those that an attack may change. Other pairs may be changed on
both sides: the papers say nothing about paraphrases, and RTE and MRPC name their columns alike."""


@dataclass(frozen=True)
class RecipeContext:
    """What a recipe is built from.

    Attributes:
        victim: The attacked model.
        encoder: The sentence encoder; None for recipes that did not ask for one.
        vectors: The counter-fitted word vectors (a TextAttack `WordEmbedding`); None likewise.
        masked_lm: The masked language model and its tokenizer; None likewise.
    """

    victim: Victim
    encoder: TextEncoder | None = None
    vectors: Any = None
    masked_lm: MaskedLM | None = None

    @property
    def model_wrapper(self) -> Any:
        """The attacked model as TextAttack's own recipes take it: `SomeRecipe.build(context.model_wrapper)`."""
        from ..components.goals import ModelWrapper

        return ModelWrapper(self.victim)


@dataclass(frozen=True)
class Recipe:
    """A named attack.

    Attributes:
        name: What `evaluate_robustness(recipes=[...])` calls it.
        build: Makes the attack; it may import TextAttack.
        citation: Where it comes from.
        resources: Names in `resources.RESOURCES` that must be on disk.
        needs_encoder: Whether it uses a sentence encoder.
        departures: In what it differs from its paper.
        encoder: The sentence encoder of its paper: "use", or a name on the Hub.
        masked_lm: The masked language model of its paper, by its name on the Hub; None if it uses none.
        goal: "misclassify", or "reduce": as few words as possible under the same prediction, which yields no accuracy
            under attack.
        pair_rule: Columns of a pair of texts -> those that it may change.
        source: For a recipe from a file: the file and its sha256.
        label_only: Whether it sees predicted classes and no scores; it then searches until its query budget is spent,
            which has to be given.
    """

    name: str
    build: Callable[[RecipeContext], Attack]
    citation: str = ""
    resources: tuple[str, ...] = ()
    needs_encoder: bool = False
    departures: tuple[str, ...] = ()
    encoder: str = "use"
    masked_lm: str | None = None
    goal: Literal["misclassify", "reduce"] = "misclassify"
    pair_rule: Mapping[Columns, Columns] = field(default_factory=lambda: PAIR_RULE)
    source: Mapping[str, str] = field(default_factory=dict)
    label_only: bool = False

    @property
    def needs_vectors(self) -> bool:
        """Whether it uses the counter-fitted vectors."""
        return "counter-fitted-vectors" in self.resources


_RECIPES: dict[str, Recipe] = {}


def register_recipe(
    name: str,
    build: Callable[[RecipeContext], Attack],
    *,
    citation: str = "",
    resources: tuple[str, ...] = (),
    needs_encoder: bool = False,
    departures: tuple[str, ...] = (),
    encoder: str = "use",
    masked_lm: str | None = None,
    goal: Literal["misclassify", "reduce"] = "misclassify",
    pair_rule: Mapping[Columns, Columns] = PAIR_RULE,
    label_only: bool = False,
) -> Recipe:
    """Adds a recipe.

    Args:
        name: A new name, without a colon.
        build: From a `RecipeContext` to a `textattack.Attack`; `components.goals.Goal(context.victim)` is the usual
            goal.
        citation: Where it comes from.
        resources: Names of `resources.RESOURCES` that it needs.
        needs_encoder: Whether it uses a sentence encoder.
        departures: In what it differs from its paper.
        encoder: The sentence encoder of its paper.
        masked_lm: The masked language model of its paper; None if it uses none.
        goal: "misclassify" or "reduce".
        pair_rule: Columns of a pair of texts -> those that it may change.
        label_only: Whether it sees predicted classes alone (`components.goals.LabelGoal`), and needs a query budget.

    Returns:
        The recipe.

    Raises:
        ConfigurationError: If the name is taken, or holds a colon, which marks recipes in files.
        UnknownNameError: If a resource is unknown.
    """
    if ":" in name:
        raise ConfigurationError(
            f"expected a recipe name without a colon, got {name!r}: it would mean module:function"
        )
    if name in _RECIPES:
        raise ConfigurationError(f"expected a new recipe name, got {name!r}, which is taken: choose another")
    for resource in resources:
        get_resource(resource)
    _RECIPES[name] = Recipe(
        name,
        build,
        citation,
        tuple(resources),
        needs_encoder,
        tuple(departures),
        encoder=encoder,
        masked_lm=masked_lm,
        goal=goal,
        pair_rule=pair_rule,
        label_only=label_only,
    )
    return _RECIPES[name]


def get_recipe(name: str) -> Recipe:
    """Looks a recipe up.

    Args:
        name: A registered name, or `"my_package.my_module:build"`, or `"path/to/file.py:build"`.

    Raises:
        UnknownNameError: If there is none of that name.
        ConfigurationError: If what a path names is no recipe.
    """
    if ":" in name:
        from .custom import load_custom

        return load_custom(name)
    if name not in _RECIPES:
        raise UnknownNameError(
            f"expected a recipe among {list_recipes()}, or module:function, got {name!r}: see register_recipe"
        )
    return _RECIPES[name]


def list_recipes() -> list[str]:
    """Names of all recipes, sorted."""
    return sorted(_RECIPES)


def needs(recipe: Recipe) -> tuple[str, ...]:
    """Names of all resources that a recipe needs when it is run as in its paper."""
    names = list(recipe.resources)
    wanted = [recipe.masked_lm] if recipe.masked_lm else []
    if recipe.needs_encoder and recipe.encoder == "use":
        names.append("universal-sentence-encoder")
    elif recipe.needs_encoder:
        wanted.append(recipe.encoder)
    by_repo = {item.repo: name for name, item in RESOURCES.items() if isinstance(item, HubModel)}
    return (*names, *(by_repo.get(repo, repo) for repo in wanted))


def check_resources(
    recipes: list[str], sentence_encoder: Any = "use", masked_language_model: Any = None
) -> list[ResourceStatus]:
    """Says what recipes need and whether it is there; nothing is downloaded or loaded.

    Args:
        recipes: Names of recipes.
        sentence_encoder: As in `evaluate_robustness`.
        masked_language_model: As in `evaluate_robustness`.

    Returns:
        One entry per resource; empty if the recipes need none.

    Raises:
        UnknownNameError: If a recipe is unknown.
    """
    chosen = [get_recipe(name) for name in recipes]
    statuses = []
    for name in dict.fromkeys(resource for recipe in chosen for resource in recipe.resources):
        users = tuple(recipe.name for recipe in chosen if name in recipe.resources)
        statuses.append(get_resource(name).status(users))
    asks = sentence_encoder in ("use", "minilm") if isinstance(sentence_encoder, str) else False
    for encoder in dict.fromkeys(recipe.encoder for recipe in chosen if recipe.needs_encoder):
        spec = encoder if asks and sentence_encoder == "use" else sentence_encoder
        users = tuple(recipe.name for recipe in chosen if recipe.needs_encoder and recipe.encoder == encoder)
        problem, command = check_sentence_encoder(spec)
        name = "sentence-encoder" if encoder == "use" else f"sentence-encoder ({encoder})"
        statuses.append(ResourceStatus(name, users, problem is None, problem or str(spec), command))
    for model in dict.fromkeys(recipe.masked_lm for recipe in chosen if recipe.masked_lm):
        spec = model if masked_language_model is None else masked_language_model
        users = tuple(recipe.name for recipe in chosen if recipe.masked_lm == model)
        problem, command = check_masked_lm(spec)
        statuses.append(ResourceStatus(f"masked-lm ({model})", users, problem is None, problem or str(spec), command))
    return statuses
