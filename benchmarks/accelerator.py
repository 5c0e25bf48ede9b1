"""What the product costs on an accelerator: one command, a table and a JSON file.

    python benchmarks/accelerator.py                          # under four minutes on one H100, the most valuable first
    python benchmarks/accelerator.py --budget 900             # as many groups as fit into a quarter of an hour
    python benchmarks/accelerator.py --only "attacked step"   # groups whose name begins so
    python benchmarks/accelerator.py --device cpu --quick     # a tiny model, to see that all of it runs

Groups of sides are measured one after the other; within a group the sides take turns, after a warm-up. Every group is
written to the file as soon as it is there, and a second run with the same file goes on with those that are missing.

Columns: median milliseconds by events on the device and by the clock; half the distance of the quartiles, over the
median; the ratio to the group's first side (for attacked steps: to as many plain steps as they are to cost);
launches, kernels and host synchronisations per step; the share of the time in which the device computed; the share of
that in products. On a CPU there are no events, and dispatched operations stand for kernels and launches.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import transformers  # noqa: E402

from benchmarks.device import evaluation, passes, widths  # noqa: E402
from benchmarks.device.setting import Group, NotHere, Setting  # noqa: E402
from hf_robust_tickets.reporting.tables import text_table  # noqa: E402

BUDGET = 220.0
COLUMNS = ("what", "device ms", "wall ms", "spread", "ratio", "launches", "kernels", "syncs", "busy", "products")


def all_groups() -> list[Group]:
    """The most valuable first: large eager batches, attacked steps, then graphs, attacks, compilation."""
    by_width = widths.groups()
    eager = [group for group in by_width if ", eager," in group.key]
    others = [group for group in by_width if ", eager," not in group.key]
    attacked = passes.groups()
    graphs = [group for group in others if ", graph," in group.key]
    compiled = [group for group in others if ", compile," in group.key]
    return [
        *eager[:2],
        attacked[0],
        *eager[2:4],
        attacked[1],
        *graphs[:2],
        *passes.graphs(),
        *eager[4:],
        *attacked[2:],
        *evaluation.groups(),
        *graphs[2:],
        *compiled,
    ]


def find_device(name: str) -> torch.device:
    """The device that was asked for; ends the program in one line where it is absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cuda", "cpu"):
        raise SystemExit(f"expected --device auto, cuda, cuda:<number> or cpu, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise SystemExit(f"expected the device {name}, got a machine with {count} CUDA devices: use --device cpu")
    return device


def describe(setting: Setting) -> dict[str, Any]:
    """What figures depend on."""
    on_cuda = setting.device.type == "cuda"
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "device": torch.cuda.get_device_name(setting.device) if on_cuda else f"CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "model": "tiny" if setting.quick else "BERT-base",
        "precision": "bfloat16 autocast, float32 weights",
        "rounds": setting.rounds,
        "commit": commit.stdout.strip() or "unknown",
    }


def measure(setting: Setting, groups: list[Group], budget: float, file: Path, found: dict[str, Any]) -> None:
    """Measures the groups that are missing in `found["groups"]`, as many as fit, and writes each to the file."""
    began = time.perf_counter()
    for group in groups:
        if group.key in found["groups"]:
            continue
        left = budget - (time.perf_counter() - began)
        if group.seconds > left and not setting.quick:
            print(f"{group.key}: left out, it takes about {group.seconds:.0f} s and {left:.0f} s are left", flush=True)
            continue
        since = time.perf_counter()
        try:
            sides = group.run(setting)
        except NotHere as reason:
            print(f"{group.key}: not measured, {reason}", flush=True)
            continue
        except torch.cuda.OutOfMemoryError as error:
            print(f"{group.key}: not measured, out of memory ({str(error).splitlines()[0]})", flush=True)
            continue
        finally:
            gc.collect()
            if setting.device.type == "cuda":
                torch.cuda.empty_cache()
        seconds = time.perf_counter() - since
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        found["groups"][group.key] = {"seconds": seconds, "date": date, "sides": sides}
        file.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{group.key}: {seconds:.1f} s", flush=True)


def table(found: dict[str, Any]) -> str:
    """All groups that were measured, one under the other."""
    rows = []
    for key, group in found["groups"].items():
        rows.append({"what": f"{key}:"})
        rows.extend(_row(name, side) for name, side in group["sides"].items())
    return text_table(rows, list(COLUMNS))


def _row(name: str, side: dict[str, Any]) -> dict[str, Any]:
    def show(key: str, form: str) -> str:
        return "" if side.get(key) is None else form.format(side[key])

    clock = "wall" if side.get("device_ms") is None else "device"
    return {
        "what": f"- {name}",
        "device ms": show("device_ms", "{:.2f}"),
        "wall ms": show("wall_ms", "{:.2f}"),
        "spread": show(f"{clock}_spread", "{:.1%}"),
        "ratio": show(f"{clock}_ratio", "{:.3f}"),
        "launches": show("launches", "{:.0f}"),
        "kernels": show("kernels", "{:.0f}"),
        "syncs": show("synchronizations", "{:.0f}"),
        "busy": show("busy", "{:.0%}"),
        "products": show("products", "{:.0%}"),
    }


def open_results(file: Path, setting: Setting, fresh: bool) -> dict[str, Any]:
    """What an earlier run left, if it was made on the same machine and code; else nothing."""
    about = describe(setting)
    if fresh or not file.exists():
        return {"about": about, "groups": {}}
    found = json.loads(file.read_text())
    other = [name for name, value in about.items() if found["about"].get(name) != value]
    if other:
        raise SystemExit(
            f"expected {file} to hold figures of {about[other[0]]!r}, got {found['about'].get(other[0])!r} "
            f"({', '.join(other)} differ): name another --output, or begin anew with --fresh"
        )
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, cpu")
    parser.add_argument("--quick", action="store_true", help="a tiny model and tiny batches")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds; groups that do not fit are left out")
    parser.add_argument("--only", nargs="+", default=[""], help="beginnings of the groups' names")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--output", type=Path, default=Path("accelerator.json"), help="the file of results")
    parser.add_argument("--fresh", action="store_true", help="forget what the file holds")
    options = parser.parse_args(arguments)
    setting = Setting(find_device(options.device), options.quick, options.rounds)
    transformers.logging.set_verbosity_error()
    groups = [group for group in all_groups() if group.key.startswith(tuple(options.only))]
    if not groups:
        names = "; ".join(group.key for group in all_groups())
        raise SystemExit(f"expected --only to name groups among {names}; got {options.only}")
    found = open_results(options.output, setting, options.fresh)
    measure(setting, groups, options.budget, options.output, found)
    print(f"\nall of them: about {sum(group.seconds for group in groups):.0f} s on one H100")
    print(f"\n{', '.join(f'{name} {value}' for name, value in found['about'].items())}\n\n{table(found)}")


if __name__ == "__main__":
    main()
