"""Arms that share a budget of time on one device: what fits is chosen once, written down, and gone on with."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.storage import write_result
from hf_robust_tickets.reporting.tables import text_table

# The share of a budget that trainings may take; the rest is for loading, attacks and what was misjudged.
FOR_TRAINING = 0.7


def open_race(file: Path, protocol: Mapping[str, Any], fresh: bool) -> dict[str, Any]:
    """What an earlier run of the same protocol left; else nothing. Ends the program in one line where they differ."""
    if fresh or not file.exists():
        return {"protocol": dict(protocol), "arms": {}}
    found = json.loads(file.read_text())
    asked = json.loads(json.dumps(dict(protocol)))
    differ = sorted(name for name in asked if found["protocol"].get(name) != asked[name])
    if differ:
        raise SystemExit(
            f"expected {file} to hold arms of this protocol, got another {', '.join(differ)}: name another --output, "
            "or begin anew with --fresh"
        )
    return found


def epochs_that_fit(
    found: dict[str, Any],
    file: Path,
    budget: float,
    costs: Mapping[str, float],
    seconds_per_epoch: Callable[[], float],
    most: float,
) -> float:
    """How long each arm may train, the same for all; measured at the first call and kept in the file.

    Args:
        found: The results, to which it is added.
        file: Where they are written.
        budget: Seconds for all arms.
        costs: What an epoch of each arm costs, in epochs of the first.
        seconds_per_epoch: Measures an epoch of the first arm.
        most: Epochs of the whole protocol.
    """
    if "epochs" not in found:
        one = seconds_per_epoch()
        found["seconds_per_epoch"] = one
        found["epochs"] = min(most, FOR_TRAINING * budget / (one * sum(costs.values())))
        write_result(file, found)
    return found["epochs"]


def run_arms(
    found: dict[str, Any],
    file: Path,
    budget: float,
    costs: Mapping[str, float],
    train: Callable[[str], dict[str, Any]],
) -> None:
    """Trains the arms that are missing, the first of them first, while there is time; each is written at once."""
    began = time.perf_counter()
    for arm, cost in costs.items():
        if arm in found["arms"]:
            continue
        takes = cost * found["epochs"] * found["seconds_per_epoch"]
        left = budget - (time.perf_counter() - began)
        if takes > left:
            print(f"{arm}: left out, it takes about {takes:.0f} s and {left:.0f} s are left", flush=True)
            continue
        since = time.perf_counter()
        result = train(arm)
        found["arms"][arm] = result | {"seconds": time.perf_counter() - since}
        write_result(file, found)
        print(f"{arm}: {found['arms'][arm]['seconds']:.1f} s", flush=True)
        gc.collect()


def tell(found: dict[str, Any], costs: Mapping[str, float], whole_epochs: float, columns: list[str]) -> str:
    """The table of all arms, and what the whole protocol would take on this device."""
    rows = [{"arm": arm, **result} for arm, result in found["arms"].items()]
    shown = [{name: _show(row.get(name)) for name in ("arm", *columns)} for row in rows]
    hours = whole_epochs * found["seconds_per_epoch"] * sum(costs.values()) / 3600
    return (
        f"{text_table(shown, ['arm', *columns])}\n\n{found['epochs']:.3g} epochs each; in full, {whole_epochs:g} "
        f"epochs of {len(costs)} arms, it would take {hours:.2g} hours on this device"
    )


def _show(value: Any) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def about(device: torch.device) -> str:
    """The device, in words."""
    on_cuda = device.type == "cuda"
    return torch.cuda.get_device_name(device) if on_cuda else f"CPU, {torch.get_num_threads()} threads"
