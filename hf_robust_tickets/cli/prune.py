"""`robust-tickets prune`: cuts a ticket out of a dense model, refits what is left, and cuts the vocabulary."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from .._files import check_folder
from ..architectures import get_architecture
from ..errors import ConfigurationError
from ..tickets import RobustTicket, check_fits, prune_, prune_vocabulary, random_ticket, refit
from .data import load_batches, load_texts
from .models import load_classifier, load_tokenizer
from .options import DataOptions, ModelOptions, parse
from .train import text_length


@dataclass
class PruneOptions:
    """What to cut, and where the result goes."""

    output_dir: str = field(metadata={"help": "Folder for the small model."})
    ticket: str | None = field(default=None, metadata={"help": "A ticket.safetensors that a search has written."})
    random: bool = field(default=False, metadata={"help": "Draw a random ticket, the control, instead."})
    head_sparsity: float | None = field(default=None, metadata={"help": "Of the random ticket; default 1/6."})
    neuron_sparsity: float | None = field(default=None, metadata={"help": "Of the random ticket; default 0.4."})
    head_scope: str | None = field(default=None, metadata={"help": "Of the random ticket: global or layer."})
    neuron_scope: str | None = field(default=None, metadata={"help": "Of the random ticket: global or layer."})
    round_to: int | None = field(
        default=None, metadata={"help": "Of the random ticket: multiple of neurons; default 16."}
    )
    keep_one: bool | None = field(
        default=None, metadata={"help": "Of the random ticket: leave every layer a head and a neuron; default True."}
    )
    seed: int | None = field(default=None, metadata={"help": "Of the random ticket; default 0."})
    refit_examples: int = field(
        default=0,
        metadata={"help": "Refit to the dense model, by least squares, with this many texts of the training data."},
    )
    refit_ridge: float = field(default=0.1, metadata={"help": "Ridge of the refit, relative to the inputs."})
    vocabulary_from: list[str] | None = field(
        default=None,
        metadata={"help": "Files of all texts that the model is to read: words that they lack leave the vocabulary."},
    )
    vocabulary_keep: list[str] | None = field(default=None, metadata={"help": "Further words to keep."})
    vocabulary_min_count: int = field(default=1, metadata={"help": "Pieces that are rarer there go too."})
    vocabulary_size: int | None = field(default=None, metadata={"help": "At most this many pieces stay."})


def run(argv: list[str]) -> None:
    """Writes the pruned model, which is not fine-tuned, and says how small it is."""
    model_options, data_options, options = parse("prune", (ModelOptions, DataOptions, PruneOptions), argv)
    if (options.ticket is not None) + options.random + (options.vocabulary_from is not None) == 0 or (
        options.ticket is not None and options.random
    ):
        raise ConfigurationError(
            "say what to cut: --ticket path/to/ticket.safetensors, or --random True, or --vocabulary_from texts.txt"
        )
    names = ("head_sparsity", "neuron_sparsity", "head_scope", "neuron_scope", "round_to", "keep_one", "seed")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if given and not options.random:
        raise ConfigurationError(f"{', '.join(given)} speak of a random ticket: leave them out, or pass --random True")
    _check_refit(options, data_options)
    check_folder(options.output_dir)
    texts = _texts(options, data_options)
    model, tokenizer = load_classifier(model_options), load_tokenizer(model_options)
    dense = sum(p.numel() for p in model.parameters())
    if options.random or options.ticket is not None:
        ticket = random_ticket(model, **given) if options.random else RobustTicket.load(options.ticket)
        if options.refit_examples:
            _prune_and_refit(model, ticket, tokenizer, data_options, options)
        else:
            prune_(model, ticket)
    if options.vocabulary_from is not None:
        tokenizer = _cut_vocabulary(model, tokenizer, texts, options)
    model.save_pretrained(options.output_dir)
    tokenizer.save_pretrained(options.output_dir)
    architecture = get_architecture(model)
    print(
        f"{dense / 1e6:.1f}M -> {sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters; heads per layer "
        f"{architecture.num_heads(model)}, neurons {architecture.num_neurons(model)}; saved in {options.output_dir}"
    )


def _texts(options: PruneOptions, data: DataOptions) -> tuple[list[str], list[str]]:
    """The texts to keep words for, and those of the evaluation data, if there are any."""
    named = [
        name
        for name, default in (("vocabulary_keep", None), ("vocabulary_min_count", 1), ("vocabulary_size", None))
        if getattr(options, name) != default
    ]
    if options.vocabulary_from is None:
        if named:
            raise ConfigurationError(f"{', '.join(named)} speak of a cut vocabulary: pass --vocabulary_from texts.txt")
        return [], []
    evaluation = [data.validation_file] if data.validation_file else []
    return load_texts(options.vocabulary_from, data), load_texts(evaluation, data)


def _cut_vocabulary(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: tuple[list[str], list[str]],
    options: PruneOptions,
) -> PreTrainedTokenizerBase:
    cut = prune_vocabulary(
        model,
        tokenizer,
        texts[0],
        keep=options.vocabulary_keep or (),
        min_count=options.vocabulary_min_count,
        size=options.vocabulary_size,
        evaluation=texts[1],
    )
    print(cut)
    return cut.tokenizer


def _check_refit(options: PruneOptions, data: DataOptions) -> None:
    if options.refit_examples < 0 or not options.refit_ridge > 0:
        raise ConfigurationError(
            f"expected refit_examples from 0 on and a positive refit_ridge, got {options.refit_examples} and "
            f"{options.refit_ridge}: pass e.g. --refit_examples 2560"
        )
    if not options.refit_examples and (data.train_file or data.dataset_name):
        raise ConfigurationError(
            "texts are for a refit, got none to be done: pass --refit_examples 2560, or leave the data out"
        )


def _prune_and_refit(
    model: PreTrainedModel,
    ticket: RobustTicket,
    tokenizer: PreTrainedTokenizerBase,
    data: DataOptions,
    options: PruneOptions,
) -> None:
    check_fits(model, ticket)
    length = text_length(model, tokenizer, data.max_length, pairs=len(data.text_columns or ()) > 1)
    batches = load_batches(data, tokenizer, length, count=options.refit_examples, seed=options.seed or 0)
    dense = copy.deepcopy(model)
    steps = refit(prune_(model, ticket), dense, batches, ridge=options.refit_ridge)
    mean = [sum(getattr(step, name) for step in steps) / max(1, len(steps)) for name in ("before", "after")]
    print(f"refitted {len(steps)} projections: mean error {mean[0]:.3f} before, {mean[1]:.3f} after")
