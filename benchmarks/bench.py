"""Speed and memory as ratios: both sides in one run, in turn, medians. `make bench` prints the table.

    python benchmarks/bench.py                       # everything, some minutes on two cores
    python benchmarks/bench.py --only freelb pgd     # some rows
    python benchmarks/bench.py --rounds 9            # steadier

A step is what the Trainer does from `on_step_begin` to `on_step_end`: forward, backward, clipping, optimiser.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from transformers import logging  # noqa: E402

from benchmarks import attacks, lengths, masks, processes, recipe, searching, surgery, training  # noqa: E402
from hf_robust_tickets.reporting.tables import text_table  # noqa: E402

SECTIONS = {
    "plain_step": training.plain_step,
    "freelb": training.freelb,
    "pgd": training.pgd,
    "hidden_layer": training.hidden_layer,
    "units": training.units,
    "gates": training.gates,
    "scoring": searching.scoring,
    "search_memory": searching.search_memory,
    "ddp": processes.ddp,
    "memory": processes.memory,
    "pruned": training.pruned,
    "job": training.job,
    "masked": masks.masked,
    "flying-bird": masks.flying_bird,
    "mask_memory": masks.mask_memory,
    "channels": masks.channels,
    "lengths": lengths.lengths,
    "widths": surgery.widths,
    "cutting": surgery.cutting,
    "loading": surgery.loading,
    "refit": recipe.refit_passes,
    "averaging": recipe.averaging,
    "teacher": recipe.teacher,
    "frozen": recipe.frozen,
    "substitution": recipe.substitution,
    "attacks": attacks.stock_at_64,
    "attacks_padded": attacks.stock_as_it_comes,
    "attacks_merged": attacks.merged,
    "attacks_processes": attacks.processes,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    logging.set_verbosity_error()
    rows = []
    for name in options.only:
        print(f"measuring {name} ...", flush=True)
        rows.extend(SECTIONS[name](options.rounds))
    print(f"\n{torch.get_num_threads()} threads, torch {torch.__version__}, medians, {options.rounds} rounds\n")
    limits = [side for side in ("at most", "at least") if any(side in row for row in rows)]
    print(text_table(rows, ["what", "ratio", *limits, ""]))


if __name__ == "__main__":
    main()
