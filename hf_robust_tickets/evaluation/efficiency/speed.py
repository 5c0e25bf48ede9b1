"""Is the small model faster? Its speed, memory and size against the dense model of the same configuration."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, PreTrainedModel

from ..._arguments import check_arguments
from ..._memory import peak_memory_bytes, reset_peak_memory
from ...errors import ConfigurationError
from ...tickets import export_dense, load_pruned
from ..fingerprints import describe_model, versions
from ..results.base import EvaluationResult

# A round of a fast model repeats it until this much time has passed: one call is too short to be timed.
_ROUND_SECONDS = 0.05
_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class SpeedReport(EvaluationResult, kind="speed"):
    """What was measured; every pair is (pruned, dense), and `model` is the pruned one.

    Args:
        device: Type of the device, e.g. `"cpu"`.
        dtype: Of the weights.
        threads: Of torch.
        rounds: Repetitions; latencies are medians over them.
        timings: One dict per batch x length: `batch`, `length`, `seconds` and `dense_seconds` of a forward pass,
            `examples_per_second` and `dense_examples_per_second`, `flops_ratio` (counted, not measured).
        memory_bytes: Most memory that loading and one pass of the largest batch and length add to a process.
        file_bytes: Size of the weights on disk, in the dtype of the checkpoint.
        parameters: Their number.
    """

    why_no_answers: ClassVar[str] = "it holds measured times, and no answers"

    device: str
    dtype: str
    threads: int
    rounds: int
    timings: list[dict[str, Any]]
    memory_bytes: tuple[int, int]
    file_bytes: tuple[int, int]
    parameters: tuple[int, int]

    def rows(self) -> list[dict[str, Any]]:
        """The report as rows of a table: what, pruned, dense, ratio, and the ratio of operations where it applies."""
        rows = []
        for timing in self.timings:
            name = f"{timing['batch']} x {timing['length']}" if timing["length"] else f"{timing['batch']} images"
            pair = (timing["seconds"], timing["dense_seconds"])
            rows.append(_row(f"latency, {name}", pair, "{:.2f} ms", 1e-3, timing["flops_ratio"]))
            rates = (timing["examples_per_second"], timing["dense_examples_per_second"])
            rows.append(_row(f"throughput, {name}", rates, "{:.1f} / s", 1))
        rows.append(_row("peak memory", self.memory_bytes, "{:.1f} MB", 1e6))
        rows.append(_row("file size", self.file_bytes, "{:.1f} MB", 1e6))
        rows.append(_row("parameters", self.parameters, "{:.2f} M", 1e6))
        return rows

    @classmethod
    def _decoded(cls, name: str, value: Any) -> Any:
        pairs = ("memory_bytes", "file_bytes", "parameters")
        return tuple(value) if name in pairs else super()._decoded(name, value)


@check_arguments
def measure_speed(
    path_or_repo: str,
    batch_sizes: Sequence[int] = (1, 8, 32),
    lengths: Sequence[int] = (32, 128),
    rounds: int = 7,
    dtype: str = "float32",
    **kwargs: Any,
) -> SpeedReport:
    """Measures a pruned model against the dense one, both in one run and in turn.

    The dense model is the pruned one with zeros in the place of what was cut (`export_dense`): the same configuration
    at full width. Latency is the median time of a forward pass without gradients on random tokens. Memory is measured
    in a process of its own for each.

    Args:
        path_or_repo: The pruned checkpoint.
        batch_sizes: Examples per pass.
        lengths: Tokens per example; a vision model has its own size, and this is ignored.
        rounds: Repetitions of each measurement.
        dtype: `"float32"`, `"bfloat16"` or `"float16"`.
        **kwargs: As for `load_pruned`, e.g. `revision`.

    Raises:
        CheckpointError: If it is no pruned checkpoint.
        ConfigurationError: If a size is not positive, or a length is longer than the model takes.
    """
    sizes = {"batch_sizes": batch_sizes, "lengths": lengths, "rounds": [rounds]}
    for name, values in sizes.items():
        if not values or min(values) < 1:
            raise ConfigurationError(f"expected {name} of at least 1, got {list(values)}")
    if dtype not in _DTYPES:
        raise ConfigurationError(f"expected a dtype among {', '.join(_DTYPES)}, got {dtype!r}")
    pruned = load_pruned(path_or_repo, **kwargs)
    description = describe_model(pruned) | {"name_or_path": str(path_or_repo)}
    _check_lengths(pruned, max(lengths))
    lengths = [0] if _sees_images(pruned) else lengths
    dense = export_dense(pruned)
    with tempfile.TemporaryDirectory() as folder:
        folders = (Path(folder, "pruned"), Path(folder, "dense"))
        for model, place in zip((pruned, dense), folders):
            model.save_pretrained(place)
        file_bytes = tuple(sum(file.stat().st_size for file in place.glob("model*.safetensors")) for place in folders)
        memory = tuple(_memory_in_a_child(place, max(batch_sizes), max(lengths), dtype) for place in folders)
    models = [_prepare(model, dtype) for model in (pruned, dense)]
    timings = [_compare(models, batch, length, rounds) for length in lengths for batch in batch_sizes]
    return SpeedReport(
        model=description,
        versions=versions(),
        settings={"batch_sizes": list(batch_sizes), "lengths": list(lengths)},
        device=models[0].device.type,
        dtype=dtype,
        threads=torch.get_num_threads(),
        rounds=rounds,
        timings=timings,
        memory_bytes=memory,
        file_bytes=file_bytes,
        parameters=tuple(model.num_parameters() for model in models),
    )


def alternate(
    first: nn.Module, second: nn.Module, inputs: dict[str, torch.Tensor], rounds: int
) -> tuple[float, float]:
    """Median seconds of a forward pass of two models, taken in turn, so that what slows the machine slows both."""
    calls = [max(1, math.ceil(_ROUND_SECONDS / _seconds(model, inputs, 1))) for model in (first, second)]
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        for side in (0, 1) if i % 2 == 0 else (1, 0):
            times[side].append(_seconds((first, second)[side], inputs, calls[side]))
    return statistics.median(times[0]), statistics.median(times[1])


def make_inputs(model: PreTrainedModel, batch: int, length: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tokens without padding, or random images, on the model's device."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    if _sees_images(model):
        side = model.config.image_size
        height, width = side if isinstance(side, (list, tuple)) else (side, side)
        shape = (batch, getattr(model.config, "num_channels", 3), height, width)
        pixels = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
        return {"pixel_values": pixels.to(model.device, model.dtype)}
    shape = (batch, 2, length) if type(model).__name__.endswith("ForMultipleChoice") else (batch, length)
    ids = torch.randint(1, model.config.vocab_size, shape, generator=generator, device="cpu").to(model.device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def count_flops(model: nn.Module, inputs: dict[str, torch.Tensor]) -> int:
    """Operations of the matrix products of a forward pass, those of attention too, as torch counts them."""
    # The fused attention of a CPU is unknown to the counter; the plain one is products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs)
    return counter.get_total_flops()


def _compare(models: list[PreTrainedModel], batch: int, length: int, rounds: int) -> dict[str, Any]:
    inputs = make_inputs(models[0], batch, length)
    flops = [count_flops(model, inputs) for model in models]
    seconds, dense_seconds = alternate(*models, inputs, rounds)
    return {
        "batch": batch,
        "length": length,
        "seconds": seconds,
        "dense_seconds": dense_seconds,
        "examples_per_second": batch / seconds,
        "dense_examples_per_second": batch / dense_seconds,
        "flops_ratio": flops[0] / flops[1],
    }


def _seconds(model: nn.Module, inputs: dict[str, torch.Tensor], calls: int) -> float:
    cuda = next(iter(inputs.values())).is_cuda
    with torch.no_grad():
        began = time.perf_counter()
        for _ in range(calls):
            model(**inputs)
        if cuda:
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / calls


def _prepare(model: PreTrainedModel, dtype: str) -> PreTrainedModel:
    return model.to("cuda" if torch.cuda.is_available() else "cpu", getattr(torch, dtype)).eval()


def _sees_images(model: PreTrainedModel) -> bool:
    return model.main_input_name == "pixel_values"


def _check_lengths(model: PreTrainedModel, length: int) -> None:
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and longest < length and not _sees_images(model):
        raise ConfigurationError(f"expected lengths of at most {longest}, which this model takes, got {length}")


def _row(what: str, pair: Sequence[float], unit: str, scale: float, flops: float | None = None) -> dict[str, Any]:
    pruned, dense = (unit.format(value / scale) for value in pair)
    ratios = {"ratio": f"{pair[0] / pair[1]:.2f}", "operations": None if flops is None else f"{flops:.2f}"}
    return {"what": what, "pruned": pruned, "dense": dense, **ratios}


def _memory_in_a_child(folder: Path, batch: int, length: int, dtype: str) -> int:
    command = [sys.executable, "-m", __name__, str(folder), str(batch), str(length), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {folder.name} failed: {done.stderr.strip()[-300:]}")
    return int(done.stdout.split()[-1])


def _measure_memory(folder: str, batch: str, length: str, dtype: str) -> int:
    """Bytes that loading a model and one pass add to this process."""
    config = AutoConfig.from_pretrained(folder)
    reset_peak_memory()
    before = peak_memory_bytes()
    if getattr(config, "robust_ticket", None):
        model = load_pruned(folder, dtype=getattr(torch, dtype))
    else:
        import transformers

        model = getattr(transformers, config.architectures[0]).from_pretrained(folder, dtype=getattr(torch, dtype))
    model = _prepare(model, dtype)
    with torch.no_grad():
        model(**make_inputs(model, int(batch), int(length)))
    return peak_memory_bytes() - before


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure_memory(*sys.argv[1:])))
