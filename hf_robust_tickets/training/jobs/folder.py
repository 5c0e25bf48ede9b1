"""The output folder of a job of two phases: what both kinds of jobs keep in it, and how."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..._files import replacing, write_json
from ...errors import CheckpointError

SEARCH = "_search"
"""Folder of the first phase. The Trainer's uploads leave out what begins with an underscore."""


class JobFolder:
    """Files of a job whose first phase saves in `_search`.

    Args:
        path: `output_dir` of the job.
        writes: Whether this process writes shared files (the main process).

    Attributes:
        path: The folder of the job.
        search: That of its first phase.
        end: Weights after the first phase, where the second goes on with them.
    """

    def __init__(self, path: str | Path, writes: bool) -> None:
        self.path = Path(path)
        self.search = self.path / SEARCH
        self.end = self.search / "end.safetensors"
        self.writes = writes

    def save_weights(self, path: Path, model: nn.Module) -> None:
        """Writes all weights of a model, tied ones once each under every name, never a part of a file."""
        if self.writes:
            weights = {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}
            with replacing(path) as temporary:
                save_file(weights, temporary)

    def load_weights(self, path: Path, model: nn.Module) -> None:
        """Puts weights written by `save_weights` back.

        Raises:
            CheckpointError: If the file is missing, damaged, or for another model.
        """
        try:
            model.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"cannot put back the weights in {path} ({reason}): start the job over in another output_dir"
            ) from error

    def drop_search_checkpoints(self) -> None:
        """Removes the checkpoints of a first phase that is over."""
        if self.writes:
            for checkpoint in self.search.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)

    def read(self, name: str) -> Any | None:
        """A JSON file of the job, by its path in the folder; `None` where there is none.

        Raises:
            CheckpointError: If it is damaged.
        """
        try:
            return json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return None
        except json.JSONDecodeError as error:
            raise CheckpointError(f"{self.path / name} is damaged ({error}): start over in another folder") from error

    def write(self, name: str, values: dict[str, Any]) -> None:
        """Writes a JSON file of the job, by its path in the folder."""
        if self.writes:
            write_json(self.path / name, values)
