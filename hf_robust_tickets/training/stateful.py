"""Callbacks whose progress survives a checkpoint, whatever the arguments of the run say about callbacks."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerState
from transformers.trainer_callback import ExportableState

from ..errors import ConfigurationError


class StatefulCallback(TrainerCallback, ExportableState):
    """A callback that keeps `progress`, plain JSON data, in checkpoints and takes it back when training resumes.

    The Trainer restores callbacks only with `restore_callback_states_from_checkpoint=True`, which is not its default,
    and by making new objects; this one finds its own record in the state it is started with.
    """

    progress: Any

    def options(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON scalars."""
        return {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the callback."""
        return {"args": self.options(), "attributes": {"progress": self.progress}}

    def restore(self, state: TrainerState) -> None:
        """Takes back what the checkpoint that `state` came from keeps; at a fresh start, begins anew.

        Raises:
            ConfigurationError: If two callbacks of this class were saved, which cannot be told apart.
        """
        if state.global_step == 0:
            self.reset()
            return
        record = (state.stateful_callbacks or {}).get(type(self).__name__)
        if isinstance(record, list):
            raise ConfigurationError(f"expected one {type(self).__name__} to resume, got {len(record)}: use one")
        if record is not None:
            self.progress = record["attributes"]["progress"]

    def reset(self) -> None:
        """Forgets all progress."""
        raise NotImplementedError
