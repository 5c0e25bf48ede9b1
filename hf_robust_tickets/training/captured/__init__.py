"""All passes of a training step as one captured graph, replayed for every batch of the same shape.

`trainer.CapturingTrainer` is the part of an `AdversarialTrainer` that asks for it, `steps.CapturedSteps` holds the
graphs, `graphs` is what records and replays one, `buckets` pads batches to a few lengths, `checks` says what cannot be
captured.
"""
