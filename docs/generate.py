"""Writes the pages that are made from the code: `python docs/generate.py`."""

from __future__ import annotations

from pathlib import Path

from adversaries_page import adversaries_page
from recipes_page import recipes_page

from hf_robust_tickets.architectures import UnitGroup, known_architectures
from hf_robust_tickets.reporting.escaping import Markdown, code, join_markdown
from hf_robust_tickets.reporting.tables import markdown_table

DOCS = Path(__file__).resolve().parent

INTRODUCTION = """# Architectures

Which families of models a ticket can be cut out of. Made from the registry by `python docs/generate.py`; do not edit.

A *head* is a unit of the attention's output projection: with grouped-query attention one whole group of key and value
heads, with shared layers (ALBERT) one entry for all uses of the layer. A *neuron* is a unit of the feed-forward's down
projection, with its gate where there is one.

In residual networks of convolutions the units are the channels between the convolutions of a block, which no residual
connection carries. A bottleneck block has two such sets: a ticket's heads are the first, its neurons the second; other
blocks have neurons alone.

"""

YOURS = """
Encoder-decoder models (T5, BART) are refused: no description covers cross-attention.

## Heads

Every head of a family works: sequence and token classification, multiple choice, question answering, masked and
causal language models, image classification. `tests/tickets/test_families.py` asks of each: the masked model equals
the pruned one; saved equals opened, in the three ways; every remaining parameter gets a gradient; pruning twice equals
pruning once. Of each family: two steps of fine-tuning resume from a Trainer's checkpoint; shards, dtypes,
`device_map`, the meta device, tied and frozen weights. `tests/tickets/test_removed_blocks.py` asks the same of layers
that lost all heads or all neurons.

## A model of your own

Describe where its heads and neurons are, once, and everything works on it:
[a model of your own](register_architecture.md).
"""


def architectures_page() -> str:
    """The content of docs/architectures.md."""
    rows = [
        {
            "family": architecture.name,
            "model types": ", ".join(architecture.model_types),
            "layers": code(architecture.layer_path),
            "heads cut from": _cuts(architecture.heads),
            "neurons cut from": _cuts(architecture.neurons),
        }
        for architecture in known_architectures()
    ]
    return INTRODUCTION + markdown_table(rows) + "\n" + YOURS


def _cuts(group: UnitGroup) -> Markdown:
    return join_markdown(dict.fromkeys(code(cut.path) for cut in group.cuts) or ["none"], ", ")


if __name__ == "__main__":
    (DOCS / "architectures.md").write_text(architectures_page())
    (DOCS / "adversaries.md").write_text(adversaries_page())
    (DOCS / "recipes.md").write_text(recipes_page())
