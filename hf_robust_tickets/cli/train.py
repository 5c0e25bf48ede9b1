"""`robust-tickets train`: the whole job on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from transformers import EvalPrediction

from ..reporting.tables import text_table
from ..training import RobustTicketArguments, RobustTicketTrainer
from .data import labels, load_split, tokenize
from .models import load_classifier, load_tokenizer
from .options import DataOptions, ModelOptions, parse
from .pictures import draw_pictures


def run(argv: list[str]) -> None:
    """Searches, prunes, fine-tunes, saves; continues a job that was cut off with `--resume_from_checkpoint True`."""
    model_options, data_options, args = parse("train", (ModelOptions, DataOptions, RobustTicketArguments), argv)
    trainer = build_trainer(model_options, data_options, args)
    trainer.train(resume_from_checkpoint=resume_option(args.resume_from_checkpoint))
    metrics = trainer.evaluate()
    trainer.save_model()  # with push_to_hub, this uploads too
    trainer.save_metrics("eval", metrics)
    pictures = draw_pictures(trainer, Path(args.output_dir) / "pictures")
    print(text_table(summarise(trainer, metrics)))
    print(f"saved in {args.output_dir}" + (f", pictures in {pictures}" if pictures else ""))


def build_trainer(model: ModelOptions, data: DataOptions, args: RobustTicketArguments) -> RobustTicketTrainer:
    """The trainer for these options, with data loaded and tokenized."""
    train, validation = (load_split(data, split, seed=args.seed) for split in ("train", "validation"))
    names = labels(train, data.label_column)
    tokenizer = load_tokenizer(model)
    classifier = load_classifier(
        model,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )
    trainer = RobustTicketTrainer(
        model=classifier,
        args=args,
        train_dataset=tokenize(train, tokenizer, data),
        eval_dataset=tokenize(validation, tokenizer, data),
        processing_class=tokenizer,
        compute_metrics=accuracy,
    )
    trainer.card_options = {
        "dataset": data.dataset_name or Path(data.train_file).name,
        "dataset_tags": data.dataset_name,
        "dataset_args": data.dataset_config_name,
    }
    return trainer


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
