"""The callback that attacks a development sample during training."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from hf_robust_tickets import AdversarialTrainer, RobustSelectionCallback
from hf_robust_tickets.errors import ConfigurationError, DataError, UnknownNameError
from hf_robust_tickets.evaluation import evaluate_white_box
from tests.testing.paths import ROOT
from tests.testing.ranks import TORCHRUN, run_ranks
from tests.testing.tiny import tiny_bert, tiny_data, tiny_tokenizer
from tests.testing.watched_training import KEY, PGD_3, arguments, callback, train


class Seen(TrainerCallback):
    """Stands for a tracker."""

    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs, **kwargs):
        self.logs.append((state.global_step, dict(logs)))


EVERY_TWO = {"eval_strategy": "steps", "eval_steps": 2}


def test_training_is_the_same_bit_by_bit_and_so_are_the_random_states(tmp_path):
    ends = []
    for callbacks in ([], [callback(every_n_steps=1)]):
        trainer = train(tmp_path, callbacks)
        weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
        ends.append((weights, torch.rand(1), random.random(), np.random.random()))
    assert torch.equal(ends[0][0], ends[1][0])
    assert ends[0][1:] == ends[1][1:]
    assert [entry["step"] for entry in trainer.callback_handler.callbacks[0].history] == [1, 2, 3, 4]


def test_the_figure_is_in_metrics_log_and_trackers_and_is_that_of_the_attack(tmp_path):
    seen, attack = Seen(), callback()
    trainer = train(tmp_path, [seen, attack], **EVERY_TWO)  # the tracker is named first
    evaluations = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert [entry["step"] for entry in evaluations] == [2, 4]
    assert [entry[KEY] for entry in evaluations] == [entry[KEY] for entry in attack.history]
    assert [logs[KEY] for _, logs in seen.logs if "eval_loss" in logs] == [entry[KEY] for entry in attack.history]
    assert not any(KEY in entry for entry in trainer.state.log_history if "loss" in entry)
    metrics = trainer.evaluate()
    expected = evaluate_white_box(
        trainer.model, tiny_data(24, seed=7), adversary=PGD_3, num_examples=12, progress=False
    )
    assert metrics["eval_attack_sample_accuracy"] == expected.clean_accuracy
    assert metrics[KEY] == pytest.approx(expected.robust_accuracy[0.03], abs=1 / 12)  # another random start
    assert len(attack.history) == 3


def test_steps_without_an_evaluation_are_logged(tmp_path):
    seen = Seen()
    train(tmp_path, [seen, callback(every_n_steps=2)], logging_steps=100)
    assert [step for step, logs in seen.logs if KEY in logs] == [2, 4]


class Scripted(RobustSelectionCallback):
    """Finds what it is told to, so that the best step is known."""

    figures = (0.2, 0.9, 0.4, 0.3)

    def _attack(self, sample, model, tokenizer):
        return 1.0, self.figures[len(self.history)] if len(self.history) < 4 else 0.0


def scripted(**options):
    return Scripted(tiny_data(24), PGD_3, num_examples=4, **options)


BEST = {
    "eval_strategy": "steps",
    "eval_steps": 1,
    "save_strategy": "steps",
    "save_steps": 1,
    "metric_for_best_model": "accuracy_under_attack",
    "load_best_model_at_end": True,
}


@pytest.mark.parametrize("kind", [AdversarialTrainer, Trainer])
def test_it_chooses_the_best_model_and_stops_early(tmp_path, kind):
    # Early stopping is named first: in this package's trainers the attack comes before it all the same.
    callbacks = [EarlyStoppingCallback(2), scripted()] if kind is AdversarialTrainer else [scripted()]
    trainer = train(tmp_path, callbacks, kind, **BEST)
    assert trainer.state.best_metric == 0.9 and trainer.state.best_global_step == 2
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")
    assert trainer.state.global_step == 4
    assert [entry[KEY] for entry in trainer.state.log_history if "eval_loss" in entry] == list(Scripted.figures)


def test_early_stopping_stops(tmp_path):
    trainer = train(tmp_path, [EarlyStoppingCallback(1), scripted()], **BEST)
    assert trainer.state.global_step == 3


def test_plain_trainers_give_it_to_trackers_after_join(tmp_path):
    seen, attack = Seen(), callback()
    trainer = Trainer(
        tiny_bert(),
        arguments(tmp_path),
        eval_dataset=tiny_data(8),
        callbacks=[seen, attack],
        train_dataset=tiny_data(8),
    )
    assert KEY in trainer.evaluate() and KEY not in seen.logs[0][1]
    attack.join(trainer)
    trainer.evaluate()
    assert KEY in seen.logs[1][1]
    assert trainer.callback_handler.callbacks.count(attack) == 1


def test_texts_are_attacked_with_a_recipe(tmp_path):
    data = [{"text": f"w{i} w{i + 1} w9", "label": int(i >= 32)} for i in range(5, 55, 5)]
    attack = RobustSelectionCallback(data, tokenizer=tiny_tokenizer(), num_examples=4)
    trainer = train(tmp_path, [attack], max_steps=1)
    metrics = trainer.evaluate()
    assert 0 <= metrics[KEY] <= metrics["eval_attack_sample_accuracy"] <= 1


def test_what_cannot_work_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(ConfigurationError, match="every_n_steps=3: leave it out"):
        train(tmp_path, [scripted(every_n_steps=3)], **(BEST | {"eval_steps": 2, "save_steps": 2}))
    with pytest.raises(ConfigurationError, match="expected a tokenizer"):
        train(tmp_path, [RobustSelectionCallback([{"text": "a", "label": 0}])])
    with pytest.raises(UnknownNameError):
        callback("deepwordbugs")
    with pytest.raises(ConfigurationError, match="leaves an accuracy"):
        callback("input-reduction")
    with pytest.raises(ConfigurationError, match="num_examples"):
        callback(size=0)
    with pytest.raises(ConfigurationError, match="expected no output_dir"):
        callback(output_dir=tmp_path)
    with pytest.raises(DataError, match="label_column"):
        RobustSelectionCallback([{"text": "a"}])


RANKS = """
import sys
sys.path.insert(0, {root!r})
from hf_robust_tickets import RobustSelectionCallback
from tests.testing.tiny import tiny_bert, tiny_data, tiny_tokenizer
from tests.testing.watched_training import KEY, callback, train, words_of
import torch
attack = callback()
if {words}:
    texts = words_of(tiny_data(4, seed=7))
    attack = RobustSelectionCallback(texts, "deepwordbug", num_examples=2, tokenizer=tiny_tokenizer())
