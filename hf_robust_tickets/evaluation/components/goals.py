"""The attacked model and the goals of attacks as TextAttack sees them: the same decisions, in fewer calls.

This module imports TextAttack: import it inside functions only.
"""

# ruff: noqa: E402  (TextAttack has to be imported by its shim before anything is imported from it)

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..._compat import import_textattack
from ...architectures import layer_module
from ..victim.classifier import class_logits
from ..victim.model import Victim
from ..victim.scored import ScoredVictim
from ..victim.temperature import log_odds

import_textattack()

from textattack.goal_functions import InputReduction, UntargetedClassification
from textattack.models.wrappers import ModelWrapper as TextAttackWrapper
from textattack.shared import validators

if TYPE_CHECKING:
    from textattack import Attack


class ModelWrapper(TextAttackWrapper):
    """The attacked model as TextAttack's goal functions and gradient-based rankings ask for it."""

    def __init__(self, victim: Victim) -> None:
        self.model = victim.model
        self.tokenizer = victim.tokenizer
        self.max_length = victim.max_length
        self._victim = victim

    def __call__(self, texts: list[Any]) -> Tensor:
        """Logits, (texts, classes)."""
        return self._victim(texts)

    def get_grad(self, text_input: Any) -> dict[str, np.ndarray]:
        """The gradient of the loss of the predicted class with respect to the embedded tokens.

        TextAttack's wrapper switches dropout on for it; here the model stays in its mode, and nothing is left in the
        gradients of its parameters.

        Args:
            text_input: A text, or a pair.

        Returns:
            "ids", (1, tokens), and "gradient", (tokens, dim).
        """
        encoded = self._encode(text_input)
        device = next(self.model.parameters()).device
        inputs = {name: torch.as_tensor([values], device=device) for name, values in encoded.items()}
        embedded: list[Tensor] = []
        caller = threading.get_ident()

        def keep(module: Any, args: Any, output: Tensor) -> Tensor | None:
            if threading.get_ident() != caller:
                return None  # another thread asks the same model
            embedded.append(output.detach().requires_grad_())
            return embedded[-1]

        hook = layer_module(self.model, 0).register_forward_hook(keep)
        try:
            with torch.enable_grad():
                logits = class_logits(self.model(**inputs))
                loss = torch.nn.functional.cross_entropy(logits, logits.argmax(dim=1))
                (gradient,) = torch.autograd.grad(loss, embedded[0])
        finally:
            hook.remove()
        return {"ids": inputs["input_ids"].cpu().numpy(), "gradient": gradient[0].float().cpu().numpy()}

    def _encode(self, text_input: Any) -> dict[str, list[int]]:
        pair = text_input if isinstance(text_input, tuple) else (text_input,)
        return dict(self.tokenizer(*pair, truncation=True, max_length=self.max_length))

    def _tokenize(self, inputs: list[Any]) -> list[list[str]]:
        return [self.tokenizer.convert_ids_to_tokens(self._encode(text)["input_ids"]) for text in inputs]


class Goal(UntargetedClassification):
    """Lower the true class's probability until another class wins.

    As in TextAttack, with two differences that change no decision: every list of candidates goes to the model at once
    (its own cache answers repetitions), and the scores are NumPy's float32 instead of zero-dimensional tensors. A
    softmax is always applied; TextAttack guesses from the sums of the rows whether it was.
    """

    def __init__(self, victim: Victim) -> None:
        super().__init__(ModelWrapper(victim), use_cache=False, model_batch_size=2**31)

    def _process_model_outputs(self, inputs: list[Any], scores: Tensor) -> np.ndarray:
        return torch.softmax(scores, dim=1).numpy()

    def _is_goal_complete(self, model_output: np.ndarray, attacked_text: Any) -> bool:
        return int(model_output.argmax()) != self.ground_truth_output

    def _get_score(self, model_output: np.ndarray, attacked_text: Any) -> np.float32:
        return 1 - model_output[self.ground_truth_output]


class Answer(NamedTuple):
    """What a calibrated attack learns of a text: the model's class, and its scores over T*, float64."""

    label: int
    scores: Tensor


class CalibratedGoal(Goal):
    """The same goal, with candidates ranked by their log-odds in float64 at the temperature T*.

    What counts as a wrong answer is decided by the model's own logits, as in `Goal`. A candidate's score is the
    probability of a wrong class, computed from the log-odds: sigmoid(-log-odds). It grows with every difference of
    log-odds that float64 can hold, where 1 - softmax in float32 is 0 for every text that the model is sure of; and it
    lies in [0, 1], as searches that multiply or exponentiate scores expect.

    Args:
        victim: The attacked model, with its scores.
        temperature: T*.
    """

    def __init__(self, victim: ScoredVictim, temperature: float) -> None:
        super().__init__(victim)
        self._scored = victim.scored
        self._temperature = temperature

    def _call_model_uncached(self, attacked_text_list: list[Any]) -> list[Answer]:
        logits, scores = self._scored([text.tokenizer_input for text in attacked_text_list])
        labels = super()._process_model_outputs([], logits).argmax(axis=1).tolist()
        return [Answer(label, row) for label, row in zip(labels, scores / self._temperature)]

    def _get_displayed_output(self, raw_output: Answer) -> int:
        return raw_output.label

    def _is_goal_complete(self, model_output: Answer, attacked_text: Any) -> bool:
        return model_output.label != self.ground_truth_output

    def _get_score(self, model_output: Answer, attacked_text: Any) -> np.float64:
        return np.float64(torch.sigmoid(-log_odds(model_output.scores, self.ground_truth_output)))


def calibrate_attack(attack: Attack, victim: ScoredVictim, temperature: float) -> None:
    """Puts the calibrated goal in place of an attack's `Goal`."""
    goal = CalibratedGoal(victim, temperature)
    attack.goal_function = goal
    attack.search_method.goal_function = goal
    attack.search_method.get_goal_results = goal.get_results


class LabelGoal(Goal):
    """The same goal for an attacker who sees the predicted class and nothing else: 1 for it, 0 for the others."""

    def _process_model_outputs(self, inputs: list[Any], scores: Tensor) -> np.ndarray:
        labels = super()._process_model_outputs(inputs, scores).argmax(axis=1)
        return np.eye(scores.shape[1], dtype=np.float32)[labels]


class ReductionGoal(InputReduction):
    """As few words as possible under the same prediction: the goal of Input Reduction, which fools no model.

    As in TextAttack, with the differences of `Goal`.
    """

    def __init__(self, victim: Victim) -> None:
        super().__init__(ModelWrapper(victim), maximizable=True, use_cache=False, model_batch_size=2**31)

    def _process_model_outputs(self, inputs: list[Any], scores: Tensor) -> np.ndarray:
        return torch.softmax(scores, dim=1).numpy()


# Goal functions look their class up here and print a warning about models that they do not know.
for kind in (Goal, CalibratedGoal, LabelGoal, ReductionGoal):
    validators.MODELS_BY_GOAL_FUNCTION[kind] = [".*"]
