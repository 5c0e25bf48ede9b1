"""How many operations a step asks of the device: they are launches, and launches are the time of small batches."""

from __future__ import annotations

from collections import Counter

import pytest

from hf_robust_tickets import AdversarialTrainer, prune_, random_ticket
from hf_robust_tickets.adversaries import PGD, TRADES, FreeLB
from tests.testing.device import NAME
from tests.testing.fake_waits import watched_operations
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(NAME == "cuda", reason="operations are counted on the fake device: `make test-fake`"),
]


class Counting(AdversarialTrainer):
    """Counts what each step asks of the device."""

    def training_step(self, *args, **kwargs):
        with watched_operations() as found:
            loss = super().training_step(*args, **kwargs)
        self.__dict__.setdefault("counts", []).append(Counter(found))
        return loss


def operations(folder, adversary, model=None, **options):
    """Of the second step: the first makes what is kept."""
    trainer = Counting(
        model or tiny_bert(), arguments(folder, max_steps=2, logging_steps=50, **options), train_dataset=tiny_data(),
        adversary=adversary,
    )  # fmt: skip
    trainer.train()
    return trainer.counts[1].total()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return operations(tmp_path_factory.mktemp("plain"), None)


def test_a_pruned_step_asks_for_as_much_as_a_dense_one(tmp_path, plain):
    model = tiny_bert()
    prune_(model, random_ticket(model, 0.5, 0.5))
    assert operations(tmp_path, None, model) == plain


def test_what_a_pass_adds(tmp_path, plain):
    """A pass of FreeLB is a plain step, a sum of gradients per weight, and seven operations more."""
    three, five = (operations(tmp_path, FreeLB(steps=steps)) for steps in (3, 5))
    sums = len(list(tiny_bert().parameters()))
    assert (five - three) / 2 <= plain + sums + 7
    # A start, the masks, and what the log says of a step.
    assert three - 3 * (plain + sums + 7) <= 40


@pytest.mark.parametrize(
    ("adversary", "plain_steps"), [(PGD(steps=3), 3), (TRADES(steps=2), 4)], ids=["pgd", "trades"]
)
def test_passes_for_the_ascent_ask_for_less(adversary, plain_steps, tmp_path, plain):
    assert operations(tmp_path, adversary) <= plain_steps * plain * 1.05


def test_layers_below_run_once(tmp_path):
    """Of two layers the lower one once, the upper one three times."""
    whole = operations(tmp_path / "whole", FreeLB(steps=3))
    assert operations(tmp_path / "upper", FreeLB(steps=3), adversary_layer=1) < 0.8 * whole
