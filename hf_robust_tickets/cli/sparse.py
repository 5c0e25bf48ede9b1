"""`robust-tickets sparse`: adversarial training with masks on single weights, of models of texts or of images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers.trainer_utils import SchedulerType

from ..errors import ConfigurationError
from ..reporting.tables import text_table
from ..sparse import FixedMasks, SparseMethod, get_sparse_method, list_sparse_methods, load_masks
from ..training import AdversarialTrainingArguments, SparseTrainer
from ..training.arguments import read_options
from ..training.checks.late import check_optimisation
from ..training.sparse.facts import search_summary
from .train import check_own_folder, parse_training, summarise_whole, train_and_save

METHOD = "flying-bird"
SCHEDULE = "constant_with_warmup"


@dataclass
class SparseOptions:
    """How weights are masked."""

    method: str | None = field(
        default=None, metadata={"help": f"{', '.join(list_sparse_methods())}; default: {METHOD}."}
    )
    density: str | None = field(
        default=None, metadata={"help": "Share of the weights that is kept, or a pattern such as 2:4."}
    )
    method_kwargs: dict[str, Any] | str | None = field(
        default=None, metadata={"help": 'Further options of the method, as JSON: {"period": 100}.'}
    )
    masks: str | None = field(
        default=None, metadata={"help": "Fixed masks in place of a method: a sparse_masks.safetensors."}
    )
    include: list[str] | None = field(default=None, metadata={"help": "Name patterns of the weights to mask."})
    exclude: list[str] | None = field(default=None, metadata={"help": "Name patterns of weights to leave out."})
    search_adversary: str | None = field(
        default=None, metadata={"help": "robust-bird: what attacks its search; default: nothing."}
    )
    search_lr_scheduler_type: str | None = field(
        default=None, metadata={"help": f"robust-bird: schedule of its search; default: {SCHEDULE}."}
    )


def run(argv: list[str]) -> None:
    """Trains, saves, evaluates; continues what was cut off with `--resume_from_checkpoint True`."""
    build, (options, args) = parse_training("sparse", (SparseOptions, AdversarialTrainingArguments), argv)
    method = build_method(options)
    schedule = check_schedule(options, method)
    check_own_folder(args, searches=method.searches)
    trainer = build(
        args,
        SparseTrainer,
        method=method,
        include=options.include,
        exclude=options.exclude,
        search_adversary=options.search_adversary,
        search_lr_scheduler_type=schedule,
    )
    check_optimisation(trainer)
    metrics = train_and_save(trainer)
    print(text_table([*summarise(trainer, metrics), *build.more_rows(trainer)]))
    print(f"saved in {args.output_dir}, masks in sparse_masks.safetensors")


def build_method(options: SparseOptions) -> SparseMethod:
    """The method that the options describe.

    Raises:
        ConfigurationError: If they contradict each other, or the method refuses them.
        CheckpointError: If the file of masks is damaged.
        UnknownNameError: If no method has the name.
    """
    given = read_options("method_kwargs", options.method_kwargs)
    if options.masks is not None:
        if options.method or options.density or given:
            raise ConfigurationError("expected --masks, or a method with its options, got both: leave one out")
        return FixedMasks(load_masks(options.masks))
    if options.density is not None:
        if "density" in given:
            raise ConfigurationError("expected each option once, got density in method_kwargs too: leave one out")
        given["density"] = _density(options.density)
    name = METHOD if options.method is None else options.method
    if name == FixedMasks.name:
        raise ConfigurationError("expected a file with fixed masks, got --method fixed: pass --masks")
    return get_sparse_method(name, **given)


def check_schedule(options: SparseOptions, method: SparseMethod) -> str:
    """The schedule of the method's own search.

    Raises:
        ConfigurationError: If there is none of that name, or the method does not search.
    """
    schedule = options.search_lr_scheduler_type
    if schedule is None:
        return SCHEDULE
    if not method.searches:
        raise ConfigurationError(f"search_lr_scheduler_type is that of robust-bird, got {method.name}: leave it out")
    if schedule not in (known := [kind.value for kind in SchedulerType]):
        raise ConfigurationError(f"search_lr_scheduler_type must be one of {', '.join(known)}, got {schedule!r}")
    return schedule


def summarise(trainer: SparseTrainer, metrics: dict[str, float]) -> list[dict[str, Any]]:
    """Rows of the table that ends a training."""
    kept = sum(int(mask.sum()) for mask in trainer.masks.values())
    total = sum(mask.numel() for mask in trainer.masks.values())
    changes = sum(record["event"] == "update" for record in trainer.sparse.log)
    rows = [("weights kept", f"{kept:,} of {total:,} ({kept / total:.1%})"), ("masks moved", f"{changes} times")]
    if (summary := search_summary(trainer)) is not None:
        settled = "the mask settled" if summary["converged"] else "the mask did not settle within its budget"
        rows.append(("search", f"{summary['cost']['steps']} steps, {summary['cost']['seconds']:.0f} s, {settled}"))
    return [*summarise_whole(trainer, metrics), *({"what": what, "result": result} for what, result in rows)]


def _density(text: str) -> float | str:
    if ":" in text:
        return text
    try:
        return float(text)
    except ValueError as error:
        raise ConfigurationError(f"expected a density in (0, 1], or a pattern such as 2:4, got {text!r}") from error
