"""Adversarial training of a dense model, compared with plain training on the same data.

    python examples/adversarial_training.py --adversary freelb --steps 3 --step_size 0.02

Runs on the synthetic reviews and the small encoder of the extra `demo`, in a few minutes on a CPU.
"""

from __future__ import annotations

import argparse

import numpy as np
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_robust_tickets import AdversarialTrainer, AdversarialTrainingArguments
from hf_robust_tickets.adversaries import get_adversary
from hf_robust_tickets.demo.corpus import corpus_as_datasets
from hf_robust_tickets.demo.encoder import minilm_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adversary", default="freelb", help="fgm, pgd, freelb or freelb++")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--step_size", type=float, default=0.02)
    parser.add_argument("--num_train", type=int, default=1600)
    options = parser.parse_args()

    corpus = corpus_as_datasets(num_train=options.num_train, num_validation=400, num_test=400, seed=0)
    tokenizer = AutoTokenizer.from_pretrained(minilm_path())
    corpus = corpus.map(lambda batch: tokenizer(batch["text"], truncation=True, max_length=64), batched=True)

    attack = get_adversary(options.adversary, steps=options.steps, step_size=options.step_size)
    for name, adversary in (("plain", None), (options.adversary, attack)):
        args = AdversarialTrainingArguments(
            output_dir=f"adversarial-{name}",
            num_train_epochs=2,
            per_device_train_batch_size=32,
            learning_rate=5e-5,
            train_sampling_strategy="group_by_length",
            save_strategy="no",
            report_to="none",
        )
        trainer = AdversarialTrainer(
            model=AutoModelForSequenceClassification.from_pretrained(minilm_path(), num_labels=2),
            args=args,
            train_dataset=corpus["train"],
            eval_dataset=corpus["validation"],
            processing_class=tokenizer,
            compute_metrics=lambda p: {"accuracy": float(np.mean(p.predictions.argmax(-1) == p.label_ids))},
            adversary=adversary,
        )
        trainer.train()
        cost = trainer.cost_meter.cost(trainer.state)
        accuracy = trainer.evaluate()["eval_accuracy"]
        print(f"{name}: accuracy {accuracy:.3f}, {cost.passes} passes in {cost.seconds:.0f} s")


if __name__ == "__main__":
    main()
