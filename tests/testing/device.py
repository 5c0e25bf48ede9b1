"""Where the tests compute: the one place that says so.

On the CPU, whatever the machine has. ROBUST_TICKETS_TEST_DEVICE names another: `cuda`, or `fake`, the device of
`tests/testing/fake_device.py`, on which mixing it with the CPU is an error. Processes that a test starts inherit the
choice of the CPU and of CUDA; the fake device is of one process alone.
"""

from __future__ import annotations

import os

import torch

VARIABLE = "ROBUST_TICKETS_TEST_DEVICE"
NAME = os.environ.get(VARIABLE, "cpu")
# For TrainingArguments: the Trainer takes whatever accelerator it finds unless it is told not to.
USE_CPU = NAME == "cpu"
DEVICE = torch.device(NAME if NAME in ("cpu", "cuda") else "cpu")


def choose() -> None:
    """Makes this process, and those that it starts, compute where the tests do; before CUDA is asked for anything.

    Raises:
        RuntimeError: If the device is unknown, or not there.
    """
    global DEVICE
    if NAME == "cpu":
        # ROCm reads it too.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif NAME == "fake":
        from tests.testing import fake_device

        if not fake_device.available():
            raise RuntimeError(f"expected torch 2.13 or newer for {VARIABLE}=fake, got {torch.__version__}")
        DEVICE = fake_device.install()
        _offer(DEVICE)
    elif NAME != "cuda":
        raise RuntimeError(f"expected {VARIABLE} to be cpu, cuda or fake, got {NAME!r}")
    elif not torch.cuda.is_available():
        raise RuntimeError(f"expected a CUDA device for {VARIABLE}=cuda, got none: use fake, or leave it out")


def here(value):
    """Tensors, a module, or a mapping of tensors on the device of the tests."""
    if isinstance(value, dict):
        return {name: here(item) for name, item in value.items()}
    return value.to(DEVICE)


def _offer(device: torch.device) -> None:
    """Lets the Trainer find a device that neither it nor accelerate knows of."""
    from accelerate import PartialState

    def set_device(self) -> None:
        self.device = torch.device("cpu") if self._cpu else device

    PartialState.set_device = set_device
    # What the Trainer's arguments ask where there is no CUDA.
    os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    # Loaders of data pin what they load for every accelerator; here all memory is of one kind.
    torch.Tensor.pin_memory = lambda self, device=None: self
