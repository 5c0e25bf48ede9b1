"""What images cost on one core: decoding and augmenting them, and a pass of two networks.

python benchmarks/images.py --train_file train.parquet
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from datasets import load_dataset
from torch.utils.data import DataLoader
from transformers import default_data_collator

from hf_robust_tickets.vision import (
    CifarResNetConfig,
    CifarResNetForImageClassification,
    RandomCropFlip,
    SmallImageResNetConfig,
    SmallImageResNetForImageClassification,
    prepare_images,
    small_image_processor,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_file", required=True, help="parquet with images of 32 x 32")
    parser.add_argument("--images", type=int, default=5000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_dataset("parquet", data_files=options.train_file, split=f"train[:{options.images}]")
    for name, augment in (("decoded", None), ("and augmented", RandomCropFlip())):
        split = prepare_images(data, small_image_processor(), augment=augment)
        loader = DataLoader(split, batch_size=128, shuffle=True, collate_fn=default_data_collator)
        print(f"{name}: {len(data) / seconds(lambda: [None for _ in loader]):.0f} images/s")  # noqa: B023
    networks = {
        "ResNet-20": CifarResNetForImageClassification(CifarResNetConfig(num_labels=10)),
        "ResNet-18": SmallImageResNetForImageClassification(SmallImageResNetConfig(num_labels=10)),
    }
    pixels, labels = torch.randn(64, 3, 32, 32), torch.arange(64) % 10
    for name, model in networks.items():
        with torch.no_grad():
            forward = min(seconds(lambda: model(pixels)) for _ in range(3))  # noqa: B023
        both = min(seconds(lambda: model(pixels, labels=labels).loss.backward()) for _ in range(3))  # noqa: B023
        print(
            f"{name}: forward {1000 * forward / 64:.2f} ms per image, forward and backward {1000 * both / 64:.2f} ms"
        )


def seconds(work: Callable[[], object]) -> float:
    """Processor time of `work`."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
