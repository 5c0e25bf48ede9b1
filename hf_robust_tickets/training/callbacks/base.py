"""What callbacks of this package derive from: progress that survives a checkpoint, and a word with the attack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import TrainerCallback, TrainerState
from transformers.trainer_callback import ExportableState

from ...adversaries import Adversary, PerturbationHook
from ...errors import CheckpointError, ConfigurationError


class AttackCallback(TrainerCallback):
    """A callback that speaks with the attack of an `AdversarialTrainer`.

    Attributes:
        pauses_attack: Whether the present step is to be one of plain training.
        demands_attack: Whether the present step is to be attacked out of turn, once the attack has begun.
    """

    pauses_attack: bool = False
    demands_attack: bool = False

    def meet_adversary(self, adversary: Adversary, hook: PerturbationHook, *, attacks: bool) -> None:
        """Told before each step of a training with an adversary.

        Args:
            adversary: The method that is trained with.
            hook: Adds its perturbation.
            attacks: Whether the step is attacked.
        """


class StatefulCallback(TrainerCallback, ExportableState):
    """A callback that keeps `progress`, plain JSON data, in checkpoints and takes it back when training resumes.

    The Trainer restores callbacks only with `restore_callback_states_from_checkpoint=True`, which is not its default,
    and by making new objects; this one finds its own record in the state it is started with.
    """

    progress: Any
    must_resume: ClassVar[bool] = False
    """Whether a training that was begun with the callback must not go on without it."""

    def options(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON scalars."""
        return {}

    def circumstances(self) -> dict[str, Any]:
        """What has to be the same when training resumes, as JSON: else old and new progress differ in kind."""
        return {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the callback."""
        kept = {"args": self.options(), "attributes": {"progress": self.progress}}
        return kept | {"circumstances": self.circumstances(), "must_resume": self.must_resume}

    def restore(self, state: TrainerState) -> None:
        """Takes back what the checkpoint that `state` came from keeps; at a fresh start, begins anew.

        Raises:
            ConfigurationError: If two callbacks of this class were saved, which cannot be told apart.
            CheckpointError: If the callback was made differently.
        """
        if state.global_step == 0:
            self.reset()
            return
        record = (state.stateful_callbacks or {}).get(type(self).__name__)
        if isinstance(record, list):
            raise ConfigurationError(f"expected one {type(self).__name__} to resume, got {len(record)}: use one")
        if record is not None:
            self._check_same_circumstances(record.get("circumstances", {}))
            self.progress = record["attributes"]["progress"]

    def _check_same_circumstances(self, before: dict[str, Any]) -> None:
        now = json.loads(json.dumps(self.circumstances()))
        # A checkpoint that does not know a circumstance yet does not contradict it.
        told = differences({name: before.get(name, value) for name, value in now.items()}, now)
        if told:
            raise CheckpointError(
                f"expected the {type(self).__name__} of the checkpoint, with {told}: resume with the same, or start "
                "anew"
            )

    def reset(self) -> None:
        """Forgets all progress."""
        raise NotImplementedError


class FileCallback(TrainerCallback):
    """A callback whose state is too large for the Trainer's own: it has a file in every checkpoint."""

    def save(self, folder: Path) -> None:
        """Writes what a checkpoint needs of it; called by one process.

        Args:
            folder: The checkpoint.
        """
        raise NotImplementedError

    def load(self, folder: Path, device: torch.device) -> None:
        """Takes that back; called by every process.

        Args:
            folder: The checkpoint.
            device: That of the training.
        """
        raise NotImplementedError

    def reset(self) -> None:
        """Forgets everything."""
        raise NotImplementedError


def differences(expected: Mapping[str, Any], got: Mapping[str, Any]) -> str:
    """The options that differ, in words, empty if none does; those that only one side has count as None."""
    changed = [name for name in dict.fromkeys([*expected, *got]) if expected.get(name) != got.get(name)]
    return "; ".join(f"{name} {expected.get(name)!r}, got {got.get(name)!r}" for name in changed)
