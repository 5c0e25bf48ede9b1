"""`robust-tickets train`: the whole job on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from transformers import EvalPrediction

from ..evaluation.datasets.labels import Classes
from ..evaluation.victim.model import checked_length, length_limit
from ..reporting.tables import text_table
from ..training import RobustTicketArguments, RobustTicketTrainer
from .data import load_training, tokenize
from .models import TrainedModelOptions, has_classifier, load_config, load_to_train
from .options import DataOptions, parse
from .pictures import draw_pictures

DEFAULT_LENGTH = 128


def run(argv: list[str]) -> None:
    """Searches, prunes, fine-tunes, saves; continues a job that was cut off with `--resume_from_checkpoint True`."""
    model_options, data_options, args = parse("train", (TrainedModelOptions, DataOptions, RobustTicketArguments), argv)
    trainer = build_trainer(model_options, data_options, args)
    output = trainer.train(resume_from_checkpoint=resume_option(args.resume_from_checkpoint))
    if trainer.stopping.stopped:
        trainer.stopping.require_going_on()
    # What was trained is kept, whatever becomes of its evaluation; the card of the second time has the metrics.
    trainer.save_model(_internal_call=True)
    metrics = trainer.evaluate()
    trainer.save_model()  # with push_to_hub, this uploads too
    trainer.save_metrics("train", output.metrics)
    trainer.save_metrics("eval", metrics)
    pictures = draw_pictures(trainer, Path(args.output_dir) / "pictures")
    print(text_table(summarise(trainer, metrics)))
    print(f"saved in {args.output_dir}" + (f", pictures in {pictures}" if pictures else ""))


def build_trainer(model: TrainedModelOptions, data: DataOptions, args: RobustTicketArguments) -> RobustTicketTrainer:
    """The trainer for these options, with data loaded, checked and tokenized."""
    config = load_config(model)
    splits = load_training(
        data, seed=args.seed, model_classes=Classes.of_model(config) if has_classifier(config) else None
    )
    classifier, tokenizer = load_to_train(model, splits.classes)
    length = text_length(classifier, tokenizer, data.max_length, pairs=len(splits.text_columns) > 1)
    train, validation = (
        tokenize(split, tokenizer, splits.text_columns, length) for split in (splits.train, splits.validation)
    )
    trainer = RobustTicketTrainer(
        model=classifier,
        args=args,
        train_dataset=train,
        eval_dataset=validation,
        processing_class=tokenizer,
        compute_metrics=accuracy,
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


def resume_option(value: str | None) -> str | bool | None:
    """The option is text on the command line; the two words mean what they say."""
    return {"true": True, "false": None}.get(value.lower(), value) if isinstance(value, str) else value
