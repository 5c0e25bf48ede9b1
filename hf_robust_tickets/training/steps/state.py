"""What an adversary keeps between steps, in the Trainer's checkpoints."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainingArguments

from ...adversaries import AdversaryState
from ...errors import CheckpointError


def save_states(folder: Path, args: TrainingArguments, states: dict[str, AdversaryState]) -> None:
    """Writes the states of this rank, where there are any."""
    tensors = {f"{slot}/{name}": value.contiguous() for slot, state in states.items() for name, value in state.items()}
    if tensors:
        save_file(tensors, _path(folder, args))


def load_states(folder: Path, args: TrainingArguments) -> dict[str, AdversaryState]:
    """The states of this rank.

    Raises:
        CheckpointError: If other ranks left one and this one did not.
    """
    path = _path(folder, args)
    if not path.exists():
        if list(folder.glob("adversary_state_*.safetensors")):
            raise CheckpointError(f"{folder} was written by fewer ranks, got rank {args.process_index}: use as many")
        return {}
    states: dict[str, dict[str, Tensor]] = {}
    for key, value in load_tensors(path, args).items():
        slot, name = key.split("/", 1)
        states.setdefault(slot, {})[name] = value
    return states


def load_tensors(path: Path, args: TrainingArguments) -> dict[str, Tensor]:
    """The tensors of a file, on the device of the training."""
    # Moved afterwards: safetensors knows no `cpu:0`, as ranks on a CPU call their device.
    return {name: tensor.to(args.device) for name, tensor in load_file(path).items()}


def _path(folder: Path, args: TrainingArguments) -> Path:
    return folder / f"adversary_state_{args.process_index}.safetensors"
