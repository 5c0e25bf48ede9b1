"""The page on adversaries: what each is, from its docstring, and what it was tested under, from docs/features.json."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path

from hf_robust_tickets.adversaries import Adversary, get_adversary, list_adversaries
from hf_robust_tickets.reporting.escaping import Markdown, code, link
from hf_robust_tickets.reporting.tables import markdown_table

RECORD = Path(__file__).resolve().parent / "features.json"

INTRODUCTION = """# Adversaries

How the input is attacked while a model trains. Made from the docstrings and from the tests by
`python docs/generate.py`; do not edit.

Pass a name (`adversary="freelb"`, with the `adversary_*` options of `AdversarialTrainingArguments`) or an object
(`AdversarialTrainer(..., adversary=FreeLB(steps=3))`). Every default below can be changed in either way. Lengths are
shares of the norm of what is perturbed (`step_unit="relative"`), but on pixels; each method has the defaults of its
paper in absolute units too.

"""

CHOICE = """## Which, and what it costs

Cost is in units of a plain training step, by theory (`AdversarialTrainer.step_cost`), with K for `steps`: a pass
without weight gradients counts 2/3.

"""

TABLE = """## What each was tested under

"yes": a test of this method under this feature exists and passed when the table was made (`make features`); its name
is in [features.json](features.json). "refused": a test shows that it raises an error that says why. "as accumulated"
and "mean of micro-batches" stand for InfoBERT, whose terms compare the words of one micro-batch: ranks give what the
same micro-batches give on one rank, and an accumulated step the mean of their gradients. An empty cell: no such test
exists, mostly because the feature does not concern the method.

"""

# What the tests compare, in the order of the table.
FEATURES = {
    "gradient accumulation": "one batch and its two halves give equal gradients",
    "DDP": "two ranks, gloo: first gradient and weights after two steps equal those of one rank",
    "DDP with accumulation": "the same with two micro-batches per rank",
    "DDP, hidden layer": "the same with `adversary_layer=1` and its cache",
    "DDP without the search for unused parameters": "`ddp_find_unused_parameters=False`; the others have it on",
    "DDP: one all-reduce per step": "a communication hook counts as many buckets and bytes as plain training has",
    "FSDP2": "two ranks, gloo: as for DDP",
    "FSDP2 with accumulation": "as for DDP",
    "FSDP2: gradients exchanged as often as in plain training": "reduce-scatters and their bytes, counted per step",
    "DeepSpeed ZeRO-2": "two ranks, gloo: weights after two steps equal those of one rank",
    "DeepSpeed ZeRO-3": "the same",
    "hidden layer: cached = uncached": "equal gradients, with activation checkpointing and without",
    "bf16": "autocast: cosine of the gradients above 0.99, lengths within 5 %",
    "fp16 with a loss scaler": "autocast and `torch.amp.GradScaler`: the same bounds",
    "non-finite gradient: the ascent is skipped and counted": "one spoiled gradient, in the log and in the count",
    "torch.compile": "`aot_eager`: equal gradients",
    "activation checkpointing": "equal gradients",
    "label smoothing": "one batch and its two halves give equal gradients",
    "compute_loss_func": "the same, and equal to the model's own loss",
    "group_by_length": "the padded batch alone gives the same gradient",
    "LoRA (PEFT)": "gradients of the factors follow from the dense model's by the chain rule",
    "auto_find_batch_size": "out of memory within a step: weights bit-equal to a run with the size that fits",
    "NEFTune": "equal to the same noise put into the embedding by hand",
    "torch.nn.DataParallel": "two replicas in two threads, on the CPU: first gradient equal to one model's",
    "torch.nn.DataParallel, hidden layer": "the same with `adversary_layer=1`, uncached, and activation checkpointing",
}


# Those of the package: a program may have registered others.
METHODS = [
    name for name in list_adversaries() if type(get_adversary(name)).__module__.startswith("hf_robust_tickets.")
]

# Lines of the docstrings, in the order of the table.
COLUMNS = ("Cost", "Trains on", "Use when")


def adversaries_page() -> str:
    """The content of docs/adversaries.md."""
    sections = [_section(name, get_adversary(name)) for name in METHODS]
    choice = CHOICE + markdown_table([_row(name, get_adversary(name)) for name in METHODS]) + "\n\n"
    return INTRODUCTION + choice + "\n".join(sections) + "\n" + TABLE + _table() + "\n" + _legend()


def _row(name: str, adversary: Adversary) -> dict[str, str]:
    """What stands in the docstring under the names of the columns."""
    text = inspect.getdoc(type(adversary))
    row = {"method": link(code(name), f"#{_anchor(name, adversary)}")}
    for title in COLUMNS:
        found = re.search(rf"^{title}: (.+?)\.$", text, flags=re.MULTILINE)
        if found is None:
            raise ValueError(f"expected a line `{title}: ...` in the docstring of {type(adversary).__name__}: add it")
        row[title.lower()] = Markdown(found[1])
    return row


def _anchor(name: str, adversary: Adversary) -> str:
    title = f"{name}: {type(adversary).__name__}".lower()
    return re.sub(r"[^a-z0-9 _-]", "", title).replace(" ", "-")


def _section(name: str, adversary: Adversary) -> str:
    text = re.split(
        r"^(?:Cost: .*|Attributes:|Args:|Example:|Raises:)$", inspect.getdoc(type(adversary)), flags=re.MULTILINE
    )[0]
    defaults = ", ".join(f"{f.name}={_short(getattr(adversary, f.name))}" for f in fields(adversary))
    return (
        f"## `{name}`: {type(adversary).__name__}\n\n{text.strip()}\n\nDefaults: `{defaults}`{_absolute(adversary)}.\n"
    )


def _absolute(adversary: Adversary) -> str:
    """The lengths that a method has by default in absolute units, where it has others."""
    own = adversary.lengths.get("absolute")
    if own is None or adversary.step_unit == "absolute":
        return ""
    lengths = ", ".join(f"{name}={_short(value)}" for name, value in own._asdict().items())
    return f"; with `step_unit='absolute'`: `{lengths}`"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def _table() -> str:
    record = json.loads(RECORD.read_text())
    unknown = sorted(set(record) - set(FEATURES))
    if unknown:
        raise ValueError(
            f"expected features that docs/adversaries_page.py explains, got {', '.join(unknown)}: add them"
        )
    rows = [
        {"": title} | {name: record[title].get(name, {}).get("says", "") for name in METHODS}
        for title in FEATURES
        if title in record
    ]
    return markdown_table(rows) + "\n"


def _legend() -> str:
    return "What is compared:\n\n" + "".join(f"- {title}: {what}.\n" for title, what in FEATURES.items())
