"""What the evidence on SST-2 shares: the protocol, the splits, the arguments of a training, and the attacks."""

from __future__ import annotations

import argparse
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, set_seed

from benchmarks.corpora import CORPORA
from benchmarks.encoders import encoder_path
from benchmarks.storage import ROOT, data_folder, read_result, write_result
from hf_robust_tickets import AdversarialTrainer, RobustTicketTrainer
from hf_robust_tickets.cli.train import accuracy
from hf_robust_tickets.evaluation import evaluate_robustness
from hf_robust_tickets.tickets import load_pruned

logger = logging.getLogger("evidence")


@dataclass(frozen=True)
class SentenceProtocol:
    """What all arms share; part of every result, so that results of different protocols are never mixed."""

    encoder: str = "minilm"
    data: str = "train_sentences"
    epochs: float = 1.0
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    max_length: int = 64
    bf16: bool = True
    development: int = 692
    recipes: tuple[str, ...] = ("deepwordbug", "pwws", "textfooler")

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """An option of the command line for each number and name."""
        for field in fields(cls):
            if isinstance(field.default, int | float | str) and not isinstance(field.default, bool):
                parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
        parser.add_argument("--recipes", nargs="+", default=list(cls.recipes))

    @classmethod
    def of(cls, options: argparse.Namespace) -> SentenceProtocol:
        """The protocol that a command line asks for."""
        given = {f.name: getattr(options, f.name) for f in fields(cls) if hasattr(options, f.name)}
        return cls(**given | {"recipes": tuple(options.recipes)})


def load_splits(protocol: SentenceProtocol) -> dict[str, Dataset]:
    """`train`; `development`, held out of the same file, which may choose; `test`, which only reports."""
    corpus = CORPORA[protocol.data]
    return corpus.load(data_folder(corpus.folder), protocol.development)


def encode(data: Dataset, tokenizer: Any, columns: Sequence[str], max_length: int) -> Dataset:
    """Tokens and labels of texts, or of pairs of them."""

    def encoded(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        texts = [batch[column] for column in columns]
        return {**tokenizer(*texts, truncation=True, max_length=max_length), "label": batch["label"]}

    return data.map(encoded, batched=True, remove_columns=data.column_names)


def common_arguments(output: Path, seed: int, protocol: SentenceProtocol) -> dict[str, Any]:
    """Arguments of every training."""
    return {
        "output_dir": str(output),
        "num_train_epochs": protocol.epochs,
        "per_device_train_batch_size": protocol.batch_size,
        "per_device_eval_batch_size": 128,
        "learning_rate": protocol.learning_rate,
        "weight_decay": protocol.weight_decay,
        "warmup_steps": 0.1,
        "train_sampling_strategy": "group_by_length",
        "bf16": protocol.bf16,
        "use_cpu": True,
        "save_strategy": "no",
        "logging_steps": 20,
        "disable_tqdm": True,
        "seed": seed,
        "report_to": "none",
    }


@dataclass
class Partners:
    """What a trainer of an arm is given, made anew for each: the same seed gives the same start."""

    model: PreTrainedModel
    encoded: dict[str, Dataset]
    tokenizer: Any

    @classmethod
    def load(cls, seed: int, protocol: SentenceProtocol) -> Partners:
        """Data, tokenizer, and the encoder with a fresh classifier."""
        splits, folder, corpus = load_splits(protocol), encoder_path(protocol.encoder), CORPORA[protocol.data]
        tokenizer = AutoTokenizer.from_pretrained(folder)
        encoded = {
            name: encode(split, tokenizer, corpus.columns, protocol.max_length) for name, split in splits.items()
        }
        set_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=corpus.classes)
        return cls(model, encoded, tokenizer)

    def keywords(self) -> dict[str, Any]:
        """Arguments of a Trainer beside `args`."""
        return {
            "model": self.model,
            "train_dataset": self.encoded["train"],
            "eval_dataset": self.encoded["development"],
            "processing_class": self.tokenizer,
            "compute_metrics": accuracy,
        }


def run(
    trainer: AdversarialTrainer, arm: str, seed: int, protocol: SentenceProtocol, partners: Partners, output: Path
) -> dict[str, Any]:
    """Trains, saves the model in `output/model`, and gives what every result holds."""
    began = time.process_time()
    trainer.train()
    spent = time.process_time() - began
    result = {
        "arm": arm,
        "seed": seed,
        "protocol": asdict(protocol),
        "core_seconds": spent,
        "development": trainer.evaluate(partners.encoded["development"])["eval_accuracy"],
        "test": trainer.evaluate(partners.encoded["test"])["eval_accuracy"],
        "steps": trainer.state.global_step,
        "cost": trainer.cost,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "attacks": {},
    }
    trainer.save_model(str(output / "model"))
    if isinstance(trainer, RobustTicketTrainer):
        result |= {"ticket": trainer.ticket.summary(), "converged": trainer.converged}
    return result


