"""What a method of a user's may have: a step, extensions and options of its own, as ours do."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from transformers import HfArgumentParser

from hf_robust_tickets import AdversarialTrainer, AdversarialTrainingArguments
from hf_robust_tickets.adversaries import SMART, YOPO, FreeLB, register_adversary
from hf_robust_tickets.errors import CheckpointError, ConfigurationError, UnknownNameError
from hf_robust_tickets.sparse import FlyingBird
from hf_robust_tickets.training import (
    AttackCallback,
    Extension,
    SparseTrainingCallback,
    register_extension,
    register_step,
)
from hf_robust_tickets.training.steps.multi_pass import MultiPassStep
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import KeepGradient, arguments, assert_equal_gradients


class Recorder(Extension):
    """Writes down when it is asked."""

    events: ClassVar[list[str]] = []

    def begin_training(self):
        self.events.append("begin training")

    def end_training(self):
        self.events.append("end training")

    def begin_batch(self, context):
        self.events.append(f"batch of {len(context.inputs['labels'])}")

    def end_batch(self, context):
        self.events.append("end of batch")

    @contextmanager
    def around_train_pass(self, context):
        self.events.append("pass")
        yield

    def after_ascent(self, context):
        self.events.append(f"delta has moved: {bool(context.perturbation.delta.abs().sum() > 0)}")


class CountedStep(MultiPassStep):
    """The step of ours, counted."""

    runs = 0

    def run(self, context):
        type(self).runs += 1
        return super().run(context)


@dataclass(frozen=True)
class Own(FreeLB):
    """A method of a user's, with its own step and an extension."""

    steps: int = 2
    hardness: float = 1.0

    name: ClassVar[str] = "own"
    step: ClassVar[str] = "counted"

    @property
    def extensions(self):
        return ("recorder",)


@pytest.fixture(autouse=True, scope="module")
def registered():
    register_extension("recorder", Recorder)
    register_step("counted", CountedStep)
    register_adversary("own", Own)


def test_a_method_of_a_users_has_its_step_and_its_extension(tmp_path):
    Recorder.events.clear()
    options = arguments(tmp_path, adversary="own", adversary_kwargs={"hardness": 2.0}, max_steps=1)
    trainer = AdversarialTrainer(tiny_bert(), options, train_dataset=tiny_data())
    assert trainer.adversary == Own(hardness=2.0)
    trainer.train()
    assert CountedStep.runs == 1 and trainer.cost_meter.passes == 2
    per_batch = ["batch of 8", "pass", "delta has moved: True", "pass", "end of batch"]
    assert Recorder.events == ["begin training", *per_batch, "end training"]


def test_what_is_not_registered_is_named(tmp_path):
    @dataclass(frozen=True)
    class Lost(FreeLB):
        name: ClassVar[str] = "lost"
        step: ClassVar[str] = "sideways"

    with pytest.raises(UnknownNameError, match="lost asks for the training step 'sideways': expected one of coun"):
        AdversarialTrainer(tiny_bert(), arguments(tmp_path), adversary=Lost())
    with pytest.raises(ConfigurationError, match="the extension 'recorder' is registered already"):
        register_extension("recorder", Extension)
    with pytest.raises(ConfigurationError, match="the training step 'counted' is registered already"):
        register_step("counted", MultiPassStep)


def test_every_hyper_parameter_of_a_method_is_within_reach(tmp_path):
    given = {"adversary": "yopo", "adversary_steps": 2, "adversary_kwargs": {"inner_steps": 4}}
    assert AdversarialTrainingArguments(str(tmp_path), **given).build_adversary() == YOPO(steps=2, inner_steps=4)
    line = ["--output_dir", str(tmp_path), "--adversary", "smart", "--adversary_kwargs", '{"momentum": 0.95}']
    (parsed,) = HfArgumentParser(AdversarialTrainingArguments).parse_args_into_dataclasses(line)
    assert parsed.build_adversary() == SMART(momentum=0.95)
    assert json.loads(parsed.to_json_string())["adversary_kwargs"] == {"momentum": 0.95}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"adversary": "yopo", "adversary_kwargs": {"inner": 4}},
            "yopo has no option inner: expected steps, .*inner",
        ),
        (
            {"adversary_steps": 2, "adversary_kwargs": {"steps": 3}},
            "expected each hyper-parameter once, got steps in",
        ),
        (
            {"adversary_kwargs": "inner_steps=3"},
            "adversary_kwargs must be a dict, or JSON such as .*got 'inner_",
        ),
        ({"adversary_kwargs": "[3]"}, r"adversary_kwargs must be a dict of names and values, got \[3\]"),
        (
            {"adversary": "none", "adversary_kwargs": {"inner_steps": 3}},
            "adversary_kwargs needs a method, got adv",
        ),
    ],
)
def test_options_of_a_method_that_cannot_be(options, says, tmp_path):
    with pytest.raises(ConfigurationError, match=says):
        AdversarialTrainingArguments(str(tmp_path), **options)


class Every(AttackCallback):
    """Pauses even steps, and notes what it is told."""

    def __init__(self):
        self.told = []
        self.state = None

    def on_step_begin(self, args, state, control, **kwargs):
        self.pauses_attack = state.global_step % 2 == 1

    def meet_adversary(self, adversary, hook, *, attacks):
        self.told.append((adversary.name, attacks))


def test_a_callback_pauses_the_attack_by_its_base_class_alone(tmp_path):
    watch = Every()
    trainer = AdversarialTrainer(
        tiny_bert(), arguments(tmp_path, max_steps=4), adversary="freelb", train_dataset=tiny_data(), callbacks=[watch]
    )
    trainer.train()
    assert watch.told == [("freelb", True), ("freelb", False)] * 2
    assert trainer.cost_meter.passes == 2 * FreeLB().num_passes + 2


class OwnMasks(SparseTrainingCallback):
    """A class of a user's."""


def test_a_checkpoint_of_a_subclass_of_a_sparse_callback_is_not_resumed_without_it(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    callback = OwnMasks(FlyingBird(density=0.3, period=2))
    train = {"train_dataset": tiny_data(), "adversary": None}
    AdversarialTrainer(tiny_bert(), arguments(tmp_path, **options), callbacks=[callback], **train).train()
    trainer = AdversarialTrainer(tiny_bert(), arguments(tmp_path, **options), **train)
    with pytest.raises(CheckpointError, match="expected the OwnMasks that the checkpoint was trained with, got none"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


@pytest.mark.parametrize("attack", [None, "freelb"])
def test_a_penalty_on_the_weights_comes_once_per_step_and_not_into_the_log(attack, tmp_path):
    def gradient(penalty):
        keep = KeepGradient()
        options = arguments(tmp_path, max_steps=1, max_grad_norm=0, logging_steps=1, adversary_init_magnitude=0.0)
        trainer = AdversarialTrainer(
            tiny_bert(), options, train_dataset=tiny_data(), adversary=attack, callbacks=[keep]
        )
        if penalty:
            trainer.runner.terms.append(lambda model: 3.0 * model.classifier.bias.sum())
        trainer.train()
        return keep.gradient, trainer.state.log_history[0]["loss"]

    (without, loss), (penalised, same) = gradient(False), gradient(True)
    assert loss == same
    without["classifier.bias"] = without["classifier.bias"] + 3.0
    assert_equal_gradients(penalised, without)
    assert torch.equal(penalised["classifier.weight"], without["classifier.weight"])
