"""Where the tests compute: the one place that says so.

On the CPU, whatever the machine has. ROBUST_TICKETS_TEST_DEVICE names another: `cuda`, or `fake`, the device of
`tests/testing/fake_device.py`, on which mixing it with the CPU is an error. Processes that a test starts inherit the
choice of the CPU and of CUDA; the fake device is of one process alone.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

VARIABLE = "ROBUST_TICKETS_TEST_DEVICE"
NAME = os.environ.get(VARIABLE, "cpu")
# For TrainingArguments: the Trainer takes whatever accelerator it finds unless it is told not to.
USE_CPU = NAME == "cpu"
# In a checkpoint of one process.
_RANDOM_STATES = "rng_state.pth"


def choose() -> None:
    """Makes this process, and those that it starts, compute where the tests do; before CUDA is asked for anything.

    Raises:
        RuntimeError: If the device is unknown, or not there.
    """
    if NAME == "cpu":
        # ROCm reads it too.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif NAME == "fake":
        from tests.testing import fake_device, made_by_tests

        if fake_device.available():
            _offer(fake_device.install())
            made_by_tests.install(device())
    elif NAME != "cuda":
        raise RuntimeError(f"expected {VARIABLE} to be cpu, cuda or fake, got {NAME!r}")
    elif not torch.cuda.is_available():
        raise RuntimeError(f"expected a CUDA device for {VARIABLE}=cuda, got none: use fake, or leave it out")


def device() -> torch.device:
    """Where tests compute."""
    return torch.device(NAME, 0) if not USE_CPU else torch.device("cpu")


def _offer(fake: torch.device) -> None:
    """Lets the Trainer find a device that neither it nor accelerate knows of."""
    from accelerate import PartialState

    from hf_robust_tickets.tickets import pruning
    from tests.testing.fake_device import FakeTensor

    def set_device(self) -> None:
        self.device = torch.device("cpu") if self._cpu else fake

    PartialState.set_device = set_device
    # What the Trainer's arguments ask where there is no CUDA.
    os.environ["ACCELERATE_TORCH_DEVICE"] = str(fake)
    # Loaders of data pin what they load for every accelerator; here all memory is of one kind.
    torch.Tensor.pin_memory = lambda self, device=None: self
    # Here a tensor of the device has a class of its own; elsewhere that is a sharded or quantised one.
    pruning.WHOLE_TENSORS = (*pruning.WHOLE_TENSORS, FakeTensor)
    # Tensors with a class of their own cannot be made in inference mode.
    torch.inference_mode = lambda mode=True: torch.no_grad() if mode else torch.enable_grad()
    _keep_random_numbers()


def _keep_random_numbers() -> None:
    """Lets checkpoints of the Trainer hold the state of the fake device's generator, as they do for CUDA."""
    from transformers import Trainer

    save, load = Trainer._save_rng_state, Trainer._load_rng_state

    def saving(self, output_dir):
        save(self, output_dir)
        file = Path(output_dir) / _RANDOM_STATES
        torch.save({**torch.load(file, weights_only=False), NAME: torch.fake.get_rng_state()}, file)

    def loading(self, checkpoint):
        load(self, checkpoint)
        if checkpoint is not None and (Path(checkpoint) / _RANDOM_STATES).is_file():
            states = torch.load(Path(checkpoint) / _RANDOM_STATES, weights_only=False)
            # One that another process wrote on the CPU has none.
            if NAME in states:
                torch.fake.set_rng_state(states[NAME])

    Trainer._save_rng_state, Trainer._load_rng_state = saving, loading


@contextmanager
def watched_waits() -> Iterator[list[str]]:
    """What made the host wait for the device while the context lasts, a line each."""
    lines: list[str] = []
    if NAME == "fake":
        from tests.testing import fake_waits

        with fake_waits.watched_waits() as found:
            yield lines
        lines.extend(map(str, found))
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield lines
        finally:
            torch.cuda.set_sync_debug_mode("default")
    lines.extend(f"{w.filename}:{w.lineno}" for w in caught if "synchronizing CUDA operation" in str(w.message))
