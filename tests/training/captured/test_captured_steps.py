"""Steps that are captured and replayed: the weights, the log and the costs of steps that run as they are.

A stand-in records them on the CPU (`tests/testing/recorded_graph.py`); it computes each recorded operation again on
the same tensors, so that equal means equal to the bit.
"""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, TrainerCallback

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import FGM, PGD, TRADES, FreeLB, HotFlip, RDrop
from hf_robust_tickets.errors import ConfigurationError, DataError
from hf_robust_tickets.training.captured.steps import MOST_SHAPES, WARM_UP
from tests.testing.methods import METHODS
from tests.testing.recorded_graph import graphs_on_the_cpu
from tests.testing.small_tokenizers import wordpiece
from tests.testing.tiny import tiny_bert, tiny_tokenizer
from tests.testing.training import arguments, weights

BUCKETS = [12, 20]
FREELB = FreeLB(steps=3, step_size=0.1, init_magnitude=0.1)


def rows(count=40, lengths=(5, 9), seed=0):
    """Of lengths in a range, so that every batch of a bucket has padding."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        length = int(torch.randint(lengths[0], lengths[1] + 1, (1,), generator=generator))
        ids = torch.randint(5, 60, (length,), generator=generator).tolist()
        found.append({"input_ids": ids, "attention_mask": [1] * length, "labels": int(ids[0] >= 32)})
    return Dataset.from_list(found)


class Gradients(TrainerCallback):
    """Those of every optimiser step, by name, and which weights have none."""

    def __init__(self):
        self.found = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        named = {name: p.grad for name, p in model.named_parameters()}
        self.found.append({name: None if grad is None else grad.clone() for name, grad in named.items()})


def train(
    folder, adversary, capture, model=None, data=None, steps=7, *, kind=AdversarialTrainer, tokenizer=None,
    collator=DataCollatorWithPadding, resume=None, callbacks=(), **options,
):  # fmt: skip
    """The trainer at its end, the gradients of its steps, and the graphs."""
    values = {"max_steps": steps, "logging_steps": 1, "per_device_train_batch_size": 4, "pad_to_buckets": BUCKETS}
    gradients, tokenizer = Gradients(), tokenizer or tiny_tokenizer()
    with graphs_on_the_cpu() as graphs:
        trainer = kind(
            model or tiny_bert(),
            arguments(folder, capture_passes=capture, **(values | options)),
            train_dataset=rows() if data is None else data,
            data_collator=collator(tokenizer),
            processing_class=tokenizer,
            adversary=adversary,
            callbacks=[gradients, *callbacks],
        )
        trainer.train(resume_from_checkpoint=resume)
    assert capture or not graphs
    return trainer, gradients.found, graphs


def log_of(trainer):
    timed = ("runtime", "per_second", "train_")
    return [{k: v for k, v in entry.items() if not any(t in k for t in timed)} for entry in trainer.state.log_history]


def assert_the_same(eager, captured):
    (one, gradients, _), (other, again, _) = eager, captured
    assert len(gradients) == len(again) > 0
    for step, (a, b) in enumerate(zip(gradients, again, strict=True)):
        for name in a:
            assert (a[name] is None) == (b[name] is None), (step, name)
            assert a[name] is None or torch.equal(a[name], b[name]), (step, name)
    for name, weight in weights(one).items():
        assert torch.equal(weight, weights(other)[name]), name
    assert log_of(one) == log_of(other)
    assert one.runner.passes == other.runner.passes
    assert float(one.skipped_ascents) == float(other.skipped_ascents)


@pytest.mark.parametrize(
    "adversary",
    [
        None,
        FreeLB(steps=2, step_size=0.1, init_magnitude=0.1),
        FREELB,
        PGD(steps=3, step_size=0.1, init_magnitude=0.1, max_norm=0.15),
        FGM(step_size=0.1),
        FGM(step_size=0.1, adaptive=1),
        TRADES(steps=2, step_size=0.1, init_magnitude=0.1, max_norm=0.2),
        RDrop(),
    ],
    ids=lambda adversary: "plain" if adversary is None else f"{adversary.name}-{adversary.steps}",
)
def test_replays_are_the_steps_to_the_bit(adversary, tmp_path):
    captured = train(tmp_path, adversary, True)
    assert len(captured[2]) == 1
    assert captured[2][0].replays == 7 - WARM_UP
    assert_the_same(train(tmp_path, adversary, False), captured)


def test_hotflip(tmp_path):
    """Its table of neighbours is made in the first step; the exchanges themselves are the device's."""
    tokenizer = wordpiece()
    texts = tokenizer(["the film was good", "a dull plot", "great acting, great love", "unwatchable!"] * 4)
    columns = {name: texts[name] for name in ("input_ids", "attention_mask")}
    options = {"tokenizer": tokenizer, "data": Dataset.from_dict({**columns, "labels": [1, 0, 1, 0] * 4})}
    options |= {"pad_to_buckets": [16], "steps": 6}
    adversary = HotFlip(step_size=0.1, chance=0.6)
    eager, captured = (
        train(tmp_path, adversary, capture, model=tiny_bert(vocab_size=100), **options) for capture in (False, True)
    )
    assert captured[2][0].replays == 4
    assert_the_same(eager, captured)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_refused_or_the_same(name, tmp_path):
    adversary = METHODS[name]
    try:
        captured = train(tmp_path, adversary, True, steps=4)
    except ConfigurationError as error:
        assert str(error).startswith("capture_passes repeats one step as it was recorded, got ")
        assert name in ("free-at", "yopo", "ta-vat", "smart")
        return
    assert captured[2][0].replays == 2
    assert_the_same(train(tmp_path, adversary, False, steps=4), captured)


