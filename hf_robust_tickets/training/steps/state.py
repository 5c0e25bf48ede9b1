"""What an adversary remembers between steps, in the Trainer's checkpoints."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainingArguments

from ...adversaries import Memory
from ...errors import CheckpointError
from ..extensions.smart import WeightAverage

_AVERAGE = "adversary_weight_average.safetensors"


def save_adversary_state(
    folder: str, args: TrainingArguments, memories: dict[str, Memory], average: WeightAverage
) -> None:
    """Writes the memories of this rank, and (once) the averaged weights, where there are any."""
    tensors = {
        f"{slot}/{name}": value.contiguous() for slot, memory in memories.items() for name, value in memory.items()
    }
    if tensors:
        save_file(tensors, _memory_path(folder, args))
    averages = average.whole()
    if averages and args.should_save:
        save_file(averages, Path(folder) / _AVERAGE)


def load_adversary_state(folder: str, args: TrainingArguments, average: WeightAverage) -> dict[str, Memory]:
    """The memories of this rank; takes the averaged weights back into `average`.

    Raises:
        CheckpointError: If other ranks left a memory and this one did not.
    """
    if (Path(folder) / _AVERAGE).exists():
        average.tensors = _load(Path(folder) / _AVERAGE, args)
    path = _memory_path(folder, args)
    if not path.exists():
        if list(Path(folder).glob("adversary_memory_*.safetensors")):
            raise CheckpointError(f"{folder} was written by fewer ranks, got rank {args.process_index}: use as many")
        return {}
    memories: dict[str, dict[str, Tensor]] = {}
    for key, value in _load(path, args).items():
        slot, name = key.split("/", 1)
        memories.setdefault(slot, {})[name] = value
    return memories


def _load(path: Path, args: TrainingArguments) -> dict[str, Tensor]:
    # Moved afterwards: safetensors knows no `cpu:0`, as ranks on a CPU call their device.
    return {name: tensor.to(args.device) for name, tensor in load_file(path).items()}


def _memory_path(folder: str, args: TrainingArguments) -> Path:
    return Path(folder) / f"adversary_memory_{args.process_index}.safetensors"
