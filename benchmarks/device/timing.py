"""Times of several sides that take turns: by events on the device and by the clock of the host."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

# A turn repeats a short step until this much time has passed: one call is too short to be timed.
TURN_SECONDS = 0.03
MOST_CALLS = 50


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Times:
    """Seconds per call, one number per turn.

    Args:
        wall: By the host's clock, until the device had finished.
        device: Between two events on the device; empty where there is none, as on a CPU.
    """

    wall: list[float] = field(default_factory=list)
    device: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float | None]:
        """Medians in milliseconds and spreads: half of the distance between the quartiles, over the median."""
        result: dict[str, float | None] = {}
        for name, values in (("wall", self.wall), ("device", self.device)):
            middle = statistics.median(values) if values else None
            result[f"{name}_ms"] = None if middle is None else 1e3 * middle
            result[f"{name}_spread"] = None if middle is None else _half_quartiles(values) / middle
        return result


class Stopwatch:
    """Measures what happens between `start` and `stop`, on the host and on the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def start(self) -> None:
        synchronize(self._device)
        if self._device.type == "cuda":
            self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            self._events[0].record()
        self._began = time.perf_counter()

    def stop(self) -> tuple[float, float | None]:
        """Seconds by the clock and by the events."""
        if self._device.type == "cuda":
            self._events[1].record()
        synchronize(self._device)
        wall = time.perf_counter() - self._began
        return wall, self._events[0].elapsed_time(self._events[1]) / 1e3 if self._device.type == "cuda" else None


def in_turn(
    sides: Mapping[str, Callable[[], object]], device: torch.device, rounds: int, warm: int = 3
) -> dict[str, Times]:
    """Times of all sides, which take turns, so that what slows the machine slows all of them.

    Args:
        sides: What to call, by name.
        device: Where they compute.
        rounds: Turns of each side; the order is reversed in every second.
        warm: Calls of each side that are not counted.
    """
    watch, calls = Stopwatch(device), {}
    for name, side in sides.items():
        for _ in range(warm):
            side()
        watch.start()
        side()
        calls[name] = min(MOST_CALLS, math.ceil(TURN_SECONDS / max(watch.stop()[0], 1e-9)))
    times = {name: Times() for name in sides}
    for i in range(rounds):
        for name in list(sides)[:: 1 if i % 2 == 0 else -1]:
            watch.start()
            for _ in range(calls[name]):
                sides[name]()
            wall, on_device = watch.stop()
            times[name].wall.append(wall / calls[name])
            if on_device is not None:
                times[name].device.append(on_device / calls[name])
    return times


def _half_quartiles(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    quartiles = statistics.quantiles(values, n=4, method="inclusive")
    return (quartiles[2] - quartiles[0]) / 2
