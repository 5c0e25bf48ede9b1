"""InfoBERT inside the Trainer: its gradient by hand, and what becomes of its critic."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import FreeLB
from hf_robust_tickets.adversaries.text.infobert import AnchorCritic, anchored_information, anchored_tokens, bottleneck
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.training.extensions import AnchoredInformation
from tests.testing import runs_on_ranks
from tests.testing.paths import ROOT
from tests.testing.ranks import TORCHRUN, run_ranks
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import (
    KeepGradient,
    KeepLastBatch,
    arguments,
    assert_equal_gradients,
    first_gradient,
    weights,
)

ADVERSARY = replace(runs_on_ranks.INFOBERT, step_unit="absolute")
ONLY = pytest.mark.parametrize("name", ["infobert"])


@pytest.fixture
def known_critic():
    """Critics whose first weights are the same in every run."""
    with runs_on_ranks.known_critic():
        yield


def test_gradient_is_that_of_the_paper(tmp_path, known_critic):
    keep = KeepGradient()
    trainer = KeepLastBatch(
        tiny_bert(), arguments(tmp_path, max_steps=1, max_grad_norm=0), train_dataset=tiny_data(),
        adversary=ADVERSARY, callbacks=[keep],
    )  # fmt: skip
    trainer.train()
    model, critic, delta = tiny_bert().train(), AnchorCritic(32), torch.zeros(8, 8, 32)
    mask = trainer.batch["attention_mask"]
    for _ in range(2):
        delta = delta.detach().requires_grad_()
        handle = model.get_input_embeddings().register_forward_hook(lambda *given, delta=delta: given[2] + delta)
        outputs = model(**trainer.batch, output_hidden_states=True)
        handle.remove()
        states = outputs.hidden_states
        loss = F.cross_entropy(outputs.logits, trainer.batch["labels"]) + 0.3 * bottleneck(states[0], mask)
        grad = torch.autograd.grad(loss, delta, retain_graph=True)[0]
        information = anchored_information(critic(states[0], states[-1][:, 0]), anchored_tokens(grad, mask, 0.2, 0.9))
        ((loss - 0.7 * information) / 2).backward()
        delta = delta + 0.5 * grad / grad.flatten(1).norm(dim=1).reshape(-1, 1, 1)
    named = [*model.named_parameters(), *critic.named_parameters(prefix="anchor_critic")]
    assert_equal_gradients(keep.gradient, {key: p.grad for key, p in named if p.grad is not None})


def test_without_its_terms_it_is_freelb(tmp_path):
    bare = replace(ADVERSARY, bottleneck_coefficient=0.0, anchor_coefficient=0.0)
    got = first_gradient(tmp_path / "a", adversary=bare)
    got = {key: value for key, value in got.items() if not key.startswith("anchor_critic")}
    expected = FreeLB(steps=2, step_size=0.5, init_magnitude=0.0, step_unit="absolute")
    assert_equal_gradients(got, first_gradient(tmp_path / "b", adversary=expected))


@pytest.mark.feature("gradient accumulation", says="mean of micro-batches")
@ONLY
def test_an_accumulated_step_is_the_mean_of_its_micro_batches(name, tmp_path, known_critic):
    def gradient(data, folder, **kwargs):
        options = {"train_sampling_strategy": "sequential"}
        return first_gradient(folder, adversary=ADVERSARY, batch=4, train_dataset=data, options=options, **kwargs)

    data = tiny_data(8)
    first, second = (gradient(data.select(range(i, i + 4)), tmp_path / str(i)) for i in (0, 4))
    together = gradient(data, tmp_path / "both", accumulation=2)
    assert_equal_gradients({key: (first[key] + second[key]) / 2 for key in first}, together)


def make_trainer(folder, **kwargs):
    options = arguments(folder, max_steps=6, save_strategy="steps", save_steps=3, adversary_clean_weight=0.2)
    return AdversarialTrainer(args=options, train_dataset=tiny_data(), adversary=ADVERSARY, **kwargs)


@pytest.mark.parametrize("made", ["model", "model_init"])
def test_critic_lives_in_checkpoints_and_is_gone_in_the_end(made, tmp_path):
    def trainer():
        model = tiny_bert(hidden_dropout_prob=0.1)
        return make_trainer(tmp_path, **({"model": model} if made == "model" else {"model_init": lambda: model}))

    whole = trainer()
    before = set(weights(whole))
    whole.train()
    assert set(weights(whole)) == before and not whole.model._forward_hooks
    again = trainer()
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert all(torch.equal(weight, weights(again)[key]) for key, weight in weights(whole).items())
    stored = type(whole.model).from_pretrained(tmp_path / "checkpoint-6")
    assert all(torch.equal(p, stored.get_parameter(key)) for key, p in whole.model.named_parameters())


def test_what_the_critic_cannot_be_used_with_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="looks at the embeddings, got adversary_layer=1"):
        AdversarialTrainer(tiny_bert(), arguments(tmp_path, adversary_layer=1), adversary="infobert")
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(tiny_bert(), peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    with pytest.raises(ConfigurationError, match="got a PEFT model, whose checkpoints leave its estimator out"):
        AdversarialTrainer(model, arguments(tmp_path), adversary="infobert")


def test_deepspeed_is_refused_for_the_critic(tmp_path):
    trainer = AdversarialTrainer(tiny_bert(), arguments(tmp_path), adversary="infobert")
    trainer.args.deepspeed = {"zero_optimization": {"stage": 2}}
    with pytest.raises(ConfigurationError, match="got deepspeed, whose engine takes every gradient"):
        AnchoredInformation.validate(trainer, trainer.adversary, trainer.adversary_options)


RANKS = """
import sys
sys.path.insert(0, {root!r})
import torch
from hf_robust_tickets import AdversarialTrainer
from tests.testing.runs_on_ranks import INFOBERT
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments
options = arguments({folder!r}, max_steps=4, adversary_start_step=1, adversary_clean_weight=0.2, ddp_backend="gloo",
                    per_device_train_batch_size=4, gradient_accumulation_steps=2)
trainer = AdversarialTrainer(tiny_bert(), options, train_dataset=tiny_data(), adversary=INFOBERT)
trainer.train()
total = torch.stack([p.double().sum() for p in trainer.model.parameters()])
both = trainer.accelerator.gather(total.unsqueeze(0))
# One write: the lines of two ranks do not mix.
sys.stdout.write(f"EQUAL {{torch.equal(both[0], both[1])}} {{len(both)}}\\n")
sys.stdout.flush()
"""


@pytest.mark.slow
def test_critic_is_trained_on_two_ranks(tmp_path):
    script = RANKS.format(root=str(ROOT), folder=str(tmp_path))
    output = run_ranks(script, tmp_path / "worker.py", TORCHRUN)
    assert output.count("EQUAL True 2") == 2, output
