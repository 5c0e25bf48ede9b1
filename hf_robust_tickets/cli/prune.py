"""`robust-tickets prune`: cuts a ticket out of a dense model."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..architectures import get_architecture
from ..errors import ConfigurationError
from ..tickets import RobustTicket, prune_, random_ticket, save_pruned
from .models import load_classifier, load_tokenizer
from .options import ModelOptions, parse


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
    round_to: int | None = field(default=None, metadata={"help": "Of the random ticket: multiple of neurons."})
    keep_one: bool | None = field(
        default=None, metadata={"help": "Of the random ticket: leave every layer a head and a neuron; default True."}
    )
    seed: int | None = field(default=None, metadata={"help": "Of the random ticket; default 0."})


def run(argv: list[str]) -> None:
    """Writes the pruned model, which is not fine-tuned, and says how small it is."""
    model_options, options = parse("prune", (ModelOptions, PruneOptions), argv)
    if (options.ticket is None) == (not options.random):
        raise ConfigurationError("say what to cut: --ticket path/to/ticket.safetensors, or --random True")
    names = ("head_sparsity", "neuron_sparsity", "head_scope", "neuron_scope", "round_to", "keep_one", "seed")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if given and not options.random:
        raise ConfigurationError(f"{', '.join(given)} speak of a random ticket: leave them out, or pass --random True")
    model = load_classifier(model_options)
    dense = sum(p.numel() for p in model.parameters())
    if options.random:
        ticket = random_ticket(model, **given)
    else:
        ticket = RobustTicket.load(options.ticket)
    prune_(model, ticket)
    save_pruned(model, options.output_dir, tokenizer=load_tokenizer(model_options))
    architecture = get_architecture(model)
    print(
        f"{dense / 1e6:.1f}M -> {sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters; heads per layer "
        f"{architecture.num_heads(model)}, neurons {architecture.num_neurons(model)}; saved in {options.output_dir}"
    )
