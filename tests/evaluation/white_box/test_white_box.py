from __future__ import annotations

import json

import pytest
import torch
from datasets import ClassLabel
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from hf_robust_tickets.adversaries import PGD, PixelPGD
from hf_robust_tickets.errors import ConfigurationError, DataError
from hf_robust_tickets.evaluation import evaluate_white_box
from tests.testing.keyword_model import keyword_model, keyword_tokenizer
from tests.testing.pixels import MEAN, STD, tiny_convnet, tiny_images
from tests.testing.tiny import tiny_bert, tiny_data

# Score against the bias of 1, and number of tokens: the boundary is |score| / sqrt(tokens) away in l2, and
# |score| / tokens in linf, because every token has an embedding of one number that counts once.
DATA = [
    {"text": "good film", "label": 1},  # 1, 2 tokens: 0.7071 and 0.5
    {"text": "great good good film", "label": 1},  # 5, 4 tokens: 2.5 and 1.25
    {"text": "bad", "label": 0},  # -3, 1 token: 3 and 3
    {"text": "film", "label": 1},  # wrong to begin with
]
PROCESSOR = ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=MEAN, image_std=STD)


def evaluate(**arguments):
    model = arguments.pop("model", None) or keyword_model()
    return evaluate_white_box(model, DATA, keyword_tokenizer(), progress=False, **arguments)


def test_l2_radii_on_a_linear_model_are_exact():
    result = evaluate(radii=[0.70, 0.72, 2.4, 2.6, 2.9, 3.1])
    assert list(result.robust_accuracy.values()) == [0.75, 0.5, 0.5, 0.25, 0.25, 0.0]
    assert result.single_step_accuracy == result.robust_accuracy  # one step is all it takes on a linear model
    assert result.clean_accuracy == 0.75 and result.num_examples == 4 and result.warnings == ()
    assert result.confidence_interval[0.72] == pytest.approx((0.1500, 0.8500), abs=1e-4)


def test_linf_radii_on_a_linear_model_are_exact():
    adversary = PGD(steps=5, step_size=0.3, max_norm=1.0, norm="linf", step_unit="absolute")
    result = evaluate(adversary=adversary, radii=[0.49, 0.51, 1.24, 1.26, 3.1])
    assert list(result.robust_accuracy.values()) == [0.75, 0.5, 0.5, 0.25, 0.0]


def test_radii_default_to_the_adversarys_own_and_padding_changes_nothing():
    alone = evaluate(adversary=PGD(max_norm=0.6, step_unit="absolute"), batch_size=1)
    assert (
        alone.robust_accuracy
        == {0.6: 0.75}
        == evaluate(adversary=PGD(max_norm=0.6, step_unit="absolute")).robust_accuracy
    )


def test_a_weak_attack_is_noticed():
    result = evaluate(adversary=PGD(steps=2, step_size=0.001, max_norm=1.0, step_unit="absolute"), radii=[1.0])
    assert result.robust_accuracy[1.0] == 0.5  # what the single step found counts
    assert len(result.warnings) == 1 and "steps are too few or too short" in result.warnings[0]


def test_saturated_logits_and_vanished_gradients_are_noticed():
    model = keyword_model()
    forward = model.forward

    def hot(**inputs):
        output = forward(**inputs)
        output.logits = output.logits * 1000
        return output

    model.forward = hot
    result = evaluate(model=model, radii=[1.0])
    assert "temperature" in result.warnings[0] and "gradients are zero" in result.warnings[1]


def test_gradients_that_are_not_numbers_are_noticed():
    model = keyword_model()
    model.dropout.register_forward_hook(lambda module, args, output: output + 0 * (output * 0).sqrt())
    result = evaluate(model=model, radii=[1.0])
    assert any("NaN" in warning for warning in result.warnings)


def test_model_is_left_as_it_was_and_train_mode_is_mentioned():
    model = keyword_model().train()
    result = evaluate(model=model, radii=[0.72])
    assert result.robust_accuracy[0.72] == 0.5 and "train mode" in result.warnings[0]
    assert model.training and not model.scores._forward_hooks
    assert all(parameter.grad is None for parameter in model.parameters())


def test_restarts_never_help_the_model_and_repeat_with_their_seed(tmp_path):
    model, data = tiny_bert(seed=1), tiny_data(24)
    once, more, again = (
        evaluate_white_box(model, data, restarts=n, radii=[0.02, 0.2], seed=3, progress=False) for n in (1, 4, 4)
    )
    assert more == again
    assert all(more.robust_accuracy[r] <= once.robust_accuracy[r] for r in once.robust_accuracy)
    assert once.robust_accuracy[0.2] <= once.robust_accuracy[0.02] <= once.clean_accuracy
    more.save(tmp_path / "white_box.json")
    assert json.loads((tmp_path / "white_box.json").read_text())["restarts"] == 4


def test_the_curve_starts_without_a_perturbation():
    curve = evaluate(radii=[0.72, 3.1]).curve
    assert [(point["radius"], point["accuracy"]) for point in curve] == [(0.0, 0.75), (0.72, 0.5), (3.1, 0.0)]
    assert (curve[1]["low"], curve[1]["high"]) == pytest.approx((0.1500, 0.8500), abs=1e-4)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_hidden_layer_is_perturbed_at_its_output(norm):
    """The layers above are cut short: what reaches the head is the perturbed output of the layer, to the bit."""
    model, data = tiny_bert(seed=1), tiny_data(12)
    seen = []
    handle = model.bert.encoder.layer[1].register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    adversary = PGD(steps=3, step_size=0.5, max_norm=1.0, norm=norm, step_unit="absolute")
    result = evaluate_white_box(model, data, adversary=adversary, layer=1, radii=[0.5, 50.0], progress=False)
    handle.remove()
    clean, single = seen[1], seen[2]  # the first pass only looks at the clean output
    distance = (single - clean).flatten(1)
    size = distance.norm(dim=1) if norm == "l2" else distance.abs().amax(dim=1)
    assert torch.allclose(size, torch.tensor(0.5), atol=1e-4)
    assert result.layer == 1 and result.robust_accuracy[50.0] < result.clean_accuracy
    assert not model.bert.encoder.layer[0]._forward_hooks
    with pytest.raises(ConfigurationError, match="a layer from 1 to 2"):
        evaluate_white_box(model, data, layer=3, progress=False)


