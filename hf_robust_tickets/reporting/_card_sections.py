"""The parts of a model card, each from plain data to Markdown; every value is escaped by `escaping.markdown`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .escaping import Markdown, code, join_markdown, link, markdown
from .formatting import format_parameters, format_percent, format_seconds, format_value
from .tables import markdown_table

if TYPE_CHECKING:
    from .model_card import CardFacts

_PHASES = {"search": "search", "refit": "refit", "finetune": "fine-tuning", "train": "training"}


def lead(facts: CardFacts) -> Markdown:
    """What this model is, in a few sentences."""
    made = []
    if facts.base_model:
        made.append(markdown("from {}", link(facts.base_model, f"https://huggingface.co/{facts.base_model}")))
    if data := data_name(facts.data):
        made.append(markdown("on {}", data))
    how = "fine-tuned" if facts.training else "made"
    sentences = [markdown("It was {} {}.", how, join_markdown(made, " "))] if made else []
    return join_markdown([_model(facts), *sentences], " ")


def _model(facts: CardFacts) -> Markdown:
    model, parameters = code(facts.model_class), format_parameters(facts.parameters)
    if facts.ticket is not None:
        heads, neurons = _kept(facts.ticket, "head"), _kept(facts.ticket, "neuron")
        of = f" of {format_parameters(facts.dense_parameters)}" if facts.dense_parameters else ""
        return markdown(
            "A {} that keeps {:,} of {:,} attention heads and {:,} of {:,} feed-forward neurons: {}{} parameters. The "
            "others were cut out of the weights, so the model is smaller and faster, not only masked.",
            *(model, *heads, *neurons, parameters, of),
        )
    if facts.sparse is not None:
        kept, weights = facts.sparse["kept"], facts.sparse["weights"]
        return markdown(
            "A {} with {} parameters, trained under a mask: {:,} of {:,} maskable weights ({}) are kept, the others "
            "are zero. Zeros are stored and multiplied like all weights: the model is neither smaller nor faster than "
            "a dense one.",
            *(model, parameters, kept, weights, format_percent(kept / weights)),
        )
    return markdown("A dense {} with {} parameters; nothing was pruned.", model, parameters)


def pruned(facts: CardFacts, picture: str | None, without_picture: str) -> Markdown:
    """Which heads and neurons were cut, in figures, as a picture and layer by layer."""
    ticket = facts.ticket
    if ticket is None:
        return Markdown("")
    heads, neurons = _kept(ticket, "head"), _kept(ticket, "neuron")
    rows = [
        {"what": "attention heads", "before": heads[1], "after": heads[0], "cut": _cut(*heads)},
        {"what": "feed-forward neurons", "before": neurons[1], "after": neurons[0], "cut": _cut(*neurons)},
        {
            "what": "parameters",
            "before": facts.dense_parameters,
            "after": facts.parameters,
            "cut": _cut(facts.parameters, facts.dense_parameters) if facts.dense_parameters else None,
        },
    ]
    shown = markdown("_{}_", without_picture)
    if picture:
        shown = markdown("!{}", link("Heads and neurons that each layer keeps", picture))
    cut = ticket.get("heads_cut")
    layers = [
        {
            "layer": i + 1,
            "heads kept": f"{ticket['head_counts'][i]} of {ticket['dense_heads'][i]}",
            "heads cut": None if cut is None else ", ".join(str(head + 1) for head in cut[i]) or "none",
            "neurons kept": f"{ticket['neuron_counts'][i]:,} of {ticket['dense_neurons'][i]:,}",
        }
        for i in range(len(ticket["head_counts"]))
    ]
    unknown = "" if cut is not None else " Which heads these are is not known: the checkpoint came without its ticket."
    origin = ticket.get("origin") or "of unknown origin"
    return join_markdown(
        [
            Markdown("## What was pruned"),
            markdown_table(rows),
            shown,
            markdown("Layer by layer, counted from 1.{}", unknown),
            markdown_table(layers),
            markdown("The ticket is {}; its fingerprint is {}.", origin, code(ticket["fingerprint"])),
        ]
    )


def masked(facts: CardFacts) -> Markdown:
    """How the mask was chosen, and what it leaves of each layer."""
    if facts.sparse is None:
        return Markdown("")
    method, densities = facts.sparse["method"], facts.sparse["layer_density"]
    rows = {"method": method["name"], **{name: value for name, value in method.items() if name != "name"}}
    rows |= {"changes of the mask while training": facts.sparse["updates"], "layers": len(densities)}
    layers = [{"weight": code(name), "kept": format_percent(density)} for name, density in densities.items()]
    shown = markdown("<details><summary>Layer by layer</summary>\n\n{}\n\n</details>", markdown_table(layers))
    return join_markdown([Markdown("## What was masked"), markdown_table(_pairs(rows)), shown])


def training(facts: CardFacts) -> Markdown:
    """Data, adversaries, search and fine-tuning."""
    parts = [_data(facts.data), _adversaries(facts.adversaries), _search(facts.search), _chosen(facts.chosen)]
    if facts.training:
        parts.append(markdown("### Hyper-parameters\n\n{}", markdown_table(_pairs(facts.training))))
    found = [part for part in parts if part]
    return join_markdown([Markdown("## How it was made"), *found] if found else [])


def evaluation(facts: CardFacts, reports: Mapping[str, Mapping[str, Any]], left_out: Sequence[str]) -> Markdown:
    """Metrics without an attack, then what was left of them under attack."""
    parts = []
    if facts.metrics:
        where = "On the evaluation data of the training ({}), without an attack:\n\n{}"
        parts.append(markdown(where, _rows(facts.data.get("eval_rows")), markdown_table(_pairs(facts.metrics))))
    parts += [_robustness(name, report, trained=bool(facts.training)) for name, report in reports.items()]
    parts += [markdown("_{}_", remark) for remark in left_out]
    if not reports:
        parts.append(
            "Robustness: not evaluated yet, or no report lay beside the model. Nothing here says that this model "
            "withstands an attack."
        )
    return join_markdown([Markdown("## Results"), *parts])


def cost(facts: CardFacts) -> Markdown:
    """What each phase cost."""
    rows = [
        {
            "phase": _PHASES.get(phase, phase),
            "time": format_seconds(values["seconds"]),
            "steps": values["steps"],
            "forward and backward passes": values["passes"],
            "theoretical FLOPs": f"{values['theoretical_flops']:.2e}",
            "peak memory": f"{values['peak_memory_bytes'] / 2**20:,.0f} MiB",
        }
        for phase, values in facts.cost.items()
    ]
    if not rows:
        return Markdown("")
    note = (
        "Time and memory were measured on the machine that trained it. FLOPs are the Trainer's estimate, all passes "
        "of the adversary counted."
    )
    return markdown("## Cost\n\n{}\n\n{}", markdown_table(rows), note)


def made_with(facts: CardFacts) -> Markdown:
    """Versions."""
    if not facts.versions:
        return Markdown("")
    return markdown("## Versions\n\n{}", ", ".join(f"{name} {version}" for name, version in facts.versions.items()))


def data_name(data: Mapping[str, Any]) -> str | None:
    """The data set as a reader knows it: `nyu-mll/glue (sst2)`."""
    name = data.get("name") or data.get("repository")
    config = data.get("config")
    return f"{name} ({config})" if name and config and config != "default" else name


def _data(data: Mapping[str, Any]) -> Markdown:
    if not data:
        return Markdown("")
    sizes = f"{_rows(data.get('train_rows'))} to train on, {_rows(data.get('eval_rows'))} to evaluate on"
    name = data_name(data) or "a data set that is not named (it came from files or from memory)"
    revision = markdown(", at revision {}", code(data["revision"])) if data.get("revision") else ""
    return markdown("### Data\n\nThe data are {}{}: {}.", name, revision, sizes)


def _adversaries(adversaries: Mapping[str, Mapping[str, Any] | None]) -> Markdown:
    if not adversaries:
        return Markdown("")
    keys = list(dict.fromkeys(key for values in adversaries.values() for key in values or {}))
    rows = []
    for key in keys:
        row = {"hyper-parameter": "method" if key == "name" else key.replace("_", " ")}
        rows.append(
            row | {_PHASES.get(phase, phase): (values or {}).get(key) for phase, values in adversaries.items()}
        )
    plain = [_PHASES.get(phase, phase) for phase, values in adversaries.items() if not values]
    text = "" if not plain else f"No adversary in the {' and the '.join(plain)}: plain training."
    return join_markdown(part for part in [Markdown("### Adversary"), markdown_table(rows), text] if part)


def _search(search: Mapping[str, Any] | None) -> Markdown:
    if not search:
        return Markdown("")
    end = "stopped by itself" if search["converged"] else "did not settle and used up its budget"
    text = (
        f"The search {end}, at epoch {search['epoch']:.2f} (step {search['step']:,}), after {search['tickets']} "
        "tickets."
    )
    rest = {key: value for key, value in search.items() if key not in ("converged", "epoch", "step", "tickets")}
    return join_markdown([Markdown("### Search"), text, *([markdown_table(_pairs(rest))] if rest else [])])


def _chosen(chosen: Mapping[str, Any] | None) -> Markdown:
    if not chosen:
        return Markdown("")
    best = "highest" if chosen["greater_is_better"] else "lowest"
    text = "The weights are those of the {} {} on the evaluation data: {}, at step {}."
    told = (best, code(chosen["metric"]), format_value(chosen["value"]), format_value(chosen["step"]))
    note = "" if "attack" in chosen["metric"] else " No attack had a part in the choice."
    return markdown("### What chose the weights\n\n{}{}", markdown(text, *told), note)


def _robustness(name: str, report: Mapping[str, Any], trained: bool) -> Markdown:
    rows, notes = [], []
    calibrated = any(result.get("at_temperatures") for result in report["recipes"].values())
    unseen = {recipe: _unseen(recipe, report, trained) for recipe in report["recipes"]}
    interval = report.get("clean_confidence_interval") or (None, None)
    for recipe, result in report["recipes"].items():
        rows.append(
            {
                "attack": recipe,
                "clean accuracy": _percent(report["clean_accuracy"], *interval),
                "accuracy under attack": _percent(result["accuracy_under_attack"], *result["confidence_interval"]),
                "attack success rate": _percent(result["attack_success_rate"]),
                **({"at T = 1, at T*": _at_temperatures(result)} if calibrated else {}),
                **({"unseen in training": unseen[recipe]} if any(unseen.values()) else {}),
                "mean queries": result["mean_queries"],
            }
        )
        resources = ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in result["resources"].items())
        note = markdown("- {}: {}.", recipe, resources or "neither a sentence encoder nor word vectors")
        if result.get("goal") == "reduce" and result["mean_words"] is not None:
            left = " It leaves {mean_words_left:.1f} of {mean_words:.1f} words; it fools no model."
            note = markdown("{}{}", note, markdown(left, **result))
        if result["not_comparable"]:
            why = "; ".join(result["not_comparable"])
            note = markdown("{} **Not comparable with published numbers**: {}.", note, why)
        notes.append(note)
    notes += [markdown("- {} did not run: {}", recipe, reason) for recipe, reason in report["failures"].items()]
    notes += [markdown("- Warning: {}", warning) for warning in report["warnings"]]
    data = data_name(report["settings"].get("data") or {})
    intro = markdown(
        "Under attack, on a stratified sample of {}{} (seed {}), with 95 % intervals over the sample; from {}:",
        *(_rows(report["num_examples"]), f" of {data}" if data else "", report["seed"], code(name)),
    )
    if calibrated:
        notes.append(
            Markdown(
                "- T\\* is the temperature that calibrates the model; accuracy under attack is the lower of both."
            )
        )
    used = markdown("Resources used:\n\n{}", join_markdown(notes, "\n"))
    return join_markdown([Markdown("### Robustness"), intro, markdown_table(rows), used])


def _at_temperatures(result: Mapping[str, Any]) -> str | None:
    """Accuracy under a calibrated attack, without and with the temperature."""
    both = result.get("at_temperatures")
    if not both:
        return None
    accuracies = (format_percent(both[f"accuracy_at_{which}"]) for which in ("1", "temperature"))
    return "{}, {} (T* = {:.3g})".format(*accuracies, both["temperature"])


def _unseen(recipe: str, report: Mapping[str, Any], trained: bool) -> str | None:
    """Whether the training had nothing of what an attack changes texts with; None where that is not known."""
    shared = (report.get("model", {}).get("shared_with_training") or {}).get(recipe)
    if shared is None or not (shared or trained):
        return None
    return f"no: trained on {' and '.join(shared)}" if shared else "yes"


def _kept(ticket: Mapping[str, Any], kind: str) -> tuple[int, int]:
    return sum(ticket[f"{kind}_counts"]), sum(ticket[f"dense_{kind}s"])


def _cut(after: int, before: int) -> str | None:
    return format_percent(1 - after / before) if before else None  # convolutional networks have no heads


def _percent(value: float | None, *interval: float | None) -> str | None:
    return None if value is None else format_percent(value, *interval)


def _rows(number: int | None) -> str:
    return "an unknown number of examples" if number is None else f"{number:,} examples"


def _pairs(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"what": key.replace("_", " "), "value": format_value(value)} for key, value in values.items()]
