"""What a model card says, gathered from a trainer or from a folder, and the card written into a folder."""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import PreTrainedModel, Trainer
from transformers.modelcard import TASK_MAPPING, TrainingSummary

from ..._files import make_folder, read_text, write_text
from ..._provenance import describe_data, model_fingerprint
from ..._version import __version__
from ...adversaries import Adversary
from ...errors import CheckpointError
from ...reporting.escaping import code, markdown
from ...reporting.eval_results import write_eval_results
from ...reporting.model_card import CARD_FILE, FACTS_FILE, CardFacts, is_replaceable, model_card, read_report
from ...reporting.plots import plot_ticket
from ...tickets import RobustTicket, is_pruned, pruned_ticket
from ...tickets.modeling_robust_ticket import auto_map
from ...tickets.pruning import unmark
from ..arguments import AdversaryOptions
from ..augmentation.options import AugmentationOptions
from ..finetuning.facts import choice_facts, finetuning_facts
from ..jobs.search import describe_origin, describe_search
from ..jobs.ticket_folder import TicketFolder
from ..sparse.facts import sparse_facts

logger = logging.getLogger(__name__)

PICTURE = "ticket.png"
_PACKAGE = __package__.split(".")[0]
# Of models that transformers' mapping of tasks does not know.
_TASKS = {"AutoModelForImageClassification": "image-classification"}
_PACKAGES = ("transformers", "torch", "datasets", "tokenizers")
# Entries of an evaluation's log that are no metrics.
_NO_METRICS = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")


