"""The model card: what the Hub shows of a model, from plain data.

Metadata are written and checked with `huggingface_hub`'s own classes. The end of a card holds a fingerprint of its
text, so that a card that somebody edited is told from one that may be written anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .._files import read_json, write_json
from ..errors import CheckpointError, DataError
from . import _card_sections as sections
from . import _card_use as use
from .escaping import join_markdown, markdown

CARD_FILE = "README.md"
FACTS_FILE = "model_card.json"
_SCHEMA = "hf_robust_tickets/model_card"
_SCHEMA_VERSION = 1
_END = re.compile(r"\n<!-- written by hf_robust_tickets, ([0-9a-f]{64}) -->\n\Z")
# What the Trainer puts into its drafts, with the request to remove it from an edited card.
_TRAINER_DRAFT = "This model card has been generated automatically according to the information the Trainer had"
# Metrics under the names that the Hub knows; others are in the card alone.
_KNOWN_METRICS = ("accuracy", "f1", "matthews_correlation", "pearsonr", "spearmanr", "precision", "recall")


@dataclass(frozen=True)
class CardFacts:
    """All that a card says of a model but its robustness, as JSON data.

    Attributes:
        model_name: Its name, without the owner.
        model_class: Class of the stock model, e.g. `BertForSequenceClassification`.
        parameters: Number of parameters.
        dense_parameters: The same before pruning.
        auto_class: The auto class that opens it.
        task: Its task under the Hub's name, e.g. `text-classification`.
        base_model: Repository of the model it was fine-tuned from.
        license: Its licence under the Hub's name.
        language: Languages under their codes.
        tags: Further tags.
        data: What it was trained on: `name`, `repository`, `config`, `split`, `revision`, `train_rows`, `eval_rows`.
        package_module: Module of this package whose import makes the model's class known; None for stock classes.
        sparse: `method` (name and options), `kept` of `weights` maskable weights, `layer_density`, `updates`; None
            where no weight is masked.
        ticket: `RobustTicket.summary()`, with `heads_cut` (numbers per layer, from 0) and `origin`; None if dense.
        search: `converged`, `epoch`, `step`, `tickets`, and the options of the search.
        adversaries: Phase -> name and hyper-parameters of its adversary, None for plain training.
        training: Hyper-parameters of the fine-tuning.
        chosen: What chose the weights among those of the training: `metric`, `greater_is_better`, its `value` and the
            `step`; None where they are the last.
        metrics: Metrics on the evaluation data, without an attack.
        cost: Phase -> fields of `PhaseCost`.
        weights: sha256 of the weights: a robustness report of other weights is not shown.
        versions: Package -> version.
    """

    model_name: str
    model_class: str
    parameters: int
    dense_parameters: int | None = None
    auto_class: str | None = None
    task: str | None = None
    base_model: str | None = None
    license: str | None = None
    language: Sequence[str] = ()
    tags: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    package_module: str | None = None
    sparse: Mapping[str, Any] | None = None
    ticket: Mapping[str, Any] | None = None
    search: Mapping[str, Any] | None = None
    adversaries: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    chosen: Mapping[str, Any] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    weights: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes the facts as JSON, atomically.

        Raises:
            ConfigurationError: If a value is no JSON.
        """
        write_json(path, {"schema": _SCHEMA, "schema_version": _SCHEMA_VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> CardFacts:
        """Reads what `save` wrote.

        Raises:
            CheckpointError: If the file is damaged, or of another version.
        """
        values = read_json(path, "the facts of a model card")
        found = (values.pop("schema", None), values.pop("schema_version", None))
        if found != (_SCHEMA, _SCHEMA_VERSION):
            raise CheckpointError(f"expected the facts of a model card in {path}, got {found}: remove the file")
        try:
            facts = cls(**values)
        except TypeError as error:
            raise CheckpointError(f"expected the facts of a model card in {path}, got others ({error})") from error
        for name in ("auto_class", "package_module"):  # the card shows them as code to run
            value = getattr(facts, name)
            if value is not None and not (isinstance(value, str) and all(map(str.isidentifier, value.split(".")))):
                raise CheckpointError(f"expected a name of Python as {name} in {path}, got {value!r}: remove the file")
        return facts


def model_card(
    facts: CardFacts,
    repository: str,
    *,
    reports: Mapping[str, Mapping[str, Any]] | None = None,
    left_out: Sequence[str] = (),
    picture: str | None = None,
    without_picture: str = "The picture of the ticket was left out.",
) -> str:
    """The text of the card, metadata first.

    Args:
        facts: What it says.
        repository: What the examples pass to `from_pretrained`.
        reports: Name -> content (`RobustnessReport.to_dict()`) of the robustness reports to show.
        left_out: A remark for each report that is not shown.
        picture: File of the ticket's picture, from where the card lies.
        without_picture: Why there is none.

    Raises:
        DataError: If the facts do not make valid metadata.
    """
    reports = reports or {}
    try:
        parts = [
            markdown("# {}", facts.model_name),
            sections.lead(facts),
            sections.pruned(facts, picture, without_picture),
            sections.masked(facts),
            sections.training(facts),
            sections.evaluation(facts, reports, left_out),
            sections.cost(facts),
            use.loading(facts, repository),
            use.citation(),
            sections.made_with(facts),
        ]
        body = join_markdown(part for part in parts if part)
        text = f"---\n{card_data(facts, reports).to_yaml()}\n---\n\n{body}\n"
        ModelCard(text)
    # Facts and reports are read from files: what they hold may be of any kind.
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise DataError(f"expected facts that make a valid card, got {error!r}: correct them") from error
    return f"{text}\n<!-- written by hf_robust_tickets, {_fingerprint(text)} -->\n"


def card_data(facts: CardFacts, reports: Mapping[str, Mapping[str, Any]]) -> ModelCardData:
    """The card's metadata, results as `model-index` among them."""
    results = _results(facts, reports)
    tags = ["robust-tickets", *(["pruned"] if facts.ticket else []), *(["sparse"] if facts.sparse else [])]
    if any(facts.adversaries.values()):
        tags.append("adversarial-training")
    repository = facts.data.get("repository")
    return ModelCardData(
        language=list(facts.language) or None,
        license=facts.license,
        library_name="transformers",
        pipeline_tag=facts.task,
        base_model=facts.base_model,
        datasets=[repository] if repository else None,
        metrics=sorted({result.metric_type for result in results}) or None,
        tags=[*tags, *facts.tags],
        model_name=facts.model_name if results else None,
        eval_results=results or None,
    )


def is_replaceable(text: str) -> bool:
    """Whether a card was generated and not edited since, so that it may be written anew."""
    end = _END.search(text)
    return _TRAINER_DRAFT in text if end is None else _fingerprint(text[: end.start()]) == end[1]


def read_report(path: Path) -> dict[str, Any]:
    """The content of a robustness report's file.

    Raises:
        CheckpointError: If it is none.
    """
    values = read_json(path, "a robustness report")
    if values.get("schema") != "hf_robust_tickets/robustness" or "recipes" not in values:
        raise CheckpointError(f"expected a robustness report in {path}, got another JSON file: give the right one")
    return values


def _results(facts: CardFacts, reports: Mapping[str, Mapping[str, Any]]) -> list[EvalResult]:
    if facts.task is None:
        return []
    results = [
        EvalResult(metric_type=name, metric_value=facts.metrics[name], **_on(facts, facts.data))
        for name in _KNOWN_METRICS
        if facts.metrics.get(name) is not None
    ]
    for report in reports.values():
        where = _on(facts, report["settings"].get("data") or {})
        for recipe, result in report["recipes"].items():
            if result["accuracy_under_attack"] is None:
                continue
            details = {
                "attack": recipe,
                "num_examples": report["num_examples"],
                "seed": report["seed"],
                "confidence_interval_95": result["confidence_interval"],
                # What makes the figure incomparable with published ones.
                **({"stand_ins": list(result["not_comparable"])} if result["not_comparable"] else {}),
            }
            name, value = f"accuracy under attack ({recipe})", result["accuracy_under_attack"]
            results.append(
                EvalResult(metric_type="accuracy", metric_name=name, metric_value=value, metric_args=details, **where)
            )
    return results


def _on(facts: CardFacts, data: Mapping[str, Any]) -> dict[str, Any]:
    """Task and data set of a result; the Hub wants both, and takes `unknown` for data that it does not have."""
    if not data.get("repository"):
        return {"task_type": facts.task, "dataset_type": "unknown", "dataset_name": "unknown"}
    found = {"task_type": facts.task, "dataset_type": data["repository"], "dataset_name": sections.data_name(data)}
    return found | {f"dataset_{key}": data.get(key) for key in ("config", "split", "revision")}


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.strip().encode("utf-8", errors="surrogatepass")).hexdigest()
