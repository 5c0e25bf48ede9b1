"""Pruned models outside PyTorch's eager mode: ONNX and compilation. Slow: an export takes about ten seconds."""

from __future__ import annotations

import shutil

import numpy as np
import onnxruntime
import pytest
import torch

from hf_robust_tickets.errors import TicketError
from hf_robust_tickets.tickets import attach_gates, get_gates, prune_, random_ticket
from tests.testing.families import MAIN_TASK, logits, task_inputs, task_model, tiny_inputs, tiny_model
from tests.testing.tickets import emptying_ticket

pytestmark = pytest.mark.slow
_EXPORTED = ["albert", "bert", "deberta-v2", "distilbert", "gpt2", "llama", "modernbert", "mpnet", "vit"]


@pytest.mark.parametrize("family", _EXPORTED)
@pytest.mark.parametrize("draw", [random_ticket, emptying_ticket])
def test_onnx_gives_equal_logits_for_any_batch_and_length(family, draw, tmp_path):
    model, example = task_model(family, MAIN_TASK[family]), task_inputs(family, MAIN_TASK[family])
    prune_(model, draw(model))
    model.config.use_cache = False
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    axes = {0: axes[0]} if family == "vit" else axes
    shapes = dict.fromkeys(example, axes)
    torch.onnx.export(model, (), kwargs=example, dynamic_shapes=shapes, dynamo=True).save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for batch, length in ((3, 11), (1, 7), (5, 20)):
        inputs = tiny_inputs(family, batch=batch, length=length, seed=batch)
        got = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]
        assert np.allclose(got, logits(model, inputs), atol=2e-5)


@pytest.mark.parametrize("family", ["bert", "vit"])
@pytest.mark.parametrize("draw", [random_ticket, emptying_ticket])
def test_the_exporter_of_transformers_takes_pruned_models(family, draw, tmp_path):
    exporter = pytest.importorskip("transformers.exporters.exporter_onnx")
    model, example = task_model(family, MAIN_TASK[family]), task_inputs(family, MAIN_TASK[family])
    prune_(model, draw(model))
    exported = exporter.OnnxExporter().export(model, dict(example), config=exporter.OnnxConfig(dynamic=True))
    exported.save_pretrained(tmp_path)
    assert {"model.onnx", "config.json"} <= {path.name for path in tmp_path.iterdir()}
    for batch, length in ((3, 11), (1, 7)):
        inputs = tiny_inputs(family, batch=batch, length=length, seed=batch)
        assert np.allclose(exported(**inputs).logits, logits(model, inputs), atol=2e-5)


@pytest.mark.parametrize("family", ["bert", "mpnet", "llama"])
@pytest.mark.parametrize("draw", [random_ticket, emptying_ticket])
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_gated_and_pruned_models_compile(family, draw, backend):
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler")
    model, inputs = tiny_model(family), tiny_inputs(family)
    prune_(model, draw(model))
    with torch.no_grad():
        attach_gates(model).parameters()[0].fill_(0.5)
    compiled = torch.compile(model, backend=backend)
    torch.testing.assert_close(logits(compiled, inputs), logits(model, inputs), atol=1e-5, rtol=1e-5)
    compiled(**inputs)[0].sum().backward()
    assert get_gates(model).parameters()[0].grad is not None
    with pytest.raises(TicketError, match="unwrap"):
        prune_(compiled, random_ticket(model, round_to=1))
