"""Bad inputs, generated: no exception but our own, no message without words, no output that is half written."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from datasets import Dataset
from torch import nn

from hf_robust_tickets.adversaries import get_adversary, list_adversaries
from hf_robust_tickets.errors import RobustTicketsError
from hf_robust_tickets.evaluation import (
    EvaluationConfig,
    evaluate_accuracy,
    evaluate_contrast,
    evaluate_hotflip,
    evaluate_noise,
    evaluate_robustness,
    evaluate_white_box,
    load_result,
)
from hf_robust_tickets.sparse import get_sparse_method, list_sparse_methods
from hf_robust_tickets.tickets import (
    EarlyBirdDetector,
    RobustTicket,
    SplitHalfDetector,
    draw_ticket,
    export_dense,
    load_pruned,
    mask_distance,
    prune_,
    random_ticket,
    save_pruned,
)
from hf_robust_tickets.training import (
    AdversarialTrainingArguments,
    AdversaryOptions,
    AugmentationOptions,
    CaptureOptions,
    FineTuningOptions,
    RobustTicketArguments,
    TicketOptions,
)
from tests.testing.tiny import tiny_bert, tiny_tokenizer

ROWS = [{"text": f"w{5 + i} w{20 + i} w{30 + i}", "label": i % 2} for i in range(4)]
WRONG = {"numbers": [-1, 0, 2.5, 10**9], "no numbers": [math.nan, math.inf, "x", [1], {"a": 1}, object(), True]}
"""Values for any option: some may be right, and nothing may end in an error of Python's."""

Case = tuple[str, Callable[[], Any]]


def values() -> Iterator[Any]:
    for kind in WRONG.values():
        yield from kind


def shown(value: Any) -> str:
    return "object()" if type(value) is object else repr(value)[:40]


def refused_in_words(cases: list[Case]) -> None:
    """Bad inputs are refused by an error of ours, in a sentence of one line; those that are accepted are fine."""
    found = []
    for name, call in cases:
        try:
            call()
        except RobustTicketsError as error:
            if "\n" in str(error) or len(str(error)) < 20:
                found.append(f"{name}: no sentence of one line: {error}")
        except Exception as error:
            found.append(f"{name}: {type(error).__name__}: {str(error)[:150]}")
    assert not found, f"{len(found)} of {len(cases)}:\n" + "\n".join(found)


def options_of(name: str, call: Callable[..., Any], options: list[str], more: Any = ()) -> list[Case]:
    """One case per option and bad value."""
    return [
        (f"{name}({option}={shown(value)})", lambda option=option, value=value: call(**{option: value}))
        for option in options
        for value in (*values(), *more)
    ]


def test_options_of_training(tmp_path):
    def make(kind: type) -> Callable[..., Any]:
        return lambda **options: kind(output_dir=str(tmp_path), report_to="none", **options)

    adversary = [field.name for field in fields(AdversaryOptions)]
    ticket = [field.name for field in fields(TicketOptions) if field.name not in adversary]
    cases = options_of(
        "AdversarialTrainingArguments", make(AdversarialTrainingArguments), adversary, ["", "none", None]
    )
    cases += options_of("RobustTicketArguments", make(RobustTicketArguments), ticket)
    words = [field.name for kind in (AugmentationOptions, CaptureOptions, FineTuningOptions) for field in fields(kind)]
    cases += options_of("AdversarialTrainingArguments", make(AdversarialTrainingArguments), words)
    assert len(cases) > 300
    refused_in_words(cases)
    for option, value in (("adversary_steps", "x"), ("search_epochs", math.nan), ("gate_l1_heads", math.nan)):
        with pytest.raises(RobustTicketsError, match=option.removeprefix("adversary_")):
            make(RobustTicketArguments)(**{option: value})


def test_hyper_parameters_of_methods():
    cases = []
    for name in list_adversaries():
        options = [field.name for field in fields(type(get_adversary(name)))]
        cases += options_of(name, lambda name=name, **options: get_adversary(name, **options), options)
    for name in set(list_sparse_methods()) - {"fixed"}:
        kind = type(get_sparse_method(name))
        options = [field.name for field in fields(kind)]
        cases += options_of(name, lambda name=name, **options: get_sparse_method(name, **options), options)
    cases += [(f"get_adversary({shown(v)})", lambda v=v: get_adversary(v)) for v in values()]
    cases += [(f"get_sparse_method({shown(v)})", lambda v=v: get_sparse_method(v)) for v in values()]
    assert len(cases) > 300
    refused_in_words(cases)


