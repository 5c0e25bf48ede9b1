"""Sections of the attack page beyond attacked texts: balls, noise, contrast sets, transfer, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .curves import noise_curves, risk_coverage_curves, white_box_curves
from .formatting import format_percent
from .html import Facts, Note, Section, Table

WHITE_BOX = "hf_robust_tickets/white_box"


def view_sections(views: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Section]:
    """One section per kind of view and, but for curves that share their axes, per model.

    Args:
        views: (name of the model, JSON of the view).
    """
    found = []
    balls = [(name, view) for name, view in views if view["schema"] == WHITE_BOX]
    if balls:
        found.append(Section("Inside balls around the input", [white_box_curves(balls), Table(_ball_rows(balls))]))
        found[-1].blocks.extend(_notes(balls))
    for name, view in views:
        kind = view["schema"].rpartition("/")[2]
        if kind in _SECTIONS:
            section = _SECTIONS[kind](name, view)
            section.blocks.extend(_notes([(name, view)]))
            found.append(section)
    return found


def calibration_sections(reports: Mapping[str, Mapping[str, Any]]) -> list[Section]:
    """Whether models know when they are wrong; nothing for reports without probabilities."""
    rows: list[dict[str, Any]] = []
    blocks: list[Any] = []
    for name, report in reports.items():
        for recipe, result in report["recipes"].items():
            calibration = result.get("calibration")
            if not calibration:
                continue
            for kind, found in calibration.items():
                row = {"model": name, "texts": "clean" if kind == "clean" else f"after {recipe}"}
                row |= {"accuracy": format_percent(found["accuracy"])}
                row |= {"confidence": format_percent(found["mean_confidence"])}
                rows.append(row | {key.upper(): f"{found[key]:.3f}" for key in ("ece", "aurc")})
                rows[-1]["Brier"] = f"{found['brier']:.3f}"
            blocks.append(risk_coverage_curves(f"{name}, {recipe}", calibration))
    if not rows:
        return []
    caption = (
        "ECE: expected calibration error, bins of equal mass. AURC: mean error over all coverages. Lower is better."
    )
    return [Section("Confidence", [Table(rows, caption=caption), *blocks])]


def _ball_rows(views: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {
            "model": name,
            "norm": view["adversary"]["norm"],
            "layer": view["layer"],
            "criterion": view.get("criterion", "any"),
            "radius": f"{point['radius']:g}",
            "accuracy": format_percent(point["accuracy"]),
            "95 % interval": _interval(point["low"], point["high"]),
        }
        for name, view in views
        for point in view["curve"]
    ]


def _accuracy(name: str, view: Mapping[str, Any]) -> Section:
    facts = {
        "accuracy": format_percent(view["accuracy"]),
        "95 % interval": _interval(*view["confidence_interval"]),
        "texts": view["num_examples"],
        **{key.upper(): f"{view[key]:.3f}" for key in ("ece", "aurc")},
    }
    return Section(f"{name}: texts as they are", [Facts(facts)])


def _noise(name: str, view: Mapping[str, Any]) -> Section:
    rows = [
        {
            "noise": cell["kind"],
            "severity": cell["severity"],
            "accuracy": format_percent(cell["accuracy"]),
            "95 % interval": _interval(*cell["confidence_interval"]),
            "clean → noisy": f"{100 * cell['difference']:+.1f}",
            "McNemar's p": f"{cell['p_value']:.3g}",
        }
        for cell in view["cells"]
    ]
    return Section(f"{name}: natural noise", [noise_curves(name, view), Table(rows)])


def _contrast(name: str, view: Mapping[str, Any]) -> Section:
    facts = {
        "contrast consistency": format_percent(view["consistency"]),
        "95 % interval": _interval(*view["confidence_interval"]),
        "accuracy": format_percent(view["accuracy"]),
        "contrast sets": view["num_groups"],
    }
    kinds = [{"rows": kind, "accuracy": format_percent(v["accuracy"])} for kind, v in view["kinds"].items()]
    return Section(f"{name}: contrast sets", [Facts(facts), *([Table(kinds)] if kinds else [])])


def _transfer(name: str, view: Mapping[str, Any]) -> Section:
    facts = {
        "replayed texts": view["num_examples"],
        "right before": view["originally_right"],
        "still right": view["still_right"],
        "95 % interval": _interval(*view["confidence_interval"]),
    }
    return Section(f"{name}: texts made on another model ({view['recipe']})", [Facts(facts)])


def _gate(name: str, view: Mapping[str, Any]) -> Section:
    rows = []
    for row in view["rows"]:
        shown = {"check": row["check"], "sees": row["kind"]}
        for who, right, total in (
            ("model", row["right"], row["examples"]),
            ("reference", row["reference_right"], row["reference_examples"]),
        ):
            shown[who] = format_percent(right / total) if total and right is not None else "–"
        shown["95 % interval of the difference"] = "–"
        if row["interval"] is not None:
            shown["95 % interval of the difference"] = "{:+.1f} to {:+.1f}".format(*(100 * x for x in row["interval"]))
        shown["judgement"] = row["judgement"] or ("not run" if row["right"] is None else "–")
        shown["shares with the training"] = ", ".join(row["shares"]) or "–"
        rows.append(shown | {"note": row["note"]})
    facts = {"verdict": view["verdict"], "signs of false robustness": "; ".join(view["signs"]) or "none"}
    return Section(f"{name}: the gate", [Facts(facts), Table(rows)])


def _image_transfer(name: str, view: Mapping[str, Any]) -> Section:
    rate = view["transfer_rate"]
    facts = {
        "robust accuracy": format_percent(view["accuracy"]),
        "95 % interval": _interval(*view["confidence_interval"]),
        "clean accuracy": format_percent(view["clean_accuracy"]),
        "the source under its own attack": format_percent(view["source_accuracy"]),
        "of what fooled the source": "nothing did" if rate is None else f"{format_percent(rate)} fools the model",
        "images": view["num_examples"],
    }
    return Section(f"{name}: images made on another model ({view['adversary']['name']})", [Facts(facts)])


def _auto_attack(name: str, view: Mapping[str, Any]) -> Section:
    facts = {
        "robust accuracy": format_percent(view["robust_accuracy"]),
        "95 % interval": _interval(*view["confidence_interval"]),
        "clean accuracy": format_percent(view["clean_accuracy"]),
        "images": view["num_examples"],
    }
    after = [{"after": attack, "accuracy": format_percent(left)} for attack, left in view["accuracy_after"].items()]
    title = f"{name}: AutoAttack, {view['norm']} ball of {view['radius']:.4g}"
    return Section(title, [Facts(facts), Table(after, caption="Each attack sees what the ones before it left.")])


def _speed(name: str, view: Mapping[str, Any]) -> Section:
    rows = [
        {
            "batch": timing["batch"],
            "length": timing["length"] or None,
            "pruned": f"{1e3 * timing['seconds']:.2f} ms",
            "dense": f"{1e3 * timing['dense_seconds']:.2f} ms",
            "ratio": f"{timing['seconds'] / timing['dense_seconds']:.2f}",
        }
        for timing in view["timings"]
    ]
    how = f"{view['device']}, {view['dtype']}, medians of {view['rounds']} rounds in turn."
    return Section(f"{name}: speed", [Table(rows, caption=how)])


_SECTIONS = {
    "accuracy": _accuracy,
    "auto_attack": _auto_attack,
    "contrast": _contrast,
    "image_transfer": _image_transfer,
    "noise": _noise,
    "speed": _speed,
    "transfer": _transfer,
    "gate": _gate,
}


def _notes(views: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Note]:
    return [Note(f"{name}: {warning}", "warning") for name, view in views for warning in view["warnings"]]


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.1f}–{100 * high:.1f}"