if {sharded}:
    from tests.testing.sharded_on_cpu import allow_sharding_on_cpu
    allow_sharding_on_cpu()
    config = {{"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}}
    options = {{"fsdp": True, "fsdp_config": config | {{"transformer_layer_cls_to_wrap": ["BertLayer"]}}}}
else:
    options = {{}}
trainer = train({folder!r}, [attack], ddp_backend="gloo", eval_strategy="steps", eval_steps=2, dropout=0.0,
                per_device_train_batch_size={batch}, **options)
figures = [entry[KEY] for entry in attack.history]
with open({folder!r} + f"/rank-{{trainer.args.process_index}}.txt", "w") as file:
    file.write(f"{{figures}} {{type(trainer.model_wrapped).__name__}}")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("sharded", "words"), [(False, False), (True, False), (True, True)])
def test_all_ranks_have_one_figure(tmp_path, sharded, words):
    script = RANKS.format(root=str(ROOT), folder=str(tmp_path / "out"), batch=4, sharded=sharded, words=words)
    run_ranks(script, tmp_path / "job.py", TORCHRUN)
    first, second = [(tmp_path / "out" / f"rank-{rank}.txt").read_text() for rank in (0, 1)]
    assert first == second and first.count(",") == 1
    assert ("FSDP" in first) == sharded
