"""The grid of a sweep: its cells, whether each can be trained, and what must not change between two runs of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from .._files import read_json
from ..architectures import get_architecture
from ..errors import CheckpointError, ConfigurationError, DataError, SparsityError
from ..evaluation.resources import files_sha256
from ..tickets.drawing import select, select_neurons
from ..training import RobustTicketArguments, RobustTicketTrainer
from ..training.jobs.search import search_method
from .options import DataOptions

SETTLED = "settled"
SETTINGS = "sweep.json"
CELL = "cell.json"

# What a training may change from run to run, for its result is the same: where it writes, and what it says.
_FREE = (
    "output_dir",
    "seed",
    "data_seed",
    "resume_from_checkpoint",
    "report_to",
    "run_name",
    "disable_tqdm",
    "project",
)
_FREE_KINDS = ("logging_", "log_", "save_", "hub_", "push_to_hub", "trackio_", "dataloader_num_workers", "enable_jit")
_SWEPT = ("head_sparsity", "neuron_sparsity", "ticket_at_step")


@dataclass(frozen=True)
class Cell:
    """One training of a sweep.

    Attributes:
        head_sparsity: Share of the heads that is cut.
        neuron_sparsity: Share of the neurons that is cut.
        ticket_at_step: Step of the search at which its ticket is drawn; -1: when it has settled.
        seed: Of the training.
    """

    head_sparsity: float
    neuron_sparsity: float
    ticket_at_step: int
    seed: int

    @property
    def draw(self) -> str:
        """When its ticket is drawn, as on the command line."""
        return SETTLED if self.ticket_at_step < 0 else str(self.ticket_at_step)

    @property
    def sparsity(self) -> str:
        """What is cut: one share, or that of heads and that of neurons."""
        if self.head_sparsity == self.neuron_sparsity:
            return f"{self.head_sparsity:g}"
        return f"{self.head_sparsity:g}:{self.neuron_sparsity:g}"

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"heads{self.head_sparsity:g}-neurons{self.neuron_sparsity:g}-draw-{self.draw}-seed{self.seed}"

    def arguments(self, args: RobustTicketArguments, folder: Path) -> RobustTicketArguments:
        """The arguments of its training in a folder, as a copy."""
        own = copy.copy(args)
        for name in (*_SWEPT, "seed"):
            setattr(own, name, getattr(self, name))
        own.output_dir = folder.as_posix()
        own.run_name = f"{args.run_name or Path(args.output_dir).name}-{self.name}"
        return own


def cells_of(sparsities: Sequence[str], draws: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Every sparsity with every draw and every seed.

    Args:
        sparsities: Each a share of heads and of neurons, `0.4`, or one of each, `0.25:0.4`.
        draws: Each a step of the search, or `settled`.
        seeds: Those of the trainings.

    Raises:
        ConfigurationError: If one of the three is empty, names a value twice, or holds what is none.
        SparsityError: If a share is outside [0, 1), or nothing is cut.
    """
    shares = [_shares(text) for text in sparsities]
    steps = [_step(text) for text in draws]
    for name, values in (("sparsities", shares), ("draw_steps", steps), ("seeds", list(seeds))):
        if not values:
            raise ConfigurationError(f"expected at least one value of {name}, got none: name them one after another")
        if len(set(values)) < len(values):
            raise ConfigurationError(f"expected each of {name} once, got one twice: leave it out")
    return [Cell(*both, step, seed) for both in shares for step in steps for seed in seeds]


def check_cells(cells: Sequence[Cell], trainer: RobustTicketTrainer) -> None:
    """Checks each cell against the model, the data and the budget of the search.

    Args:
        cells: All of them.
        trainer: One with the options that they share.

    Raises:
        ConfigurationError: If a step does not lie in the search, or rounding leaves nothing to cut.
        DataError: If the data are too few for the search.
    """
    args, model = trainer.args, trainer.model
    family = get_architecture(model)
    widths = [torch.arange(n) for n in family.num_neurons(model)]
    heads = [torch.arange(n) for n in family.num_heads(model)]
    for cell in cells:
        own = cell.arguments(args, Path(args.output_dir))
        try:
            search_method(own.ticket_score)(trainer, own, own)
            select(heads, cell.head_sparsity, own.head_scope, keep_one=own.keep_one)
            select_neurons(widths, cell.neuron_sparsity, own.neuron_scope, own.round_to, own.keep_one)
        except (ConfigurationError, DataError) as error:
            raise type(error)(
                f"the cell of sparsity {cell.sparsity} and draw {cell.draw} cannot be: {error}"
            ) from error


def settings_of(
    model: Any, data: DataOptions, args: TrainingArguments, attack: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What all cells share and may not change from run to run.

    Args:
        model: The options of the model.
        data: Those of the data; of files, a checksum stands beside the name.
        args: Those of the training.
        attack: Those of the attacks; None where there are none.
    """
    files = [Path(file) for file in (data.train_file, data.validation_file) if file is not None]
    training = {
        name: value
        for name, value in args.to_dict().items()
        if name not in (*_FREE, *_SWEPT) and not name.startswith(_FREE_KINDS)
    }
    found = {**asdict(model), **asdict(data), **training}
    found["data_sha256"] = files_sha256(files) if all(file.is_file() for file in files) else None
    return {"format": 1, "training": _plain(found), "attack": None if attack is None else _plain(attack)}


def check_same(folder: Path, settings: Mapping[str, Any]) -> None:
    """Checks that a folder holds no sweep with other settings, nor anything else that would be mixed with it.

    Raises:
        CheckpointError: If it does.
    """
    path = folder / SETTINGS
    if not path.exists():
        if folder.is_dir() and any(child for child in folder.iterdir() if not child.name.startswith(".")):
            raise CheckpointError(f"expected an empty folder or a sweep, got {folder}: give another output_dir")
        return
    found = read_json(path, "the settings of a sweep")
    for group in ("training", "attack"):
        known, wanted = found.get(group) or {}, settings[group] or {}
        for name in sorted(known.keys() & wanted.keys()):
            if known[name] != wanted[name]:
                raise CheckpointError(
                    f"{folder} holds a sweep with other settings: expected {name}={known[name]!r}, got "
                    f"{wanted[name]!r}; use the same, or another output_dir"
                )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    kinds = (str, int, float, bool, type(None))

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value if isinstance(value, kinds) else str(value)

    return plain(values)


def _shares(text: str) -> tuple[float, float]:
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if len(parts) not in (1, 2):
        raise ConfigurationError(f"expected sparsities such as 0.4, or 0.25:0.4 of heads and neurons, got {text!r}")
    if not all(0 <= part < 1 for part in parts):
        raise SparsityError(f"expected sparsities in [0, 1), got {text}: they are fractions of heads and neurons")
    return parts[0], parts[-1]


def _step(text: str) -> int:
    if text == SETTLED:
        return -1
    if not text.isdecimal() or int(text) < 1:
        raise ConfigurationError(f"expected draw_steps from 1 on, or {SETTLED}, got {text!r}")
    return int(text)