def facts_of_trainer(trainer: Trainer, **options: Any) -> CardFacts:
    """What a trainer knows of its model.

    Args:
        trainer: The trainer; its model is a `PreTrainedModel`.
        **options: Those of `Trainer.create_model_card`.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    summary = TrainingSummary.from_trainer(trainer, **options)
    facts = _facts_of_model(model, summary.model_name, sharded=trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)
    trained = trainer.state.global_step > 0
    return replace(
        facts,
        task=_first(summary.tasks) or facts.task,
        base_model=_repository_or_none(summary.finetuned_from),
        license=summary.license,
        language=_as_list(summary.language),
        tags=_as_list(summary.tags),
        data=_data(trainer, options),
        training=_training(trainer, summary) if trained else {},
        chosen=choice_facts(trainer),
        metrics=_last_metrics(trainer.state.log_history),
    )


def _training(trainer: Trainer, summary: TrainingSummary) -> dict[str, Any]:
    """Hyper-parameters of the training, and what was done to the weights before it."""
    options = getattr(trainer, "ticket_options", None)
    names = ("refit_examples", "refit_ridge") if options is not None and options.refit_examples else ()
    found = {name: getattr(options, name) for name in names}
    if isinstance(trainer.args, AugmentationOptions):
        found |= trainer.args.augmentation_facts()
    found |= finetuning_facts(trainer)
    return {**summary.hyperparameters, "optimizer": str(trainer.args.optim.value), **found}


def facts_of_folder(folder: Path, model: PreTrainedModel, name: str) -> CardFacts:
    """What a checkpoint's folder knows: the facts that a trainer left there, or what can be read off its files.

    Args:
        folder: The folder.
        model: Its model, loaded.
        name: Name of the model.

    Raises:
        CheckpointError: If a file is damaged.
    """
    facts = _facts_of_model(model, name)
    if (folder / FACTS_FILE).exists():
        saved = CardFacts.load(folder / FACTS_FILE)
        if saved.weights in (None, facts.weights):
            return replace(saved, model_name=name, weights=facts.weights)
        logger.warning("%s is of other weights than those in %s and is not used", FACTS_FILE, folder)
        return facts
    job = TicketFolder(folder, writes=False)
    log = (job.read("search_log.json") or {}).get("log", [])
    origin = getattr(model.config, "_name_or_path", None)
    search = describe_search(log) if facts.ticket else None
    ticket = facts.ticket if search is None else {**facts.ticket, "origin": describe_origin(search["converged"])}
    found = {"cost": job.load_cost(), "base_model": _repository_or_none(origin)}
    return replace(facts, ticket=ticket, search=search, **found)


def adversary_facts(adversary: Adversary | None, options: AdversaryOptions) -> dict[str, Any] | None:
    """Name and hyper-parameters of an adversary, and where and when it attacks; None for plain training."""
    if adversary is None:
        return None
    found = adversary.describe()
    for option in fields(AdversaryOptions):
        key, value = option.name.removeprefix("adversary_"), getattr(options, option.name)
        # Those left alone say nothing, but for these two.
        told = value != option.default or key in ("layer", "start_step")
        if option.name not in ("adversary", "adversary_kwargs") and key not in found and told:
            found[key] = value
    return found


def attack_facts(trainer: Any) -> dict[str, Any]:
    """Adversary, masks and cost of a trainer that has trained, as fields of `CardFacts`."""
    adversary = trainer.adversary
    if adversary is not None and adversary.space == "pixels":
        adversary = adversary.with_processor(trainer.processing_class)
    told = adversary_facts(adversary, trainer.adversary_options)
    return sparse_facts(trainer, trainer.cost_meter.cost(trainer.state).as_dict(), told)


def write_model_card(
    folder: Path, model: PreTrainedModel, facts: CardFacts, repository: str, reports: Sequence[Path] | None = None
) -> bool:
    """Writes the card, its facts, the ticket's picture and `.eval_results`, unless somebody edited the card.

    Args:
        folder: Where the checkpoint lies.
        model: Its model.
        facts: What the card says.
        repository: What the card's examples pass to `from_pretrained`.
        reports: Robustness reports to show; None for those in the folder that are of these weights.

    Returns:
        Whether the card was written; False, with a warning, where an edited one is kept.

    Raises:
        CheckpointError: If a report is damaged, or a report that was asked for is of other weights.
    """
    make_folder(folder)
    shown, left_out = _reports(folder, facts, reports)
    facts.save(folder / FACTS_FILE)
    card = folder / CARD_FILE
    if card.exists() and not is_replaceable(read_text(card, "a model card")):
        logger.warning("%s was written or edited by somebody and is kept: remove it to have it generated", card)
        return False
    picture, reason = _draw_ticket(model, folder)
    text = model_card(facts, repository, reports=shown, left_out=left_out, picture=picture, without_picture=reason)
    write_text(card, text)
    write_eval_results(folder, facts, shown)
    return True


def _facts_of_model(model: PreTrainedModel, name: str, sharded: bool = False) -> CardFacts:
    found = auto_map(model.config, type(model).__name__)
    opens = [auto for auto, target in found.items() if target.endswith(f".{type(model).__name__}")]
    own = type(model).__module__.startswith(f"{_PACKAGE}.") and not is_pruned(model)
    tasks = [task for task, mapping in TASK_MAPPING.items() if type(model).__name__ in _names(mapping)]
    return CardFacts(
        model_name=name,
        model_class=type(model).__name__,
        # DeepSpeed leaves empty parameters that know their size.
        parameters=sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters()),
        dense_parameters=_count_dense(model) if is_pruned(model) else None,
        auto_class=_first(opens),
        task=_first(tasks) or _TASKS.get(_first(opens)),
        package_module=".".join(type(model).__module__.split(".")[:2]) if own else None,
        ticket=_ticket_facts(model) if is_pruned(model) else None,
        # Gathering the weights of a sharded model takes all processes, and the card is written by one.
        weights=None if sharded else model_fingerprint(model),
        versions=_versions(),
    )


def _count_dense(model: Any) -> int:
    config = copy.deepcopy(model.config)
    unmark(config)
    with torch.device("meta"):
        dense = type(model)._dense_class(config)
    return sum(parameter.numel() for parameter in dense.parameters())


def _ticket_facts(model: PreTrainedModel) -> dict[str, Any]:
    ticket, record = pruned_ticket(model), model.config.robust_ticket
    return {
        "head_counts": record["heads"],
        "neuron_counts": record["neurons"],
        "dense_heads": record["dense"]["heads"],
        "dense_neurons": record["dense"]["neurons"],
        "fingerprint": record["fingerprint"],
        "heads_cut": None if ticket is None else _cut_heads(ticket),
        "origin": None,
    }


def _cut_heads(ticket: RobustTicket) -> list[list[int]]:
    return [[i for i, kept in enumerate(mask.tolist()) if not kept] for mask in ticket.heads]


def _draw_ticket(model: PreTrainedModel, folder: Path) -> tuple[str | None, str]:
    """The picture's file, or None and why there is none."""
    if not is_pruned(model):
        return None, ""
    ticket = pruned_ticket(model)
    if ticket is None:
        return None, "The picture of the ticket was left out: the checkpoint came without its ticket."
    if importlib.util.find_spec("matplotlib") is None:
        remedy = "pip install 'hf_robust_tickets[plots]'"
        reason = "The picture of the ticket was left out: matplotlib is not installed ({})."
        return None, markdown(reason, code(remedy))
    plot_ticket(ticket, folder / PICTURE)
    return PICTURE, ""


