"""Pictures for papers, model cards and summary pages: PNG files, one look, safe for colour-blind readers.

Every function takes plain data and a path, writes one file and returns its path. matplotlib (extra `plots`) is
imported when a picture is drawn, through its object interface: no window opens, and the caller's own figures share no
state with these.
"""

from __future__ import annotations

from ._distance_plots import plot_distance_matrix, plot_distances
from ._overfitting_plots import plot_layer_densities, plot_robust_overfitting
from ._result_plots import plot_accuracy, plot_cost
from ._speed_plot import plot_speed
from ._sweep_plot import plot_sweep
from ._ticket_plot import plot_ticket
from ._tradeoff_plot import plot_tradeoff

__all__ = [
    "plot_accuracy",
    "plot_cost",
    "plot_distance_matrix",
    "plot_distances",
    "plot_layer_densities",
    "plot_robust_overfitting",
    "plot_speed",
    "plot_sweep",
    "plot_ticket",
    "plot_tradeoff",
]
