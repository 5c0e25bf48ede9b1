"""Outcomes on disk as they come, so that an evaluation that was cut off continues where it was."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..._files import make_folder, write_json
from ...errors import CheckpointError
from ..fingerprints import versions
from ..results.example import ExampleOutcome

logger = logging.getLogger(__name__)

OUTCOMES = "outcomes.jsonl"
OUTCOMES_OF_RANK = "outcomes-{rank}.jsonl"
STATE = "evaluation_state.json"
REPORT = "robustness.json"
LOCK = ".lock"
STORE_VERSION = 1


def to_line(found: Mapping[str, Any], seconds: Mapping[str, float]) -> str:
    """The outcomes of one example under all recipes that were run on it, as one line of JSON."""
    return json.dumps(
        {"outcomes": {name: outcome.to_dict() for name, outcome in found.items()}, "seconds": dict(seconds)}
    )


def from_line(line: str | bytes, kind: type[Any] = ExampleOutcome) -> tuple[dict[str, Any], dict[str, float]]:
    """The inverse of `to_line`, for outcomes of one kind."""
    values = json.loads(line)
    return {name: kind(**outcome) for name, outcome in values["outcomes"].items()}, values["seconds"]


def append_line(folder: Path, line: str, rank: int = 0) -> None:
    """Adds a line to the file of a process and makes sure that it is on disk: each process has a file of its own."""
    path = folder / (OUTCOMES_OF_RANK.format(rank=rank) if rank else OUTCOMES)
    with path.open("a", encoding="ascii") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


class Outcomes:
    """Outcomes by recipe and row, in memory.

    Attributes:
        found: Recipe -> row -> outcome.
        seconds: Recipe -> time spent in it.
        versions: Versions of the packages that the outcomes were found with, each set once; this run's is the last.
    """

    def __init__(self) -> None:
        self.found: dict[str, dict[int, Any]] = {}
        self.seconds: dict[str, float] = {}
        self.versions: list[dict[str, str]] = [versions()]

    def has(self, recipe: str, index: int) -> bool:
        """Whether an example was already attacked with a recipe."""
        return index in self.found.get(recipe, {})

    def append(self, found: Mapping[str, Any], seconds: Mapping[str, float]) -> None:
        """Adds the outcomes of one example.

        Args:
            found: Recipe -> outcome, all of the same example.
            seconds: Recipe -> time it took.
        """
        self.remember(found, seconds)

    def close(self) -> None:
        """Nothing is appended after this."""

    def remember(self, found: Mapping[str, Any], seconds: Mapping[str, float]) -> None:
        """Adds outcomes that are on disk already, if they have to be."""
        for recipe, outcome in found.items():
            if self.has(recipe, outcome.index):
                continue
            self.found.setdefault(recipe, {})[outcome.index] = outcome
            self.seconds[recipe] = self.seconds.get(recipe, 0.0) + seconds[recipe]


class OutcomeStore(Outcomes):
    """Append-only files with one line per example, and a file that says what the lines were made with.

    Each of several processes has a file of its own; all are read, whatever the number of processes was. A line holds
    an example's outcomes under all recipes that were run on it. It is on disk before the next example is begun; a line
    that was cut off in the middle is dropped and its example attacked again. Until `close`, and until the process ends
    in whatever way, no other evaluation can open the folder.

    Args:
        folder: Where the files lie; made if need be.
        circumstances: What must not change between runs: model, tokenizer, sample, settings.
        recipes: Recipe -> its description. A recipe may be added later, but not change.
        resume: False to start over: outcomes of an earlier run are removed.
        words: Circumstance -> how to call its value in a message, where the value is a checksum.
        kind: What an outcome is: a dataclass with `index` and `to_dict`.

    Raises:
        CheckpointError: If the folder holds outcomes of another evaluation, or damaged ones, or is in use.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        circumstances: Mapping[str, Any],
        recipes: Mapping[str, str],
        resume: bool = True,
        words: Mapping[str, str] | None = None,
        kind: type[Any] = ExampleOutcome,
    ) -> None:
        self.folder, self._kind = Path(folder), kind
        super().__init__()
        make_folder(self.folder)
        self._lock = FileLock(self.folder / LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise CheckpointError(
                f"expected a folder that no other evaluation writes to, got {self.folder}, where one runs: wait for "
                "it, or pass another output_dir"
            ) from error
        state_path = self.folder / STATE
        known: dict[str, str] = {}
        self._words = dict(words or {})
        if resume and state_path.exists():
            known = self._check(state_path, circumstances, recipes)
            self._read()
        elif resume and (left := self._paths()):
            raise CheckpointError(
                f"expected {STATE} beside the outcomes in {self.folder}, got {left[0].name} alone: put it back, or "
                "pass resume=False (--no_resume) to remove them and start over"
            )
        else:
            # the state goes first: without it no outcomes are read
            state_path.unlink(missing_ok=True)
            for path in [*self._paths(), self.folder / REPORT]:
                path.unlink(missing_ok=True)
        state = {"version": STORE_VERSION, "circumstances": dict(circumstances), "recipes": {**known, **recipes}}
        state |= {"versions": self.versions, "words": self._words}
        write_json(state_path, state)

    def append(self, found: Mapping[str, Any], seconds: Mapping[str, float]) -> None:
        """Adds the outcomes of one example and makes sure that they are on disk."""
        append_line(self.folder, to_line(found, seconds))
        self.remember(found, seconds)

    def close(self) -> None:
        """Lets other evaluations open the folder."""
        self._lock.release()

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(OUTCOMES)) + sorted(self.folder.glob(OUTCOMES_OF_RANK.format(rank="*")))

    def _check(self, path: Path, circumstances: Mapping[str, Any], recipes: Mapping[str, str]) -> dict[str, str]:
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            version, before, known = state["version"], state["circumstances"], state["recipes"]
        except (ValueError, KeyError, TypeError) as error:  # no JSON, or bytes that are no text
            raise CheckpointError(
                f"expected the state of an evaluation in {path}, got something else: {error!r}"
            ) from error
        if version != STORE_VERSION:
            raise CheckpointError(
                f"expected state version {STORE_VERSION} in {path}, got {version}: pass resume=False (--no_resume)"
            )
        now = json.loads(json.dumps(dict(circumstances)))
        names = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
        changed = [_change(name, (before, state.get("words", {})), (now, self._words)) for name in names]
        changed += [f"another recipe {name}" for name, text in recipes.items() if known.get(name, text) != text]
        if changed:
            raise CheckpointError(
                f"expected the evaluation that was begun in {self.folder}, got another ({'; '.join(changed)}): "
                "pass another output_dir, or resume=False (--no_resume) to start over"
            )
        self.versions = [found for found in state.get("versions", []) if found != self.versions[0]] + self.versions
        return known

    def _read(self) -> None:
        for path in self._paths():
            content = path.read_bytes()
            complete = content[: content.rfind(b"\n") + 1]
            for number, line in enumerate(complete.splitlines(), start=1):
                try:
                    self.remember(*from_line(line, self._kind))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise CheckpointError(
                        f"expected an outcome in line {number} of {path}, got a damaged line: pass resume=False "
                        "(--no_resume) to start over"
                    ) from error
            if len(complete) < len(content):
                logger.warning("dropped an unfinished line of %s: its example is attacked again", path)
                with path.open("r+b") as file:
                    file.truncate(len(complete))


def _change(name: str, *states: tuple[Mapping[str, Any], Mapping[str, str]]) -> str:
    """What a circumstance was and is; checksums by what they stand for, where both are known."""
    values = [words.get(name, values.get(name)) for values, words in states]
    if values[0] == values[1] or any(isinstance(value, str) and len(value) == 64 for value in values):
        return f"another {name}"
    return f"{name}: {values[0]}, now {values[1]}"
