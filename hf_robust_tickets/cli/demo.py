"""`robust-tickets demo`: the whole job on what comes with the package, in minutes, without a download."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, set_seed
from transformers.utils import logging as transformers_logging

from .._compat import import_textattack, require
from ..adversaries import FreeLB
from ..demo.corpus import corpus_as_datasets
from ..demo.encoder import minilm_path
from ..errors import ConfigurationError
from ..evaluation import RecipeResult, evaluate_robustness
from ..reporting.formatting import format_percent, format_seconds
from ..reporting.html import Facts, Note, Picture, Section, Table, Text, write_summary
from ..reporting.plots import plot_cost
from ..reporting.tables import text_table
from ..training import AdversarialTrainer, RobustTicketArguments, RobustTicketTrainer
from .data import tokenize
from .options import parse
from .pictures import draw_pictures
from .train import accuracy

SYNTHETIC = (
    "The reviews are synthetic: a seeded grammar wrote them. The figures show that the job works, they are no "
    "benchmark, and they are not comparable with published ones."
)


@dataclass
class DemoOptions:
    """How much the demo does."""

    output_dir: str = field(default="demo-output", metadata={"help": "Folder for models, pictures and the page."})
    num_train: int = field(default=3432, metadata={"help": "Synthetic reviews to train on."})
    epochs: int = field(default=4, metadata={"help": "Epochs of every fine-tuning."})
    num_examples: int = field(default=60, metadata={"help": "Reviews that are attacked, per model."})
    seed: int = field(default=0, metadata={"help": "Seed of everything."})


@dataclass
class Trained:
    """One row of the result: a model and what became of it."""

    title: str
    trainer: AdversarialTrainer
    seconds: dict[str, float]
    attacked: RecipeResult | None = None
    clean: float = 0.0

    @property
    def parameters(self) -> int:
        """How many the model has."""
        return sum(parameter.numel() for parameter in self.trainer.model.parameters())


def run(argv: list[str]) -> None:
    """Trains a dense model and an early-bird ticket with the default recipe, attacks both, and writes the page."""
    (options,) = parse("demo", (DemoOptions,), argv)
    require("matplotlib", extra="plots")
    import_textattack()
    output = Path(options.output_dir)
    if output.exists() and any(output.iterdir()):
        raise ConfigurationError(f"{output} is not empty: remove it, or give another --output_dir")
    transformers_logging.set_verbosity_error()
    print(f"{SYNTHETIC}\n")
    corpus = corpus_as_datasets(num_train=options.num_train, seed=options.seed)
    rows = _train_all(corpus, options, output)
    plain_step = rows[0].seconds["finetune"] / rows[0].trainer.state.global_step
    adversarial_step = _seconds_per_freelb_step(corpus, options, output)
    for row in rows:
        _attack(row, corpus["test"], options, output)
    page = _write_page(rows, adversarial_step / plain_step, adversarial_step, options, output)
    print("\n" + text_table(_table(rows)))
    print(f"\n{_gain(rows, adversarial_step, options)}")
    print(f"\n{SYNTHETIC}\nSummary with pictures: {page}")


def _train_all(corpus: DatasetDict, options: DemoOptions, output: Path) -> list[Trained]:
    print("1/2  dense model, plain fine-tuning")
    dense = AdversarialTrainer(adversary=None, **_partners(corpus, options, output / "dense"))
    dense.train()
    print("2/2  early-bird ticket with the default options: score, stop, draw, prune, fine-tune under attack")
    ticket = RobustTicketTrainer(**_partners(corpus, options, output / "early-bird"))
    ticket.train()
    ticket.save_model(str(output / "early-bird" / "model"))
    seconds = {phase: cost["seconds"] for phase, cost in ticket.cost.items()}
    return [
        Trained("dense", dense, {"finetune": dense.cost_meter.seconds}),
        Trained("early-bird ticket", ticket, seconds),
    ]


def _partners(corpus: DatasetDict, options: DemoOptions, output: Path) -> dict[str, Any]:
    args = RobustTicketArguments(
        output_dir=str(output),
        num_train_epochs=options.epochs,
        # 572 steps: the default recipe attacks from 570 on.
        per_device_train_batch_size=24,
        learning_rate=1e-4,
        warmup_steps=0.1,
        train_sampling_strategy="group_by_length",
        save_strategy="no",
        logging_steps=25,
        seed=options.seed,
        report_to="none",
        log_level="error",
        # Without an accelerator torch would warn of it once for each loader.
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    tokenizer = AutoTokenizer.from_pretrained(minilm_path())
    set_seed(options.seed)
    return {
        "model": _dense_model(),
        "args": args,
        "train_dataset": tokenize(corpus["train"], tokenizer, ("text",), 64),
        "eval_dataset": tokenize(corpus["validation"], tokenizer, ("text",), 64),
        "processing_class": tokenizer,
        "compute_metrics": accuracy,
    }


def _dense_model() -> PreTrainedModel:
    names = ["negative", "positive"]
    return AutoModelForSequenceClassification.from_pretrained(
        minilm_path(), id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)}
    )


def _seconds_per_freelb_step(corpus: DatasetDict, options: DemoOptions, output: Path, steps: int = 6) -> float:
    """What a step of dense adversarial training with FreeLB-10 takes, from a few steps of it."""
    print("measuring a few steps of dense FreeLB with 10 passes, for comparison")
    partners = _partners(corpus, options, output / "freelb")
    partners["args"].max_steps = steps
    trainer = AdversarialTrainer(adversary=FreeLB(steps=10), **partners)
    trainer.train()
    return trainer.cost_meter.seconds / steps


def _attack(row: Trained, test: Dataset, options: DemoOptions, output: Path) -> None:
    print(f"attacking: {row.title}")
    report = evaluate_robustness(
        row.trainer.model.eval(),
        test,
        row.trainer.processing_class,
        recipes=["deepwordbug"],
        num_examples=options.num_examples,
        seed=options.seed,
        text_columns="text",
    )
    report.save(output / f"{row.title.replace(' ', '-')}-robustness.json")
    row.attacked = report["deepwordbug"]
    row.clean = row.trainer.evaluate()["eval_accuracy"]


def _table(rows: list[Trained]) -> list[dict[str, str]]:
    return [
        {
            "model": row.title,
            "parameters": f"{row.parameters / 1e6:.1f}M",
            "clean accuracy": format_percent(row.clean),
            "under DeepWordBug": format_percent(row.attacked.accuracy_under_attack, *row.attacked.confidence_interval),
            "training": format_seconds(sum(row.seconds.values())),
        }
        for row in rows
    ]


def _gain(rows: list[Trained], adversarial_step: float, options: DemoOptions) -> str:
    """What the ticket is against the dense model, whether it is better or worse."""
    dense, ticket = rows[:2]
    clean = 100 * (ticket.clean - dense.clean)
    attacked = 100 * (ticket.attacked.accuracy_under_attack - dense.attacked.accuracy_under_attack)
    size, seconds = (ticket.parameters / dense.parameters, sum(ticket.seconds.values()))
    plain, adversarial = sum(dense.seconds.values()), adversarial_step * dense.trainer.state.global_step
    chance = 196 * (0.5 / options.num_examples) ** 0.5
    return (
        f"Against the dense model the ticket has {size:.0%} of the parameters, {clean:+.1f} points of clean accuracy "
        f"and {attacked:+.1f} under attack (chance alone moves that by up to {chance:.0f} with {options.num_examples} "
        f"reviews); its training, search included, took {seconds / plain:.1f} times as long as plain fine-tuning of "
        f"the dense one, and {adversarial / seconds:.1f} times less than its FreeLB-10 would."
    )


def _write_page(
    rows: list[Trained], slowdown: float, adversarial_step: float, options: DemoOptions, output: Path
) -> Path:
    searched = rows[1].trainer
    pictures = draw_pictures(searched, output / "pictures")
    costs = {row.title: row.seconds for row in rows}
    steps = rows[0].trainer.state.global_step
    costs["dense FreeLB-10 (extrapolated)"] = {"train": adversarial_step * steps}
    plot_cost(costs, pictures / "cost.png")
    stopped = "by itself" if searched.converged else "at the end of its budget, without settling"
    facts = {
        "the search stopped": f"{stopped}, at step {searched.search_log[-1]['step']}",
        "a FreeLB-10 step costs": f"{slowdown:.1f} plain steps (measured over 6 steps)",
        "attacked reviews per model": str(options.num_examples),
    }
    page = output / "summary.html"
    write_summary(
        page,
        title="An early-bird ticket, from search to attack",
        lead="A small encoder is searched for heads and neurons that matter, cut to them, fine-tuned and attacked.",
        sections=[
            Section(
                "Results",
                [
                    Note(SYNTHETIC, "warning"),
                    Table(_table(rows)),
                    Text(_gain(rows, adversarial_step, options)),
                    Facts(facts),
                ],
            ),
            Section("What was kept", [Picture(pictures / "ticket.png", "Heads and neurons of each layer.")]),
            Section(
                "How the search ended",
                [
                    Picture(pictures / "distances.png", "Two halves of the batches agree more and more."),
                    Picture(pictures / "distance_matrix.png", "Every ticket against every other."),
                ],
            ),
            Section(
                "What it cost",
                [
                    Text("Seconds on this machine. The last bar is extrapolated from 6 measured steps."),
                    Picture(pictures / "cost.png", "Seconds of training."),
                ],
            ),
        ],
    )
    return page
