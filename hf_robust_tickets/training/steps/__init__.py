"""One attacked training step: who runs it, what it is made of, what it shows."""
