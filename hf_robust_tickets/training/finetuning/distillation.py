"""Another model's output as a part of the loss."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel
from transformers.utils import cached_file

from ..._compat import without_adapter
from ..._reading import tokenizer_of
from ...adversaries import kl_divergence
from ...errors import ConfigurationError
from ...evaluation.datasets.labels import Classes
from ...tickets import load_pruned
from ..steps.outputs import kind_of_outputs, logits_of, valid_rows


class Distillation:
    """`(1 - weight) * L + weight * T^2 * KL(teacher(x) / T || student / T)`.

    Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv:1503.02531), section 2: both
    models' logits are divided by the temperature T, and T^2 keeps the share of the gradient. Several labels at once
    are compared one by one, numbers by their squared difference, at T = 1.

    The teacher reads the clean input, once per micro-batch, in evaluation mode and without gradients; the student's
    output is that of each pass, so under attack it is drawn to what the teacher says of the text as it is (as in
    Goldblum, Fowl, Feizi and Goldstein, "Adversarially Robust Distillation", AAAI 2020, equation 4). The teacher is no
    part of the model: nothing that is saved or uploaded holds it.

    Args:
        teacher: Gives logits of the same classes for the same input.
        weight: Share of the teacher in the loss.
        temperature: T.

    Attributes:
        uses: How often it was part of a loss.
    """

    def __init__(self, teacher: PreTrainedModel, weight: float, temperature: float) -> None:
        self.teacher, self.weight, self.temperature = teacher, weight, temperature
        self.uses = 0
        self._read = frozenset(inspect.signature(without_adapter(teacher).forward).parameters)
        self._batch: Tensor | None = None
        self._logits: list[Tensor] = []

    def term(self, outputs: Any, student: nn.Module, inputs: Mapping[str, Any], labels: list[Tensor]) -> Tensor:
        """`T^2 * KL(teacher || student)`, the mean over the micro-batch, summed over the heads of the task.

        Args:
            outputs: The student's, of one pass.
            student: The unwrapped student.
            inputs: The batch, without labels.
            labels: Its labels, which tell what the logits are.
        """
        self.uses += 1
        logits, target = logits_of(outputs), self._teach(inputs)
        kind = kind_of_outputs(student, logits, labels)
        heat = 1.0 if kind == "numbers" else self.temperature
        heads = [
            kl_divergence(t.float() / heat, s.float() / heat, valid_rows(s, inputs), kind)
            for t, s in zip(target, logits, strict=True)
        ]
        return heat**2 * torch.stack(heads).sum()

    def _teach(self, inputs: Mapping[str, Any]) -> list[Tensor]:
        """The teacher's logits for the clean batch: several passes over it ask once."""
        batch = next(value for value in inputs.values() if torch.is_tensor(value))
        if self._batch is not batch:
            teacher = self.teacher.to(batch.device).eval()
            with torch.no_grad():
                outputs = teacher(**{name: value for name, value in inputs.items() if name in self._read})
            self._batch, self._logits = batch, [logits.detach() for logits in logits_of(outputs)]
        return self._logits


def load_teacher(source: str, like: PreTrainedModel) -> PreTrainedModel:
    """The teacher in a folder or a repository, dense or pruned, of the class that was saved.

    Args:
        source: The folder or repository.
        like: The student, whose class is taken where none is named.

    Raises:
        ConfigurationError: If there is none, or not all of its weights are there: a new head teaches nothing.
    """
    try:
        config = AutoConfig.from_pretrained(source)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"expected a teacher at {source}, got none ({reason}): give its folder") from error
    if getattr(config, "robust_ticket", None) is not None:
        teacher, report = load_pruned(source, output_loading_info=True)
    else:
        student = type(without_adapter(like))
        name = next(iter(config.architectures or [student.__name__]))
        kind = student if name == student.__name__ else getattr(transformers, name, None)
        if kind is None:
            raise ConfigurationError(f"expected a class of transformers at {source}, got {name}: pass teacher=model")
        teacher, report = kind.from_pretrained(source, output_loading_info=True)
    if missing := sorted(report["missing_keys"]):
        raise ConfigurationError(
            f"expected a trained teacher at {source}, got one without {missing[0]} and {len(missing) - 1} others: "
            "train it on the task first"
        )
    return teacher


def check_teacher(teacher: PreTrainedModel, student: PreTrainedModel, source: str | None, tokenizer: Any) -> None:
    """Checks that a teacher speaks of what the student learns, and reads what it reads.

    Args:
        teacher: The teacher.
        student: The model that trains.
        source: Where the teacher is from, whose tokenizer may lie beside it; `None` for a model.
        tokenizer: The student's, if known.

    Raises:
        ConfigurationError: For another number of classes, other names or another order of them, another task, another
            vocabulary, or the student itself.
    """
    teacher, student = without_adapter(teacher), without_adapter(student)
    if teacher is student:
        raise ConfigurationError("expected a teacher beside the model that trains, got the same model: pass a copy")
    mine, theirs = Classes.of_model(student.config), Classes.of_model(teacher.config)
    if len(mine.names) != len(theirs.names) or (mine.named and theirs.named and mine.names != theirs.names):
        raise ConfigurationError(
            f"expected a teacher of the model's classes in the model's order, {', '.join(mine.names)}, got "
            f"{', '.join(theirs.names)}: train one with the same id2label"
        )
    problems = [getattr(model.config, "problem_type", None) for model in (student, teacher)]
    if None not in problems and problems[0] != problems[1]:
        raise ConfigurationError(f"expected a teacher of the task {problems[0]}, got {problems[1]}: use another one")
    sizes = [getattr(model.config.get_text_config(), "vocab_size", None) for model in (student, teacher)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise ConfigurationError(
            f"expected a teacher with the model's vocabulary of {sizes[0]:,} tokens, got {sizes[1]:,}: it reads the "
            "same input_ids; use one with the same tokenizer"
        )
    _check_tokenizer(source, tokenizer)


def _check_tokenizer(source: str | None, tokenizer: Any) -> None:
    tokenizer = tokenizer_of(tokenizer)
    if source is None or not hasattr(tokenizer, "get_vocab"):
        return
    if cached_file(source, "tokenizer_config.json", _raise_exceptions_for_missing_entries=False) is None:
        return
    theirs, mine = AutoTokenizer.from_pretrained(source).get_vocab(), tokenizer.get_vocab()
    if theirs != mine:
        differs = sum(mine.get(word) != number for word, number in theirs.items())
        raise ConfigurationError(
            f"expected a teacher with the model's tokenizer, got one at {source} in which {differs:,} of "
            f"{len(theirs):,} tokens are others: use one with the same tokenizer"
        )