def _reports(
    folder: Path, facts: CardFacts, asked: Sequence[Path] | None
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    patterns = ("*robustness.json", "*robustness*/robustness.json")
    paths = sorted({p for pattern in patterns for p in folder.glob(pattern)}) if asked is None else list(asked)
    shown, left_out = {}, []
    for path in paths:
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        report = read_report(path)
        if facts.weights in (None, report["model"]["sha256"]):
            shown[name] = report
        elif asked is not None:
            raise CheckpointError(
                f"expected a report of the weights in {folder}, got one of others in {path}: evaluate this model"
            )
        else:
            logger.warning("%s is of other weights than those in %s: the card leaves it out", path, folder)
            left_out.append(f"{name} is not shown: it is of other weights than these.")
    return shown, left_out


def _data(trainer: Trainer, options: Mapping[str, Any]) -> dict[str, Any]:
    train, evaluation = describe_data(trainer.train_dataset), {}
    if not isinstance(trainer.eval_dataset, dict):
        evaluation = describe_data(trainer.eval_dataset)
    same = {key: evaluation.get(key) for key in ("repository", "revision", "config")}
    same_source = evaluation.get("repository") and all(train.get(key) == value for key, value in same.items())
    found = {**train, "split": evaluation.get("split") if same_source else None}
    rows = {"train_rows": found.pop("rows", None), "eval_rows": evaluation.get("rows")}
    given = {"name": "dataset", "repository": "dataset_tags", "config": "dataset_args"}
    named = {key: _first(options.get(option)) for key, option in given.items()}
    named["repository"] = _repository_or_none(named["repository"])
    named = {key: value for key, value in named.items() if value}
    if named.get("repository") not in (None, train.get("repository")):
        found.pop("revision", None)
    return {key: value for key, value in {**found, **named, **rows}.items() if value is not None}


def _last_metrics(log: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    for record in reversed(log):
        found = {key.removeprefix("eval_"): value for key, value in record.items() if key.startswith("eval_")}
        if found:
            return {key: value for key, value in found.items() if key not in _NO_METRICS}
    return {}


def _repository_or_none(name: str | None) -> str | None:
    """A name that can be a repository's: a folder of this machine says nothing elsewhere, and the Hub refuses it."""
    if not name or Path(name).exists():
        return None
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name


def _names(mapping: Mapping[str, Any]) -> set[str]:
    return {name for value in mapping.values() for name in _as_list(value)}


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _first(value: Any) -> Any:
    return next(iter(_as_list(value)), None)


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version(), "hf_robust_tickets": __version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
