"""The page on recipes: what each needs, where it comes from and in what it departs from its paper."""

from __future__ import annotations

from hf_robust_tickets.evaluation import get_recipe, list_recipes
from hf_robust_tickets.evaluation.recipes import Recipe, needs
from hf_robust_tickets.evaluation.resources import RESOURCES
from hf_robust_tickets.reporting.escaping import Markdown, code
from hf_robust_tickets.reporting.tables import markdown_table

INTRODUCTION = """# Recipes

The attacks of `evaluate_robustness(recipes=[...])` and `robust-tickets evaluate --recipes ...`. Made from the registry
by `python docs/generate.py`; do not edit.

All run on TextAttack 0.3.11. Every constant is pinned in `hf_robust_tickets/evaluation/recipes/`, one file per family,
each with its source, so that an upgrade of TextAttack changes none. `tests/evaluation/recipes/test_recipes.py` builds
each beside TextAttack's own and compares components, constants, outcomes, texts and numbers of queries.

"""

COMMON = """
## What departs everywhere

- Stop words are the 179 of NLTK's list of 2023 (TextFooler: its authors' 266), whichever list is installed.
- Sentence encodings and answers of the model are cached; masked language models read batches of similar length, shared
  by the examples that are attacked side by side, instead of 512 tokens each. Neither changes a decision, but for
  rounding.
- Where TextAttack asks flair for parts of speech, NLTK's tagger answers: flair refuses transformers 5.

"""

PAIRS = """
## Pairs of texts

Which text may change, by the papers:

{rules}
Pairs without a rule (`sentence1`/`sentence2`, `question1`/`question2`, `question`/`sentence` under most recipes) may
change on both sides: the papers say nothing of them, and RTE and MRPC name their columns alike. The rules of
`fudan-bertattack` are those of EarlyRobust's code. The order of the columns does not matter.
`modify_columns=["sentence2"]`
(`--modify_columns`) decides otherwise; the report's description of the attack shows what was used.

## Stand-ins

`sentence_encoder=` and `masked_language_model=` take any name or folder in place of the papers' models,
`word_vectors=` a folder. The report names them, the vectors with their checksum, and says that the figures are not
comparable with published ones. Vectors are taken for the published ones by their shape: their checksum is not known.

## Input Reduction

It removes words while the prediction stays, so it fools no model: it has no accuracy under attack, no success rate and
no interval. Its figures are `mean_words_left` and `mean_words`; its attacked examples count as "failed", because the
model kept its prediction.

## A recipe of one's own

`recipes=["my_package.my_module:build"]` or `recipes=["path/to/file.py:build"]`, in Python and on the command line. The
function takes a `RecipeContext` and returns a `textattack.Attack`; `SomeRecipe.build(context.model_wrapper)` makes one
of TextAttack's. Attributes of the function say what it needs (`build.resources = ("wordnet",)`,
`build.needs_encoder = True`, `build.masked_lm = "google-bert/bert-base-uncased"`). The report holds the sha256 of the
file, and an evaluation is not continued with a file that has changed.

## Resources

`robust-tickets resources list` shows this table with what is there on the machine; `check` prints a checksum over the
files of each, by which two machines can be compared, and exits with 1 if something is missing; `fetch` downloads, and
`fetch --from FOLDER` takes everything from a folder without a network. Names, or `--recipes`, choose among them. The
folder is laid out as the caches are: `word_embeddings/...`, `corpora/...`, `models/<name>`, or those within
`textattack_cache` and `nltk_data`; archives may stay packed. A download that breaks off goes on from there. Where
several processes need one resource, one fetches it and the others wait; checksums are compared where they are known.

{resources}
Recipes whose resources can be had nowhere any more, or not beside transformers 5, stand here all the same: `check`
says what they miss.

Not here: HotFlip of TextAttack attacks its own LSTM only; Morpheus and Seq2Sick attack translation; the French,
Spanish and Chinese recipes need flair or further language models.
"""


def recipes_page() -> str:
    """The content of docs/recipes.md."""
    recipes = [get_recipe(name) for name in list_recipes()]
    table = markdown_table([_row(recipe) for recipe in recipes])
    rules = "".join(f"- {text}\n" for text in _rules(recipes))
    rest = PAIRS.lstrip().format(rules=rules, resources=_resources(recipes))
    return INTRODUCTION + table + "\n" + COMMON + rest


def _row(recipe: Recipe) -> dict[str, str]:
    return {
        "recipe": code(recipe.name),
        "needs": ", ".join(needs(recipe)) or "nothing",
        "source": Markdown(recipe.citation),
        "departures from the paper": Markdown("; ".join(recipe.departures)),
    }


def _rules(recipes: list[Recipe]) -> list[str]:
    found: dict[str, list[str]] = {}
    for recipe in recipes:
        for columns, allowed in recipe.pair_rule.items():
            found.setdefault(f"{'/'.join(columns)}: {', '.join(allowed)}", []).append(recipe.name)
    most = max(found.values(), key=len)
    return [f"`{rule}`: {'all others' if names is most else ', '.join(names)}" for rule, names in found.items()]


def _resources(recipes: list[Recipe]) -> str:
    return (
        markdown_table(
            [
                {
                    "resource": code(name),
                    "what": resource.description,
                    "size": resource.size,
                    "licence": resource.licence,
                    "from": Markdown(resource.source),
                    "recipes": ", ".join(recipe.name for recipe in recipes if name in needs(recipe)),
                }
                for name, resource in RESOURCES.items()
            ]
        )
        + "\n"
    )
