"""`robust-tickets sparse` and `train` on images, on files made here."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("PIL")

from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForImageClassification, ViTConfig, ViTForImageClassification

from hf_robust_tickets.cli.main import main
from hf_robust_tickets.sparse import load_masks
from hf_robust_tickets.tickets import load_pruned
from hf_robust_tickets.vision import small_image_processor
from tests.testing.command_line import write_model_and_rows
from tests.testing.vision_models import tiny_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_model_and_rows(tmp_path_factory.mktemp("images"))
    tiny_images(40).to_parquet(folder / "train.parquet")
    tiny_images(12, seed=1).to_parquet(folder / "validation.parquet")
    tiny_images(12, classes=2).to_parquet(folder / "two.parquet")
    config = ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24, image_size=8)
    config.patch_size, config.num_labels = 4, 3
    torch.manual_seed(0)
    ViTForImageClassification(config).save_pretrained(folder / "vit")
    small_image_processor(8).save_pretrained(folder / "vit")
    return folder


def options(folder, out, image_model: str = "resnet20", **more: object) -> dict[str, object]:
    found = {"image_model": image_model, "train_file": folder / "train.parquet", "output_dir": out, "max_steps": 2}
    found |= {"per_device_train_batch_size": 8, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
    return {**found, "adversary_steps": 2, "attacked_examples": 3, **more}


def line(verb: str, given: dict[str, object]) -> list[str]:
    return [verb, *(word for name, value in given.items() for word in (f"--{name}", str(value)))]


def one_line(capsys) -> str:
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("robust-tickets")]
    assert len(said) == 1 and "--debug shows" not in said[0], said
    return said[0]


def test_a_new_network_is_trained_sparsely_under_attacks_on_pixels(folder, tmp_path, capsys):
    more = {"density": 0.2, "method_kwargs": '{"period": 1}', "validation_file": folder / "validation.parquet"}
    assert main(line("sparse", options(folder, tmp_path / "out", **more))) == 0
    said = capsys.readouterr().out
    assert "pixel-pgd" in said and "(20.0%)" in said and "under PGD-20 within 8/255" in said and "of 3 images" in said
    masks = load_masks(tmp_path / "out" / "sparse_masks.safetensors")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert masks and all(not weights[name][~mask].any() for name, mask in masks.items())
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out")
    assert model.config.id2label == {0: "class 0", 1: "class 1", 2: "class 2"} and model.config.image_size == 8
    assert AutoImageProcessor.from_pretrained(tmp_path / "out").size["height"] == 8
    state = torch.load(tmp_path / "out" / "training_args.bin", weights_only=False)
    assert state.learning_rate == 0.1 and state.optim == "sgd" and state.per_device_train_batch_size == 8


def test_a_yaml_file_trains_the_same_and_a_tenth_of_the_images_decides(folder, tmp_path):
    given = options(folder, tmp_path / "out", learning_rate=0.05, density=0.5)
    assert main(line("sparse", given)) == 0
    again = {**given, "output_dir": tmp_path / "again"}
    (tmp_path / "job.yaml").write_text("\n".join(f"{name}: {value}" for name, value in again.items()))
    assert main(["sparse", str(tmp_path / "job.yaml")]) == 0
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "again"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert json.loads((tmp_path / "out" / "eval_results.json").read_text())["eval_accuracy"] * 4 % 1 == 0


def test_what_was_trained_is_trained_on_whole(folder, tmp_path, capsys):
    given = options(folder, tmp_path / "out", str(folder / "vit"), ticket="none", adversary="none")
    assert main(line("train", {key: value for key, value in given.items() if key != "adversary_steps"})) == 0
    assert "none: plain training" in capsys.readouterr().out
    before, after = (
        AutoModelForImageClassification.from_pretrained(path) for path in (folder / "vit", tmp_path / "out")
    )
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters()))
    assert torch.load(tmp_path / "out" / "training_args.bin", weights_only=False).learning_rate == 5e-5


def test_a_ticket_of_a_vision_transformer(folder, tmp_path, capsys):
    given = options(folder, tmp_path / "out", str(folder / "vit"), round_to=1, neuron_sparsity=0.5)
    assert main(line("train", {**given, "score_warmup": 1, "score_batches": 2, "search_epochs": 2})) == 0
    assert "neurons kept" in capsys.readouterr().out
    small = load_pruned(tmp_path / "out", AutoModelForImageClassification)
    assert small.num_parameters() < ViTForImageClassification.from_pretrained(folder / "vit").num_parameters()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"image_model": "resnet19"}, "expected a new resnet20, resnet18"),
        ({"image_model": "{folder}/model"}, "expected a"),
        ({"image_model": "{folder}/vit", "train_file": "{folder}/two.parquet"}, "for the data's 2 classes"),
        ({"adversary": "freelb"}, "expected an adversary on pixels (pixel-fast"),
        ({"train_file": "{folder}/data.csv"}, "expected one column of the feature Image"),
        ({"train_file": "nowhere.parquet"}, "no file nowhere.parquet"),
        ({"validation_file": "{folder}/data.csv", "max_steps": 1}, "expected"),
        ({"label_column": "stars"}, "no column 'stars'"),
        ({"image_column": "label"}, "expected one column of the feature Image"),
        ({"max_train_samples": 0}, "must be at least 1"),
        ({"attacked_examples": -1}, "must not be negative"),
        ({"text_columns": "image"}, "unknown option --text_columns"),
        ({"remove_unused_columns": True}, "leave remove_unused_columns out"),
        ({"image_std": 0}, "expected three values of image_std"),
        ({"image_mean": "nan"}, "expected three values of image_mean"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_before_anything_is_written(folder, tmp_path, capsys, more, message):
    filled = {name: value.format(folder=folder) if isinstance(value, str) else value for name, value in more.items()}
    assert main(line("sparse", options(folder, tmp_path / "out", **filled))) == 2
    assert message in one_line(capsys)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