def bad_data() -> dict[str, Any]:
    """Splits as people have them, and as nobody should."""
    data = Dataset.from_list(ROWS)
    tokens = data.map(lambda row: {"input_ids": [5, 6]})
    tokens.set_format("torch", columns=["input_ids", "label"])
    odd = [None, 3, 2.5, math.nan, math.inf, "", " ", "x", b"w5", [], [0, 1], {}, {"a": 0}, True]
    cells = {f"{name} {shown(v)}": [*ROWS, {**ROWS[0], name: v}] for name in ("text", "label") for v in odd}
    return {
        **cells,
        "nothing": None,
        "a number": 3,
        "a text": "w5",
        "a path": Path("nowhere"),
        "no rows": [],
        "rows of nothing": [None, None],
        "rows of texts": ["w5", "w6"],
        "rows of lists": [["w5", 0]],
        "a mapping of splits": {"train": data},
        "columns": {"text": ["w5"], "label": [0]},
        "a stream": data.to_iterable_dataset(),
        "a generator": (row for row in ROWS),
        "a frame": pd.DataFrame(ROWS),
        "tokens": tokens,
        "no label": [{"text": "w5"}],
        "no text": [{"label": 0}],
        "two texts": [{"text": "w5", "other": "w6", "label": 0}],
        "some rows without": [{"text": "w5", "label": 0}, {"label": 0}, {"text": "w5"}],
        "a tokenizer": tiny_tokenizer(),
        "a tensor": torch.zeros(2, 3),
        "labels of tensors": [{"text": "w5", "label": torch.tensor(0)}, {"text": "w6", "label": torch.tensor([1])}],
    }


def views() -> dict[str, Callable[..., Any]]:
    quick = {"progress": False}
    found = {
        "accuracy": evaluate_accuracy,
        "noise": lambda *given, **more: evaluate_noise(*given, **{"kinds": ["typos"], "severities": [1], **more}),
        "hotflip": lambda *given, **more: evaluate_hotflip(*given, **{"flips": 1, "candidates": 2, **quick, **more}),
        "white box": lambda *given, **more: evaluate_white_box(*given, **{"radii": [0.1], **quick, **more}),
        "contrast": lambda *given, **more: evaluate_contrast(*given, **{"groups": [0, 0, 1, 1], **more}),
    }
    if importlib.util.find_spec("textattack"):
        found["recipes"] = lambda *given, **more: evaluate_robustness(
            *given, **{"recipes": ["deepwordbug"], "query_budget": 2, **quick, **more}
        )
    return found


@pytest.mark.parametrize("view", views())
def test_data_and_models_of_evaluations(view):
    evaluate, model, tokenizer = views()[view], tiny_bert().eval(), tiny_tokenizer()
    cases = [
        (f"{view} of {name}", lambda data=data: evaluate(model, data, tokenizer)) for name, data in bad_data().items()
    ]
    models = {"None": None, "a name": "bert", "a layer": nn.Linear(2, 2), "a class": type(model), "a dict": {}}
    cases += [
        (f"{view} of model {name}", lambda other=other: evaluate(other, ROWS, tokenizer))
        for name, other in models.items()
    ]
    bad = {"None": None, "a name": "bert", "a model": model, "a number": 3}
    # without a tokenizer, white-box attacks take tokens
    cases += [
        (f"{view} with tokenizer {name}", lambda other=other: evaluate(model, ROWS, other))
        for name, other in bad.items()
    ]
    refused_in_words(cases)


OWN = {
    "noise": ["kinds", "severities"],
    "hotflip": ["flips", "candidates", "beam", "min_cosine", "modify_columns"],
    "white box": ["adversary", "restarts", "radii", "pixel_range", "layer", "criterion"],
    "contrast": ["groups", "kind_column"],
    "recipes": ["recipes", "query_budget", "until_width", "concurrent_examples", "num_processes", "modify_columns"],
}


