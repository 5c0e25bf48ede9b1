"""Where the stop rule of the withdrawn searches stops gates that follow nothing: the control of docs/results.md.

    python benchmarks/noise_gates.py                    # seconds; no model, no data

Gates of MiniLM's shape get random numbers for gradients, under the optimiser, the schedule, the tickets and the rule
of the searches in docs/evidence/early-bird-*.json. A rule that calls them settled says nothing about a search that it
calls settled as early or later.
"""

from __future__ import annotations

import argparse

import torch

LAYERS, HEADS, NEURONS = 6, 12, 1536
SPARSITY = {"heads": 1 / 6, "neurons": 0.4}
RATE, INTERVAL, PATIENCE, TOLERANCE = 1e-2, 5, 5, 0.1


def settled_at(budget: int, seed: int, constant: bool = False) -> int | None:
    """Step at which the rule calls the tickets settled; None if it never does within the budget."""
    generator = torch.Generator().manual_seed(seed)
    gates = {"heads": torch.ones(LAYERS * HEADS), "neurons": torch.ones(LAYERS * NEURONS)}
    for gate in gates.values():
        gate.requires_grad_()
    optimizer = torch.optim.AdamW(gates.values(), lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if constant else 1 - step / budget)
    tickets: list[dict[str, torch.Tensor]] = []
    for step in range(1, budget + 1):
        for gate in gates.values():
            gate.grad = torch.randn(gate.shape, generator=generator)
        optimizer.step()
        schedule.step()
        if step % INTERVAL:
            continue
        tickets.append({name: _highest(gate, SPARSITY[name]) for name, gate in gates.items()})
        first, *later = tickets[-PATIENCE - 1 :]
        distances = [float((ticket[name] != first[name]).float().mean()) for ticket in later for name in gates]
        if len(later) == PATIENCE and max(distances) < TOLERANCE:
            return step
    return None


def _highest(gate: torch.Tensor, sparsity: float) -> torch.Tensor:
    kept = torch.ones(len(gate), dtype=torch.bool)
    kept[gate.detach().abs().argsort()[: round(sparsity * len(gate))]] = False
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", type=int, nargs="+", default=[109, 217, 433])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    print("| budget of steps | rate | settled at step (one seed each) | share of the budget |")
    print("|---:|---|---|---|")
    for budget in options.budgets:
        for constant in (False, True):
            found = [settled_at(budget, seed, constant) for seed in options.seeds]
            steps = ", ".join("never" if step is None else str(step) for step in found)
            shares = ", ".join("-" if step is None else f"{step / budget:.2f}" for step in found)
            print(f"| {budget} | {'constant' if constant else 'linear to zero'} | {steps} | {shares} |")


if __name__ == "__main__":
    main()
