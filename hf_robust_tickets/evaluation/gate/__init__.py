"""The gate: every check that a claim of robustness has to pass, and one verdict."""
