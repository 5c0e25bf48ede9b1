"""Dense and pruned models, forward and in training: eager, compiled, and replayed from a captured graph."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.device.setting import CUTS, DENSE, Group, NotHere, Setting

SHAPES = ((128, 128), (32, 128), (256, 128), (32, 32))
MODES = ("eager", "graph", "compile")
# Compiling takes half a minute per model: three of them, and of captured graphs too, whose memory adds up.
FEW = (DENSE, "50 + 50 %, rounded to 1", "50 + 50 %, rounded to 64")


def groups() -> list[Group]:
    """The most valuable first: large batches, eager; then graphs; compilation last."""
    found = []
    for mode in MODES:
        for shape in SHAPES:
            for kind in ("step", "forward"):
                if mode == "compile" and shape not in SHAPES[:2]:
                    continue
                seconds = {"eager": 9, "graph": 8, "compile": 90 if kind == "step" else 45}[mode]
                run = functools.partial(compare, mode=mode, shape=shape, kind=kind)
                found.append(Group(f"{kind}, {mode}, {shape[0]} x {shape[1]}", seconds, run))
    return found


def compare(setting: Setting, mode: str, shape: tuple[int, int], kind: str) -> dict[str, dict[str, Any]]:
    """One group: the dense model and the pruned ones on a batch of this shape."""
    if mode == "graph" and setting.device.type != "cuda":
        raise NotHere("graphs are captured on CUDA devices alone")
    inputs = setting.inputs(*shape)
    make = training_step if kind == "step" else forward
    names = (DENSE, *CUTS) if mode == "eager" else FEW
    pool = torch.cuda.graph_pool_handle() if mode == "graph" else None
    sides = {}
    for name in names:
        step = make(setting, name, inputs, compiled=mode == "compile", captured=mode == "graph")
        sides[name] = capture(step, pool) if mode == "graph" else step
    return setting.compare(sides, flops=mode == "eager")


def forward(
    setting: Setting, name: str, inputs: dict[str, torch.Tensor], compiled: bool, captured: bool
) -> Callable[[], object]:
    """A forward pass without gradients."""
    model = setting.model(name)
    call = torch.compile(model) if compiled else model

    def step() -> object:
        model.eval()
        with torch.no_grad(), setting.autocast():
            return call(input_ids=inputs["input_ids"]).logits

    return step


def training_step(
    setting: Setting, name: str, inputs: dict[str, torch.Tensor], compiled: bool, captured: bool
) -> Callable[[], object]:
    """Forward, backward and one step of AdamW, fused where the device has it."""
    model = setting.model(name)
    call = torch.compile(model) if compiled else model
    fused = setting.device.type == "cuda"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=fused, capturable=captured)

    def step() -> object:
        model.train()
        with setting.autocast():
            loss = call(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return step


def capture(step: Callable[[], object], pool: Any) -> Callable[[], object]:
    """A step as one captured graph; it is warmed up on a stream of its own, as torch asks."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        step()
    return graph.replay
