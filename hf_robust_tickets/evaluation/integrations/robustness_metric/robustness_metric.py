"""Robustness of a classifier under attack, as a metric of the `evaluate` library.

This file stands alone: `evaluate.load` copies it away from its package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import datasets
import evaluate

_DESCRIPTION = """
How much of a classifier's accuracy an attack leaves. An example is skipped if the model was wrong before the attack;
of the others the attack succeeded where the prediction is no longer the reference, and failed where it still is.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (list of int): predictions for the original inputs.
    references (list of int): true classes.
    attacked_predictions (list of int): predictions for the inputs that the attack ended with.
    queries (list of float, optional): queries the attack made for each example, passed to `compute` as a whole.
Returns:
    clean_accuracy: (succeeded + failed) / all.
    accuracy_under_attack: failed / all.
    accuracy_under_attack_low, accuracy_under_attack_high: its Wilson 95 % interval.
    attack_success_rate: succeeded / (succeeded + failed); NaN when nothing was attacked.
    mean_queries: mean over the attacked examples, only if `queries` are given; NaN when nothing was attacked.
Examples:
    >>> metric = evaluate.load("hf_robust_tickets/evaluation/robustness_metric")
    >>> found = metric.compute(predictions=[0, 1, 1], references=[0, 1, 0], attacked_predictions=[0, 0, 1])
    >>> round(found["accuracy_under_attack"], 3)
    0.333
"""

_CITATION = """
@article{wilson1927probable,
  title={Probable inference, the law of succession, and statistical inference},
  author={Wilson, Edwin B.}, journal={Journal of the American Statistical Association}, year={1927}
}
"""

_Z_95 = 1.959963984540054


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class RobustnessMetric(evaluate.Metric):
    """Clean accuracy, accuracy under attack, attack success rate and mean queries."""

    def _info(self) -> evaluate.MetricInfo:
        columns = ("predictions", "references", "attacked_predictions")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({column: datasets.Value("int64") for column in columns}),
        )

    def _compute(
        self,
        predictions: Sequence[int],
        references: Sequence[int],
        attacked_predictions: Sequence[int],
        queries: Sequence[float] | None = None,
    ) -> dict[str, float]:
        total = len(references)
        if queries is not None and len(queries) != total:
            raise ValueError(f"expected one number of queries per example ({total}), got {len(queries)}")
        attacked = [i for i in range(total) if predictions[i] == references[i]]
        failed = sum(attacked_predictions[i] == references[i] for i in attacked)
        low, high = _wilson(failed, total)
        found = {
            "clean_accuracy": len(attacked) / total if total else math.nan,
            "accuracy_under_attack": failed / total if total else math.nan,
            "accuracy_under_attack_low": low,
            "accuracy_under_attack_high": high,
            "attack_success_rate": (len(attacked) - failed) / len(attacked) if attacked else math.nan,
        }
        if queries is not None:
            found["mean_queries"] = sum(queries[i] for i in attacked) / len(attacked) if attacked else math.nan
        return found


def _wilson(successes: int, trials: int) -> tuple[float, float]:
    if not trials:
        return 0.0, 1.0
    p, z2 = successes / trials, _Z_95**2
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z_95 / (1 + z2 / trials) * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2))
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == trials else centre + half)
