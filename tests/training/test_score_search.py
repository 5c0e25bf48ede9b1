"""The search by first-order scores: what it moves, what it reads, when it ends, and what it refuses."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from hf_robust_tickets import RobustTicketTrainer
from hf_robust_tickets.errors import ConfigurationError, DataError, TicketError, UnknownNameError
from hf_robust_tickets.tickets import (
    Score,
    ScoreSums,
    attach_gates,
    draw_ticket,
    get_score,
    register_score,
)
from hf_robust_tickets.training.jobs import console
from tests.testing.jobs import make_args, make_trainer
from tests.testing.tiny import tiny_bert, tiny_data

SCORING = {"ticket_score": "taylor", "score_warmup": 3, "score_batches": 4, "ticket_tolerance": 1e-3}
ADVERSARIAL = {**SCORING, "ticket_score": "adversarial-taylor"}


class Watch(TrainerCallback):
    """Weights, gates and gradients of each step of the search."""

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.gates: list[torch.Tensor] = []
        self.rates: list[float] = []

    def on_step_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.weights.append(model.classifier.weight.detach().clone())
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_end(self, args, state, control, model=None, **kwargs):
        self.weights.append(model.classifier.weight.detach().clone())
        self.gates = [p.detach().clone() for name, p in model.named_parameters() if "gate" in name]


def search(folder, model=None, data=None, **options):
    """A search whose sums are kept, and what it did to the weights."""
    trainer = RobustTicketTrainer(
        model=model or tiny_bert(), args=make_args(folder, **options), train_dataset=data or tiny_data(32)
    )
    watch = Watch()
    trainer._own_callbacks.append(watch)
    kept = {}

    class Keep(TrainerCallback):
        def on_train_end(self, *args, **kwargs):
            kept["sums"] = trainer._search.callback._sums.scores()

    trainer._own_callbacks.append(Keep())
    trainer.search()
    return trainer, watch, kept["sums"]


def flat(scores) -> torch.Tensor:
    return torch.cat([*scores.heads, *scores.neurons])


@pytest.mark.parametrize("more", [{}, {"gradient_checkpointing": True}], ids=["frozen", "not-frozen"])
@pytest.mark.parametrize("options", [SCORING, ADVERSARIAL], ids=["clean", "attacked"])
def test_the_warm_up_trains_and_scoring_moves_nothing(tmp_path, options, more):
    options = {**options, **more}
    trainer, watch, _ = search(tmp_path, **options, weight_decay=0.1, learning_rate=1e-3)
    assert trainer.cost["search"]["steps"] == 7 and len(watch.weights) == 8
    moved = [not torch.equal(a, b) for a, b in zip(watch.weights, watch.weights[1:])]
    assert moved == [True] * 3 + [False] * 4
    assert watch.gates and all(bool((gate == 1).all()) for gate in watch.gates)
    # A plain step each; the attack of two passes in the batches that are scored alone.
    assert trainer.cost["search"]["passes"] == (7 if options["ticket_score"] == "taylor" else 3 + 4 * 2)
    assert all(p.requires_grad and p.grad is None for p in trainer.model.parameters())


def test_the_scores_are_those_of_a_loop_by_hand(tmp_path):
    # Without a warm-up, all batches of an epoch are scored by the weights of the start: their order is no matter.
    data = tiny_data(32)
    trainer, _, found = search(tmp_path, data=data, **{**SCORING, "score_warmup": 0})
    model = tiny_bert()
    gates, sums = attach_gates(model), ScoreSums(get_score("taylor"))
    order = first_epoch_order(trainer)
    for start in range(0, 32, 8):
        totals = [torch.zeros_like(gate) for gate in gates.parameters()]
        for example in order[start : start + 8]:
            loss = model(**data.with_format("torch")[[example]]).loss / 8
            for total, gradient in zip(totals, torch.autograd.grad(loss, gates.parameters())):
                total += gradient.abs()
        for gate, total in zip(gates.parameters(), totals):
            gate.grad = total
        sums.add(gates)
    torch.testing.assert_close(flat(found), flat(sums.scores()), rtol=1e-4, atol=1e-9)
    assert trainer.ticket == draw_ticket(sums.scores(), 1 / 6, 0.4, round_to=1)


def first_epoch_order(trainer) -> list[int]:
    set_seed(trainer.args.seed)
    sampler = trainer.get_train_dataloader().batch_sampler.sampler
    return list(sampler)


@pytest.mark.parametrize("options", [SCORING, ADVERSARIAL])
def test_clipping_and_accumulation_do_not_distort_scores(tmp_path, options):
    options = {**options, "score_warmup": 0, "adversary_init_magnitude": 0.0}
    _, _, whole = search(tmp_path / "whole", **options)
    _, _, clipped = search(tmp_path / "clipped", **options, max_grad_norm=1e-6)
    assert torch.equal(flat(whole), flat(clipped))
    checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    _, _, not_frozen = search(tmp_path / "not-frozen", **options, **checkpointing)
    torch.testing.assert_close(flat(not_frozen), flat(whole), rtol=1e-4, atol=1e-9)
    parts = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    _, _, accumulated = search(tmp_path / "accumulated", **options, **parts)
    torch.testing.assert_close(flat(accumulated), flat(whole), rtol=2e-3, atol=1e-8)


def test_gates_stay_out_of_the_norm_that_clips_the_warm_up(tmp_path):
    """The warm-up is plain training: its weights are those of a training without gates."""
    options = {"learning_rate": 1e-2, "max_grad_norm": 1e-3, "optim": "sgd", "search_warmup": 0.0}
    _, watch, _ = search(tmp_path / "search", **SCORING, **options)
    args = TrainingArguments(
        str(tmp_path / "plain"), max_steps=3, per_device_train_batch_size=8, lr_scheduler_type="constant",
        save_strategy="no", report_to="none", learning_rate=1e-2, max_grad_norm=1e-3, optim="sgd",
    )  # fmt: skip
    seen = Watch()
    Trainer(model=tiny_bert(), args=args, train_dataset=tiny_data(32), callbacks=[seen]).train()
    torch.testing.assert_close(watch.weights[3], seen.weights[3], rtol=0, atol=1e-7)


def test_the_attacked_score_is_that_of_the_end_of_the_ascent(tmp_path):
    """FreeLB weighs all its passes in training; scored, it is PGD, whose last pass alone counts."""
    start = {**ADVERSARIAL, "score_warmup": 0, "adversary_init_magnitude": 0.0, "adversary_steps": 3}
    lengths = {"adversary_step_size": 0.5, "adversary_max_norm": 0.0}
    _, _, freelb = search(tmp_path / "freelb", **start, **lengths, adversary="freelb")
    _, _, pgd = search(tmp_path / "pgd", **start, **lengths, adversary="pgd")
    assert torch.equal(flat(freelb), flat(pgd))
    _, _, clean = search(tmp_path / "clean", **{**start, "ticket_score": "taylor"})
    assert not torch.allclose(flat(freelb), flat(clean), rtol=1e-2)
    # From the output of a layer on, with the layers below cached; late starts and clean passes are no matter.
    late = {"adversary_start_step": 0.9, "adversary_every": 2, "adversary_clean_weight": 0.5}
    _, _, again = search(tmp_path / "again", **start, **lengths, **late)
    assert torch.equal(flat(freelb), flat(again))
    _, _, layer = search(tmp_path / "layer", **start, **lengths, adversary_layer=1)
    assert bool((flat(layer) > 0).all())


def test_methods_of_other_kinds_are_scored_too(tmp_path):
    for method in ("trades", "free-at", "fgm"):
        options = {**ADVERSARIAL, "adversary": method, "adversary_steps": None}
        _, watch, scores = search(tmp_path / method, **options)
        assert bool((flat(scores) > 0).all()) and torch.equal(watch.weights[-1], watch.weights[3])


def test_it_stops_when_the_halves_agree(tmp_path, caplog):
    trainer = make_trainer(tmp_path, **{**SCORING, "ticket_tolerance": 0.9, "head_sparsity": 0.0})
    trainer.train()
    last = trainer.search_log[-1]
    # What the halves have in common decides, not the tolerance, which is wide open.
    halved = [r["neuron_distance_halves"] <= r["neuron_distance_chance"] / 2 for r in trainer.search_log]
    assert trainer.converged is last["stop"] is halved[-1] and not any(halved[:-1])
    assert trainer.ticket == trainer.tickets[-1]
    for record in trainer.search_log:
        assert record["batches"] == record["step"] - 3
        assert record["neuron_distance_chance"] == pytest.approx(0.48, abs=0.05)
        assert record["head_distance_halves"] == record["head_distance_chance"] == 0
    written = json.loads((tmp_path / "search_log.json").read_text())
    assert written["log"] == trainer.search_log and "sums" not in written
    again = make_trainer(tmp_path, **{**SCORING, "ticket_tolerance": 0.9, "head_sparsity": 0.0})
    again.search(resume_from_checkpoint=True)
    assert again.ticket == trainer.ticket and again.tickets == trainer.tickets


def test_a_strong_signal_settles_and_ends_the_search(tmp_path):
    """One layer of neurons is worth a hundred times the other: the halves see it at once."""
    model = tiny_bert()
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight.mul_(1e-3)
        for i, layer in enumerate(model.bert.encoder.layer):
            layer.output.dense.weight.mul_(torch.logspace(-3, 1, 64)[torch.randperm(64)] * (i + 1))
    options = {**SCORING, "score_warmup": 0, "ticket_tolerance": 0.2, "score_batches": 8, "head_sparsity": 0.0}
    trainer, _, _ = search(tmp_path, model=model, **options)
    assert trainer.converged and trainer.search_log[-1]["batches"] < 8
    assert trainer.search_log[-1]["neuron_distance_halves"] < 0.2


def test_noise_uses_up_the_budget(tmp_path, caplog):
    class Noise(Score):
        name: ClassVar[str] = "test-noise"
        draws = torch.Generator().manual_seed(0)

        def of_units(self, gate, gradient):
            return torch.rand(gate.shape, generator=self.draws)

    register_score("test-noise", Noise)
    trainer = make_trainer(tmp_path, **{**SCORING, "ticket_score": "test-noise", "ticket_tolerance": 0.2})
    trainer.search()
    assert trainer.converged is False and trainer.search_log[-1]["batches"] == 4
    assert "tickets of even and of odd batches still differed" in caplog.text
    assert trainer.ticket == trainer.tickets[-1]


def test_a_ticket_at_a_step_that_was_asked_for(tmp_path, caplog):
    trainer = make_trainer(tmp_path, **{**SCORING, "ticket_tolerance": 0.9, "ticket_at_step": 6})
    trainer.train()
    assert trainer.search_log[-1]["step"] == 6 and trainer.search_log[-1]["asked"]
    assert trainer.ticket == trainer.tickets[-1] and "still differed" not in caplog.text
    said = [record.getMessage() for record in caplog.records if record.name == console.__name__]
    assert (
        said[0] == "search (1 of 2): 3 plain steps, then the score taylor, until step 6, as asked; 4 batches at most"
    )
    assert said[1] == "ticket drawn as asked at step 6, epoch 1.50, after 3 scored batches"
    facts = trainer.card_facts()
    assert "asked for" in facts.ticket["origin"] and facts.search["ticket_score"] == "taylor"
    assert facts.search["ticket_at_step"] == 6 and "gate_learning_rate" not in facts.search
    assert facts.adversaries["search"] is None


def test_the_line_of_a_search_under_attack(tmp_path, caplog):
    trainer = make_trainer(tmp_path, **ADVERSARIAL)
    trainer.search()
    (line,) = (r.getMessage() for r in caplog.records if r.getMessage().startswith("search (1 of 2)"))
    assert line == (
        "search (1 of 2): 3 plain steps, then the score adversarial-taylor under adversarial training (freelb), until "
        "the tickets of even and of odd batches are within 0.001; 4 batches at most"
    )
    trainer.train()
    assert trainer.card_facts().adversaries["search"]["name"] == "freelb"


def test_options_of_an_attack_that_is_not_used_are_told(tmp_path, caplog):
    make_trainer(tmp_path, **SCORING).search()
    assert caplog.text.count("adversary_steps has no effect on the search") == 1
    caplog.clear()
    make_trainer(tmp_path / "none", **SCORING, adversary="none", adversary_steps=None).search()
    assert "no effect" not in caplog.text


def test_rewinding_and_not(tmp_path):
    start = tiny_bert(hidden_dropout_prob=0.1).classifier.weight.detach().clone()
    for rewind in (True, False):
        trainer = make_trainer(tmp_path / str(rewind), **SCORING, rewind=rewind, learning_rate=1e-3)
        trainer.search()
        assert torch.equal(trainer.model.classifier.weight, start) is rewind


def test_the_default_warm_up_is_a_tenth_of_an_epoch_and_60_steps_where_there_is_room(tmp_path):
    def warmup(examples, **options):
        args = make_args(tmp_path, ticket_score="taylor", score_batches=4, adversary_steps=None, **options)
        trainer = RobustTicketTrainer(model=tiny_bert(), args=args, train_dataset=tiny_data(examples))
        return trainer._search_method().warmup

    assert warmup(8 * 28, search_epochs=1) == 24
    assert warmup(8 * 40, search_epochs=1) == 36
    assert warmup(8 * 300, search_epochs=1) == 60
    assert warmup(8 * 700, search_epochs=1) == 70
    assert warmup(8 * 40, search_epochs=3) == 60
    assert warmup(8 * 40, search_epochs=1, score_warmup=0.2) == 8
    assert warmup(8 * 40, search_epochs=1, score_warmup=11) == 11
    assert warmup(4 * 40, search_epochs=1, gradient_accumulation_steps=2, per_device_train_batch_size=2) == 36


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ticket_score": "magic"}, UnknownNameError, "unknown score 'magic': expected one of adversarial-taylor"),
        ({"score_warmup": 6}, DataError, r"needs 10 steps, 6 of warm-up and 4 batches, got 8 in the budget"),
        ({"score_warmup": 6}, DataError, r"search_epochs=2\.5"),
        ({"score_warmup": None}, DataError, "needs 28 steps, 24 of warm-up and 4 batches"),
        ({"score_warmup": 1.5}, ConfigurationError, "score_warmup must be a number of steps"),
        ({"score_batches": 3}, ConfigurationError, "score_batches must be an even number of at least 2, got 3"),
        ({"score_normalisation": "max"}, ConfigurationError, "score_normalisation must be one of none, l2"),
        ({"ticket_at_step": 0}, ConfigurationError, "ticket_at_step must be a step, from 1 on, or -1, got 0"),
        ({"ticket_at_step": 4}, ConfigurationError, "leave two batches to score after 3 steps of warm-up, got 4"),
        ({"ticket_at_step": 8}, ConfigurationError, "within the 7 steps of the search, got 8"),
        (
            {"ticket_score": "adversarial-taylor", "adversary": "none", "adversary_steps": None},
            ConfigurationError,
            "a loss under attack, got adversary='none'",
        ),
    ],
)
def test_refusals(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        make_trainer(tmp_path, **{**SCORING, **options})
    assert not list(tmp_path.iterdir()), "a refused job leaves nothing in the folder"


def test_enough_data_when_asked_to_see_it_again(tmp_path):
    trainer = make_trainer(tmp_path, **{**SCORING, "score_warmup": 6, "search_epochs": 2.5})
    trainer.search()
    assert trainer.cost["search"]["steps"] == 10


def test_scores_that_are_all_equal_or_not_finite(tmp_path):
    model = tiny_bert()
    torch.nn.init.zeros_(model.classifier.weight)
    with pytest.raises(TicketError, match="scores of the heads that differ, got 8 times 0"):
        make_trainer(tmp_path / "zero", model, **{**SCORING, "score_warmup": 0}).search()
    model = tiny_bert()
    model.classifier.weight.data[0, 0] = float("inf")
    with pytest.raises(TicketError, match="expected finite scores of the heads, got NaN or infinity"):
        make_trainer(tmp_path / "inf", model, **{**SCORING, "score_warmup": 0}).search()


def test_a_compiled_model_is_scored_too(tmp_path):
    _, _, expected = search(tmp_path / "eager", **SCORING, use_cpu=True)
    compiled = {"torch_compile": True, "torch_compile_backend": "aot_eager", "use_cpu": True}
    _, _, found = search(tmp_path / "compiled", **SCORING, **compiled)
    torch.testing.assert_close(flat(found), flat(expected), rtol=1e-3, atol=1e-8)
