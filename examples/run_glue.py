"""Fine-tunes a text classifier on a GLUE task, a data set of the Hub, or files: every option of a usual script.

    python examples/run_glue.py --model_name_or_path google-bert/bert-base-uncased --task_name mrpc \\
        --do_train --do_eval --adversary freelb --adversary_step_size 0.01 --output_dir out

Two lines differ from a script for `transformers.Trainer`: the imports of the trainer and its arguments. With
`RobustTicketTrainer` and `RobustTicketArguments` in their place it searches a ticket first, and saves the small model.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
from datasets import ClassLabel, DatasetDict, load_dataset
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    HfArgumentParser,
    default_data_collator,
    set_seed,
)

from hf_robust_tickets import AdversarialTrainer as Trainer
from hf_robust_tickets import AdversarialTrainingArguments as TrainingArguments

logger = logging.getLogger("run_glue")

TEXTS = {
    "cola": ["sentence"],
    "mnli": ["premise", "hypothesis"],
    "mrpc": ["sentence1", "sentence2"],
    "qnli": ["question", "sentence"],
    "qqp": ["question1", "question2"],
    "rte": ["sentence1", "sentence2"],
    "sst2": ["sentence"],
    "stsb": ["sentence1", "sentence2"],
    "wnli": ["sentence1", "sentence2"],
}
FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


@dataclass
class DataOptions:
    """Which texts and labels."""

    task_name: str | None = field(default=None, metadata={"help": f"A task of GLUE: {', '.join(TEXTS)}."})
    dataset_name: str | None = field(default=None, metadata={"help": "A data set of the Hub in its place."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    train_file: str | None = field(default=None, metadata={"help": "Or files: csv, json or parquet."})
    validation_file: str | None = field(default=None, metadata={"help": "For --do_eval."})
    test_file: str | None = field(default=None, metadata={"help": "For --do_predict; labels are not needed."})
    text_columns: list[str] | None = field(default=None, metadata={"help": "One, or two for pairs."})
    label_column: str = field(default="label", metadata={"help": "Whole numbers or names; real numbers: regression."})
    max_seq_length: int = field(default=128, metadata={"help": "Longer texts are cut to this many tokens."})
    pad_to_max_length: bool = field(default=False, metadata={"help": "Pad all to it, rather than batch by batch."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Train on the first n examples."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Evaluate on the first n."})
    max_predict_samples: int | None = field(default=None, metadata={"help": "Predict for the first n."})
    overwrite_cache: bool = field(default=False, metadata={"help": "Tokenize anew."})


@dataclass
class ModelOptions:
    """Which model."""

    model_name_or_path: str = field(metadata={"help": "A folder, or a repository of the Hub."})
    config_name: str | None = field(default=None, metadata={"help": "If not that of the model."})
    tokenizer_name: str | None = field(default=None, metadata={"help": "If not that of the model."})
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where downloads are kept."})
    token: str | None = field(default=None, metadata={"help": "For private repositories."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that comes with the model."})
    ignore_mismatched_sizes: bool = field(default=False, metadata={"help": "Replace a head of another size."})


def load_data(data: DataOptions, model: ModelOptions, wanted: dict[str, bool]) -> DatasetDict:
    """The splits, as they are."""
    hub = {"cache_dir": model.cache_dir, "token": model.token}
    if data.task_name is not None:
        return load_dataset("nyu-mll/glue", data.task_name, **hub)
    if data.dataset_name is not None:
        return load_dataset(data.dataset_name, data.dataset_config_name, **hub)
    files = {"train": data.train_file, "validation": data.validation_file, "test": data.test_file}
    missing = [f"--{split}_file" for split, needed in wanted.items() if needed and files[split] is None]
    if missing:
        raise SystemExit(f"no data: give --task_name, --dataset_name, or {' and '.join(missing)}")
    files = {split: file for split, file in files.items() if file is not None}
    suffix = Path(next(iter(files.values()))).suffix
    if suffix not in FORMATS:
        raise SystemExit(f"expected files that end in {', '.join(FORMATS)}, got {suffix!r}")
    return load_dataset(FORMATS[suffix], data_files=files, cache_dir=model.cache_dir)


def find_labels(raw: DatasetDict, column: str) -> list[Any] | None:
    """The classes in the order of their numbers; None for a regression."""
    split = raw[next(split for split in raw if column in raw[split].column_names)]
    feature = split.features[column]
    if isinstance(feature, ClassLabel):
        return feature.names
    return None if feature.dtype.startswith("float") else sorted(set(split[column]))


def encode(raw: DatasetDict, tokenizer: Any, classes: list[Any] | None, data: DataOptions, args: Any) -> DatasetDict:
    """Tokenized texts, and labels as numbers; -1 in a test split stands for none."""
    first = raw[next(iter(raw))]
    others = [c for c in first.column_names if first.features[c].dtype in ("string", "large_string")]
    texts = data.text_columns or TEXTS.get(data.task_name or "") or [c for c in others if c != data.label_column][:2]
    number = {label: i for i, label in enumerate(classes or [])}
    padding = "max_length" if data.pad_to_max_length else False

    def encode_batch(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        encoded = tokenizer(
            *(batch[c] for c in texts), padding=padding, max_length=data.max_seq_length, truncation=True
        )
        if data.label_column in batch:
            encoded["label"] = [number.get(label, label) for label in batch[data.label_column]]
        return encoded

    with args.main_process_first(desc="tokenize"):
        return DatasetDict(
            {
                name: split.map(
                    encode_batch,
                    batched=True,
                    remove_columns=split.column_names,
                    load_from_cache_file=not data.overwrite_cache,
                )
                for name, split in raw.items()
            }
        )


def metrics_of(task: str | None, regression: bool) -> Any:
    """What `compute_metrics` says: GLUE's own metric for its tasks, else accuracy or the mean squared error."""
    glue = evaluate.load("glue", task) if task is not None else None

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
        output = np.squeeze(logits, -1) if regression else np.argmax(logits, axis=-1)
        if glue is not None:
            return glue.compute(predictions=output, references=prediction.label_ids)
        if regression:
            return {"mse": float(np.mean((output - prediction.label_ids) ** 2))}
        return {"accuracy": float(np.mean(output == prediction.label_ids))}

    return compute


