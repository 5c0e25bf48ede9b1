"""The pictures of a job, drawn where matplotlib is installed."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from .._files import make_folder
from ..reporting.plots import plot_cost, plot_distance_matrix, plot_distances, plot_ticket
from ..training import RobustTicketTrainer

logger = logging.getLogger(__name__)


def draw_pictures(trainer: RobustTicketTrainer, folder: Path) -> Path | None:
    """Draws the ticket, its search and its cost.

    Returns:
        The folder; `None`, with a warning, where matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        logger.warning("no pictures: matplotlib is not installed; run `pip install 'hf_robust_tickets[plots]'`")
        return None
    make_folder(folder)
    ticket = trainer.ticket
    plot_ticket(ticket, folder / "ticket.png")
    if trainer.search_log:
        plot_distances(trainer.search_log, trainer.ticket_options.ticket_tolerance, folder / "distances.png")
        plot_distance_matrix(
            trainer.tickets,
            folder / "distance_matrix.png",
            epochs=[record["epoch"] for record in trainer.search_log],
            early_bird=trainer.tickets.index(ticket) if trainer.converged else None,
        )
    if trainer.cost:
        seconds = {phase: cost["seconds"] for phase, cost in trainer.cost.items()}
        plot_cost({"this job": seconds}, folder / "cost.png")
    return folder
