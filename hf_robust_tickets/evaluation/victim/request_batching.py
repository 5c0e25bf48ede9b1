"""Functions side by side, whose questions are answered together: the attacks on several examples share forward calls.

Each function has a thread of its own, but only one of them runs at a time: it runs until it asks something, then hands
over to the next. When all have asked, one call answers them all. Who runs when depends on nothing but the functions,
so every run is the same; and because the states of the random generators are put away and fetched again at each
hand-over, each function draws the numbers that it would draw alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ..fingerprints import random_states, set_random_states

T = TypeVar("T")
Answer = Callable[[list[Any]], Sequence[Any]]
"""From the questions of all to their answers, one each, in that order."""


class _Cancelled(BaseException):
    """Ends a function whose result is not needed any more; not an `Exception`, which the function might catch."""


class _Local(threading.local):
    fibre: _Fibre | None = None


_local = _Local()


def ask(answer: Answer, questions: Sequence[Any]) -> Sequence[Any]:
    """Answers questions, together with those of the other functions if this one runs under `run_together`.

    Args:
        answer: Answers a list of questions; those that pass an equal `answer` are put to it in one call. Questions
            that several functions ask are put to it once.
        questions: Hashable.

    Returns:
        One answer per question; without a question nothing is asked, and no function waits.
    """
    if not questions:
        return []
    if _local.fibre is None:
        return answer(list(questions))
    return _local.fibre.ask(answer, list(questions))


class AnswerCache(threading.local):
    """What one `answer` was asked before; each function under `run_together` has its own cache."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def ask(self, answer: Answer, questions: Sequence[Any]) -> list[Any]:
        """As the function `ask`, but what is known is not asked again. The `answer` is always the same."""
        unseen = [question for question in dict.fromkeys(questions) if question not in self._known]
        self._known.update(zip(unseen, ask(answer, unseen)))
        return [self._known[question] for question in questions]

    def forget(self) -> None:
        """Empties it."""
        self._known.clear()


def seconds() -> float:
    """A clock that stops while others run: the time of this function, with its share of the answers."""
    return time.perf_counter() if _local.fibre is None else _local.fibre.seconds()


def run_together(tasks: Iterator[Callable[[], T]], width: int) -> Iterator[T]:
    """Runs functions, several side by side, and yields what they return as they end.

    Args:
        tasks: The functions; the next one is taken when there is room for it.
        width: How many at a time.

    Raises:
        BaseException: What a function raised; the others are stopped.
    """
    fibres = [_Fibre() for _ in range(width)]
    try:
        while True:
            for fibre in fibres:
                while not fibre.waits and (task := next(tasks, None)) is not None:
                    fibre.begin(task)
                    if not fibre.waits:
                        yield fibre.result()
            waiting = [fibre for fibre in fibres if fibre.waits]
            if not waiting:
                return
            _answer(waiting)
            for fibre in waiting:
                fibre.go_on()
                if not fibre.waits:
                    yield fibre.result()
    finally:
        for fibre in fibres:
            fibre.cancel()


def _answer(waiting: Sequence[_Fibre]) -> None:
    groups: dict[Answer, list[_Fibre]] = {}
    for fibre in waiting:
        groups.setdefault(fibre.question[0], []).append(fibre)
    for answer, fibres in groups.items():
        start = time.perf_counter()
        merged = list(dict.fromkeys(question for fibre in fibres for question in fibre.question[1]))
        answers = dict(zip(merged, answer(merged), strict=True))
        spent = time.perf_counter() - start
        asked = sum(len(fibre.question[1]) for fibre in fibres)
        for fibre in fibres:
            questions = fibre.question[1]
            fibre.reply = [answers[question] for question in questions]
            fibre.spent += spent * len(questions) / max(asked, 1)


class _Fibre:
    """A thread that runs functions one after the other and stands still whenever it has a question."""

    def __init__(self) -> None:
        self.waits = False
        self.question: tuple[Answer, list[Any]]
        self.reply: list[Any] = []
        self.spent = 0.0
        self._since = 0.0
        self._task: Callable[[], Any] | None = None
        self._returned: Any = None
        self._error: BaseException | None = None
        self._stopped = False
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        # a daemon: an interpreter that is told to stop does not wait for functions that have been left behind
        self._thread = threading.Thread(target=self._run, daemon=True, name="attack")
        self._thread.start()

    # Called by the one who runs the fibres.

    def begin(self, task: Callable[[], Any]) -> None:
        """Runs a function until it ends or asks."""
        self._task = task
        self.go_on()

    def go_on(self) -> None:
        """Runs until the function ends or asks again."""
        self._go.release()
        self._back.acquire()

    def result(self) -> Any:
        """What the function returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._returned

    def cancel(self) -> None:
        """Ends the thread; a function that waits for an answer is unwound."""
        self._stopped = True
        self._go.release()
        self._thread.join()

    # Called by the function.

    def ask(self, answer: Answer, questions: list[Any]) -> list[Any]:
        self.question, self.waits = (answer, questions), True
        mine = random_states()
        set_random_states(self._outside)
        self.spent += time.perf_counter() - self._since
        self._pause()
        self._since = time.perf_counter()
        set_random_states(mine)
        self.waits = False
        return self.reply

    def seconds(self) -> float:
        return self.spent + time.perf_counter() - self._since

    def _pause(self) -> None:
        self._back.release()
        self._go.acquire()
        if self._stopped:
            raise _Cancelled

    def _run(self) -> None:
        _local.fibre = self
        self._go.acquire()
        try:
            while not self._stopped:
                self._since = time.perf_counter()
                self._outside = random_states()
                try:
                    self._returned, self._error = self._task(), None
                except _Cancelled:
                    raise
                except BaseException as error:
                    self._error = error
                self.spent += time.perf_counter() - self._since
                self._pause()
        except _Cancelled:
            pass
