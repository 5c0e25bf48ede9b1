"""The same evaluation by several processes of one machine: over the cores, or over the accelerators."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

from ...errors import ConfigurationError, MissingResourceError, RobustTicketsError
from ..recipes import get_recipe
from ..victim.model import Victim, evaluation_mode
from .attacker import attack_all
from .calibrating import with_scores
from .evaluation_run import EvaluationRun
from .preparation import prepare
from .store import append_line, to_line
from .work_queue import POLL, WorkQueue


def run_processes(run: EvaluationRun, count: int, materials: Mapping[str, Any], folder: Path | None) -> None:
    """Attacks in several processes of this machine; this one only watches over them.

    Args:
        run: The evaluation.
        count: How many processes.
        materials: What else a process needs: `model`, `tokenizer`, `recipes` (names, or recipes), and the further
            arguments of `Victim` (`victim`) and of `prepare` (`parts`).
        folder: Where the outcomes are kept; None to keep them in memory.

    Raises:
        ConfigurationError: If the model or a recipe cannot be sent to another process.
        RobustTicketsError: If a process died; what was found until then is kept.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    queue = WorkQueue(store)
    queue.publish(run.open_tasks())
    if queue.complete or run.progress.enough is not None:
        return
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // count)
    with _nameless_file() as (file, path), contextlib.ExitStack() as stack:
        order = {"order": run.order, "seed": run.seed, "concurrent": run.concurrent}
        try:
            torch.save({**materials, **order, "folder": folder, "threads": threads}, file)
            file.flush()
        except Exception as error:
            raise ConfigurationError(
                f"expected a model, a tokenizer and recipes that other processes can open, got {error!r}: define them "
                "in a module (not in __main__, no lambdas), or pass num_processes=1"
            ) from error
        processes = []
        for rank in range(count):
            process = context.Process(target=_work, args=(path, rank, store.port), daemon=True)
            with _deaf_to_interrupts():
                process.start()
            stack.callback(_end, process)
            processes.append(process)
        _watch(run, queue, processes)


@contextlib.contextmanager
def _nameless_file() -> Iterator[tuple[Any, str]]:
    """A temporary file, and a path by which other processes can open it while this one lives.

    On Linux it has no name: however this process ends, no copy of a model stays behind.
    """
    if Path("/proc/self/fd").is_dir():
        with tempfile.TemporaryFile() as file:
            yield file, f"/proc/{os.getpid()}/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile() as file:
        yield file, file.name


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile do not hear Ctrl-C, which a terminal sends to all: this one ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(process: Any) -> None:
    process.kill()
    process.join()


def _watch(run: EvaluationRun, queue: WorkQueue, processes: list[Any]) -> None:
    while True:
        ended = [process for process in processes if process.exitcode is not None]
        for result in queue.news():
            run.outcomes.remember(result.found, result.seconds)
            run.progress.add(result.index, result.found)
        queue.check()
        for rank, process in enumerate(processes):
            if process in ended and process.exitcode != 0:
                raise RobustTicketsError(
                    f"expected {len(processes)} processes to attack, got number {rank} ended with status "
                    f"{process.exitcode}{' (killed: out of memory?)' if process.exitcode == -9 else ''}: the outcomes "
                    "until then are kept in output_dir, if there is one; run it again to continue"
                )
        if len(ended) == len(processes):
            return
        if run.progress.enough is not None:
            queue.finish()
        wait([process.sentinel for process in processes if process not in ended], timeout=POLL)


def _work(path: str, rank: int, port: int) -> None:
    """What a process of `run_processes` does."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    queue = WorkQueue(TCPStore("127.0.0.1", port, is_master=False))
    try:
        given = torch.load(path, map_location=functools.partial(_place, rank), weights_only=False, mmap=True)
        torch.set_num_threads(given["threads"])
        model = given["model"]
        temperature = given["parts"].get("temperature")
        if temperature is None:
            victim = Victim(model, given["tokenizer"], **given["victim"])
        else:
            victim = with_scores(model, given["tokenizer"], given["victim"], temperature.head)
        recipes = [get_recipe(recipe) if isinstance(recipe, str) else recipe for recipe in given["recipes"]]
        prepared, failures = prepare(recipes, victim, **given["parts"])
        if failures:
            raise MissingResourceError("; ".join(f"{name}: {why}" for name, why in failures.items()))
        attackers = [recipe.attacker for recipe in prepared]
        tasks = queue.tasks({example.index: example for example in given["order"]})
        with evaluation_mode(model):
            for result in attack_all(attackers, tasks, given["seed"], given["concurrent"]):
                if given["folder"] is not None:
                    append_line(given["folder"], to_line(result.found, result.seconds), rank)
                queue.put(result)
    except Exception as error:
        queue.fail(f"process {rank}", error)
        raise SystemExit(1) from None


def _place(rank: int, storage: torch.UntypedStorage, where: str) -> torch.UntypedStorage:
    """Spreads processes over the accelerators of the kind that the model was on."""
    kind = torch.device(where).type
    return storage if kind == "cpu" else storage.to(torch.device(kind, rank % torch.accelerator.device_count()))


def _die_with_parent() -> None:
    """A process whose parent was killed must not go on writing: the evaluation may be running again."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
