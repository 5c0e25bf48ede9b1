"""Adversarial and sparse training of images' models inside the Trainer."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)

from hf_robust_tickets import AdversarialTrainer, FlyingBird, SparseTrainingCallback, evaluate_white_box
from hf_robust_tickets.adversaries import PixelPGD
from hf_robust_tickets.errors import DataError
from hf_robust_tickets.sparse import select_weights
from hf_robust_tickets.vision import RandomCropFlip, prepare_images, small_image_processor
from tests.testing.device import USE_CPU, device
from tests.testing.rounding import assert_same_outputs, assert_same_weights
from tests.testing.vision_models import FAMILIES, tiny_image_model, tiny_images

PROCESSOR = small_image_processor(8)
# timm imports torchvision, which has no build for some platforms.
HAS_TIMM = all(importlib.util.find_spec(name) for name in ("timm", "torchvision"))


def vit() -> ViTForImageClassification:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    return ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, num_labels=3, **sizes))


def timm_resnet() -> TimmWrapperForImageClassification:
    if not HAS_TIMM:
        pytest.skip("needs timm and torchvision")
    torch.manual_seed(0)
    config = TimmWrapperConfig(
        architecture="resnet10t", num_labels=3, model_args={"channels": [8, 8, 16, 16], "stem_width": 8}
    )
    return TimmWrapperForImageClassification(config)


MODELS = {
    **{family: lambda family=family: tiny_image_model(family) for family in FAMILIES},
    "vit": vit,
    "timm": timm_resnet,
}


def trainer_of(folder, model, *, data=None, options=None, callbacks=(), **kwargs):
    values = {
        "per_device_train_batch_size": 8,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "remove_unused_columns": False,
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "report_to": "none",
        "use_cpu": USE_CPU,
    }
    return AdversarialTrainer(
        model=model,
        args=TrainingArguments(str(folder), **(values | (options or {}))),
        train_dataset=prepare_images(tiny_images(), PROCESSOR, model=model) if data is None else data,
        processing_class=PROCESSOR,
        adversary=PixelPGD(steps=3),
        callbacks=list(callbacks),
        **kwargs,
    )


@pytest.mark.parametrize("name", MODELS)
def test_sparse_adversarial_training_of_every_family(name, tmp_path):
    callback = SparseTrainingCallback(FlyingBird(density=0.25, period=1))
    trainer = trainer_of(tmp_path, MODELS[name](), callbacks=[callback])
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    trainer.train()
    parameters = dict(trainer.model.named_parameters())
    assert list(callback.masks) == list(select_weights(trainer.model))
    weights, kept = sum(mask.numel() for mask in callback.masks.values()), 0
    for key, mask in callback.masks.items():
        assert not parameters[key].detach()[~mask].any()
        assert not torch.equal(parameters[key], before[key] * mask)
        kept += int(mask.sum())
    assert kept == round(0.25 * weights)
    assert any(record["event"] != "start" for record in callback.log)
    assert "classifier.weight" not in callback.masks


def test_pixels_stay_in_the_box_and_labels_are_learnt(tmp_path):
    model = tiny_image_model("small_image_resnet", widths=[8, 8])
    data = prepare_images(tiny_images(48), PROCESSOR, model=model, augment=RandomCropFlip(padding=1))
    seen = []
    hook = model.register_forward_pre_hook(lambda *given: seen.append(given[2]["pixel_values"]), with_kwargs=True)
    trainer = trainer_of(tmp_path, model, data=data, options={"max_steps": 30, "learning_rate": 3e-2})
    trainer.train()
    hook.remove()
    box = PixelPGD.from_processor(PROCESSOR).box
    clean, attacked = (box.pixels(x) for x in seen[:2])
    assert len(seen) == 90
    for pixels in map(box.pixels, seen):
        assert pixels.min() >= -1e-6 and pixels.max() <= 1 + 1e-6
    assert (clean - attacked).abs().max() <= 16 / 255 + 1e-6
    test = prepare_images(tiny_images(48, seed=9), PROCESSOR, model=model)
    result = evaluate_white_box(model, test, adversary=PixelPGD.from_processor(PROCESSOR, steps=3), progress=False)
    assert result.clean_accuracy > 0.9
    assert 0 < result.robust_accuracy[8 / 255] <= result.clean_accuracy


def test_a_resumed_run_sees_the_same_crops_and_ends_with_the_same_weights(tmp_path):
    def run(folder, resume=None, **options):
        model = tiny_image_model("preact_resnet")
        data = prepare_images(tiny_images(), PROCESSOR, model=model, augment=RandomCropFlip(padding=2))
        steps = {"max_steps": 8, "lr_scheduler_type": "constant", "save_strategy": "steps", "save_steps": 4}
        trainer = trainer_of(folder, model, data=data, options={**steps, **options})
        trainer.train(resume_from_checkpoint=resume)
        return trainer.model.state_dict()

    whole = run(tmp_path / "whole")
    run(tmp_path / "part", max_steps=4)
    resumed = run(tmp_path / "part", resume=True, dataloader_num_workers=2)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_checkpoint_holds_the_model_its_code_and_its_image_processor(tmp_path):
    trainer = trainer_of(
        tmp_path, tiny_image_model("wide_resnet"), options={"save_strategy": "steps", "save_steps": 2}
    )
    trainer.train()
    folder = tmp_path / "checkpoint-2"
    assert {"wide_resnet.py", "preact_resnet.py", "image_classifier.py"} <= {path.name for path in folder.iterdir()}
    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModelForImageClassification.from_pretrained(folder)
    images = prepare_images(tiny_images(4), processor)[:]["pixel_values"].to(device())
    trainer.model.eval()
    assert_same_weights(model, trainer.model)
    assert_same_outputs(model(images).logits, trainer.model(images).logits)


def test_the_column_of_images_is_missed_with_a_remedy(tmp_path):
    trainer = trainer_of(tmp_path, tiny_image_model("vgg_bn"), options={"remove_unused_columns": True})
    with pytest.raises(DataError, match="remove_unused_columns=False"):
        trainer.train()


def test_images_normalised_otherwise_than_the_attack_believes_are_refused(tmp_path):
    model = tiny_image_model("vgg_bn")
    other = small_image_processor(8, image_mean=[0.1] * 3, image_std=[0.05] * 3)
    with pytest.raises(DataError, match=r"expected pixels in \[0, 1\] once normalisation is undone"):
        trainer_of(tmp_path, model, data=prepare_images(tiny_images(), other)).train()
    raw = small_image_processor(8, do_normalize=False)
    with pytest.raises(DataError, match=r"expected normalised images, got values in \[0, 1\] alone"):
        trainer_of(tmp_path, model, data=prepare_images(tiny_images(), raw)).train()


def test_the_card_of_an_image_model_says_how_to_open_it(tmp_path):
    trainer = trainer_of(tmp_path, tiny_image_model("cifar_resnet"))
    trainer.train()
    trainer.save_model()
    facts = json.loads((tmp_path / "model_card.json").read_text())
    assert facts["task"] == "image-classification" and facts["package_module"] == "hf_robust_tickets.vision"
    assert facts["adversaries"]["train"]["image_mean"] == list(PROCESSOR.image_mean)  # the processor's
    card = (tmp_path / "README.md").read_text()
    assert "pipeline_tag: image-classification" in card
    snippets = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    assert len(snippets) == 2 and "trust_remote_code=True" in snippets[1]
    for code in snippets:
        found = {}
        exec(code.replace(f'"{tmp_path.name}"', repr(str(tmp_path))), found)
        assert type(found["model"]).__name__ == "CifarResNetForImageClassification"
