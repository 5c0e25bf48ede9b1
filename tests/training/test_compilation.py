"""`torch.compile` of an attacked step: one graph for all passes, and the gradient of the step that is not compiled."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import PGD, SMART, TRADES, FreeLB
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments, weights

COMPILED = {"torch_compile": True, "torch_compile_backend": "eager", "use_cpu": True}


def compiled(folder, adversary, **options):
    """Graphs and frames that a training of three steps compiles, and where graphs broke."""
    torch._dynamo.reset()
    counters.clear()
    args = arguments(folder, max_steps=3, **{**COMPILED, **options})
    trainer = AdversarialTrainer(tiny_bert(), args, train_dataset=tiny_data(), adversary=adversary)
    trainer.train()
    return counters["stats"]["unique_graphs"], counters["frames"]["total"], dict(counters["graph_break"]), trainer


# The passes of PGD that only climb have labels as well; those of the others do not: another signature, another graph.
@pytest.mark.parametrize(
    ("adversary", "more"),
    [
        (FreeLB(steps=3), 0),
        pytest.param(FreeLB(steps=5, max_norm=0.2), 0, marks=pytest.mark.slow),
        pytest.param(PGD(steps=3, init_magnitude=0.1), 0, marks=pytest.mark.slow),
        pytest.param(TRADES(steps=2), 2, marks=pytest.mark.slow),
        pytest.param(SMART(), 2, marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_all_passes_share_the_graphs_of_a_plain_step(adversary, more, tmp_path):
    graphs, frames, broken, _ = compiled(tmp_path / "plain", None)
    assert graphs >= 1 and not broken
    found, entered, broken, trainer = compiled(tmp_path / "attacked", adversary)
    assert not broken and found <= graphs + more and entered <= frames + more
    assert int(trainer.skipped_ascents) == 0 and trainer.state.log_history[0]["adversary_delta_norm"] > 0


def test_the_weights_are_those_of_a_training_that_is_not_compiled(tmp_path):
    adversary = FreeLB(steps=3, init_magnitude=0.1)
    *_, trainer = compiled(tmp_path / "compiled", adversary)
    plain = AdversarialTrainer(
        tiny_bert(), arguments(tmp_path / "plain", max_steps=3), train_dataset=tiny_data(), adversary=adversary
    )
    plain.train()
    found = {name.removeprefix("_orig_mod."): value for name, value in weights(trainer).items()}
    for name, weight in weights(plain).items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-6)
