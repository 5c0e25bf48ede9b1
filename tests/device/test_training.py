"""Training on a device: gradients are those of the CPU, nothing waits, and resuming goes on."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import PGD, TRADES, FreeLB, PixelFast, PixelFree, PixelMART, PixelPGD, PixelTRADES
from hf_robust_tickets.augmentation import DirichletNeighbourhoods, NeighbourList
from hf_robust_tickets.training.augmentation.mixing import EmbeddingMixer
from tests.testing.augmented import NEIGHBOURS
from tests.testing.device import NAME, USE_CPU, device, watched_waits
from tests.testing.pixels import MEAN, STD, tiny_convnet, tiny_images
from tests.testing.runs_on_ranks import ADVERSARIES, same_starts
from tests.testing.small_tokenizers import wordpiece
from tests.testing.tiny import tiny_bert, tiny_data, tiny_tokenizer
from tests.testing.training import arguments, assert_equal_gradients, first_gradient, weights

pytestmark = pytest.mark.gpu
FREELB, PIXELS = ADVERSARIES["freelb"], {"image_mean": MEAN, "image_std": STD, "step_size": 0.04, "max_norm": 0.06}
# Methods, and what can be asked of them: the arguments of the trainer and its other options.
CASES = {name: (adversary, {}, {}) for name, adversary in ADVERSARIES.items()}
CASES |= {
    "hidden layer": (FREELB, {"adversary_layer": 1}, {}),
    "hidden layer, trades": (ADVERSARIES["trades"], {"adversary_layer": 1}, {}),
    "two starts": (PGD(steps=2, init_magnitude=0.1), {"adversary_restarts": 2}, {}),
    "moved weights": (ADVERSARIES["pgd"], {"adversary_weight_perturbation": 0.01}, {}),
    "a clean share": (FREELB, {"adversary_clean_weight": 0.5}, {}),
    "words alone": (FREELB, {"adversary_special_tokens": False}, {"processing_class": tiny_tokenizer()}),
    "equal dropout": (FREELB, {"adversary_share_dropout": True}, {}),
    "frozen embeddings": (FREELB, {"freeze_embeddings": True}, {}),
    "averaged weights": (FREELB, {"average_weights_from": 0.0, "average_weights_every": 1}, {}),
    "two micro-batches": (FREELB, {}, {"batch": 4, "accumulation": 2}),
}
IMAGES = {
    "pixel-pgd": PixelPGD(steps=2, **PIXELS),
    "pixel-fast": PixelFast(**PIXELS),
    "pixel-free": PixelFree(steps=2, **PIXELS),
    "pixel-trades": PixelTRADES(steps=2, **PIXELS),
    "pixel-mart": PixelMART(steps=2, **PIXELS),
}


@pytest.fixture(autouse=True)
def starts():
    with same_starts():
        yield


class WatchedTrainer(AdversarialTrainer):
    """Notes what waits for the device in each step."""

    waits: list[list[str]] = []  # noqa: RUF012

    def training_step(self, *args, **kwargs):
        if USE_CPU or self.args.use_cpu:
            return super().training_step(*args, **kwargs)
        with watched_waits() as found:
            loss = super().training_step(*args, **kwargs)
        self.waits.append(found)
        return loss


def waits_of(folder, **options):
    WatchedTrainer.waits = []
    gradient = first_gradient(folder, WatchedTrainer, **options)
    return gradient, [line for step in WatchedTrainer.waits for line in step]


@pytest.fixture(scope="module")
def waits_of_a_plain_step(tmp_path_factory):
    return len(waits_of(tmp_path_factory.mktemp("plain"), adversary=None)[1])


@pytest.mark.parametrize("name", sorted(CASES))
def test_gradients_are_those_of_the_cpu_and_nothing_waits(name, tmp_path, waits_of_a_plain_step):
    adversary, options, more = CASES[name]
    expected = first_gradient(tmp_path / "cpu", adversary=adversary, options={**options, "use_cpu": True}, **more)
    found, waits = waits_of(tmp_path / "device", adversary=adversary, options=options, **more)
    assert {p.device.type for p in found.values()} == {NAME}
    assert_equal_gradients(expected, {key: p.cpu() for key, p in found.items()}, rtol=1e-3, atol=1e-5)
    if NAME == "fake":
        assert not [line for line in waits if "/hf_robust_tickets/" in line.split(" < ")[0]]
    # Of each pass as many as the Trainer and the model cause without an attack.
    passes = adversary.num_passes + 3 + sum(bool(value) for value in options.values())
    assert len(waits) <= waits_of_a_plain_step * passes * more.get("accumulation", 1), waits


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_images(name, tmp_path):
    changed = []
    for place in ("cpu", NAME):
        WatchedTrainer.waits = []
        options = {"max_steps": 2, "optim": "sgd", "learning_rate": 0.1, "use_cpu": place == "cpu"}
        model = tiny_convnet(num_labels=3)
        data = tiny_images(16, classes=3)
        WatchedTrainer(model, arguments(tmp_path, **options), train_dataset=data, adversary=IMAGES[name]).train()
        assert next(model.parameters()).device.type == place
        changed.append(torch.cat([p.detach().cpu().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*changed, rtol=1e-3, atol=1e-5)
    # The first batch is looked at once: are these images?
    assert not [line for line in WatchedTrainer.waits[-1] if "/hf_robust_tickets/" in line.split(" < ")[0]]


def test_embeddings_are_mixed_as_on_the_cpu_and_the_words_are_read_once():
    tokenizer = wordpiece()
    mixer = EmbeddingMixer(DirichletNeighbourhoods(tokenizer, NeighbourList(NEIGHBOURS, ()), 1.0), seed=0)
    inputs, found = tokenizer(["film", "a good movie"], padding=True, return_tensors="pt"), []
    for place in (torch.device("cpu"), device()):
        model, batch = tiny_bert(vocab_size=200).to(place), {key: value.to(place) for key, value in inputs.items()}
        with watched_waits() as waits, mixer.around(model, batch, step=0):
            found.append(model.get_input_embeddings()(batch["input_ids"]).detach().cpu())
    torch.testing.assert_close(*found)
    assert len([line for line in waits if "/hf_robust_tickets/" in line.split(" < ")[0]]) == 1, waits


def trained(folder, adversary, resume=None, steps=4, **options):
    values = {"max_steps": steps, "save_strategy": "steps", "save_steps": 2} | options
    model = tiny_bert(hidden_dropout_prob=0.1)
    trainer = AdversarialTrainer(model, arguments(folder, **values), train_dataset=tiny_data(), adversary=adversary)
    trainer.train(resume)
    return trainer


@pytest.mark.parametrize("name", ["freelb", "ta-vat", "free-at", "smart", "infobert"])
def test_resuming_goes_on_to_the_bit(name, tmp_path):
    whole = weights(trained(tmp_path, ADVERSARIES[name]))
    resumed = weights(trained(tmp_path, ADVERSARIES[name], str(tmp_path / "checkpoint-2")))
    for key, weight in whole.items():
        torch.testing.assert_close(resumed[key], weight, rtol=0, atol=0 if NAME == "fake" else 1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", sorted(ADVERSARIES))
def test_half_precision(name, precision, tmp_path):
    if NAME == "fake":
        pytest.skip("the fake device has no autocast")
    whole = first_gradient(tmp_path / "a", adversary=ADVERSARIES[name])
    half = first_gradient(tmp_path / "b", adversary=ADVERSARIES[name], options={precision: True})
    first, second = (torch.cat([g[key].flatten().float() for key in sorted(g)]) for g in (whole, half))
    assert cosine_similarity(first, second, dim=0).item() > 0.99
    trainer = trained(tmp_path / "c", ADVERSARIES[name], **{precision: True})
    assert (trainer.accelerator.scaler is not None) == (precision == "fp16")
    assert int(trainer.skipped_ascents) == 0


@pytest.mark.parametrize("adversary", [FreeLB(steps=2), TRADES(steps=2), PGD(steps=2)], ids=lambda a: a.name)
def test_several_devices_in_one_process(adversary, tmp_path):
    if torch.cuda.device_count() < 2:
        pytest.skip(f"DataParallel needs two CUDA devices, got {torch.cuda.device_count()}")
    trainer = trained(tmp_path, adversary)
    assert trainer.args.n_gpu > 1 and all(torch.isfinite(p).all() for p in trainer.model.parameters())