def test_images_are_attacked_in_their_pixels():
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=8,
        patch_size=4,
        initializer_range=0.5,
    )
    model = ViTForImageClassification(config).eval()
    pixels = torch.rand(6, 3, 8, 8)
    labels = model(pixels).logits.argmax(1).tolist()
    data = [{"pixel_values": image.tolist(), "label": label} for image, label in zip(pixels, labels)]
    adversary = PGD(steps=8, step_size=0.1, max_norm=0.5, norm="linf", step_unit="absolute")
    free = evaluate_white_box(model, data, adversary=adversary, radii=[1e-4, 0.5], progress=False)
    assert free.clean_accuracy == 1.0 and free.robust_accuracy[0.5] < free.robust_accuracy[1e-4]
    inside = evaluate_white_box(model, data, adversary=adversary, pixel_range=(0.0, 1e-6), radii=[0.5], progress=False)
    assert inside.robust_accuracy[0.5] == inside.single_step_accuracy[0.5]  # nothing can move any more


def test_arguments_that_cannot_work_are_refused():
    with pytest.raises(ConfigurationError, match="radii > 0"):
        evaluate(radii=[0.0])
    with pytest.raises(ConfigurationError, match="restarts"):
        evaluate(restarts=0)
    with pytest.raises(ConfigurationError, match="Adversary"):
        evaluate(adversary=3)
    with pytest.raises(DataError, match="tokenizer="):
        evaluate_white_box(keyword_model(), DATA, progress=False)


def test_the_file_says_what_was_attacked_on_what(tmp_path):
    result = evaluate(radii=[0.5], num_examples=2, max_length=9)
    result.save(tmp_path / "white_box.json")
    written = json.loads((tmp_path / "white_box.json").read_text())
    assert written["sample_ids"] == list(result.sample_ids) and len(written["sample_ids"]) == 2
    assert written["model"]["class"] == "KeywordModel" and written["versions"]["torch"]
    assert written["settings"] == {"max_length": 9, "data": {"rows": 4}, "pixel_range": None}


def test_by_the_last_point_a_ball_of_its_own_decides():
    """Neither the single step nor the clean input counts: the ascent alone."""
    result = evaluate(radii=[0.70, 0.72, 3.1], criterion="last")
    assert list(result.robust_accuracy.values()) == [0.75, 0.5, 0.0] and result.criterion == "last"
    weak = evaluate(
        adversary=PGD(steps=2, step_size=0.001, max_norm=1.0, step_unit="absolute"), radii=[1.0], criterion="last"
    )
    assert weak.robust_accuracy[1.0] == 0.75  # the single step is no point of this ascent
    with pytest.raises(ConfigurationError, match="expected a criterion"):
        evaluate(criterion="worst")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_images_are_given_to_a_model_in_half_precision_in_its_own(dtype):
    images = tiny_images(8)
    attack = PixelPGD(steps=3)
    whole = evaluate_white_box(tiny_convnet().eval(), images, PROCESSOR, adversary=attack, progress=False)
    half = evaluate_white_box(tiny_convnet().to(dtype).eval(), images, PROCESSOR, adversary=attack, progress=False)
    assert abs(half.clean_accuracy - whole.clean_accuracy) <= 1 / 8


@pytest.mark.parametrize("label", [-1, 2, 0.5])
@pytest.mark.parametrize("kind", ["images", "tokens"])
def test_labels_that_are_no_class_name_their_row(kind, label):
    if kind == "images":
        rows = [{**row, "labels": label if i == 2 else row["labels"]} for i, row in enumerate(tiny_images(4))]
        arguments = (tiny_convnet().eval(), rows, PROCESSOR)
    else:
        rows = [{"input_ids": [5, 6], "label": label if i == 2 else 0} for i in range(4)]
        arguments = (tiny_bert().eval(), rows)
    with pytest.raises(DataError, match=f"class number in 0..1.*row 2, got {label}"):
        evaluate_white_box(*arguments, progress=False)


def test_classes_of_images_are_matched_by_name():
    """A model that is always right is so whichever way the data number its classes."""
    images, model = tiny_images(8), tiny_convnet().eval()
    model.config.id2label = {0: "cat", 1: "dog"}
    found = []
    for names in (["cat", "dog"], ["dog", "cat"]):
        right = [names.index(model.config.id2label[label]) for label in images["labels"]]
        data = images.remove_columns("labels").add_column("label", right).cast_column("label", ClassLabel(names=names))
        found.append(evaluate_white_box(model, data, PROCESSOR, adversary=PixelPGD(steps=1), progress=False))
    assert found[0].clean_accuracy == found[1].clean_accuracy


def test_outputs_that_are_probabilities_are_noticed():
    class Sure(type(keyword_model())):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            out.logits = out.logits.softmax(-1)
            return out

    model = Sure(keyword_model().config).eval()
    result = evaluate_white_box(model, DATA, keyword_tokenizer(), progress=False)
    assert any("probabilities where logits are expected" in warning for warning in result.warnings)
