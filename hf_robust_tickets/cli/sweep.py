"""`robust-tickets sweep`: one ticket job per sparsity, step of the draw and seed; a table and a figure at the end."""

from __future__ import annotations

import gc
import importlib.util
import logging
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .._files import check_folder, read_json, write_json, write_text
from ..errors import ConfigurationError, DataError, MissingResourceError, RobustTicketsError
from ..evaluation import evaluate_robustness
from ..evaluation.recipes.outlook import foresee
from ..evaluation.runner.ranks import process_state
from ..reporting.plots import plot_sweep
from ..reporting.tables import markdown_table, text_table
from ..training import RobustTicketArguments, RobustTicketTrainer
from ..training.jobs.ticket_folder import TicketFolder
from .data import load_evaluation, rows_of_file, sample_size
from .grid import CELL, SETTINGS, SETTLED, Cell, cells_of, check_cells, check_same, settings_of
from .models import TrainedModelOptions, load_to_evaluate
from .options import DataOptions, ModelOptions, named, parse
from .train import build_trainer, train_and_save

logger = logging.getLogger(__name__)

FIGURE, TABLE = "sweep.png", "sweep.md"
_DECIDED = {"head_sparsity": "sparsities", "neuron_sparsity": "sparsities", "ticket_at_step": "draw_steps"}


@dataclass
class SweepOptions:
    """The grid."""

    sparsities: list[str] = field(
        metadata={"help": "Shares that are cut: 0.4 of heads and neurons, or 0.25:0.4 of heads and of neurons."}
    )
    draw_steps: list[str] = field(
        default_factory=lambda: [SETTLED],
        metadata={"help": f"Steps of the search at which the ticket is drawn, or {SETTLED}: when it has settled."},
    )
    seeds: list[int] | None = field(default=None, metadata={"help": "Seeds of each cell; default: --seed alone."})


@dataclass
class AttackedOptions:
    """Whether and how each cell's model is attacked."""

    recipes: list[str] | None = field(
        default=None, metadata={"help": "Recipes that attack each model; default: accuracy without an attack alone."}
    )
    num_examples: int = field(default=200, metadata={"help": "Size of the stratified sample that is attacked."})
    query_budget: int | None = field(default=None, metadata={"help": "Give an example up after so many queries."})
    sentence_encoder: str = field(default="use", metadata={"help": "As in evaluate."})
    masked_language_model: str | None = field(default=None, metadata={"help": "As in evaluate."})
    word_vectors: str | None = field(default=None, metadata={"help": "As in evaluate."})
    num_processes: int = field(default=1, metadata={"help": "Processes that share the attack of a model."})


def run(argv: list[str]) -> None:
    """Trains what is missing, attacks it where recipes are named, and writes `sweep.md` and `sweep.png`.

    Each cell is a folder with a model and `cell.json`; what is there is not made again, and a cell that was cut off
    goes on where it was.

    Raises:
        ConfigurationError: If the grid is impossible; nothing was written.
        CheckpointError: If the folder holds something else, or a sweep with other settings.
        MissingResourceError: If a recipe cannot run here; nothing was trained.
        DataError: If a cell could not be trained; the others were.
    """
    if taken := sorted(named(argv).keys() & _DECIDED.keys()):
        raise ConfigurationError(f"{taken[0]} is that of a single training: pass --{_DECIDED[taken[0]]}")
    model, data, grid, attack, args = parse(
        "sweep", (TrainedModelOptions, DataOptions, SweepOptions, AttackedOptions, RobustTicketArguments), argv
    )
    cells = cells_of(grid.sparsities, grid.draw_steps, [args.seed] if grid.seeds is None else grid.seeds)
    folder = Path(args.output_dir)
    if args.world_size > 1:
        raise ConfigurationError("expected one process for a sweep, got a launcher's: train the cells one by one")
    check_recipes(attack)
    check_folder(folder)
    settings = settings_of(model, data, args, attack_settings(attack))
    check_same(folder, settings)
    if not all((folder / cell.name / CELL).exists() for cell in cells):
        check_cells(cells, build_trainer(model, data, args, RobustTicketTrainer))
    if (pictures := importlib.util.find_spec("matplotlib")) is None:
        logger.warning("no figure: matplotlib is not installed; run `pip install 'hf_robust_tickets[plots]'`")
    if settings["attack"] is None and (folder / SETTINGS).exists():
        settings["attack"] = read_json(folder / SETTINGS)["attack"]
    write_json(folder / SETTINGS, settings)
    found, failed = run_cells(cells, folder, model, data, attack, args)
    if found:
        rows = table_of(found)
        write_text(folder / TABLE, markdown_table(rows) + "\n")
        print(text_table(rows))
        if pictures:
            plot_sweep(found, folder / FIGURE)
        print(
            f"{len(found)} of {len(cells)} cells in {folder}, table in {TABLE}"
            + f", figure in {FIGURE}" * bool(pictures)
        )
    if failed:
        first, reason = next(iter(failed.items()))
        raise DataError(f"{len(failed)} of {len(cells)} cells could not be made; {first}: {reason}")


