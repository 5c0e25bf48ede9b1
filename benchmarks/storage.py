"""Where evidence finds its data and keeps its results."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def data_folder(name: str) -> Path:
    """The folder of data sets, with `name` in it: $ROBUST_TICKETS_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get("ROBUST_TICKETS_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / name).is_dir():
        sys.exit(f"no {name} in {folder}: set ROBUST_TICKETS_DATA to a folder that holds {name}/*.parquet")
    return folder


def read_result(path: Path, protocol: Any) -> dict[str, Any] | None:
    """A result that was made before with the same protocol; None where there is none yet."""
    if not path.exists():
        return None
    result = json.loads(path.read_text())
    if result["protocol"] != json.loads(json.dumps(asdict(protocol))):
        sys.exit(f"{path} was made with another protocol: remove it, or give another --results folder")
    return result


def write_result(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)
