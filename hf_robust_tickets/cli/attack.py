"""`robust-tickets attack "a sentence"`: what becomes of one text, for the person who wants to see it."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from ..errors import ConfigurationError
from ..evaluation import attack_text, get_recipe
from ..evaluation.results.example import ExampleOutcome, tokenizer_input
from ..evaluation.runner.ranks import process_state
from ..evaluation.victim.model import Victim, evaluation_mode
from ..evaluation.victim.reading import is_unicode
from .models import load_to_evaluate
from .options import ModelOptions, parse

COLUMNS = ("sentence1", "sentence2")


@dataclass
class AttackOptions:
    """Which text, and how it is attacked."""

    text: list[str] = field(metadata={"help": "The text, or the two of a pair; may stand first without --text."})
    label: str | None = field(
        default=None, metadata={"help": "The true class: its number or its name; default: what the model says."}
    )
    recipe: str = field(
        default="textfooler",
        metadata={"help": "Name of a recipe (`robust-tickets doctor` says which run here), or my_module:build."},
    )
    text_columns: list[str] | None = field(
        default=None,
        metadata={
            "help": "What the two texts of a pair are called, e.g. premise hypothesis: by it goes what changes."
        },
    )
    modify_columns: list[str] | None = field(
        default=None, metadata={"help": "Of a pair of texts, the columns that may change; default: the papers' rule."}
    )
    sentence_encoder: str = field(
        default="use", metadata={"help": "use, or a sentence-transformers model: a name, a folder, or minilm."}
    )
    masked_language_model: str | None = field(
        default=None, metadata={"help": "For recipes that use one: a name or a folder; default: the papers'."}
    )
    word_vectors: str | None = field(
        default=None, metadata={"help": "Folder of counter-fitted word vectors; default: TextAttack's cache."}
    )
    query_budget: int | None = field(default=None, metadata={"help": "Give up after so many queries: withstood."})
    max_length: int | None = field(
        default=None, metadata={"help": "A longer text is cut to this many tokens; default: what the model reads."}
    )
    batch_size: int = field(default=256, metadata={"help": "Texts per forward pass of the model."})
    seed: int = field(default=0, metadata={"help": "Seeds the attack."})


def run(argv: list[str]) -> None:
    """Prints the text before and after, with the changed words in [[...]], the outcome and the number of queries."""
    model_options, options = parse("attack", (ModelOptions, AttackOptions), _with_text(argv))
    text = named_text(options)
    get_recipe(options.recipe)
    model, tokenizer = load_to_evaluate(model_options)
    model = model.to(process_state().device)
    label: int | str | None = options.label
    if label is not None and label.isdecimal() and label not in model.config.label2id:
        label = int(label)
    if label is None:
        label = predicted(model, tokenizer, text, options)
        print(f"no --label: taken to be {model.config.id2label[label]}, as the model says")
    outcome = attack_text(
        model,
        tokenizer,
        text,
        label,
        options.recipe,
        sentence_encoder=options.sentence_encoder,
        masked_language_model=options.masked_language_model,
        word_vectors=options.word_vectors,
        modify_columns=options.modify_columns,
        query_budget=options.query_budget,
        max_length=options.max_length,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    print(outcome)
    if outcome.error is None:
        print(confidence(outcome, model.config.id2label))


def named_text(options: AttackOptions) -> str | dict[str, str]:
    """The text, or the pair by the names of its columns.

    Raises:
        ConfigurationError: If there are more than two texts, a blank one, or columns that do not fit them.
    """
    texts, columns = options.text, options.text_columns
    if len(texts) > 2:
        raise ConfigurationError(f"expected a text or a pair of texts, got {len(texts)}: put each in quotes")
    for text in texts:
        if not text.strip() or not is_unicode(text):
            raise ConfigurationError(f"expected words in Unicode to attack, got {text!r}: pass a sentence in quotes")
    if len(texts) == 1:
        if columns or options.modify_columns:
            raise ConfigurationError(
                "text_columns and modify_columns are those of a pair of texts, got one text: leave them out"
            )
        return texts[0]
    columns = columns or list(COLUMNS)
    if len(set(columns)) != 2 or len(columns) != 2 or "label" in columns:
        raise ConfigurationError(
            f"expected two text_columns for a pair, got {', '.join(columns)}: e.g. premise hypothesis"
        )
    return dict(zip(columns, texts, strict=True))


def predicted(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str | dict[str, str], options: AttackOptions
) -> int:
    """The class that the model gives a text."""
    victim = Victim(model, tokenizer, options.batch_size, options.max_length)
    with evaluation_mode(model):
        logits = victim([text if isinstance(text, str) else tokenizer_input(text)])
    return int(logits[0].argmax())


def confidence(outcome: ExampleOutcome, names: dict[int, str]) -> str:
    """How sure the model was of the true class, before and after."""
    before, after = (
        probabilities[outcome.label] for probabilities in (outcome.probabilities, outcome.perturbed_probabilities)
    )
    said = f"probability of {names[outcome.label]}: {before:.1%}"
    return said if outcome.outcome == "skipped" else f"{said} → {after:.1%}"


def _with_text(argv: list[str]) -> list[str]:
    """`attack "a sentence" --recipe R` as well as `attack --text "a sentence" --recipe R`."""
    alone = len(argv) == 1 and argv[0].endswith((".yaml", ".yml"))
    return argv if not argv or alone or argv[0].startswith("--") or argv[0] == "-h" else ["--text", *argv]
