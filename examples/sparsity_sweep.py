"""How small can it get? A ticket job per sparsity, with a table and a figure at the end.

Run it with `python examples/sparsity_sweep.py`; `jupytext --to ipynb` makes a notebook of it.
"""

# %% [markdown]
# `robust-tickets sweep` trains and attacks one cell after the other; the same call goes on where it was cut off. The
# data are files, as for every verb.

# %%
from pathlib import Path

from hf_robust_tickets.cli.main import main as robust_tickets
from hf_robust_tickets.demo.corpus import corpus_as_datasets
from hf_robust_tickets.demo.encoder import minilm_path

ENCODER = minilm_path()
NUM_TRAIN, BATCH, EPOCHS, NUM_ATTACKED = 1600, 32, 1, 20
SPARSITIES = ["0.25", "0.5", "0.75"]

# %%
data = corpus_as_datasets(num_train=NUM_TRAIN, num_validation=100, num_test=0)
Path("sweep").mkdir(exist_ok=True)
for split in ("train", "validation"):
    data[split].to_parquet(f"sweep/{split}.parquet")

# %%
options = {
    "model_name_or_path": ENCODER,
    "train_file": "sweep/train.parquet",
    "validation_file": "sweep/validation.parquet",
    "output_dir": "sweep/cells",
    "num_train_epochs": EPOCHS,
    "per_device_train_batch_size": BATCH,
    "learning_rate": 1e-4,
    "save_strategy": "no",
    "report_to": "none",
    "num_examples": NUM_ATTACKED,
}
line = [word for name, value in options.items() for word in (f"--{name}", str(value))]
status = robust_tickets(["sweep", *line, "--sparsities", *SPARSITIES, "--recipes", "deepwordbug"])
assert status == 0

# %% [markdown]
# Twenty sentences and one seed show the way, no difference. `sweep/cells/sweep.png` has the figure.

# %%
print(Path("sweep/cells/sweep.md").read_text())
