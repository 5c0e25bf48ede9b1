"""Trainings of several phases: the folder, the phases, the checkpoints."""
