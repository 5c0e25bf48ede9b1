"""`robust-tickets probe`: other views of a model's robustness than recipes, each a JSON file that `report` shows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._files import check_folder
from ..adversaries import PGD
from ..errors import ConfigurationError, DataError
from ..evaluation import (
    EvaluationConfig,
    EvaluationResult,
    RobustnessReport,
    contrast_groups,
    evaluate_accuracy,
    evaluate_contrast,
    evaluate_hotflip,
    evaluate_noise,
    evaluate_transfer,
    evaluate_white_box,
    load_result,
)
from ..reporting.tables import text_table
from .data import load_evaluation, rows_of_file, sample_size
from .models import load_to_evaluate
from .options import DataOptions, ModelOptions, parse

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
    radius_unit: str = field(
        default="absolute", metadata={"help": "white_box: absolute, or relative (shares of the norm)."}
    )
    norm: str = field(default="l2", metadata={"help": "white_box: l2, linf or l1."})
    layer: int = field(
        default=0, metadata={"help": "white_box: 0 the embeddings, n the output of layer n, -1 of the last."}
    )
    steps: int = field(default=10, metadata={"help": "white_box: steps of PGD, each of a quarter of the radius."})
    restarts: int = field(default=1, metadata={"help": "white_box: starts per example."})
    criterion: str = field(
        default="any", metadata={"help": "white_box: right at any point visited, or at the last of each ascent."}
    )
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


@dataclass(frozen=True)
class Given:
    """What every view is made from."""

    model: Any
    data: Any
    tokenizer: Any
    options: ProbeOptions
    config: EvaluationConfig

    @property
    def what(self) -> tuple[Any, Any, Any]:
        """What comes first in every evaluation."""
        return self.model, self.data, self.tokenizer


def run(argv: list[str]) -> None:
    """Writes one file per view, named after it, and prints the figures."""
    # `probe noise --model ...`, as well as `probe --kinds noise --model ...`.
    bare = argv and not argv[0].startswith("-") and not argv[0].endswith((".yaml", ".yml"))
    model_options, data_options, options = parse(
        "probe", (ModelOptions, DataOptions, ProbeOptions), ["--kinds", *argv] if bare else argv
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
    check_folder(options.output_dir)
    model, tokenizer = load_to_evaluate(model_options)
    needs_data = set(options.kinds) - {"transfer"}
    data = load_evaluation(data_options) if needs_data else None
    given = Given(model, data, tokenizer, options, _config(data_options, options))
    folder = Path(options.output_dir)
    with rows_of_file(data_options):
        for kind in options.kinds:
            for name, result in _VIEWS[kind](given).items():
                result.save(folder / f"{name}.json")
                print(f"{_summary(result)}\n{kind}: {folder / name}.json")


def _config(data: DataOptions, options: ProbeOptions) -> EvaluationConfig:
    return EvaluationConfig(
        num_examples=sample_size(data, options.num_examples),
        seed=options.seed,
        text_columns=data.text_columns,
        label_column=data.label_column,
        batch_size=options.batch_size,
        max_length=data.max_length,
    )


def _accuracy(given: Given) -> dict[str, EvaluationResult]:
    return {"accuracy": evaluate_accuracy(*given.what, config=given.config)}


def _white_box(given: Given) -> dict[str, EvaluationResult]:
    options = given.options
    attack = PGD(
        steps=options.steps + 1, step_size=0.25, max_norm=1.0, norm=options.norm, step_unit=options.radius_unit
    )
    more = {name: getattr(options, name) for name in ("radii", "layer", "restarts", "criterion")}
    return {"white_box": evaluate_white_box(*given.what, adversary=attack, **more, config=given.config)}


def _hotflip(given: Given) -> dict[str, EvaluationResult]:
    more = {name: getattr(given.options, name) for name in ("flips", "candidates", "beam", "min_cosine")}
    return {"hotflip": evaluate_hotflip(*given.what, **more, config=given.config)}


def _noise(given: Given) -> dict[str, EvaluationResult]:
    more = {"kinds": given.options.noise, "severities": given.options.severities}
    return {"noise": evaluate_noise(*given.what, **more, config=given.config)}


def _contrast(given: Given) -> dict[str, EvaluationResult]:
    options = given.options
    groups = options.group_column or contrast_groups(given.data, options.kind_column, options.original)
    more = {"groups": groups, "kind_column": options.kind_column}
    return {"contrast": evaluate_contrast(*given.what, **more, config=given.config)}


def _transfer(given: Given) -> dict[str, EvaluationResult]:
    """Every recipe of the report; the first one's file is `transfer.json`, the others' are `transfer-RECIPE.json`."""
    made = _attacked_texts(given.options.transfer_from)
    own = _attacked_texts(given.options.own_report) if given.options.own_report else {}
    found: dict[str, EvaluationResult] = {}
    for recipe, result in made.items():
        # a recipe from a file has its path for a name
        name = "transfer-" + re.sub(r"[^\w.-]+", "_", recipe) if found else "transfer"
        found[name] = evaluate_transfer(given.model, result, given.tokenizer, own=own.get(recipe), config=given.config)
    return found


def _attacked_texts(path: str) -> RobustnessReport:
    """A report with the texts that an attack made, from any file that `evaluate` or `probe` wrote."""
    result = load_result(path)
    if not isinstance(result, RobustnessReport):
        raise DataError(
            f"expected attacked texts in {path} (`evaluate`, or `probe hotflip`), got a result of the kind "
            f"{result.kind}, which holds none"
        )
    return result


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
        figures = {name: value for name, value in values.items() if isinstance(value, int | float)}
        rows = [{name: value for name, value in figures.items() if name not in ("schema_version", "seed")}]
    return "\n".join([text_table(rows), *(f"warning: {warning}" for warning in result.warnings)])
