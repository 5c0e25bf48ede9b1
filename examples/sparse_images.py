"""Sparse adversarial training of an image classifier: Flying Bird under PGD, then accuracy with and without an attack.

    python examples/sparse_images.py --dataset_name uoft-cs/cifar10 --model resnet18 --density 0.2
    python examples/sparse_images.py --train_file train.parquet --test_file test.parquet --model resnet20 \\
        --num_train 2000 --epochs 5

ResNet-18 on all of CIFAR-10 is work for an accelerator. The second line takes some minutes on one core; it shows the
steps, and no robust model comes of it.
"""

from __future__ import annotations

import argparse

import numpy as np
from datasets import load_dataset
from transformers import AutoModelForImageClassification

from hf_robust_tickets import (
    AdversarialTrainer,
    AdversarialTrainingArguments,
    FlyingBird,
    SparseTrainingCallback,
    evaluate_white_box,
)
from hf_robust_tickets.adversaries import PixelPGD
from hf_robust_tickets.vision import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    NETWORKS,
    RandomCropFlip,
    prepare_images,
    small_image_processor,
)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_name", help="a data set of the Hub with the splits train and test")
    parser.add_argument("--train_file", help="parquet with a column of images and one of labels")
    parser.add_argument("--test_file")
    parser.add_argument("--model", default="resnet18", choices=NETWORKS)
    parser.add_argument("--density", type=float, default=0.2, help="share of the weights that is kept")
    parser.add_argument("--period", type=int, default=100, help="steps between two changes of the masks")
    parser.add_argument("--steps", type=int, default=10, help="ascents of the attack in training")
    parser.add_argument("--epochs", type=float, default=30)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--num_train", type=int, help="images to train on; default: all")
    parser.add_argument("--num_test", type=int, default=1000, help="images that are attacked at the end")
    parser.add_argument("--output_dir", default="sparse-images")
    return parser.parse_args()


def main() -> None:
    given = options()
    if given.dataset_name:
        data = load_dataset(given.dataset_name)
    else:
        data = load_dataset("parquet", data_files={"train": given.train_file, "test": given.test_file})
    # A tenth of the training images decides about the training; the test images are looked at once.
    parts = data["train"].shuffle(seed=0).select(range(given.num_train or len(data["train"])))
    parts = parts.train_test_split(test_size=0.1, seed=0)

    image = next(name for name, feature in parts["train"].features.items() if type(feature).__name__ == "Image")
    label = next(name for name, feature in parts["train"].features.items() if hasattr(feature, "names"))
    size, names = parts["train"][0][image].size[0], parts["train"].features[label].names
    config = NETWORKS[given.model](image_size=size, id2label=dict(enumerate(names)))
    model = AutoModelForImageClassification.from_config(config)
    processor = small_image_processor(size, CIFAR10_MEAN, CIFAR10_STD, do_convert_rgb=True)
    train = prepare_images(parts["train"], processor, model=model, augment=RandomCropFlip(padding=size // 8))
    development = prepare_images(parts["test"], processor, model=model)
    test = prepare_images(data["test"], processor, model=model)

    sparsity = SparseTrainingCallback(FlyingBird(density=given.density, period=given.period))
    trainer = AdversarialTrainer(
        model=model,
        args=AdversarialTrainingArguments(
            output_dir=given.output_dir,
            num_train_epochs=given.epochs,
            per_device_train_batch_size=given.batch_size,
            per_device_eval_batch_size=given.batch_size,
            learning_rate=0.1,
            optim="sgd",
            optim_args="momentum=0.9",
            weight_decay=5e-4,
            lr_scheduler_type="cosine",
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=2,
            remove_unused_columns=False,  # else the Trainer takes the column of images away
            report_to="none",
        ),
        train_dataset=train,
        eval_dataset=development,
        processing_class=processor,  # the attack takes mean and standard deviation from it
        compute_metrics=lambda p: {"accuracy": float(np.mean(p.predictions.argmax(-1) == p.label_ids))},
        adversary=PixelPGD(steps=given.steps + 1),
        callbacks=[sparsity],
    )
    trainer.train()
    trainer.save_model()

    accuracy = trainer.evaluate(test)["eval_accuracy"]
    attack = PixelPGD.from_processor(processor, steps=21)
    attacked = evaluate_white_box(model, test, adversary=attack, num_examples=min(given.num_test, len(test)))
    print(f"density {sparsity.density:.3f}, accuracy {accuracy:.3f} on {len(test)} test images")
    print(f"under PGD-20 within 8/255: {attacked.robust_accuracy[8 / 255]:.3f} of {attacked.num_examples}")


if __name__ == "__main__":
    main()
