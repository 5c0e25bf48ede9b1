"""`robust-tickets distance`: how far tickets are apart, beside what chance would give."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from ..reporting.tables import text_table
from ..tickets import MaskDistance, RobustTicket, chance_distance, mask_distance, ticket_spread
from .options import parse

_TICKET_FILE = "ticket.safetensors"


@dataclass
class DistanceOptions:
    """Which tickets."""

    tickets: list[str] = field(
        metadata={"help": "Two or more files ticket.safetensors of one model, or folders that hold them."}
    )
    json: bool = field(default=False, metadata={"help": "Print JSON, distances as fractions, instead of a table."})


def run(argv: list[str]) -> None:
    """Prints the distance of each pair and of all pairs on average, in percent of the heads and of the neurons."""
    # `distance A B`, as well as `distance --tickets A B`.
    bare = argv and not argv[0].startswith("-") and not argv[0].endswith((".yaml", ".yml"))
    (options,) = parse("distance", (DistanceOptions,), ["--tickets", *argv] if bare else argv)
    if len(options.tickets) < 2:
        raise ConfigurationError(
            f"expected two tickets or more, got {len(options.tickets)}: name files {_TICKET_FILE}, or their folders"
        )
    tickets = [(path, _load(Path(path))) for path in options.tickets]
    rows = [
        {"tickets": f"{first} – {second}", **_row(mask_distance(a, b), chance_distance(a, b))}
        for (first, a), (second, b) in combinations(tickets, 2)
    ]
    mean = _row(*ticket_spread([ticket for _, ticket in tickets]))
    if options.json:
        print(json.dumps({"pairs": rows, "mean": mean}, indent=2, ensure_ascii=False))
        return
    shown = [{"tickets": row["tickets"], **_percent(row)} for row in rows]
    print(text_table([*shown, {"tickets": "mean of all pairs", **_percent(mean)}] if len(rows) > 1 else shown))
    print("by chance: random tickets that keep as much of each layer")


def _load(path: Path) -> RobustTicket:
    return RobustTicket.load(path / _TICKET_FILE if path.is_dir() else path)


def _row(found: MaskDistance, chance: MaskDistance) -> dict[str, Any]:
    return {
        "heads": found.heads,
        "heads_by_chance": chance.heads,
        "neurons": found.neurons,
        "neurons_by_chance": chance.neurons,
    }


def _percent(row: dict[str, Any]) -> dict[str, str]:
    return {k.replace("_", " "): f"{100 * v:.1f} %" for k, v in row.items() if k != "tickets"}
