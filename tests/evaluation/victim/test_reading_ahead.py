"""Texts are tokenised and padded in another thread while the model computes."""

from __future__ import annotations

import contextlib
import threading
import traceback

import pytest
import torch
from datasets import Dataset

from hf_robust_tickets.errors import DataError
from hf_robust_tickets.evaluation import evaluate_accuracy
from hf_robust_tickets.evaluation.several.victim import LabelVictim
from hf_robust_tickets.evaluation.victim import reading_ahead
from hf_robust_tickets.evaluation.victim.model import Victim
from hf_robust_tickets.evaluation.victim.reading_ahead import SLICE_BATCHES, ahead, cut_slices
from tests.testing.keyword_model import keyword_model, keyword_tokenizer
from tests.testing.tiny import tiny_bert

PATIENCE = 60
# Calls of the model that find the side of the padding, and the one that answers the request before which they come.
OF_THE_SIDE = 3
WORDS = ("good", "bad", "film", "plot", "great", "awful")


def texts(count):
    """Of 1 to 11 words, all different, in no order of length."""
    return [" ".join(WORDS[(i * 7 + j * (i + 3)) % 6] for j in range(i * 5 % 11)) + f" n{i}" for i in range(count)]


class Watched:
    """A tokenizer that tells what it was asked, by whom, and of which `wait` sees when something has happened."""

    def __init__(self, inner):
        self.inner, self.calls, self.threads = inner, [], []
        self.inside = 0
        self.changed = threading.Condition()

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def _note(self, call):
        with self.changed:
            self.calls.append(call)
            self.threads.append(threading.current_thread())
            self.changed.notify_all()

    def __call__(self, given, **options):
        assert self.inside == 0, "two threads at once"
        self.inside += 1
        try:
            return self.inner(given, **options)
        finally:
            self.inside -= 1
            self._note("tokenise")

    def pad(self, *args, **options):
        try:
            return self.inner.pad(*args, **options)
        finally:
            self._note("pad")

    def wait(self, holds):
        with self.changed:
            assert self.changed.wait_for(holds, PATIENCE), self.calls


def of_threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("ahead")}


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = of_threads()
    yield
    assert of_threads() == before


def waiting_model(model, before_it_returns):
    """Calls something at the end of each forward call, with its number."""
    inner, numbers = model.forward, iter(range(10**6))

    def forward(**inputs):
        found = inner(**inputs)
        before_it_returns(next(numbers))
        return found

    model.forward = forward
    return model


def test_the_next_slice_is_tokenised_before_the_present_forward_returns():
    """Of three slices the first forward call returns when the second was tokenised, and that in another thread."""
    tokenizer = Watched(keyword_tokenizer())

    def block(number):
        if number == OF_THE_SIDE:
            tokenizer.wait(lambda: tokenizer.calls.count("tokenise") >= 1 + 2)

    victim = Victim(waiting_model(keyword_model(), block), tokenizer, batch_size=2)
    victim(["good", "good film"])
    many = texts(3 * 2 * SLICE_BATCHES)
    found = victim(many)
    assert tokenizer.calls.count("tokenise") == 1 + 3
    assert len(set(tokenizer.threads[-8:])) == 1 and tokenizer.threads[-1] is not threading.current_thread()
    torch.testing.assert_close(found, Victim(keyword_model(), keyword_tokenizer(), batch_size=1)(many))


def test_the_next_batch_is_padded_before_the_present_forward_returns():
    tokenizer = Watched(keyword_tokenizer())
    padded = []

    def block(number):
        if number >= OF_THE_SIDE:
            tokenizer.wait(lambda: tokenizer.calls.count("pad") - len(padded) >= min(6, number - OF_THE_SIDE + 2))

    victim = Victim(waiting_model(keyword_model(), block), tokenizer, batch_size=2)
    victim(["good", "good film"])
    padded += [call for call in tokenizer.calls if call == "pad"]
    victim(["good " * (i + 1) for i in range(12)])
    assert tokenizer.calls.count("pad") - len(padded) == 6


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 3, 33, 90])
def test_answers_are_those_of_reading_in_the_callers_thread(monkeypatch, batch_size, count):
    model = tiny_bert().eval()
    found = Victim(model, keyword_tokenizer(), batch_size)(texts(count))
    monkeypatch.setattr(reading_ahead, "ahead", lambda items, depth: items)
    assert torch.equal(found, Victim(model, keyword_tokenizer(), batch_size)(texts(count)))
    alone = Victim(model, keyword_tokenizer(), 1)(texts(count))
    torch.testing.assert_close(found, alone, atol=1e-6, rtol=1e-5)


