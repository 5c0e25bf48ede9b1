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
## Encoder-decoder models

A ticket has one entry for each layer of the encoder, then one for each of the decoder (its self-attention and its
feed-forward), then one for each cross-attention, which has heads alone. All three are gated, scored, cut, refitted
and saved together. T5's position bias is one table for all layers of a stack: it stays whole, and a layer reads the
columns of the heads that it kept. The pruned model generates what the masked one does, with a cache, without, in
beams, and where the first layer has lost all of its heads (`tests/tickets/test_encoder_decoders.py`).

An attack by gradients perturbs the encoder: its embedding, or one of its layers. Search and training take batches
with `labels` as any `Trainer` does; `predict_with_generate` is not there (it belongs to `Seq2SeqTrainer`): generate
from the finished model. Half a model works where transformers has it for T5 (`T5EncoderModel`, token classification);
a decoder without its encoder (`BartForCausalLM`) is refused. Other encoder-decoders are refused until they are
described.

## Heads

Every head of a family works: sequence and token classification, multiple choice, question answering, masked and
causal language models, pairs of texts, image classification. `tests/tickets/test_families.py` asks of each: the
masked model equals the pruned one; saved equals opened, in the three ways; every remaining parameter gets a gradient;
pruning twice equals pruning once. Of each family: two steps of fine-tuning resume from a Trainer's checkpoint;
shards, dtypes, `device_map`, the meta device, tied and frozen weights. `tests/tickets/test_removed_blocks.py` asks
the same of layers that lost all heads or all neurons.

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
            "layers": code(part.layer_path),
            "heads cut from": _cuts(part.heads),
            "neurons cut from": _cuts(part.neurons),
        }
        for architecture in known_architectures()
        for part in architecture.parts
    ]
    return INTRODUCTION + markdown_table(rows) + "\n" + YOURS


def _cuts(group: UnitGroup) -> Markdown:
    return join_markdown(dict.fromkeys(code(cut.path) for cut in group.cuts) or ["none"], ", ")


if __name__ == "__main__":
    (DOCS / "architectures.md").write_text(architectures_page())
    (DOCS / "adversaries.md").write_text(adversaries_page())
    (DOCS / "recipes.md").write_text(recipes_page())
