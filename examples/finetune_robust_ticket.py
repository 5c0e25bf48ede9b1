"""A fine-tuning script in which two lines changed: the imports of the trainer and its arguments.

    python examples/finetune_robust_ticket.py --train_file train.parquet --validation_file validation.parquet

With `Trainer` and `TrainingArguments` in their place the same script fine-tunes the dense model. What is new comes
at the end: the model in `trainer.model` is smaller, and opens anywhere.
"""

from __future__ import annotations

import argparse

import numpy as np
from datasets import load_dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

# from transformers import Trainer, TrainingArguments
from hf_robust_tickets import RobustTicketArguments as TrainingArguments
from hf_robust_tickets import RobustTicketTrainer as Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="google-bert/bert-base-uncased", help="a folder or a repository of the Hub")
    parser.add_argument("--train_file", help="parquet file with the columns sentence and label; default: GLUE's SST-2")
    parser.add_argument("--validation_file")
    parser.add_argument("--output_dir", default="robust-ticket")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--search_epochs", type=float, default=1, help="budget of the search; raise it for small data")
    parser.add_argument("--max_train_samples", type=int)
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run was cut off")
    options = parser.parse_args()

    # 1. Data: sentences and labels, tokenized; the collator pads each batch to its longest sentence.
    if options.train_file:
        files = {"train": options.train_file, "validation": options.validation_file}
        data = load_dataset("parquet", data_files=files)
    else:
        data = load_dataset("nyu-mll/glue", "sst2")
    if options.max_train_samples:
        data["train"] = data["train"].shuffle(seed=0).select(range(options.max_train_samples))
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    data = data.map(lambda batch: tokenizer(batch["sentence"], truncation=True, max_length=128), batched=True)

    # 2. Model: a pretrained encoder with a fresh classifier.
    model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=2)

    # 3. Training: as ever. Epochs, learning rate, evaluation and saving speak of the fine-tuning.
    args = TrainingArguments(
        output_dir=options.output_dir,
        num_train_epochs=options.epochs,
        search_epochs=options.search_epochs,
        per_device_train_batch_size=32,
        learning_rate=5e-5,
        eval_strategy="epoch",
        save_strategy="epoch",
        report_to="none",
    )
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        processing_class=tokenizer,
        compute_metrics=lambda p: {"accuracy": float(np.mean(p.predictions.argmax(-1) == p.label_ids))},
    )
    trainer.train(resume_from_checkpoint=options.resume or None)
    print(f"accuracy {trainer.evaluate()['eval_accuracy']:.3f}")
    trainer.save_model()

    # 4. What is new.
    ticket, cost = trainer.ticket, trainer.cost
    print(f"kept {sum(ticket.head_counts)} heads and {sum(ticket.neuron_counts)} neurons: {ticket.head_counts}")
    print(f"search {cost['search']['seconds']:.0f} s, fine-tuning {cost['finetune']['seconds']:.0f} s")
    print(f"open it with hf_robust_tickets.load_pruned({options.output_dir!r}), or anywhere with trust_remote_code")


if __name__ == "__main__":
    main()
