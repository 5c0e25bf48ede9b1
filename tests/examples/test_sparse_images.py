"""The example on images, run as users run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForImageClassification

from tests.testing.paths import ROOT
from tests.testing.vision_models import tiny_images


def test_sparse_images(tmp_path):
    tiny_images(40).to_parquet(tmp_path / "train.parquet")
    tiny_images(12, seed=1).to_parquet(tmp_path / "test.parquet")
    command = [sys.executable, str(ROOT / "examples" / "sparse_images.py"), "--train_file", "train.parquet"]
    command += ["--test_file", "test.parquet", "--model", "resnet20", "--epochs", "1", "--batch_size", "12"]
    command += ["--steps", "1", "--period", "1", "--num_train", "40", "--num_test", "6", "--output_dir", "out"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "home")}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"density 0\.200, accuracy [01]\.\d{3} on 12 test images\n", done.stdout)
    assert re.search(r"under PGD-20 within 8/255: [01]\.\d{3} of 6\n", done.stdout)
    weights = load_file(tmp_path / "out" / "model.safetensors")
    masked = [weight for name, weight in weights.items() if "conv" in name]
    kept, size = sum(int(weight.count_nonzero()) for weight in masked), sum(weight.numel() for weight in masked)
    assert 0.17 * size < kept <= round(0.2 * size)  # what grew in the last step is still zero
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out")
    assert model.config.id2label == {0: "class 0", 1: "class 1", 2: "class 2"}
    assert AutoImageProcessor.from_pretrained(tmp_path / "out").size["height"] == 8
