"""Random numbers that go on, on the CPU and on whatever accelerator there is, as if nothing had been drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# What `device_states` gives: the generators' states, by device.
DeviceStates = dict[torch.device, Tensor]


def device_states(*devices: torch.device) -> DeviceStates:
    """States of the generators of devices; the CPU's is not among them."""
    return {
        device: torch.get_device_module(device).get_rng_state(*_named(device))
        for device in devices
        if device.type not in ("cpu", "meta")
    }


def set_device_states(states: DeviceStates) -> None:
    """Puts back what `device_states` gave."""
    for device, state in states.items():
        torch.get_device_module(device).set_rng_state(state, *_named(device))


def accelerators() -> list[torch.device]:
    """The accelerators that this process sees; none where it has not asked for any yet."""
    found = torch.accelerator.current_accelerator()
    module: Any = None if found is None or found.type == "cpu" else torch.get_device_module(found)
    if module is None or not getattr(module, "is_initialized", module.is_available)():
        return []
    return [torch.device(found.type, index) for index in range(module.device_count())]


@contextmanager
def kept_random_numbers(*devices: torch.device) -> Iterator[None]:
    """What is drawn while the context lasts changes nothing of what is drawn afterwards on the CPU and on devices.

    `torch.random.fork_rng` does so for every CUDA device of the machine, in use or not, or for none.
    """
    states = device_states(*devices)
    with torch.random.fork_rng([]):
        try:
            yield
        finally:
            set_device_states(states)


def _named(device: torch.device) -> tuple[torch.device, ...]:
    # Apple's has one device, and its functions ask for none.
    return () if device.type == "mps" else (device,)
