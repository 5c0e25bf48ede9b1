"""Where evidence finds its data, keeps its results, and shows them."""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MARKS = ("<!-- evidence: begin -->", "<!-- evidence: end -->")


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


def read_by_arm(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All results of a folder: arm -> one per seed."""
    by_arm: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(folder.glob("*-*.json")):
        result = json.loads(path.read_text())
        by_arm[result["arm"]].append(result)
    return dict(by_arm)


def between_markers(page: Path, marks: tuple[str, str] = MARKS) -> str:
    """What a page holds between two markers: the generated part."""
    _, begin, rest = page.read_text().partition(marks[0])
    inside, end, _ = rest.partition(marks[1])
    if not (begin and end):
        sys.exit(f"{page} lacks the markers {marks[0]} and {marks[1]} in this order: put them where the tables belong")
    return inside.strip("\n")


def replace_between_markers(page: Path, text: str, marks: tuple[str, str] = MARKS) -> None:
    """Puts new text between them."""
    between_markers(page, marks)
    before, _, rest = page.read_text().partition(marks[0])
    page.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{rest.partition(marks[1])[2]}")
