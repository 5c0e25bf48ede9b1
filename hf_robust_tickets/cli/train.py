"""`robust-tickets train`: the whole job on a data set, or adversarial training alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import EvalPrediction, set_seed

from ..errors import CheckpointError, ConfigurationError
from ..evaluation.datasets.labels import Classes
from ..evaluation.victim.model import checked_length, length_limit
from ..reporting.tables import text_table
from ..training import (
    AdversarialTrainer,
    AdversarialTrainingArguments,
    RobustTicketArguments,
    RobustTicketTrainer,
    TicketOptions,
)
from ..training.checks.late import check_optimisation
from ..training.jobs.checkpoints import checkpoints
from ..training.jobs.ticket_folder import TicketFolder
from .data import load_training, tokenize
from .models import TrainedModelOptions, has_classifier, load_config, load_to_train
from .options import DataOptions, named, parse
from .pictures import draw_pictures

DEFAULT_LENGTH = 128
TICKETS = ("search", "none")


@dataclass
class TicketChoice:
    """Whether the model is made small."""

    ticket: str = field(
        default="search",
        metadata={"help": "search: search a ticket, cut, fine-tune; none: train the model as it is, under attack."},
    )


def run(argv: list[str]) -> None:
    """Searches, prunes, fine-tunes, saves; or, with `--ticket none`, trains the model as it is under attack.

    A job that was cut off goes on with `--resume_from_checkpoint True`.
    """
    given = named(argv)
    whole = given.get("ticket") == "none"
    if whole and (useless := sorted(given.keys() & {option.name for option in fields(TicketOptions)})):
        raise ConfigurationError(
            f"expected no options of a ticket with --ticket none, got {', '.join(useless)}: leave them out, or "
            "leave out --ticket"
        )
    kind = AdversarialTrainingArguments if whole else RobustTicketArguments
    build, (choice, args) = parse_training("train", (TicketChoice, kind), argv)
    if choice.ticket not in TICKETS:
        raise ConfigurationError(f"expected --ticket {' or '.join(TICKETS)}, got {choice.ticket!r}")
    if whole:
        check_own_folder(args)
    trainer = build(args, AdversarialTrainer if whole else RobustTicketTrainer)
    if whole:
        check_optimisation(trainer)
    metrics = train_and_save(trainer)
    pictures = None if whole else draw_pictures(trainer, Path(args.output_dir) / "pictures")
    rows = summarise_whole(trainer, metrics) if whole else summarise(trainer, metrics)
    print(text_table([*rows, *build.more_rows(trainer)]))
    print(f"saved in {args.output_dir}" + (f", pictures in {pictures}" if pictures else ""))


@dataclass(frozen=True)
class Builder:
    """Makes the trainer that a line describes, of texts or of images.

    Attributes:
        build: Takes arguments, a trainer's class and further arguments of it.
        more_rows: What is said of the trained model besides.
    """

    build: Callable[..., AdversarialTrainer]
    more_rows: Callable[[AdversarialTrainer], list[dict[str, Any]]]

    def __call__(self, *args: Any, **options: Any) -> AdversarialTrainer:
        """The trainer."""
        return self.build(*args, **options)


def parse_training(verb: str, kinds: tuple[type, ...], argv: list[str]) -> tuple[Builder, tuple[Any, ...]]:
    """Reads a line of a verb that trains: with `image_model` on images, else on texts.

    Args:
        verb: Its name.
        kinds: Dataclasses besides those of model and data.
        argv: What follows the verb.

    Returns:
        What builds the trainer, and an object per dataclass.
    """
    if "image_model" in named(argv):
        from .images import ImageOptions, attacked_row, build_image_trainer, image_defaults

        images, *filled = parse(verb, (ImageOptions, *kinds), argv, image_defaults(argv))
        return Builder(partial(build_image_trainer, images), partial(attacked_row, images)), tuple(filled)
    model, data, *filled = parse(verb, (TrainedModelOptions, DataOptions, *kinds), argv)
    return Builder(partial(build_trainer, model, data), lambda trainer: []), tuple(filled)


def train_and_save(trainer: AdversarialTrainer) -> dict[str, float]:
    """Trains, or goes on, saves the model with its card, and evaluates it.

    Returns:
        The metrics of the evaluation.

    Raises:
        TrainingStopped: If a SIGTERM has ended the training.
    """
    trainer.train(resume_from_checkpoint=resume_option(trainer.args.resume_from_checkpoint))
    if trainer.stopping.stopped:
        trainer.stopping.require_going_on()
    # What was trained is kept, whatever becomes of its evaluation; the card of the second time has the metrics.
    trainer.save_model(_internal_call=True)
    metrics = trainer.evaluate()
    trainer.save_model()  # with push_to_hub, this uploads too
    trainer.save_metrics("eval", metrics)
    return metrics


def check_own_folder(args: AdversarialTrainingArguments, searches: bool = False) -> None:
    """Checks that no other training's files would be mixed with those of a training without a ticket.

    Args:
        args: Those of the training.
        searches: Whether it has a search of its own in the folder.

    Raises:
        CheckpointError: If the folder holds a ticket, or checkpoints that are not to be gone on from.
    """
    job, earlier = TicketFolder(args.output_dir, writes=False), checkpoints(args.output_dir)
    if job.ticket.exists() or job.start.exists() or (not searches and checkpoints(job.search)):
        raise CheckpointError(
            f"expected a folder without a ticket or a search for one, got {args.output_dir}: use another output_dir"
        )
    if earlier and resume_option(args.resume_from_checkpoint) is None:
        raise CheckpointError(
            f"{args.output_dir} holds checkpoints of an earlier training ({earlier[-1].name}): go on from them with "
            "--resume_from_checkpoint True, or use another output_dir"
        )


def build_trainer(
    model: TrainedModelOptions,
    data: DataOptions,
    args: AdversarialTrainingArguments,
    kind: type[AdversarialTrainer] = AdversarialTrainer,
    **options: Any,
) -> AdversarialTrainer:
    """The trainer for these options, with data loaded, checked and tokenized.

    Args:
        model: Which model.
        data: Which data.
        args: Those of the training.
        kind: The trainer's class.
        **options: Further arguments of it.
    """
    set_seed(args.seed)  # a new head, and with it the result, is that of the seed
    config = load_config(model)
    splits = load_training(
        data, seed=args.seed, model_classes=Classes.of_model(config) if has_classifier(config) else None
    )
    classifier, tokenizer = load_to_train(model, splits.classes)
    length = text_length(classifier, tokenizer, data.max_length, pairs=len(splits.text_columns) > 1)
    train, validation = (
        tokenize(split, tokenizer, splits.text_columns, length) for split in (splits.train, splits.validation)
    )
    trainer = kind(
        model=classifier,
        args=args,
        train_dataset=train,
        eval_dataset=validation,
        processing_class=tokenizer,
        compute_metrics=accuracy,
        **options,
    )
    trainer.card_options = {
        "dataset": data.dataset_name or Path(data.train_file).name,
        "dataset_tags": data.dataset_name,
        "dataset_args": data.dataset_config_name,
    }
    return trainer


def text_length(model: Any, tokenizer: Any, max_length: int | None, pairs: bool) -> int:
    """Tokens of a text: what was asked for, else 128, or what the model reads if that is less."""
    if max_length is None:
        return min(DEFAULT_LENGTH, length_limit(model, tokenizer))
    return checked_length(model, tokenizer, max_length, pairs=pairs)


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """Share of correct predictions."""
    return {"accuracy": float(np.mean(np.argmax(prediction.predictions, axis=-1) == prediction.label_ids))}


def summarise(trainer: RobustTicketTrainer, metrics: dict[str, float]) -> list[dict[str, Any]]:
    """Rows of the table that ends a job."""
    ticket, cost = trainer.ticket, trainer.cost
    rows = [
        ("accuracy on the validation data", f"{metrics['eval_accuracy']:.1%}"),
        ("heads kept", f"{sum(ticket.head_counts)} of {sum(len(mask) for mask in ticket.heads)}"),
        ("neurons kept", f"{sum(ticket.neuron_counts)} of {sum(len(mask) for mask in ticket.neurons)}"),
    ]
    if "search" in cost:
        stopped = "stopped by itself" if trainer.converged else "did not settle within its budget"
        rows.append(("search", f"{cost['search']['steps']} steps, {cost['search']['seconds']:.0f} s, {stopped}"))
    rows.append(("fine-tuning", f"{cost['finetune']['steps']} steps, {cost['finetune']['seconds']:.0f} s"))
    return [{"what": what, "result": result} for what, result in rows]


def summarise_whole(trainer: AdversarialTrainer, metrics: dict[str, float]) -> list[dict[str, Any]]:
    """Rows of the table that ends a training without a ticket."""
    cost, adversary = trainer.cost["train"], trainer.adversary
    rows = [
        ("accuracy on the validation data", f"{metrics['eval_accuracy']:.1%}"),
        ("adversary", "none: plain training" if adversary is None else f"{adversary.name}, {trainer.step_cost:g} x"),
        ("training", f"{cost['steps']} steps, {cost['seconds']:.0f} s"),
    ]
    return [{"what": what, "result": result} for what, result in rows]


def resume_option(value: str | None) -> str | bool | None:
    """The option is text on the command line; the two words mean what they say."""
    return {"true": True, "false": None}.get(value.lower(), value) if isinstance(value, str) else value
