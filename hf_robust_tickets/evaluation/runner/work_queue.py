"""What the processes of one evaluation know of each other.

They share a `torch.distributed.TCPStore`: a counter from which each takes the next example when it has time, and what
was found, as lines of JSON. An outcome does not depend on who found it, so the report is that of one process.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterator, Mapping

from torch.distributed import TCPStore

from ... import errors
from ...errors import RobustTicketsError
from ..sampling import Example
from .attacker import Task, TaskResult
from .store import from_line, to_line

POLL = 0.1
"""Seconds between two looks at the queue."""


class WorkQueue:
    """Where work is taken from and outcomes are put.

    Args:
        store: The store that all of them are connected to.
    """

    def __init__(self, store: TCPStore) -> None:
        self.store = store
        self._open: list[int] = []
        self._closed = 0

    def publish(self, tasks: list[Task]) -> None:
        """Says what is to be done; by one process, once."""
        self._open = [task.example.index for task in tasks]
        self.store.set("tasks", json.dumps([[task.example.index, task.recipes] for task in tasks]))

    def tasks(self, examples: Mapping[int, Example]) -> Iterator[Task]:
        """What this process is to do: one after the other, until nothing is left or it is enough."""
        tasks = [Task(examples[index], tuple(recipes)) for index, recipes in json.loads(self.wait_for("tasks"))]
        while not self.store.check(["enough"]) and (number := self.store.add("taken", 1) - 1) < len(tasks):
            yield tasks[number]

    def put(self, result: TaskResult) -> None:
        """Says what this process found."""
        self.store.set(f"done/{result.index}", to_line(result.found, result.seconds))

    def news(self) -> Iterator[TaskResult]:
        """What was found since the last look, by any process; for the one that published."""
        # an example is never begun before one that is further up
        begun = min(self.store.add("taken", 0), len(self._open) + self._closed)
        for index in self._open[: begun - self._closed]:
            if self.store.check([f"done/{index}"]):
                self._open.remove(index)
                self._closed += 1
                yield TaskResult(index, *from_line(self.store.get(f"done/{index}")))

    def finish(self) -> None:
        """No process takes another example from now on."""
        self.store.set("enough", b"1")

    @property
    def complete(self) -> bool:
        """Whether everything that was published is done and was read."""
        return not self._open

    def fail(self, who: str, error: BaseException) -> None:
        """Says why a process stops."""
        said = {"kind": type(error).__name__, "message": str(error), "who": who, "trace": traceback.format_exc()}
        self.store.set("failure", json.dumps(said | {"notes": getattr(error, "__notes__", [])}))

    def check(self) -> None:
        """Raises what another process stopped for."""
        if not self.store.check(["failure"]):
            return
        said = json.loads(self.store.get("failure"))
        kind = getattr(errors, said["kind"], None)
        known = isinstance(kind, type) and issubclass(kind, RobustTicketsError)
        error = (
            kind(said["message"]) if known else RobustTicketsError(f"{said['who']}: {said['kind']}: {said['message']}")
        )
        for note in [*said["notes"], f"in {said['who']}:\n{said['trace']}"]:
            error.add_note(note)
        raise error

    def wait_for(self, key: str) -> bytes:
        """The value of a key, however long it takes until it is there."""
        while not self.store.check([key]):
            self.check()
            time.sleep(POLL)
        return self.store.get(key)
