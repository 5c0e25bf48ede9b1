"""Callbacks whose progress survives a checkpoint, whatever the arguments of the run say about callbacks."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerState
from transformers.trainer_callback import ExportableState


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
        """Takes back what the checkpoint that `state` came from keeps; at a fresh start, what is here already."""
        record = (state.stateful_callbacks or {}).get(type(self).__name__)
        if record is not None and not isinstance(record, list):
            self.progress = record["attributes"]["progress"]