def first(dataset: Any, limit: int | None) -> Any:
    """At most `limit` examples."""
    return dataset if limit is None else dataset.select(range(min(limit, len(dataset))))


def write_predictions(trainer: Trainer, dataset: Any, classes: list[Any] | None, path: Path) -> None:
    """One line per example: its number and the predicted class, or number for a regression."""
    output = trainer.predict(dataset.remove_columns("label") if "label" in dataset.column_names else dataset)
    logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    if trainer.is_world_process_zero():
        found = np.squeeze(logits, -1) if classes is None else [classes[i] for i in np.argmax(logits, axis=-1)]
        lines = [f"{i}\t{item}" for i, item in enumerate(found)]
        path.write_text("\n".join(["index\tprediction", *lines]) + "\n")


def main() -> None:
    """Reads the options, and trains, evaluates and predicts as they say."""
    parser = HfArgumentParser((ModelOptions, DataOptions, TrainingArguments))
    if len(sys.argv) == 2 and sys.argv[1].endswith(".json"):
        model_options, data, args = parser.parse_json_file(sys.argv[1])
    else:
        model_options, data, args = parser.parse_args_into_dataclasses()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=args.get_process_log_level())
    set_seed(args.seed)

    # 1. Data and its classes.
    raw = load_data(data, model_options, {"train": args.do_train, "validation": args.do_eval, "test": args.do_predict})
    classes = find_labels(raw, data.label_column)

    # 2. Model and tokenizer.
    hub = {
        "cache_dir": model_options.cache_dir,
        "revision": model_options.model_revision,
        "token": model_options.token,
        "trust_remote_code": model_options.trust_remote_code,
    }
    place = model_options.model_name_or_path
    tokenizer = AutoTokenizer.from_pretrained(model_options.tokenizer_name or place, **hub)
    config = AutoConfig.from_pretrained(
        model_options.config_name or place, num_labels=1 if classes is None else len(classes), **hub
    )
    if classes is not None:
        config.id2label = {i: str(label) for i, label in enumerate(classes)}
        config.label2id = {label: i for i, label in config.id2label.items()}
    else:
        config.problem_type = "regression"
    model = AutoModelForSequenceClassification.from_pretrained(
        place, config=config, ignore_mismatched_sizes=model_options.ignore_mismatched_sizes, **hub
    )

    # 3. Tokenized splits; MNLI has two to evaluate on.
    splits = encode(raw, tokenizer, classes, data, args)
    matched = "validation_matched" if data.task_name == "mnli" else "validation"
    train = first(splits["train"], data.max_train_samples) if args.do_train else None
    validation = first(splits[matched], data.max_eval_samples) if args.do_eval else None

    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=train,
        eval_dataset=validation,
        compute_metrics=metrics_of(data.task_name, regression=classes is None),
        processing_class=tokenizer,
        data_collator=default_data_collator if data.pad_to_max_length else DataCollatorWithPadding(tokenizer),
    )

    # 4. Training; `--resume_from_checkpoint true` goes on from the last checkpoint in the output folder.
    if args.do_train:
        resume = args.resume_from_checkpoint
        result = trainer.train(resume_from_checkpoint=True if str(resume).lower() == "true" else resume)
        trainer.save_model()
        trainer.log_metrics("train", {**result.metrics, "train_samples": len(train)})
        trainer.save_metrics("train", {**result.metrics, "train_samples": len(train)})
        trainer.save_state()

    # 5. Evaluation.
    if args.do_eval:
        metrics = trainer.evaluate()
        if data.task_name == "mnli":
            other = first(splits["validation_mismatched"], data.max_eval_samples)
            metrics |= {f"{name}_mm": value for name, value in trainer.evaluate(other).items()}
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)

    # 6. Predictions.
    if args.do_predict:
        for name in ["test_matched", "test_mismatched"] if data.task_name == "mnli" else ["test"]:
            part = first(splits[name], data.max_predict_samples)
            write_predictions(trainer, part, classes, Path(args.output_dir) / f"predictions_{name}.tsv")

    # 7. Sharing.
    card = {"finetuned_from": place, "tasks": "text-classification", "language": "en" if data.task_name else None}
    if data.task_name is not None:
        card |= {"dataset_tags": "glue", "dataset": f"GLUE {data.task_name.upper()}", "dataset_args": data.task_name}
    if args.push_to_hub:
        trainer.push_to_hub(**card)
    elif args.do_train:
        trainer.create_model_card(**card)


if __name__ == "__main__":
    main()