def test_a_request_of_one_slice_is_cut_by_length_in_tokens_alone(monkeypatch):
    monkeypatch.setattr(reading_ahead, "cut_slices", lambda texts, size: [list(range(len(texts)))])
    model, many = tiny_bert().eval(), texts(32)
    whole = Victim(model, keyword_tokenizer(), 2)(many)
    monkeypatch.undo()
    assert torch.equal(Victim(model, keyword_tokenizer(), 2)(many), whole)


def test_slices_by_hand():
    assert cut_slices(["aaa", "b", "cc"], 3) == [[0, 1, 2]]
    assert cut_slices(["aaa", "b", "cc", "dddd"], 3) == [[1, 2, 0], [3]]
    assert cut_slices([("a", "aaa"), ("b", ""), "cc"], 1) == [[1], [2], [0]]
    assert cut_slices([], 3) == []


def test_the_side_of_the_padding_is_asked_in_the_callers_thread():
    """All texts of the first two slices have one length; the side is found in the third, and the answers are right."""
    callers = []
    model = waiting_model(tiny_bert().eval(), lambda _: callers.append(threading.current_thread()))
    many = [f"good n{i:03d}" for i in range(2 * 2 * SLICE_BATCHES)] + ["a bad plot of a film", "a plot of films"]
    victim = Victim(model, keyword_tokenizer(), batch_size=2)
    found = victim(many)
    assert set(callers) == {threading.current_thread()}
    torch.testing.assert_close(found, Victim(model, keyword_tokenizer(), 1)(many), atol=1e-6, rtol=1e-5)


def test_errors_travel_with_their_own_traceback():
    class Refusing(Watched):
        def __call__(self, given, **options):
            if any("n100" in text for text in given):
                raise ZeroDivisionError("the tokenizer's own")
            return super().__call__(given, **options)

    victim = Victim(keyword_model(), Refusing(keyword_tokenizer()), batch_size=2)
    with pytest.raises(ZeroDivisionError, match="the tokenizer's own") as caught:
        victim(texts(130))
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-1] == "__call__" and frames[-2] == "_encode" and "_logits" in frames
    assert not of_threads()  # while the traceback still lives
    # and of a slice that is read while the model computes, what the check of the vocabulary says
    many = ["good " * (1 + i % 3) for i in range(100)] + ["film " * 9]
    model = keyword_model()
    model.scores.num_embeddings = 6
    with pytest.raises(DataError, match="expected token numbers below 6, the model's embeddings, got 6"):
        Victim(model, keyword_tokenizer(), batch_size=2)([f"{text}#{i}" for i, text in enumerate(many)])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_end_in_the_forward_ends_the_thread(kind):
    tokenizer = Watched(keyword_tokenizer())

    def stop(number):
        if number == 5:
            assert of_threads()
            raise kind("stop")

    victim = Victim(waiting_model(keyword_model(), stop), tokenizer, batch_size=2)
    with pytest.raises(kind, match="stop"):
        victim(texts(500))
    assert not of_threads()
    said = len(tokenizer.calls)
    found = victim(texts(60))  # it can be asked again
    assert found.shape == (60, 2) and len(tokenizer.calls) > said


def test_what_an_iterator_yields_comes_in_order_and_no_further_than_asked():
    made = []

    def numbers():
        for i in range(100):
            made.append((i, threading.current_thread()))
            yield i

    with contextlib.closing(ahead(numbers(), depth=3)) as found:
        assert [next(found) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(made) <= 5 + 3
    assert {thread for _, thread in made}.isdisjoint({threading.current_thread()})
    assert list(ahead(iter("abc"), depth=8)) == ["a", "b", "c"]
    assert list(ahead(iter(""), depth=1)) == []


def test_a_whole_evaluation_leaves_no_thread():
    rows = Dataset.from_dict({"text": texts(100), "label": [i % 2 for i in range(100)]})
    ours = evaluate_accuracy(keyword_model(), rows, keyword_tokenizer(), batch_size=2)
    other = evaluate_accuracy(keyword_model(), rows, keyword_tokenizer(), batch_size=1)
    assert ours.calibration == other.calibration


def test_labels_are_read_ahead_too():
    """The first forward returns when the second part was tokenised."""
    tokenizer = Watched(keyword_tokenizer())

    def block(number):
        tokenizer.wait(lambda: tokenizer.calls.count("tokenise") >= min(number + 2, 5))

    many = texts(10)
    victim = LabelVictim(waiting_model(tiny_bert().eval(), block), tokenizer, batch_size=2, max_length=None)
    found = victim(many)
    plain = LabelVictim(tiny_bert().eval(), keyword_tokenizer(), batch_size=10, max_length=None)
    assert len(found) == 10 and tokenizer.calls.count("tokenise") == 5
    for one, other in zip(found, plain(many), strict=True):
        assert one == pytest.approx(other, abs=1e-5)
