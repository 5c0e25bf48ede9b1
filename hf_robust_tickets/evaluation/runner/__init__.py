"""Runs attacks: in one process, several, or ranks; with a store, a budget and a progress bar."""
