"""The search by trained gates: their schedule, their floor, their shadows, and the settings of the released code."""

from __future__ import annotations

import pytest
import torch
from transformers import TrainerCallback

from hf_robust_tickets import RobustTicketArguments, RobustTicketTrainer
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.tickets import attach_gates, detach_gates, draw_ticket, get_gates, get_shadows
from hf_robust_tickets.tickets.gates import kinds_cut_near_zero
from tests.testing.jobs import make_args, make_trainer
from tests.testing.tiny import tiny_bert, tiny_data


class Watch(TrainerCallback):
    """Rates and gates of each step of the search."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.groups: list[dict] = []
        self.shadow_rates: list[float] = []
        self.lowest = 1.0
        self.parameters: set[int] = set()

    def on_step_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.rates.append([group["lr"] for group in optimizer.param_groups])
        self.groups = [
            {"weight_decay": g["weight_decay"], "names": {id(p) for p in g["params"]}} for g in optimizer.param_groups
        ]

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.gates, self.shadows = get_gates(model), get_shadows(model)
        if self.shadows is not None:
            self.shadow_rates.append(self.shadows._optimizer.param_groups[0]["lr"])
        for gates in (self.gates, self.shadows and self.shadows.gates):
            for gate in [] if gates is None else gates.parameters():
                self.lowest = min(self.lowest, gate.min().item())


def search(folder, **options):
    trainer = RobustTicketTrainer(model=tiny_bert(), args=make_args(folder, **options), train_dataset=tiny_data(32))
    watch = Watch()
    trainer._own_callbacks.append(watch)
    trainer.search()
    return trainer, watch


def test_the_gates_rate_does_not_depend_on_the_budget(tmp_path):
    options = {"gate_shadow": True, "ticket_tolerance": 1e-6, "learning_rate": 1e-4}
    _, watch = search(tmp_path / "constant", **options)
    gates, weights = [rates[-1] for rates in watch.rates], [rates[0] for rates in watch.rates]
    assert gates == [1e-3] * 8 and watch.shadow_rates == gates
    assert max(weights) == pytest.approx(1e-4) and weights[-1] < 0.3e-4
    _, watch = search(tmp_path / "linear", **options, gate_schedule="linear")
    assert watch.rates[-1][-1] < 0.3e-3 and watch.rates[0][-1] == 0


def test_gates_and_shadows_stay_above_zero(tmp_path):
    options = {
        "gate_learning_rate": 0.2,
        "gate_l1_neurons": 1.0,
        "gate_l1_heads": 0.0,
        "neuron_sparsity": 0.0,
        "adversary_step_unit": "absolute",
    }
    _, watch = search(tmp_path, **options, gate_shadow=True, ticket_tolerance=1e-6)
    assert watch.lowest == 0
    assert all(bool((gate == 0).all()) for gate in watch.gates.neurons)
    assert not all(bool((shadow == 0).all()) for shadow in watch.shadows.gates.neurons)


def test_a_cut_among_gates_near_zero_is_told(tmp_path, caplog):
    options = {"gate_learning_rate": 0.13, "gate_l1_neurons": 1e-5, "gate_l1_heads": 0.0, "head_sparsity": 0.0}
    trainer, _ = search(tmp_path, **options, ticket_tolerance=1e-6, search_epochs=1.9)
    assert trainer.search_log[-1]["near_zero_neurons"] > 0.4
    assert "the cut of the neurons falls among gates that are all near zero" in caplog.text
    gates = attach_gates(tiny_bert())
    with torch.no_grad():
        for gate in (*gates.heads, *gates.neurons):
            gate[: len(gate) // 2] = torch.linspace(0, 0.04, len(gate) // 2)
    # Half are near zero: a cut of 40 % falls among them, one of 50 % does not.
    assert kinds_cut_near_zero(gates, draw_ticket(gates, 0.5, 0.4, round_to=1)) == ["neurons"]
    assert kinds_cut_near_zero(gates, draw_ticket(gates, 0.5, 0.5, round_to=1)) == []


def test_the_shadow_is_logged_for_every_ticket(tmp_path):
    trainer, watch = search(tmp_path, gate_shadow=True, ticket_tolerance=0.9)
    assert watch.shadows is not None
    first, *rest = trainer.search_log
    assert first["shadow_head_distance"] is None
    for record in rest:
        assert 0 <= record["shadow_neuron_distance"] <= 1 and record["shadow_neuron_distance_window"] is not None
    # Shadows are no part of the model, and gone with its gates.
    assert trainer.card_facts().ticket is None  # the model is not cut yet
    assert get_shadows(trainer.model) is None


def test_noise_in_the_gates_uses_up_the_budget_of_a_job(tmp_path):
    """Gates whose gradients are noise, under a schedule that runs out: settled without shadows, not with them."""

    class Noise(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            generator = torch.Generator().manual_seed(state.global_step)
            for gate in get_gates(model).parameters():
                gate.grad = torch.randn(gate.shape, generator=generator)

    options = {"gate_schedule": "linear", "gate_learning_rate": 1e-2, "ticket_tolerance": 0.1, "ticket_patience": 5}
    options |= {"search_epochs": 20, "ticket_interval": 0.5, "adversary": "none", "adversary_steps": None}
    settled = {}
    for shadowed in (False, True):
        args = make_args(tmp_path / str(shadowed), **options, gate_shadow=shadowed, head_sparsity=0.0)
        trainer = RobustTicketTrainer(model=tiny_bert(), args=args, train_dataset=tiny_data(32))
        # Before the callback that gives the shadows their gradients.
        trainer._own_callbacks.append(Noise())
        trainer.search()
        settled[shadowed] = trainer.converged
    assert settled == {False: True, True: False}


def test_a_ticket_at_a_step_that_was_asked_for(tmp_path):
    trainer = make_trainer(tmp_path, ticket_tolerance=0.9, ticket_at_step=7, ticket_interval=0.5)
    trainer.search()
    assert [record["step"] for record in trainer.search_log] == [2, 4, 6, 7]
    assert trainer.search_log[-1]["asked"] and trainer.ticket == trainer.tickets[-1]
    with pytest.raises(ConfigurationError, match="within the 8 steps of the search, got 9"):
        make_trainer(tmp_path / "late", ticket_at_step=9)


def test_the_search_of_earlybert_has_no_adversary(tmp_path):
    trainer = make_trainer(tmp_path, adversary="none", adversary_steps=None, ticket_tolerance=0.9)
    trainer.train()
    assert trainer.cost["search"]["passes"] == trainer.cost["search"]["steps"]
    assert trainer.card_facts().adversaries["search"] is None


def test_the_released_settings(tmp_path):
    args = RobustTicketArguments.earlyrobust(output_dir=str(tmp_path), report_to="none")
    assert (args.adversary, args.adversary_steps, args.adversary_step_size) == ("freelb", 5, 0.01)
    assert (args.adversary_init_magnitude, args.adversary_max_norm, args.adversary_start_step) == (0.05, 0, 0)
    assert (args.gate_l1_heads, args.gate_l1_neurons, args.ticket_interval) == (1e-5, 2e-4, 0.05)
    assert (args.search_epochs, args.search_warmup, args.num_train_epochs) == (1, 0.1, 10)
    assert (args.learning_rate, args.search_weight_decay, args.weight_decay) == (2e-5, 0.01, 0)
    args = RobustTicketArguments.earlyrobust(
        output_dir=str(tmp_path), report_to="none", per_device_train_batch_size=8, num_train_epochs=1,
        ticket_at_step=3, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    assert args.num_train_epochs == 1
    trainer, watch = RobustTicketTrainer(model=tiny_bert(), args=args, train_dataset=tiny_data(64)), Watch()
    trainer._own_callbacks.append(watch)
    trainer.search()
    # Gates in the weights' own group, and shadows with the settings of that.
    decayed, _ = watch.groups
    assert {id(gate) for gate in watch.gates.parameters()} <= decayed["names"]
    assert decayed["weight_decay"] == watch.shadows._optimizer.param_groups[0]["weight_decay"] == 0.01
    assert watch.shadow_rates == [rates[0] for rates in watch.rates] and watch.rates[1][0] == pytest.approx(2e-5)
    assert trainer.search_log[-1]["step"] == 3


def test_what_does_not_go_together(tmp_path):
    with pytest.raises(ConfigurationError, match="gate_schedule='constant': pass gate_schedule='linear'"):
        make_args(tmp_path, gate_learning_rate=None)
    with pytest.raises(ConfigurationError, match="gate_schedule must be one of constant, linear"):
        make_args(tmp_path, gate_schedule="cosine")


def test_shadows_leave_with_their_gates():
    from hf_robust_tickets.tickets import attach_shadows

    model = tiny_bert()
    names = set(model.state_dict())
    attach_gates(model)
    shadows = attach_shadows(model)
    assert len(shadows.gates.heads) == len(shadows.gates.neurons) == 2
    assert len(set(model.state_dict()) - names) == 4  # the gates alone
    detach_gates(model)
    assert set(model.state_dict()) == names and get_shadows(model) is None
