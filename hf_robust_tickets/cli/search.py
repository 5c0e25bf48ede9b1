"""`robust-tickets search`: the first phase alone."""

from __future__ import annotations

from pathlib import Path

from ..training import RobustTicketArguments, RobustTicketTrainer
from .models import TrainedModelOptions
from .options import DataOptions, parse
from .pictures import draw_pictures
from .train import build_trainer, resume_option


def run(argv: list[str]) -> None:
    """Writes `ticket.safetensors`, `search_log.json` and pictures to the output folder."""
    model_options, data_options, args = parse(
        "search", (TrainedModelOptions, DataOptions, RobustTicketArguments), argv
    )
    trainer = build_trainer(model_options, data_options, args, RobustTicketTrainer)
    ticket = trainer.search(resume_from_checkpoint=bool(resume_option(args.resume_from_checkpoint)))
    pictures = draw_pictures(trainer, Path(args.output_dir) / "pictures")
    stopped = "stopped by itself" if trainer.converged else "did not settle within its budget"
    print(
        f"the search {stopped} after {trainer.search_log[-1]['step']} steps; heads kept per layer: "
        f"{list(ticket.head_counts)}, neurons: {list(ticket.neuron_counts)}"
    )
    print(f"ticket in {args.output_dir}" + (f", pictures in {pictures}" if pictures else ""))
