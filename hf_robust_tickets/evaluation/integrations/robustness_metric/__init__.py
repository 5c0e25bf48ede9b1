"""A folder that `evaluate.load` can open; see `robustness_metric.py`."""