def test_options_of_evaluations(tmp_path):
    model, tokenizer = tiny_bert().eval(), tiny_tokenizer()
    cases = options_of("EvaluationConfig", EvaluationConfig, [field.name for field in fields(EvaluationConfig)])
    for view, evaluate in views().items():
        call = lambda evaluate=evaluate, **options: evaluate(model, ROWS[:2] + ROWS[:2], tokenizer, **options)  # noqa: E731
        many = {"restarts", "num_processes", "flips", "candidates", "beam"}
        own = [option for option in OWN.get(view, []) if option not in many]
        cases += options_of(view, call, [*own, "text_columns", "label_column", "max_length", "unknown"])
        # a thousand million of them would be right, and long
        cases += [
            (name, case)
            for name, case in options_of(view, call, [option for option in OWN.get(view, []) if option in many])
            if "000000" not in name
        ]
    assert len(cases) > 300
    refused_in_words(cases)
    folder = tmp_path / "file"
    folder.write_text("")
    if "recipes" in views():
        bad = {"output_dir": [folder, 3], "word_vectors": [folder, 3], "sentence_encoder": [3, "nowhere/encoder"]}
        for option, given in bad.items():
            for value in given:
                case = lambda o=option, v=value: views()["recipes"](model, ROWS, tokenizer, **{o: v})  # noqa: E731
                refused_in_words([(f"{option}={value}", case)])


def test_tickets_and_their_files(tmp_path):
    model = tiny_bert().eval()
    ticket = random_ticket(model)
    pruned = prune_(tiny_bert().eval(), ticket)
    save_pruned(pruned, tmp_path / "whole")
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    damaged = {
        "empty": {},
        "no weights": {"config.json": json.dumps(config)},
        "no JSON": {"config.json": "{"},
        "a list": {"config.json": "[]"},
        "no text": {"config.json": "\ud800".encode("utf-8", "surrogatepass")},
        **{
            f"record {shown(v)}": {"config.json": json.dumps({**config, "robust_ticket": v})}
            for v in (3, "x", [], {}, {"version": 9})
        },
        "an empty ticket": {"config.json": json.dumps(config), "ticket.safetensors": ""},
    }
    folders = [tmp_path / "whole" / "config.json", tmp_path / "nowhere"]
    for name, files in damaged.items():
        folders.append(tmp_path / name.replace(" ", "-").replace("'", ""))
        folders[-1].mkdir()
        for file, content in files.items():
            write = folders[-1] / file
            write.write_bytes(content if isinstance(content, bytes) else content.encode())
    cases: list[Case] = []
    for path in folders:
        cases += [(f"load_pruned {path.name}", lambda path=path: load_pruned(path))]
        cases += [(f"RobustTicket.load {path.name}", lambda path=path: RobustTicket.load(path))]
        cases += [(f"load_result {path.name}", lambda path=path: load_result(path))]
    for value in values():
        what = shown(value)
        cases += [
            (f"prune_(model, {what})", lambda v=value: prune_(model, v)),
            (f"prune_({what}, ticket)", lambda v=value: prune_(v, ticket)),
            (f"RobustTicket({what})", lambda v=value: RobustTicket(v, v)),
            (f"load_pruned({what})", lambda v=value: load_pruned(v)),
            (f"load_pruned(auto_class={what})", lambda v=value: load_pruned(tmp_path / "whole", v)),
            (f"save_pruned({what})", lambda v=value: save_pruned(v, tmp_path / "never")),
            (f"save_pruned(path={what})", lambda v=value: save_pruned(pruned, 3 if isinstance(v, str) else v)),
            (f"export_dense({what})", lambda v=value: export_dense(v)),
            (f"draw_ticket({what})", lambda v=value: draw_ticket(v)),
            (f"mask_distance({what})", lambda v=value: mask_distance(ticket, v)),
            (f"load_result({what})", lambda v=value: load_result(v)),
        ]
    sizes = [
        "head_sparsity",
        "neuron_sparsity",
        "head_scope",
        "neuron_scope",
        "seed",
        "round_to",
        "keep_one",
        "like",
        "match",
    ]
    cases += options_of("random_ticket", lambda **options: random_ticket(model, **options), sizes)
    cases += options_of("EarlyBirdDetector", EarlyBirdDetector, ["patience", "tolerance"])
    cases += options_of("SplitHalfDetector", SplitHalfDetector, ["tolerance"])
    assert len(cases) > 200
    refused_in_words(cases)
    assert not (tmp_path / "never").exists()
