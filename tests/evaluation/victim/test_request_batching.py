from __future__ import annotations

import random
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hf_robust_tickets.evaluation import evaluate_robustness
from hf_robust_tickets.evaluation.fingerprints import random_states, seeded
from hf_robust_tickets.evaluation.runner.attacker import Attacker
from hf_robust_tickets.evaluation.victim import request_batching
from tests.testing.keyword_model import KeywordModel, keyword_model, keyword_tokenizer, rows


def squares(questions):
    squares.calls.append(list(questions))
    return [question * question for question in questions]


@pytest.fixture(autouse=True)
def no_calls():
    squares.calls = []


def walk(number):
    """Draws and asks in turn, as an attack does."""
    with seeded(0, "walk", number):
        said = []
        for _ in range(number % 3 + 1):
            draws = [random.randrange(10), int(np.random.randint(10)), int(torch.randint(10, ()))]
            said.append((draws, request_batching.ask(squares, draws)))
        return number, said


def tasks(count):
    return (lambda number=number: walk(number) for number in range(count))


def test_each_draws_and_gets_what_it_would_alone_in_fewer_calls():
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    before = random_states()
    alone = [task() for task in tasks(20)]
    calls = len(squares.calls)
    together = list(request_batching.run_together(tasks(20), 8))
    assert sorted(together) == alone and len(squares.calls) - calls <= calls / 5
    assert all(len(call) == len(set(call)) for call in squares.calls[calls:])  # what two ask is asked once
    after = random_states()
    assert before[0] == after[0] and (before[1][1] == after[1][1]).all() and torch.equal(before[2], after[2])
    assert list(request_batching.run_together(tasks(20), 8)) == together  # in the same order too


def test_one_runs_at_a_time():
    running = []

    def task():
        for _ in range(3):
            running.append(threading.current_thread())
            assert len(set(running)) == 1
            running.clear()
            request_batching.ask(squares, [1])

    assert list(request_batching.run_together((task for _ in range(6)), 3)) == [None] * 6


def test_an_error_ends_all_and_leaves_no_thread_behind():
    def broken():
        request_batching.ask(squares, [1])
        raise ZeroDivisionError

    random.seed(1)
    state, threads = random.getstate(), threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(request_batching.run_together(iter([*tasks(3), broken, *tasks(2)]), 4))
    assert random.getstate() == state and threading.active_count() == threads

    def refuses(questions):
        raise OverflowError

    with pytest.raises(OverflowError):
        list(request_batching.run_together(iter([lambda: request_batching.ask(refuses, [1]), *tasks(3)]), 4))
    assert random.getstate() == state and threading.active_count() == threads


def test_seconds_add_up_to_those_of_the_whole():
    spent = []

    def task():
        start = request_batching.seconds()
        request_batching.ask(sleepy, [len(spent)])
        spent.append(request_batching.seconds() - start)

    def sleepy(questions):
        threading.Event().wait(0.2)
        return questions

    start = request_batching.seconds()
    list(request_batching.run_together((task for _ in range(4)), 4))
    assert 0.2 <= sum(spent) <= request_batching.seconds() - start < 0.4


@pytest.mark.parametrize("width", [2, 16])
def test_examples_side_by_side_give_the_report_of_one_after_the_other(monkeypatch, width):
    pytest.importorskip("nltk")
    calls = []
    forward = KeywordModel.forward
    monkeypatch.setattr(KeywordModel, "forward", lambda self, **inputs: calls.append(1) or forward(self, **inputs))
    arguments = {"recipes": ["deepwordbug"], "progress": False, "batch_size": 512}
    data = rows(16)
    one = evaluate_robustness(keyword_model(), data, keyword_tokenizer(), concurrent_examples=1, **arguments)
    alone = len(calls)
    many = evaluate_robustness(keyword_model(), data, keyword_tokenizer(), concurrent_examples=width, **arguments)
    assert many["deepwordbug"].outcomes == one["deepwordbug"].outcomes
    assert one["deepwordbug"].counts == {"succeeded": 16, "failed": 16, "skipped": 16}
    assert len(calls) - alone < 2 * alone / width


def test_an_attack_is_built_alike_in_every_thread_and_takes_no_random_number():
    recipe = SimpleNamespace(name="mine")
    attacker = Attacker(recipe, lambda: SimpleNamespace(drawn=random.random()), victim=None)
    random.seed(5)
    before, drawn = random.getstate(), [attacker.attack.drawn]
    thread = threading.Thread(target=lambda: drawn.append(attacker.attack.drawn))
    thread.start()
    thread.join()
    assert drawn[0] == drawn[1] and random.getstate() == before
