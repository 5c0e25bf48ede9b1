"""A teacher in the loss: its term by hand, under attack and in a job, and teachers that do not fit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import PGD, FreeLB
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.tickets import prune_, random_ticket
from hf_robust_tickets.training.finetuning.facts import finetuning_facts
from tests.testing.jobs import make_trainer
from tests.testing.tiny import tiny_bert, tiny_data, tiny_tokenizer
from tests.testing.training import KeepLastBatch, arguments, assert_equal_gradients, first_gradient, weights

OPTIONS = {"distillation_weight": 0.3, "distillation_temperature": 2.0}


def teacher_of(seed=5):
    """One that is sure of itself, and has dropout which must be off."""
    model = tiny_bert(seed=seed, hidden_dropout_prob=0.5)
    with torch.no_grad():
        model.classifier.weight.mul_(50)
    return model


def gradients(model):
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_the_term_by_hand(tmp_path):
    data, teacher, student = tiny_data(8), teacher_of(), tiny_bert().train()
    got = first_gradient(tmp_path, train_dataset=data, adversary=None, teacher=teacher, options=OPTIONS)
    batch = {name: torch.tensor(data[name]) for name in data.column_names}
    with torch.no_grad():
        target = (teacher.eval()(**batch).logits / 2).softmax(-1)
    logits = student(**batch).logits
    kl = (target * (target.log() - (logits / 2).log_softmax(-1))).sum(-1).mean()
    (0.7 * F.cross_entropy(logits, batch["labels"]) + 0.3 * 4 * kl).backward()
    assert_equal_gradients(got, gradients(student))
    plain = first_gradient(tmp_path, train_dataset=data, adversary=None)
    assert any((got[name] - plain[name]).abs().max() > 1e-3 for name in got)


@pytest.mark.parametrize("adversary", [None, FreeLB(steps=3, init_magnitude=0.0, step_size=0.5)])
def test_accumulation_does_not_change_the_gradient(tmp_path, adversary):
    given = {"adversary": adversary, "teacher": teacher_of(), "options": OPTIONS}
    whole = first_gradient(tmp_path, **given)
    assert_equal_gradients(whole, first_gradient(tmp_path, batch=2, accumulation=4, **given))


def test_every_pass_under_attack_has_the_teacher_of_the_clean_text(tmp_path, monkeypatch):
    """With steps of length zero, three passes of a third each are one; the teacher is asked once."""
    teacher, asked = teacher_of(), []
    teacher.register_forward_hook(lambda *given: asked.append(given))
    still = FreeLB(steps=3, step_size=0.0, init_magnitude=0.0, step_unit="absolute")
    attacked = first_gradient(tmp_path, adversary=still, teacher=teacher, options=OPTIONS)
    assert len(asked) == 1 and not teacher.training
    assert_equal_gradients(attacked, first_gradient(tmp_path, adversary=None, teacher=teacher, options=OPTIONS))
    moved = first_gradient(tmp_path, adversary=PGD(steps=3, step_size=1.0), teacher=teacher, options=OPTIONS)
    assert any((attacked[name] - moved[name]).abs().max() > 1e-3 for name in moved)


def test_the_same_model_as_its_own_teacher_has_nothing_to_teach(tmp_path):
    got = first_gradient(tmp_path, adversary=None, teacher=tiny_bert(), options={"distillation_weight": 1.0})
    assert all(gradient.abs().max() < 1e-6 for gradient in got.values())


def test_a_job_distils_in_its_fine_tuning_alone(tmp_path):
    teacher_of().save_pretrained(tmp_path / "teacher")
    given = {"distillation_teacher": str(tmp_path / "teacher"), "finetune_adversary": "trades"}
    trainer = make_trainer(tmp_path / "job", finetune_adversary_kwargs={"steps": 1}, **given)
    asked = []
    trainer.teacher.register_forward_hook(lambda *given: asked.append(trainer.state.global_step))
    trainer.search()
    assert not asked
    trainer.train()
    assert len(asked) == trainer.state.global_step == 8
    # Neither the folder nor the optimiser knows of it.
    trainer.save_model(str(tmp_path / "saved"))
    assert not any("teacher" in name for name in weights(trainer))
    assert "teacher" not in (tmp_path / "saved" / "config.json").read_text()


def test_the_searched_model_teaches_the_pruned_one(tmp_path):
    options = {"distillation_teacher": "searched", "save_strategy": "steps", "save_steps": 3}
    trainer = make_trainer(tmp_path, model=tiny_bert(), **options)
    trainer.train()
    searched = tiny_bert(seed=9)
    searched.load_state_dict(load_file(tmp_path / "_search" / "end.safetensors"))
    batch = torch.tensor(tiny_data(4)["input_ids"])
    torch.testing.assert_close(trainer.teacher.eval()(batch).logits, searched.eval()(batch).logits)
    start = load_file(tmp_path / "_search" / "start.safetensors")
    assert not torch.equal(start["classifier.weight"], searched.classifier.weight)
    again = make_trainer(tmp_path, model=tiny_bert(), **options)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    for name, weight in weights(trainer).items():
        torch.testing.assert_close(weights(again)[name], weight, rtol=0, atol=0)
    facts = finetuning_facts(trainer)
    assert facts["distillation_teacher"] == f"the searched model of {searched.num_parameters():,} parameters"
    with pytest.raises(ConfigurationError, match="got a ticket and distillation_teacher='searched'"):
        make_trainer(tmp_path / "given", ticket=trainer.ticket, **options)
    with pytest.raises(ConfigurationError, match="in AdversarialTrainer, which searches for none"):
        AdversarialTrainer(tiny_bert(), arguments(tmp_path, distillation_teacher="searched"))


def test_a_job_with_a_teacher_in_memory(tmp_path):
    trainer = AdversarialTrainer(
        tiny_bert(), arguments(tmp_path, max_steps=2), train_dataset=tiny_data(), teacher=teacher_of(), adversary=None
    )
    trainer.train()
    assert trainer.distillation is None and trainer.teacher is not None
    assert trainer.evaluate(tiny_data())["eval_loss"] == pytest.approx(
        AdversarialTrainer(trainer.model, arguments(tmp_path)).evaluate(tiny_data())["eval_loss"]
    )


def test_a_pruned_teacher_is_opened(tmp_path):
    pruned = teacher_of()
    prune_(pruned, random_ticket(pruned, 0.5, 0.5))
    pruned.save_pretrained(tmp_path / "small")
    options = arguments(tmp_path, distillation_teacher=str(tmp_path / "small"))
    trainer = AdversarialTrainer(tiny_bert(), options)
    batch = torch.tensor(tiny_data(4)["input_ids"])
    torch.testing.assert_close(trainer.teacher.eval()(batch).logits, pruned.eval()(batch).logits)


NAMES = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
SWAPPED = {"id2label": {0: "yes", 1: "no"}, "label2id": {"yes": 0, "no": 1}}


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (SWAPPED, "the model's classes in the model's order, no, yes, got yes, no"),
        ({"id2label": {0: "no", 1: "maybe"}, "label2id": {"no": 0, "maybe": 1}}, "no, yes, got no, maybe"),
        ({"num_labels": 3}, "no, yes, got LABEL_0, LABEL_1, LABEL_2"),
        ({**NAMES, "vocab_size": 61}, "the model's vocabulary of 60 tokens, got 61"),
        ({**NAMES, "problem_type": "regression"}, "a teacher of the task single_label_classification, got regression"),
    ],
)
def test_teachers_that_do_not_fit(tmp_path, teacher, message):
    student = tiny_bert(**NAMES, problem_type="single_label_classification")
    with pytest.raises(ConfigurationError, match=message) as caught:
        AdversarialTrainer(student, arguments(tmp_path), teacher=tiny_bert(**teacher))
    assert "\n" not in str(caught.value)


def test_other_words_and_new_heads_are_refused(tmp_path):
    teacher, tokenizer = tiny_bert(), tiny_tokenizer()
    teacher.save_pretrained(tmp_path / "other")
    tokenizer.add_tokens(["another"])
    tokenizer.save_pretrained(tmp_path / "other")
    options = arguments(tmp_path, distillation_teacher=str(tmp_path / "other"))
    with pytest.raises(ConfigurationError, match="in which 1 of 61 tokens are others"):
        AdversarialTrainer(tiny_bert(), options, processing_class=tiny_tokenizer())
    teacher.bert.save_pretrained(tmp_path / "bare")
    (tmp_path / "bare" / "config.json").write_text((tmp_path / "other" / "config.json").read_text())
    options = arguments(tmp_path, distillation_teacher=str(tmp_path / "bare"))
    with pytest.raises(ConfigurationError, match=r"a trained teacher at .*got one without classifier"):
        AdversarialTrainer(tiny_bert(), options)
    options = arguments(tmp_path, distillation_teacher=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match=r"expected a teacher at .*nowhere, got none"):
        AdversarialTrainer(tiny_bert(), options)


def test_what_cannot_be_distilled(tmp_path):
    for options, message in (
        ({"distillation_weight": 0.0}, r"share of the loss, in \(0, 1\], got 0.0"),
        ({"distillation_temperature": 0.0}, "distillation_temperature must be positive, got 0.0"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            arguments(tmp_path, **options)
    with pytest.raises(ConfigurationError, match="mart has a loss of its own, which leaves no place to a teacher"):
        AdversarialTrainer(tiny_bert(), arguments(tmp_path), adversary="mart", teacher=teacher_of())
    model = tiny_bert()
    with pytest.raises(ConfigurationError, match="got the same model: pass a copy"):
        AdversarialTrainer(model, arguments(tmp_path), teacher=model)

    class Own(KeepLastBatch):
        def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
            outputs = model(**inputs)
            return (outputs.loss, outputs) if return_outputs else outputs.loss

    for adversary in (None, "freelb"):
        trainer = Own(
            tiny_bert(), arguments(tmp_path), train_dataset=tiny_data(), adversary=adversary, teacher=teacher_of()
        )
        with pytest.raises(ConfigurationError, match="the teacher is part of compute_loss, got Own"):
            trainer.train()