def evidence_parser(
    description: str, arms: Iterable[str], protocol: type[SentenceProtocol]
) -> argparse.ArgumentParser:
    """The command line of a script of evidence."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=arms)
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--no-attack", dest="attack", action="store_false")
    protocol.add_options(parser)
    return parser


def parse_evidence(parser: argparse.ArgumentParser, name: str) -> argparse.Namespace:
    """The options: a data set has a protocol of its own.

    Results are in docs/evidence/NAME; of other texts than the sentences of SST-2, or another encoder than MiniLM, in a
    folder there that is called by them.
    """
    asked = parser.parse_known_args()[0]
    if (data := asked.data) not in CORPORA:
        parser.error(f"expected --data among {', '.join(CORPORA)}, got {data}")
    others = [getattr(asked, name) for name in ("data", "encoder")]
    others = [value for value in others if value not in (SentenceProtocol.data, SentenceProtocol.encoder)]
    below = ["-".join(others)] if others else []
    where = {"results": ROOT.joinpath("docs", "evidence", name, *below), "models": ROOT.joinpath("out", name, *below)}
    parser.set_defaults(**where, **CORPORA[data].protocol)
    return parser.parse_args()


def train_once(
    train_arm: Callable[..., dict[str, Any]], arm: str, seed: int, protocol: SentenceProtocol, options: Any
) -> dict[str, Any]:
    """The result of one arm and seed: what is there, or what `train_arm` gives now."""
    path = _path_of(arm, seed, options)
    if (done := read_result(path, protocol)) is not None:
        return done
    logger.info("training %s, seed %d", arm, seed)
    shutil.rmtree(options.models / f"{arm}-{seed}", ignore_errors=True)
    result = train_arm(arm, seed, protocol, options.models)
    write_result(path, result)
    logger.info(
        "%s, seed %d: development %.3f, test %.3f, %.0f core s",
        *(arm, seed, result["development"], result["test"], result["core_seconds"]),
    )
    return result


def attack_missing(
    result: dict[str, Any], kind: str, recipes: Sequence[str], sentences: Dataset, options: Any, **how: Any
) -> None:
    """Runs the recipes that `result[kind]` lacks, and writes the result after each."""
    arm, seed = result["arm"], result["seed"]
    path, folder = _path_of(arm, seed, options), options.models / f"{arm}-{seed}"
    todo = [recipe for recipe in recipes if recipe not in result[kind]]
    if todo and not (folder / "model").is_dir():
        logger.warning("%s is gone: remove %s to train it again", folder, path)
        return
    how["text_columns"] = CORPORA[result["protocol"]["data"]].columns
    for recipe in todo:
        found = attack(folder / "model", sentences, recipe, "ticket" in result, folder / kind / recipe, **how)
        result[kind][recipe] = found
        write_result(path, result)
        logger.info("%s-%d, %s: %.3f under attack", arm, seed, recipe, found["accuracy_under_attack"])


def _path_of(arm: str, seed: int, options: Any) -> Path:
    return options.results / f"{arm}-{seed}.json"


def load_saved(folder: Path, pruned: bool) -> tuple[PreTrainedModel, Any]:
    """A model that was trained, and its tokenizer."""
    load = load_pruned if pruned else AutoModelForSequenceClassification.from_pretrained
    return load(folder), AutoTokenizer.from_pretrained(folder)


def attack(folder: Path, sentences: Dataset, recipe: str, pruned: bool, output: Path, **options: Any) -> dict:
    """Accuracy under one recipe of the model in `folder`, as results hold it."""
    model, tokenizer = load_saved(folder, pruned)
    report = evaluate_robustness(
        model,
        sentences,
        tokenizer,
        recipes=[recipe],
        seed=0,
        sentence_encoder="minilm",
        output_dir=output,
        progress=False,
        **options,
    )
    attacked = report[recipe]
    return {
        "accuracy_under_attack": attacked.accuracy_under_attack,
        "interval": list(attacked.confidence_interval),
        "mean_queries": attacked.mean_queries,
    }
