"""Which method passed which feature: tests marked `feature`, parametrised over the methods as `name`.

`make features` runs them and writes docs/features.json, from which docs/adversaries.md is made. A cell of that table
exists only where a test of its own has passed; tests/test_house.py holds the record against the tests there are.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.testing.paths import ROOT

RECORD = ROOT / "docs" / "features.json"
WRITES = "ROBUST_TICKETS_RECORD_FEATURES"
COLLECTED = pytest.StashKey[dict[str, dict[str, dict[str, str]]]]()
_outcomes: dict[str, bool] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps what was found before anything is deselected: feature -> method -> what the cell says, and the test."""
    table: dict[str, dict[str, dict[str, str]]] = {}
    for item in items:
        marker = item.get_closest_marker("feature")
        if marker is not None:
            entry = {"says": marker.kwargs.get("says", "yes"), "test": item.nodeid}
            methods = table.setdefault(marker.args[0], {})
            method = item.callspec.params["name"]
            if method in methods:
                raise pytest.UsageError(f"two tests of {marker.args[0]!r} for {method}: {methods[method]}, {entry}")
            methods[method] = entry
    config.stash[COLLECTED] = table


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test passed when all of its phases did, and it ran at all."""
    if report.when == "call" or not report.passed:
        _outcomes[report.nodeid] = report.passed


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Takes the outcomes of this session into the record, where it was asked to."""
    if os.environ.get(WRITES) and COLLECTED in session.config.stash:
        record = merged(load(), session.config.stash[COLLECTED], _outcomes)
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def load() -> dict[str, dict[str, dict[str, str]]]:
    """The record as it is."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def files_of(table: dict[str, dict[str, Any]]) -> set[str]:
    """The files that the tests of a table stand in."""
    return {entry["test"].split("::")[0] for methods in table.values() for entry in methods.values()}


def merged(record: dict[str, Any], collected: dict[str, Any], outcomes: dict[str, bool]) -> dict[str, Any]:
    """The record with the tests that passed, and without those that failed, were skipped or are gone."""
    files, result = files_of(collected), {}
    for title in {*record, *collected}:
        present = collected.get(title, {})
        kept = {}
        for method, entry in record.get(title, {}).items():
            gone = entry["test"].split("::")[0] in files and present.get(method) != entry
            if not gone and outcomes.get(entry["test"], True):
                kept[method] = entry
        kept |= {method: entry for method, entry in present.items() if outcomes.get(entry["test"], False)}
        if kept:
            result[title] = kept
    return result
