"""Attacked steps of the Trainer against as many plain ones, masked steps, and 2:4 weights."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

from benchmarks.device.profile import WatchDevice
from benchmarks.device.setting import DENSE, Group, NotHere, Setting, add_ratios, with_share
from benchmarks.device.timing import Stopwatch, Times
from hf_robust_tickets import AdversarialTrainer, AdversarialTrainingArguments, SparseTrainingCallback
from hf_robust_tickets.adversaries import PGD, TRADES, FreeLB
from hf_robust_tickets.sparse import RandomMask, pattern_masks, select_weights
from hf_robust_tickets.sparse.pattern import Pattern
from hf_robust_tickets.sparse.semi_structured import to_semi_structured_
from hf_robust_tickets.training.captured.graphs import GRAPHS
from hf_robust_tickets.training.captured.steps import WARM_UP

PLAIN = "plain step"
# Name: the adversary, its options, and how many plain steps it is to cost.
# Name: the adversary, its options, and how many plain steps it is to cost; None: what the trainer's theory says.
ATTACKS: dict[str, tuple[Any, dict[str, Any], float | None]] = {
    "FreeLB-3": (FreeLB(steps=3), {}, 3),
    "FreeLB-5": (FreeLB(steps=5), {}, 5),
    "FreeLB-10": (FreeLB(steps=10), {}, 10),
    "PGD, 3 steps": (PGD(steps=3), {}, None),
    "TRADES": (TRADES(), {}, None),
    "FreeLB-3 on the last hidden layer but one": (FreeLB(steps=3), {"adversary_layer": -2}, 1),
    "FreeLB-3 three quarters up": (FreeLB(steps=3), {"adversary_layer": 0.75}, 1),
}
SHAPES = ((32, 128), (32, 32), (128, 128))
CAPTURED = {"plain step": None, "FreeLB-3": FreeLB(steps=3), "PGD, 3 steps": PGD(steps=3)}


def graphs() -> list[Group]:
    """Attacked steps as they are and as captured graphs, the shape with the most launches per token first."""
    return [
        Group(f"attacked step, graph, {batch} x {length}", 20, functools.partial(captured, shape=(batch, length)))
        for batch, length in ((32, 32), (32, 128))
    ]


def groups() -> list[Group]:
    """Attacked steps by shape, then masks and 2:4 weights."""
    found = [
        Group(f"attacked step, {batch} x {length}", 16, functools.partial(attacked, shape=(batch, length)))
        for batch, length in SHAPES
    ]
    found.append(Group("masked step, 32 x 128", 6, masked))
    found.append(Group("2:4, forward, 128 x 128", 6, semi_structured))
    return found


class Watch(TrainerCallback):
    """Times of the Trainer's steps, from `on_step_begin` to `on_step_end`; the profile of every training's last.

    Args:
        device: Where the steps compute.
        untimed: Steps at the beginning of a training that are not timed: the first allocates, others are captured.
    """

    def __init__(self, device: torch.device, untimed: int = 1) -> None:
        self._stopwatch, self._profile = Stopwatch(device), WatchDevice(device)
        self._untimed = untimed
        self.times, self.counts = Times(), {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # The last step is looked at closely, and not timed.
        if state.global_step == state.max_steps - 1:
            self._profile.start()
        else:
            self._stopwatch.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == state.max_steps:
            self.counts = self._profile.stop()
            return
        wall, on_device = self._stopwatch.stop()
        if state.global_step > self._untimed:
            self.times.wall.append(wall)
            if on_device is not None:
                self.times.device.append(on_device)


def tokens(setting: Setting, shape: tuple[int, int], steps: int) -> Dataset:
    """Random tokens for so many steps."""
    batch, length = setting.shape(*shape)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 150 if setting.quick else 30000, (batch * steps, length), generator=generator)
    return Dataset.from_dict({"input_ids": ids.tolist(), "labels": [i % 2 for i in range(len(ids))]})


def trainer_of(setting: Setting, shape: tuple[int, int], steps: int, watch: Watch, side: dict[str, Any]) -> Any:
    """A trainer of the dense model that makes so many steps."""
    args = AdversarialTrainingArguments(
        output_dir=tempfile.gettempdir(),
        max_steps=steps,
        per_device_train_batch_size=setting.shape(*shape)[0],
        bf16=setting.device.type == "cuda",
        use_cpu=setting.device.type == "cpu",
        dataloader_pin_memory=setting.device.type == "cuda",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        report_to="none",
        **side.get("options", {}),
    )
    trainer = AdversarialTrainer(
        model=setting.model(DENSE),
        args=args,
        train_dataset=tokens(setting, shape, steps),
        adversary=side.get("adversary"),
        callbacks=[*(make() for make in side.get("callbacks", [])), watch],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def compare_trainings(
    setting: Setting, shape: tuple[int, int], sides: dict[str, dict[str, Any]], untimed: int = 1
) -> dict[str, Any]:
    """Times and counts of the steps of several trainings, which take turns; three steps of each turn are timed."""
    watches = {name: Watch(setting.device, untimed) for name in sides}
    for i in range(max(2, setting.rounds // 2)):
        for name in list(sides)[:: 1 if i % 2 == 0 else -1]:
            trainer_of(setting, shape, untimed + 4, watches[name], sides[name]).train()
    summaries = {name: {**watch.times.summary(), **watch.counts} for name, watch in watches.items()}
    return {name: with_share(summary) for name, summary in summaries.items()}


def attacked(setting: Setting, shape: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """Every attack against the plain steps that it is to cost."""
    layers = setting.model(DENSE).config.num_hidden_layers
    sides: dict[str, dict[str, Any]] = {PLAIN: {}}
    for name, (adversary, given, _) in ATTACKS.items():
        options = dict(given)
        if "adversary_layer" in options:
            where = options["adversary_layer"]
            options["adversary_layer"] = where if where < 0 else max(1, int(where * layers))
        sides[name] = {"adversary": adversary, "options": options}
    results = add_ratios(compare_trainings(setting, shape, sides))
    for name, (_, _, plain) in ATTACKS.items():
        if plain is None:
            plain = trainer_of(setting, shape, 1, Watch(setting.device), sides[name]).step_cost
        results[name]["plain_steps"] = plain
        for clock in ("wall_ratio", "device_ratio"):
            if results[name][clock] is not None:
                results[name][clock] /= plain
    return results


def captured(setting: Setting, shape: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """Steps with `capture_passes`, beside the same steps without; ratios are to a plain step that is not captured."""
    if setting.device.type not in GRAPHS:
        raise NotHere("graphs are captured on CUDA devices alone")
    sides = {}
    for name, adversary in CAPTURED.items():
        sides[name] = {"adversary": adversary}
        sides[f"{name}, graph"] = {"adversary": adversary, "options": {"capture_passes": True}}
    # Two steps warm up, and the third is captured.
    return add_ratios(compare_trainings(setting, shape, sides, untimed=WARM_UP + 1))


def masked(setting: Setting) -> dict[str, dict[str, Any]]:
    """Masks on single weights, held through the step."""
    sides = {PLAIN: {}, "masked step": {"callbacks": [lambda: SparseTrainingCallback(RandomMask(0.2))]}}
    return add_ratios(compare_trainings(setting, (32, 128), sides))


def semi_structured(setting: Setting) -> dict[str, dict[str, Any]]:
    """2:4 weights in the form of the sparse tensor cores, against dense bfloat16 ones."""
    if setting.device.type != "cuda":
        raise NotHere("2:4 weights are multiplied on CUDA devices alone")
    dense, sparse = (setting.new_model().eval().to(torch.bfloat16) for _ in range(2))
    weights = select_weights(sparse)
    masks = pattern_masks({name: weight.detach().abs() for name, weight in weights.items()}, Pattern(2, 4))
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].mul_(mask)
    to_semi_structured_(sparse)
    ids = setting.inputs(128, 128)["input_ids"]
    return setting.compare({"dense": _forward(dense, ids), "2:4": _forward(sparse, ids)}, flops=False)


def _forward(model: Any, ids: torch.Tensor) -> Callable[[], object]:
    def step() -> object:
        with torch.no_grad():
            return model(input_ids=ids).logits

    return step
