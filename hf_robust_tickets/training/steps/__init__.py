"""One training step under attack: who runs it, what it is made of, what it shows.

`AdversarialTrainer.training_step` calls an `AdversarialStep` (`base.py`), which is a `MultiPassStep` or a
`RegularizedStep`; each takes its passes through the `StepRunner` (`runner.py`), and what belongs to one micro-batch
lies in a `StepContext` (`context.py`).
"""
