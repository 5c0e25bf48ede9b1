from __future__ import annotations

import pytest
import torch

from hf_robust_tickets.cli.main import main
from hf_robust_tickets.errors import CheckpointError, ConfigurationError
from hf_robust_tickets.evaluation import SpeedReport
from hf_robust_tickets.evaluation.efficiency.speed import alternate, count_flops, make_inputs, measure_speed
from hf_robust_tickets.tickets import export_dense, prune_, random_ticket, save_pruned
from tests.testing.families import tiny_model


def save_small(family, folder, head="ForSequenceClassification"):
    model = tiny_model(family, head)
    prune_(model, random_ticket(model, 0.5, 0.5, head_scope="layer", neuron_scope="layer", round_to=1))
    save_pruned(model, folder)
    return model


def test_the_command_measures_and_writes_table_and_picture(tmp_path, capsys):
    model = save_small("bert", tmp_path / "small")
    dense, out = export_dense(model), tmp_path / "out"
    options = ["--batch_sizes", "1", "2", "--lengths", "8", "--rounds", "1", "--output_dir", str(out)]
    assert main(["bench", str(tmp_path / "small"), *options]) == 0
    printed = capsys.readouterr().out
    assert "latency, 2 x 8" in printed and "1 rounds in turn" in printed
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert "| parameters" in (out / "bench.md").read_text()
    report = SpeedReport.load(out / "bench.json")
    assert report.parameters == (model.num_parameters(), dense.num_parameters())
    assert [(t["batch"], t["length"]) for t in report.timings] == [(1, 8), (2, 8)]
    for timing in report.timings:
        inputs = make_inputs(model, timing["batch"], 8)
        assert timing["flops_ratio"] == count_flops(model, inputs) / count_flops(dense, inputs) < 1
        assert timing["examples_per_second"] == timing["batch"] / timing["seconds"] > 0
        assert timing["dense_seconds"] > 0
    assert report.file_bytes[0] == (tmp_path / "small" / "model.safetensors").stat().st_size < report.file_bytes[1]
    # Weights of 50 KB: what counts here is that both processes said something of that order.
    assert all(0 < peak < 200e6 for peak in report.memory_bytes)
    rows = {row["what"]: row for row in report.rows()}
    assert rows["parameters"]["ratio"] == f"{model.num_parameters() / dense.num_parameters():.2f}"
    assert list(rows)[:2] == ["latency, 1 x 8", "throughput, 1 x 8"]


@pytest.mark.parametrize(
    ("family", "head", "shape"),
    [
        ("vit", "ForImageClassification", (2, 3, 8, 8)),
        ("bert", "ForMultipleChoice", (2, 2, 8)),
        ("gpt2", "LMHeadModel", (2, 8)),
    ],
)
def test_inputs_suit_the_model(family, head, shape):
    model = tiny_model(family, head)
    inputs = make_inputs(model, 2, 8)
    assert next(iter(inputs.values())).shape == shape
    assert count_flops(model, inputs) > 0


def test_fused_attention_counts_as_the_products_that_it_is():
    fused, plain = (tiny_model("bert", attn_implementation=kernel) for kernel in ("sdpa", "eager"))
    inputs = make_inputs(fused, 2, 8)
    assert count_flops(fused, inputs) == count_flops(plain, inputs)


def test_a_model_that_does_half_the_work_takes_less_time():
    small, large = torch.nn.Linear(256, 64), torch.nn.Linear(256, 8192)

    class Wrapped(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            return self.module(x)

    first, second = alternate(Wrapped(small), Wrapped(large), {"x": torch.randn(256, 256)}, rounds=3)
    assert first < second


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_sizes": [0]}, "batch_sizes of at least 1"),
        ({"lengths": []}, "lengths of at least 1"),
        ({"lengths": [41]}, "at most 40"),
        ({"rounds": 0}, "rounds"),
        ({"dtype": "int8"}, "float32, bfloat16, float16.*'int8'"),
    ],
)
def test_bad_options(tmp_path, options, message):
    save_small("bert", tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        measure_speed(str(tmp_path), **options)


def test_a_dense_model_is_refused(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="not a pruned one"):
        measure_speed(str(tmp_path))
