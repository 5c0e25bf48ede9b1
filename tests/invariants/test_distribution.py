"""All methods on one rank and on two: real processes, gloo on the CPU; one launch for all of them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_robust_tickets.adversaries import Regularizer
from hf_robust_tickets.adversaries.text.infobert import AnchorCritic
from tests.testing.methods import EVERY, METHODS
from tests.testing.ranks import FSDP, TORCHRUN, launch
from tests.testing.runs_on_ranks import EVERY_METHOD, NONE, train_all

PENALISED = {name for name, adversary in METHODS.items() if isinstance(adversary, Regularizer)}
# What TA-VAT remembers of the first half of a batch is where the second half starts; it takes input ids, not layers.
HALVED = pytest.mark.parametrize("name", sorted(set(METHODS) - {"ta-vat"}))

DDP = {"batch": 4, "ddp_backend": "gloo"}
HALVES = {**DDP, "batch": 2, "gradient_accumulation_steps": 2}
SHARDED = {**DDP, **FSDP}
# torch takes the device of an optimiser's state from its tensors: plain SGD, which has none, does not load in FSDP2.
SAVED = {**SHARDED, "optim": "adamw_torch", "learning_rate": 1e-3, "methods": ["smart"]}
INFOBERT = {"train_sampling_strategy": "sequential", "methods": [NONE, "infobert"]}
LAYERED = [name for name in EVERY_METHOD if name != "ta-vat"]


def zero(stage: int) -> dict[str, Any]:
    config = {
        "zero_optimization": {"stage": stage},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_allow_untested_optimizer": True,
    }
    return {"batch": 4, "ddp_backend": "gloo", "deepspeed": config}


def train_on_ranks(folder: Path, runs: list[dict[str, Any]], **environment: str) -> dict[str, Any]:
    """Runs `tests.testing.runs_on_ranks` on two ranks."""
    request = json.dumps({"folder": str(folder), "runs": runs})
    launch(TORCHRUN, "-m", "tests.testing.runs_on_ranks", request, **environment)
    return torch.load(folder / "results.pt")


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """What one rank gives; gates have a training of their own."""
    runs = [
        {"title": "batch"},
        {"title": "gates", "gates": True, "methods": ["freelb", "pgd"]},
        {"title": "micro-batches", "batch": 4, "gradient_accumulation_steps": 2, **INFOBERT},
    ]
    return train_all(str(tmp_path_factory.mktemp("one")), runs)


@pytest.fixture(scope="module")
def one_layer(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("one_layer"))
    return train_all(folder, [{"title": "layer", "adversary_layer": 1, "methods": LAYERED}])["layer"]


@pytest.fixture(scope="module")
def ddp(tmp_path_factory):
    return train_on_ranks(
        tmp_path_factory.mktemp("ddp"),
        [
            {"title": "batch", **DDP},
            {"title": "halves", **HALVES},
            {"title": "gates", **DDP, "gates": True, "methods": ["freelb", "pgd"]},
            {"title": "micro-batches", **DDP, **INFOBERT},
        ],
    )


@pytest.fixture(scope="module")
def ddp_more(tmp_path_factory):
    return train_on_ranks(
        tmp_path_factory.mktemp("ddp_more"),
        [
            {"title": "all parameters used", **DDP, "ddp_find_unused_parameters": False},
            {"title": "layer", **DDP, "adversary_layer": 1, "methods": LAYERED},
        ],
    )


@pytest.fixture(scope="module")
def fsdp(tmp_path_factory):
    return train_on_ranks(
        tmp_path_factory.mktemp("fsdp"),
        [
            {"title": "batch", **SHARDED},
            {"title": "halves", **SHARDED, "batch": 2, "gradient_accumulation_steps": 2, "methods": LAYERED},
            {"title": "layer", **SHARDED, "adversary_layer": 1, "methods": ["freelb", "pgd", "yopo"]},
            {"title": "gates", **SHARDED, "gates": True, "methods": ["freelb", "pgd"]},
            {"title": "micro-batches", **SHARDED, **INFOBERT},
            {"title": "saved", **SAVED, "save_strategy": "steps", "save_steps": 1},
            {"title": "resumed", **SAVED, "resume_from": "checkpoint-1"},
        ],
    )


@pytest.fixture(scope="module")
def deepspeed(tmp_path_factory):
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("needs deepspeed")
    few = {"batch": 2, "gradient_accumulation_steps": 2, "methods": ["freelb", "pgd", "trades"]}
    runs = [{"title": f"zero-{stage}", **zero(stage)} for stage in (2, 3)]
    runs.append({"title": "halves", **zero(2), **few})
    return train_on_ranks(tmp_path_factory.mktemp("deepspeed"), runs, DS_ACCELERATOR="cpu")


def assert_same_training(expected: dict[str, Any], got: dict[str, Any], parts: tuple[str, ...]) -> None:
    assert "refused" not in got, got.get("refused")
    for part in parts:
        assert expected[part].keys() == got[part].keys() and expected[part]
        for key, tensor in expected[part].items():
            torch.testing.assert_close(got[part][key], tensor, rtol=1e-4, atol=1e-6)


def parts_of(name: str) -> tuple[str, ...]:
    # Each rank has a TA-VAT vocabulary of its own: from the second step on, it is that of half the words.
    return ("gradient",) if name == "ta-vat" else ("gradient", "weights")


def test_the_reference_is_attacked(one):
    plain = one["batch"][NONE]["weights"]
    for name in sorted(set(METHODS) - {"r-drop"}):
        assert any((one["batch"][name]["weights"][key] - plain[key]).abs().max() > 1e-4 for key in plain), name


@pytest.mark.feature("DDP")
@EVERY
def test_ddp(name, one, ddp):
    assert_same_training(one["batch"][name], ddp["batch"][name], parts_of(name))


@pytest.mark.feature("DDP with accumulation")
@HALVED
def test_ddp_with_accumulation(name, one, ddp):
    assert_same_training(one["batch"][name], ddp["halves"][name], ("gradient", "weights"))


@pytest.mark.feature("DDP", says="as accumulated")
@pytest.mark.parametrize("name", ["infobert"])
def test_ddp_of_terms_per_micro_batch(name, one, ddp):
    """Two ranks, each with its half, are one rank that accumulates the halves."""
    runs = one["micro-batches"], ddp["micro-batches"]
    assert_same_training(*(run[name] for run in runs), ("gradient", "weights"))
    assert any("anchor_critic" in key for key in runs[0][name]["gradient"])


@pytest.mark.slow
@pytest.mark.feature("DDP, hidden layer")
@HALVED
def test_ddp_with_cached_layers(name, one_layer, ddp_more):
    assert_same_training(one_layer[name], ddp_more["layer"][name], ("gradient", "weights"))


@pytest.mark.slow
@pytest.mark.feature("DDP without the search for unused parameters")
@EVERY
def test_ddp_where_all_parameters_are_used(name, one, ddp_more):
    assert_same_training(one["batch"][name], ddp_more["all parameters used"][name], parts_of(name))


@pytest.mark.feature("DDP: one all-reduce per step")
@EVERY
def test_ranks_talk_once_per_step(name, ddp):
    for run in ("batch", "halves"):
        plain = ddp[run][NONE]["buckets"]
        assert ddp[run][name]["buckets"] == plain and all(calls and size for calls, size in plain)


@pytest.mark.feature("DDP: one all-reduce per step")
@pytest.mark.parametrize("name", ["infobert"])
def test_ranks_talk_of_the_critic_in_the_same_reduction(name, ddp):
    plain, attacked = (ddp["micro-batches"][key]["buckets"] for key in (NONE, name))
    critic = 4 * sum(p.numel() for p in AnchorCritic(32).parameters())
    assert [calls for calls, _ in attacked] == [calls for calls, _ in plain]
    assert [size for _, size in attacked] == [size + critic for _, size in plain]


@pytest.mark.slow
@pytest.mark.feature("FSDP2", says="as accumulated")
@pytest.mark.parametrize("name", ["infobert"])
def test_fsdp2_of_terms_per_micro_batch(name, one, fsdp):
    assert_same_training(one["micro-batches"][name], fsdp["micro-batches"][name], ("gradient", "weights"))


@pytest.mark.slow
@pytest.mark.feature("FSDP2")
@EVERY
def test_fsdp2(name, one, fsdp):
    assert_same_training(one["batch"][name], fsdp["batch"][name], parts_of(name))


@pytest.mark.slow
@pytest.mark.feature("FSDP2 with accumulation")
@HALVED
def test_fsdp2_with_accumulation(name, one, fsdp):
    assert_same_training(one["batch"][name], fsdp["halves"][name], ("gradient", "weights"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["freelb", "pgd", "yopo"])
def test_fsdp2_with_hidden_layers(name, one_layer, fsdp):
    assert_same_training(one_layer[name], fsdp["layer"][name], ("gradient", "weights"))


@pytest.mark.slow
@pytest.mark.feature("FSDP2: gradients exchanged as often as in plain training")
@pytest.mark.parametrize("name", sorted(set(METHODS) - PENALISED))
def test_shards_are_reduced_once_per_step(name, fsdp):
    for run in ("batch", "halves"):
        if name in fsdp[run]:
            plain = fsdp[run][NONE]["buckets"]
            assert fsdp[run][name]["buckets"] == plain and all(calls and size for calls, size in plain)


@pytest.mark.slow
@pytest.mark.feature("FSDP2: gradients exchanged as often as in plain training", says="twice if accumulated")
@pytest.mark.parametrize("name", sorted(PENALISED))
def test_shards_of_two_forward_passes(name, fsdp):
    """The penalty's backward pass goes through two forward passes; FSDP2 sends what was accumulated after either."""
    assert fsdp["batch"][name]["buckets"] == fsdp["batch"][NONE]["buckets"]
    for (calls, _), (plain, _) in zip(fsdp["halves"][name]["buckets"], fsdp["halves"][NONE]["buckets"], strict=True):
        assert plain < calls <= 2 * plain


