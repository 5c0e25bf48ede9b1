"""The attacked model with the scores that calibrated attacks see: its logits in float64, before anything rounds them.

A wrapper that multiplies logits, or a run in bfloat16, takes from an attack what it ranks candidates by, and makes no
text harder to find. What the classifier's last layer reads is still there: from it the scores are computed again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..._sharding import is_sharded
from .model import TextInput, Victim

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class ScoredVictim(Victim):
    """A `Victim` that also tells the scores behind its logits.

    Args:
        model: A sequence classifier.
        tokenizer: Its tokenizer.
        head: Name of the linear layer whose output is the logits, before anything scales or rounds them; None to take
            the logits as they are.
        **options: Further arguments of `Victim`, but for `torch_compile`, under which hooks do not run.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, head: str | None, **options: Any
    ) -> None:
        super().__init__(model, tokenizer, **options)
        self._head = None if head is None else model.get_submodule(head)

    def __call__(self, texts: Sequence[TextInput]) -> Tensor:
        """Logits of texts, (texts, classes), float32: those of a plain `Victim`, to the bit."""
        return self.scored(texts)[0]

    def scored(self, texts: Sequence[TextInput]) -> tuple[Tensor, Tensor]:
        """Logits and scores of texts, in one forward pass.

        Returns:
            Logits, (texts, classes), float32, by which it is judged what the model answers; and scores, (texts,
            classes), float64, by which candidates are ranked. Both on the CPU.
        """
        classes = self.model.config.num_labels
        both = super().__call__(texts)
        return both[:, :classes].float(), both[:, both.shape[1] - classes :].double()

    def _answers(self, inputs: dict[str, Tensor]) -> Tensor:
        if self._head is None:
            logits = _wide(super()._answers(inputs))
            return torch.cat([logits, logits], dim=1)
        with Capture({"head": self._head}) as captured:
            logits = _wide(super()._answers(inputs))
        return torch.cat([logits, _linear(self._head, captured.inputs["head"])], dim=1)


class Capture:
    """Keeps what modules are given, while it is open, in the thread that opened it.

    Attributes:
        inputs: Name -> first argument of the module's last call, in the order of the calls.
    """

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self.inputs: dict[str, Tensor] = {}
        self._modules = modules
        self._handles: list[Any] = []

    def __enter__(self) -> Capture:
        caller = threading.get_ident()

        def keep(name: str, args: tuple[Any, ...]) -> None:
            if threading.get_ident() == caller and args:  # another thread may ask the same model
                self.inputs.pop(name, None)
                self.inputs[name] = args[0].detach()

        for name, module in self._modules.items():
            self._handles.append(module.register_forward_pre_hook(lambda _, args, name=name: keep(name, args)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def find_head(victim: Victim, texts: Sequence[TextInput]) -> str | None:
    """The linear layer that a classifier's logits come from.

    Args:
        victim: The classifier, in evaluation mode.
        texts: Some texts on which it is looked for and checked: its float64 output names the same class as the logits
            wherever these have one largest.

    Returns:
        Its name; None where there is none that reads one vector per text (models that classify at the last token), or
        where what follows it changes its answers.
    """
    classes = victim.model.config.num_labels
    linear = {
        name: module
        for name, module in victim.model.named_modules()
        if type(module) is nn.Linear
        and module.out_features == classes
        and not any(map(is_sharded, module.parameters()))
    }
    with Capture(linear) as captured:
        victim([texts[0]])
        victim.forget()
    found = [name for name, given in captured.inputs.items() if given.ndim == 2]
    if not found:
        return None
    options = {"batch_size": victim.batch_size, "max_length": victim.max_length, "bf16": victim.bf16}
    logits, scores = ScoredVictim(victim.model, victim.tokenizer, found[-1], **options).scored(texts)
    top = logits.topk(2, dim=1).values
    clear = top[:, 0] > top[:, 1]
    same = logits.argmax(dim=1) == scores.argmax(dim=1)
    return found[-1] if bool(same[clear].all()) else None


def _linear(head: nn.Linear, given: Tensor) -> Tensor:
    """A linear layer in float64."""
    bias = None if head.bias is None else _wide(head.bias.detach())
    with torch.autocast(given.device.type, enabled=False):
        return nn.functional.linear(_wide(given), _wide(head.weight.detach()), bias)


def _wide(tensor: Tensor) -> Tensor:
    """In float64, where it is; on the CPU where the accelerator has none."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