def check_recipes(attack: AttackedOptions) -> None:
    """Raises MissingResourceError if a recipe cannot run here, ConfigurationError for what no attack takes."""
    for name in ("num_examples", "num_processes"):
        if getattr(attack, name) < 1:
            raise ConfigurationError(f"{name} must be at least 1, got {getattr(attack, name)}")
    if attack.query_budget is not None and attack.query_budget < 1:
        raise ConfigurationError(f"query_budget must be at least 1, got {attack.query_budget}")
    for outlook in foresee(
        attack.recipes or (), attack.sentence_encoder, attack.masked_language_model, attack.word_vectors
    ):
        if not outlook.runs:
            missing = outlook.missing[0]
            raise MissingResourceError(
                f"the recipe {outlook.recipe} needs {missing.name}, which is not here ({missing.detail}): "
                f"run `{missing.command}`"
            )


def attack_settings(attack: AttackedOptions) -> dict[str, Any] | None:
    """What must be the same of all attacks; recipes may be added later."""
    if not attack.recipes:
        return None
    return {f.name: getattr(attack, f.name) for f in fields(attack) if f.name not in ("recipes", "num_processes")}


def run_cells(
    cells: list[Cell],
    folder: Path,
    model: TrainedModelOptions,
    data: DataOptions,
    attack: AttackedOptions,
    args: RobustTicketArguments,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Makes what is missing of each cell.

    Returns:
        The content of each cell's file, and the reason of each cell that could not be made, by its name.
    """
    found, failed = [], {}
    for number, cell in enumerate(cells, 1):
        place, made = folder / cell.name, None
        print(
            f"cell {number} of {len(cells)}: sparsity {cell.sparsity}, draw {cell.draw}, seed {cell.seed}", flush=True
        )
        try:
            if (place / CELL).exists():
                made = read_json(place / CELL, "the result of a cell")
            else:
                made = train_cell(cell, place, model, data, args)
                write_json(place / CELL, made)
            if missing := [recipe for recipe in attack.recipes or () if recipe not in made["attacks"]]:
                made["attacks"] |= attack_cell(place, data, attack, missing)
                write_json(place / CELL, made)
        except (RobustTicketsError, OSError) as error:
            logger.warning("%s: %s", cell.name, error)
            failed[cell.name] = str(error)
        if made is not None:
            found.append(made)
        gc.collect()
    return found, failed


def train_cell(
    cell: Cell, place: Path, model: TrainedModelOptions, data: DataOptions, args: RobustTicketArguments
) -> dict[str, Any]:
    """Trains one cell, or goes on with it, and says what came of it."""
    own = cell.arguments(args, place)
    own.resume_from_checkpoint = "True" if TicketFolder(place, writes=False).has_results else None
    trainer = build_trainer(model, data, own, RobustTicketTrainer)
    metrics, ticket = train_and_save(trainer), trainer.ticket
    drawn = trainer.search_log[-1] if trainer.search_log else {}
    return {
        "head_sparsity": cell.head_sparsity,
        "neuron_sparsity": cell.neuron_sparsity,
        "sparsity": cell.sparsity,
        "draw": cell.draw,
        "seed": cell.seed,
        "drawn_at_step": drawn.get("step"),
        "settled": trainer.converged,
        "heads_kept": list(ticket.head_counts),
        "neurons_kept": list(ticket.neuron_counts),
        "parameters": trainer.model.num_parameters(),
        "accuracy": metrics["eval_accuracy"],
        "cost": trainer.cost,
        "attacks": {},
    }


def attack_cell(place: Path, data: DataOptions, attack: AttackedOptions, recipes: list[str]) -> dict[str, Any]:
    """Attacks the model of one cell; what an earlier run has attacked is not attacked again.

    Raises:
        MissingResourceError: If a recipe did not run.
    """
    model, tokenizer = load_to_evaluate(ModelOptions(str(place)))
    with rows_of_file(data):
        report = evaluate_robustness(
            model.to(process_state().device),
            load_evaluation(data),
            tokenizer,
            recipes=recipes,
            num_examples=sample_size(data, attack.num_examples),
            text_columns=data.text_columns,
            label_column=data.label_column,
            sentence_encoder=attack.sentence_encoder,
            masked_language_model=attack.masked_language_model,
            word_vectors=attack.word_vectors,
            query_budget=attack.query_budget,
            max_length=data.max_length,
            num_processes=attack.num_processes,
            output_dir=place / "robustness",
        )
    if report.failures:
        name, reason = next(iter(report.failures.items()))
        raise MissingResourceError(f"{name} did not run: {reason}")
    return {
        name: {
            "accuracy_under_attack": result.accuracy_under_attack,
            "confidence_interval": list(result.confidence_interval),
            "clean_accuracy": report.clean_accuracy,
            "num_examples": result.num_examples,
            "mean_queries": result.mean_queries,
        }
        for name, result in report.results.items()
    }


def table_of(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per cell."""
    several = len({cell["seed"] for cell in found}) > 1
    recipes = list(dict.fromkeys(recipe for cell in found for recipe in cell["attacks"]))
    rows = []
    for cell in found:
        under = {name: cell["attacks"].get(name, {}).get("accuracy_under_attack") for name in recipes}
        rows.append(
            {
                "sparsity": cell["sparsity"],
                "draw": cell["draw"],
                "drawn at step": cell["drawn_at_step"],
                **({"seed": cell["seed"]} if several else {}),
                "heads": sum(cell["heads_kept"]),
                "neurons": sum(cell["neurons_kept"]),
                "parameters": f"{cell['parameters']:,}",
                "accuracy": f"{cell['accuracy']:.1%}",
                **{name: None if value is None else f"{value:.1%}" for name, value in under.items()},
                "seconds": round(sum(phase["seconds"] for phase in cell["cost"].values())),
            }
        )
    return rows