@pytest.mark.slow
def test_averaged_weights_in_shards_survive_a_checkpoint(fsdp):
    assert_same_training(fsdp["saved"]["smart"], fsdp["resumed"]["smart"], ("weights",))


@pytest.mark.parametrize("kind", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["freelb", "pgd"])
def test_gates_and_their_penalty(name, kind, one, request):
    got = request.getfixturevalue(kind)["gates"][name]
    assert sum("robust_gate" in key for key in got["gradient"]) == 4
    assert_same_training(one["gates"][name], got, ("gradient", "weights"))


@pytest.mark.slow
@pytest.mark.feature("DeepSpeed ZeRO-2")
@HALVED
def test_zero_2(name, one, deepspeed):
    assert_same_training(one["batch"][name], deepspeed["zero-2"][name], ("weights",))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["freelb", "pgd", "trades"])
def test_zero_2_with_accumulation(name, one, deepspeed):
    assert_same_training(one["batch"][name], deepspeed["halves"][name], ("weights",))


@pytest.mark.slow
@pytest.mark.feature("DeepSpeed ZeRO-3")
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"smart", "ta-vat", "yopo"}))
def test_zero_3(name, one, deepspeed):
    assert_same_training(one["batch"][name], deepspeed["zero-3"][name], ("weights",))


@pytest.mark.slow
@pytest.mark.feature("DeepSpeed ZeRO-3", says="refused")
@pytest.mark.parametrize(("name", "reason"), [("smart", "proximal_coefficient"), ("yopo", "first layer alone")])
def test_zero_3_is_refused(name, reason, deepspeed):
    assert reason in deepspeed["zero-3"][name]["refused"]