def test_each_shape_has_a_graph_of_its_own_and_all_add_to_the_same_gradients(tmp_path):
    """Micro-batches of two lengths in turn; the last of an epoch is smaller, and runs as it is."""
    data = Dataset.from_list([row for i in range(6) for row in rows(4, (5, 9) if i % 3 else (14, 17), i)] + [*rows(2)])
    options = {"gradient_accumulation_steps": 2, "num_train_epochs": 4, "max_steps": -1, "data": data}
    captured = train(tmp_path, FREELB, True, **options)
    assert len(captured[2]) == 2
    # Seven micro-batches in an epoch, of which the last is smaller and alone in its step.
    assert sum(graph.replays for graph in captured[2]) == 4 * 6 - 2 * WARM_UP
    assert_the_same(train(tmp_path, FREELB, False, **options), captured)


@pytest.mark.parametrize("options", [{"adversary_every": 2}, {"adversary_start_step": 4}])
def test_plain_and_attacked_steps_have_graphs_of_their_own(options, tmp_path):
    captured = train(tmp_path, FREELB, True, steps=9, **options)
    assert len(captured[2]) == 2
    assert_the_same(train(tmp_path, FREELB, False, steps=9, **options), captured)


def test_weights_that_no_step_reaches_stay_without_a_gradient(tmp_path):
    """With one of zeros AdamW would let them decay."""

    def model():
        made = tiny_bert()
        made.unused = torch.nn.Linear(3, 3)
        made.bert.embeddings.position_embeddings.weight.requires_grad_(False)
        return made

    both = [train(tmp_path, FREELB, capture, model=model(), weight_decay=0.5) for capture in (False, True)]
    assert both[1][1][-1]["unused.weight"] is None
    assert_the_same(*both)


def test_dropout_draws_anew_in_every_replay(tmp_path):
    both = [train(tmp_path, FREELB, capture, model=tiny_bert(hidden_dropout_prob=0.3)) for capture in (False, True)]
    # The stand-in draws from torch's generator in the order of the step: even these numbers are the same.
    assert_the_same(*both)
    losses = [entry["loss"] for entry in both[1][0].state.log_history if "loss" in entry]
    assert len(set(losses)) == len(losses)


def test_autocast_casts_weights_in_every_replay(tmp_path):
    assert_the_same(*[train(tmp_path, FREELB, capture, bf16=True) for capture in (False, True)])


def test_resumed_it_ends_as_without_a_break(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 5}
    whole = train(tmp_path / "whole", FREELB, True, steps=10, **options)
    eager = train(tmp_path / "eager", FREELB, False, steps=10)
    resumed = train(
        tmp_path / "whole", FREELB, True, steps=10, **options,
        resume=str(tmp_path / "whole" / "checkpoint-5"),
    )  # fmt: skip
    assert resumed[2][0].replays == 5 - WARM_UP
    for name, weight in weights(whole[0]).items():
        assert torch.equal(weight, weights(resumed[0])[name]) and torch.equal(weight, weights(eager[0])[name])


def test_graphs_end_with_the_training(tmp_path):
    trainer, _, _ = train(tmp_path, FREELB, True)
    assert trainer.captured.graphs == 0
    assert trainer.captured._gradients == {} == trainer.captured._recorded


def test_a_step_that_reads_a_number_back_is_refused(tmp_path):
    class Reading(AdversarialTrainer):
        def compute_loss(self, *args, **kwargs):
            found = super().compute_loss(*args, **kwargs)
            loss = found[0] if isinstance(found, tuple) else found
            self.__dict__.setdefault("losses", []).append(loss.item())
            return found

    with pytest.raises(ConfigurationError, match=r"waits for none of it, got one that cannot be captured \(operation"):
        train(tmp_path, FREELB, True, kind=Reading)


def test_more_shapes_than_graphs_are_refused(tmp_path):
    data = Dataset.from_list([{"input_ids": [7] * n, "attention_mask": [1] * n, "labels": 0} for n in range(4, 30)])
    options = {"per_device_train_batch_size": 1, "max_steps": 26, "pad_to_buckets": None, "data": data}
    with pytest.raises(ConfigurationError, match=r"16 shapes, got one more .*pad_to_buckets="):
        train(tmp_path, None, True, **options)
    assert MOST_SHAPES == 16
    _, gradients, _ = train(tmp_path, None, True, **options | {"pad_to_buckets": [10, 30]})
    assert len(gradients) == 26


def test_what_a_batch_may_hold(tmp_path):
    class Lists(DataCollatorWithPadding):
        def __call__(self, features):
            return super().__call__(features) | {"names": ["a", "b"]}

    with pytest.raises(DataError, match="plain values in a batch, got names of type list"):
        train(tmp_path, None, True, collator=Lists)


def test_weights_that_were_moved_are_noticed(tmp_path):
    class Moving(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 4:
                model.classifier.weight.data = model.classifier.weight.data.clone()

    with pytest.raises(ConfigurationError, match="expected weights that stay where they are"):
        train(tmp_path, FREELB, True, callbacks=[Moving()])
