"""`robust-tickets probe`: views of a model's robustness beside recipes, each a JSON file that `report` shows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..adversaries import PGD
from ..errors import ConfigurationError
from ..evaluation import (
    RobustnessReport,
    contrast_groups,
    evaluate_accuracy,
    evaluate_contrast,
    evaluate_hotflip,
    evaluate_noise,
    evaluate_transfer,
    evaluate_white_box,
)
from ..reporting.tables import text_table
from .data import EvaluationData, load_evaluation, sample_size
from .models import load_classifier, load_tokenizer
from .options import ModelOptions, parse

KINDS = ("accuracy", "white_box", "hotflip", "noise", "contrast", "transfer")


@dataclass
class ProbeOptions:
    """Which views, and how."""

    kinds: list[str] = field(
        default_factory=lambda: ["white_box", "hotflip", "noise"],
        metadata={"help": f"One or several of {', '.join(KINDS)}."},
    )
    num_examples: int = field(default=500, metadata={"help": "Size of the stratified sample; all for contrast."})
    seed: int = field(default=0, metadata={"help": "Chooses the sample, random starts and noise."})
    batch_size: int = field(default=32, metadata={"help": "Texts per pass."})
    radii: list[float] = field(default_factory=lambda: [0.1, 0.3, 1.0], metadata={"help": "white_box: radii."})
    norm: str = field(default="l2", metadata={"help": "white_box: l2, linf or l1."})
    layer: int = field(default=0, metadata={"help": "white_box: 0 the embeddings, n the output of layer n."})
    steps: int = field(default=10, metadata={"help": "white_box: steps of PGD, each of a quarter of the radius."})
    restarts: int = field(default=1, metadata={"help": "white_box: starts per example."})
    flips: int = field(default=3, metadata={"help": "hotflip: most tokens replaced in one text."})
    candidates: int = field(default=32, metadata={"help": "hotflip: texts asked per flip."})
    beam: int = field(default=1, metadata={"help": "hotflip: texts kept per flip."})
    min_cosine: float | None = field(default=None, metadata={"help": "hotflip: least cosine of the embeddings."})
    noise: list[str] = field(
        default_factory=lambda: ["typos", "keyboard", "casing", "whitespace", "ocr"],
        metadata={"help": "noise: kinds of noise."},
    )
    severities: list[int] = field(default_factory=lambda: [1, 3, 5], metadata={"help": "noise: any of 1 to 5."})
    group_column: str | None = field(
        default=None, metadata={"help": "contrast: names each row's set; default: from --kind_column."}
    )
    kind_column: str | None = field(default=None, metadata={"help": "contrast: says what a row is."})
    original: str = field(default="original", metadata={"help": "contrast: value of --kind_column for originals."})
    transfer_from: str | None = field(
        default=None, metadata={"help": "transfer: the report of the model on which the texts were made."}
    )
    own_report: str | None = field(
        default=None, metadata={"help": "transfer: the report of this model's own attack, to check it against."}
    )
    output_dir: str = field(default="robustness", metadata={"help": "Folder for the JSON files."})


def run(argv: list[str]) -> None:
    """Writes one file per view, named after it, and prints the figures."""
    # `probe noise --model ...`, as well as `probe --kinds noise --model ...`.
    bare = argv and not argv[0].startswith("-") and not argv[0].endswith((".yaml", ".yml"))
    model_options, data_options, options = parse(
        "probe", (ModelOptions, EvaluationData, ProbeOptions), ["--kinds", *argv] if bare else argv
    )
    unknown = [kind for kind in options.kinds if kind not in KINDS]
    if unknown:
        raise ConfigurationError(f"expected kinds among {', '.join(KINDS)}, got {', '.join(unknown)}")
    if "transfer" in options.kinds and options.transfer_from is None:
        raise ConfigurationError("expected the report whose texts are replayed, got none: pass --transfer_from")
    if "contrast" in options.kinds and options.group_column is None and options.kind_column is None:
        raise ConfigurationError("expected what makes rows a set, got nothing: pass --group_column or --kind_column")
    if "contrast" in options.kinds and data_options.max_eval_samples is not None:
        raise ConfigurationError(
            "expected all rows for contrast, whose sets a part would break: no --max_eval_samples"
        )
    model, tokenizer = load_classifier(model_options), load_tokenizer(model_options)
    needs_data = set(options.kinds) - {"transfer"}
    data = load_evaluation(data_options) if needs_data else None
    folder = Path(options.output_dir)
    for kind in options.kinds:
        for name, result in _VIEWS[kind](model, tokenizer, data, data_options, options).items():
            result.save(folder / f"{name}.json")
            print(f"{_summary(result)}\n{kind}: {folder / name}.json")


def _columns(data: EvaluationData) -> dict[str, Any]:
    return {"text_columns": data.text_columns, "label_column": data.label_column, "max_length": data.max_length}


def _sample(data: EvaluationData, options: ProbeOptions) -> dict[str, Any]:
    shared = {
        "num_examples": sample_size(data, options.num_examples),
        "seed": options.seed,
        "batch_size": options.batch_size,
    }
    return {**_columns(data), **shared}


def _accuracy(model: Any, tokenizer: Any, data: Any, data_options: EvaluationData, options: ProbeOptions) -> dict:
    return {"accuracy": evaluate_accuracy(model, data, tokenizer, **_sample(data_options, options))}


def _white_box(model: Any, tokenizer: Any, data: Any, data_options: EvaluationData, options: ProbeOptions) -> dict:
    attack = PGD(steps=options.steps + 1, step_size=0.25, max_norm=1.0, norm=options.norm)
    more = {"radii": options.radii, "layer": options.layer, "restarts": options.restarts}
    return {"white_box": evaluate_white_box(model, data, tokenizer, attack, **more, **_sample(data_options, options))}


def _hotflip(model: Any, tokenizer: Any, data: Any, data_options: EvaluationData, options: ProbeOptions) -> dict:
    more = {name: getattr(options, name) for name in ("flips", "candidates", "beam", "min_cosine")}
    return {"hotflip": evaluate_hotflip(model, data, tokenizer, **more, **_sample(data_options, options))}


def _noise(model: Any, tokenizer: Any, data: Any, data_options: EvaluationData, options: ProbeOptions) -> dict:
    sample = _sample(data_options, options)
    return {"noise": evaluate_noise(model, data, tokenizer, options.noise, options.severities, **sample)}


def _contrast(model: Any, tokenizer: Any, data: Any, data_options: EvaluationData, options: ProbeOptions) -> dict:
    groups = options.group_column or contrast_groups(data, options.kind_column, options.original)
    return {
        "contrast": evaluate_contrast(
            model,
            data,
            tokenizer,
            groups,
            kind_column=options.kind_column,
            batch_size=options.batch_size,
            **_columns(data_options),
        )
    }


def _transfer(model: Any, tokenizer: Any, data: Any, data_options: EvaluationData, options: ProbeOptions) -> dict:
    """Every recipe of the report; the first one's file is `transfer.json`, the others' are `transfer-RECIPE.json`."""
    made = RobustnessReport.load(options.transfer_from)
    own = RobustnessReport.load(options.own_report) if options.own_report else {}
    limits = {"batch_size": options.batch_size, "max_length": data_options.max_length}
    found = {}
    for recipe, result in made.items():
        mine = own.get(recipe)
        # a recipe from a file has its path for a name
        found["transfer-" + re.sub(r"[^\w.-]+", "_", recipe) if found else "transfer"] = evaluate_transfer(
            result, model, tokenizer, **limits, own=mine
        )
    return found


_VIEWS = {
    "accuracy": _accuracy,
    "white_box": _white_box,
    "hotflip": _hotflip,
    "noise": _noise,
    "contrast": _contrast,
    "transfer": _transfer,
}


def _summary(result: Any) -> str:
    if hasattr(result, "summary"):
        return result.summary()
    rows = result.to_table() if hasattr(result, "to_table") else getattr(result, "curve", None)
    if rows is None:
        values = result.to_dict()
        rows = [{name: value for name, value in values.items() if isinstance(value, int | float)}]
    return "\n".join([text_table(rows), *(f"warning: {warning}" for warning in result.warnings)])
