"""The same evaluation by the ranks that a launcher has started, on one machine or several."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed import TCPStore

from ...errors import ConfigurationError, MissingResourceError
from .attacker import attack_all
from .evaluation_run import EvaluationRun
from .store import append_line, to_line
from .work_queue import POLL, WorkQueue

if TYPE_CHECKING:
    from accelerate import PartialState


def process_state() -> PartialState:
    """Rank, number of ranks and device of this process; joins the process group if a launcher started it.

    Raises:
        ConfigurationError: If a launcher started several processes, but they do not find each other.
    """
    from accelerate import PartialState

    # without an accelerator PartialState has to be told, or it takes every process for the only one
    state = PartialState(cpu=not torch.accelerator.is_available())
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != state.num_processes:
        raise ConfigurationError(
            f"expected the launcher's {launched} processes to work together, got a group of {state.num_processes}: "
            "call evaluate_robustness before anything else makes an accelerate.PartialState, or make it with cpu=True"
        )
    return state


class RankGroup:
    """The ranks that a launcher has started (`torchrun`, `accelerate launch`); rank 0 leads.

    Attributes:
        rank: Number of this one.
        size: How many there are.
    """

    def __init__(self) -> None:
        from accelerate.utils import broadcast_object_list

        state = process_state()
        self.rank, self.size = state.process_index, state.num_processes
        self._queue: WorkQueue | None = None
        if self.size > 1:
            host = os.environ.get("MASTER_ADDR", "127.0.0.1")
            store = TCPStore(host, 0, is_master=True, wait_for_workers=False) if self.rank == 0 else None
            [port] = broadcast_object_list([store.port if store is not None else 0])
            self._queue = WorkQueue(store or TCPStore(host, port, is_master=False))

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which keeps the state and makes the report."""
        return self.rank == 0

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What stops the leader stops the others, with the same error."""
        try:
            yield
        except Exception as error:
            if self._queue is not None:
                self._queue.fail(f"rank {self.rank}", error)
            raise

    def agree(self, resources: Mapping[str, Any]) -> None:
        """Makes sure that all ranks attack with the same: a host may lack what another has.

        Args:
            resources: Recipe -> what it was built with on this rank.

        Raises:
            MissingResourceError: If this rank has built something else than the leader.
        """
        if self._queue is None:
            return
        mine = json.loads(json.dumps(dict(resources)))
        if self.leads:
            self._queue.store.set("resources", json.dumps(mine))
        elif (wanted := json.loads(self._queue.wait_for("resources"))) != mine:
            raise MissingResourceError(
                f"expected the recipes and resources of rank 0 ({wanted}), got others on rank {self.rank} ({mine}): "
                "put the same resources on every host"
            )

    def same(self, name: str, value: Any) -> Any:
        """The leader's value, on every rank.

        Args:
            name: What it is, once per evaluation.
            value: The leader's, as JSON; the others' is not looked at.
        """
        if self._queue is None:
            return value
        if self.leads:
            self._queue.store.set(name, json.dumps(value))
            return value
        return json.loads(self._queue.wait_for(name))

    def attack(self, run: EvaluationRun, folder: Path | None) -> None:
        """Attacks this rank's share; on the leader, waits for the others' outcomes."""
        if self._queue is None:
            run.attack()
            return
        queue = self._queue
        if self.leads:
            tasks = run.open_tasks()
            queue.publish(tasks)
            if run.progress.enough is not None:
                queue.finish()
        mine = queue.tasks({example.index: example for example in run.order})
        for result in attack_all(run.attackers, mine, run.seed, run.concurrent):
            if folder is not None:
                append_line(folder, to_line(result.found, result.seconds), self.rank)
            queue.put(result)
            if self.leads:
                self._catch_up(run)
        while self.leads and not queue.complete and run.progress.enough is None:
            self._catch_up(run)
            time.sleep(POLL)

    def share(self, report: dict[str, Any] | None) -> dict[str, Any]:
        """The leader's report, on every rank."""
        if self._queue is None:
            return report or {}
        store = self._queue.store
        if report is not None:
            store.set("report", json.dumps(report))
            # the queue lives in the leader: it stays until all have read
            while store.add("read", 0) < self.size - 1:
                self._queue.check()
                time.sleep(POLL)
            return report
        values = json.loads(self._queue.wait_for("report"))
        store.add("read", 1)
        return values

    def _catch_up(self, run: EvaluationRun) -> None:
        queue = self._queue
        queue.check()
        for result in queue.news():
            run.outcomes.remember(result.found, result.seconds)
            run.progress.add(result.index, result.found)
        if run.progress.enough is not None:
            queue.finish()
