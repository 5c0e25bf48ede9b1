"""HotFlip: tokens replaced where the gradient says that it hurts, on any Hugging Face classifier.

Ebrahimi, Rao, Lowd and Dou, "HotFlip: White-Box Adversarial Examples for Text Classification", ACL 2018.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..._arguments import check_arguments
from ..._provenance import describe_data
from ...adversaries import PerturbationHook
from ...architectures import layer_module
from ...errors import ConfigurationError
from ..config import EvaluationConfig, EvaluationSettings
from ..fingerprints import describe_model, versions
from ..results import false_robustness
from ..results.base import log_warnings
from ..results.example import ExampleOutcome, plain, tokenizer_input
from ..results.recipe import RecipeResult
from ..results.report import RobustnessReport
from ..sampling import Example, select_examples
from ..victim.classifier import as_classifier, class_logits
from ..victim.model import Victim, evaluation_mode
from ..victim.reading import unread_warnings
from .token_flips import TokenFlips, first_order_scores

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NAME = "hotflip"

NOT_COMPARABLE = (
    "the paper flips characters and words of convolutional and recurrent networks, here tokens are flipped"
)


@dataclass(frozen=True)
class _Options:
    flips: int
    candidates: int
    beam: int
    same_class: bool
    min_cosine: float | None

    def check(self) -> None:
        for name in ("flips", "candidates", "beam"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"expected {name} >= 1, got {getattr(self, name)}")
        if self.min_cosine is not None and not -1 <= self.min_cosine <= 1:
            raise ConfigurationError(f"expected min_cosine in [-1, 1] or None, got {self.min_cosine}")


@check_arguments
def evaluate_hotflip(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    flips: int = 3,
    candidates: int = 32,
    beam: int = 1,
    same_class: bool = True,
    min_cosine: float | None = None,
    modify_columns: str | Sequence[str] | None = None,
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> RobustnessReport:
    """Replaces single tokens, guided by the gradient, until the model is wrong or `flips` tokens are replaced.

    Replacing token a at position i by b changes the loss, to first order, by `(e_b - e_a) . dL/de_i` (the paper's
    equation 10, for words). The flips with the largest estimate over all positions and the whole vocabulary are put
    into the text, the text is tokenized again and asked: what counts is the model's answer to a text, never an
    estimate, and flips that do not survive tokenization are left out. The `beam` texts with the largest loss are
    flipped further. Position and token are each flipped once.

    Args:
        model: A sequence classifier with an input embedding; it is put into evaluation mode and back.
        dataset: One split of texts and labels.
        tokenizer: Its tokenizer, a fast one (flips are placed by character offsets).
        flips: Most tokens replaced in one example.
        candidates: Texts asked per flip and text of the beam.
        beam: Texts kept per flip; 1 is greedy.
        same_class: Words are replaced by words, continuations of words by continuations, numbers by numbers,
            punctuation by punctuation.
        min_cosine: Least cosine of the two tokens' embeddings; the paper asks for 0.8 to keep the meaning. None: any.
        modify_columns: Columns that may change; None: all, but never a premise, as in the papers' recipes.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`.
            The attack draws nothing.

    Returns:
        A report with one recipe, `hotflip`, as `evaluate_robustness` gives it: it can be saved, shown, compared and
        replayed. `queries` counts every text that was run, forwards or for its gradient.

    Raises:
        ConfigurationError: If an argument cannot work.
        DataError: If data set and model do not fit.
    """
    config = EvaluationConfig.merged(evaluate_hotflip, config, settings)
    model = as_classifier(model)
    options = _Options(flips, candidates, beam, same_class, min_cosine)
    options.check()
    examples = select_examples(dataset, model.config, config)
    columns = _columns_to_change(list(examples[0].texts), modify_columns)
    victim = Victim(model, tokenizer, **config.victim_options)
    warnings = false_robustness.mode_warnings(model)
    attack = _HotFlip(victim, columns, options)
    start = time.perf_counter()
    outcomes = []
    try:
        with evaluation_mode(model), tqdm(examples, desc=NAME, unit="example", disable=not config.progress) as bar:
            for example in bar:
                outcomes.append(attack.run(example))
                victim.forget()
    finally:
        attack.injector.remove()
    result = RecipeResult(
        NAME,
        tuple(outcomes),
        time.perf_counter() - start,
        not_comparable=(NOT_COMPARABLE,),
        description=f"HotFlip: {options}, columns that may change {columns}",
    )
    warnings += false_robustness.answer_warnings(torch.stack(attack.clean), [example.label for example in examples])
    warnings += unread_warnings([example.texts for example in examples], victim)
    warnings += false_robustness.gradient_warnings(
        attack.zero, attack.not_finite, sum(o.outcome != "skipped" for o in outcomes)
    )
    log_warnings(warnings)
    return RobustnessReport(
        results={NAME: result},
        clean_accuracy=result.clean_accuracy,
        sample_ids=tuple(example.index for example in examples),
        seed=config.seed,
        settings={
            **vars(options),
            "text_columns": list(examples[0].texts),
            "modify_columns": columns,
            "label_column": config.label_column,
            "num_examples": config.num_examples,
            "max_length": victim.max_length,
            **({"bf16": True} if config.bf16 else {}),
            "data": describe_data(dataset),
        },
        model=describe_model(model),
        versions=versions(),
        warnings=tuple(warnings),
    )


def _columns_to_change(columns: list[str], wanted: str | Sequence[str] | None) -> list[str]:
    if wanted is None:
        return [name for name in columns if name != "premise" or len(columns) == 1]
    chosen = [wanted] if isinstance(wanted, str) else list(wanted)
    if not chosen or not set(chosen) <= set(columns):
        raise ConfigurationError(f"expected modify_columns among {columns}, got {chosen}")
    return chosen


@dataclass(frozen=True)
class _State:
    """A text on the way: which tokens were flipped, and what the model says."""

    texts: dict[str, str]
    flipped: frozenset[int]
    logits: Tensor

    def loss(self, label: int) -> float:
        return float(torch.nn.functional.cross_entropy(self.logits[None], torch.tensor([label])))


class _HotFlip:
    """The attack on one model."""

    def __init__(self, victim: Victim, columns: Sequence[str], options: _Options) -> None:
        self.victim, self.columns, self.options = victim, columns, options
        self.model = victim.model
        embedding = layer_module(self.model, 0)
        self.flips = TokenFlips(victim.tokenizer, embedding, victim.max_length, options.same_class, options.min_cosine)
        self.injector = PerturbationHook(embedding)
        self.zero = self.not_finite = 0
        self.clean: list[Tensor] = []

    def run(self, example: Example) -> ExampleOutcome:
        """Attacks one example."""
        clean = self._ask([example.texts])[0]
        self.clean.append(clean)
        state = _State(dict(example.texts), frozenset(), clean)
        queries, kind = 1, "skipped"
        if int(clean.argmax()) == example.label:
            state, asked = self._search(state, example.label)
            queries += asked
            kind = "failed" if int(state.logits.argmax()) == example.label else "succeeded"
        return ExampleOutcome(
            index=example.index,
            label=example.label,
            original=plain(example.texts),
            perturbed=plain(state.texts),
            outcome=kind,
            queries=queries,
            original_prediction=int(clean.argmax()),
            perturbed_prediction=int(state.logits.argmax()),
            margin=false_robustness.margins(clean[None])[0],
            probabilities=tuple(clean.double().softmax(0).tolist()),
            perturbed_probabilities=tuple(state.logits.double().softmax(0).tolist()),
            flips=len(state.flipped),
        )

    def _search(self, start: _State, label: int) -> tuple[_State, int]:
        """The first text that is classified wrongly, else the one of the largest loss, and how many texts it took."""
        kept, best, asked = [start], start, 0
        for flip in range(self.options.flips):
            found: dict[tuple[str, ...], _State] = {}
            for state in kept:
                for texts, position in self._candidates(state, label, first=flip == 0):
                    flipped = state.flipped | {position}
                    found.setdefault(tuple(texts.values()), _State(texts, flipped, state.logits))
            asked += len(kept)
            if not found:
                break
            logits = self._ask([state.texts for state in found.values()])
            asked += len(found)
            states = [_State(s.texts, s.flipped, row) for s, row in zip(found.values(), logits)]
            states.sort(key=lambda state: -state.loss(label))
            wrong = [state for state in states if int(state.logits.argmax()) != label]
            if wrong:
                return wrong[0], asked
            kept = states[: self.options.beam]
            best = max(best, kept[0], key=lambda state: state.loss(label))
        return best, asked

    def _candidates(self, state: _State, label: int, first: bool) -> list[tuple[dict[str, str], int]]:
        encoded = self.flips.encode(state.texts)
        gradient = self._gradient(encoded.inputs, label)
        if first:
            finite, zero = torch.stack([gradient.isfinite().all(), (gradient == 0).all()]).tolist()
            self.not_finite += not finite
            self.zero += zero
        gradient = torch.nan_to_num(gradient, posinf=0.0, neginf=0.0)
        scores = first_order_scores(self.flips.vectors, encoded.ids, gradient)
        allowed = self.flips.allowed(encoded, self.columns, state.flipped)
        return self.flips.best(encoded, scores, allowed, self.options.candidates)

    def _gradient(self, inputs: dict[str, list[int]], label: int) -> Tensor:
        """Gradient of the loss with respect to what the embedding puts out, (tokens, dim)."""
        device = next(self.model.parameters()).device
        batch = {name: torch.tensor([values], device=device) for name, values in inputs.items()}
        deltas: list[Tensor] = []

        def watch(clean: Tensor) -> Tensor:
            deltas.append(torch.zeros_like(clean).requires_grad_())
            return deltas[0]

        with torch.enable_grad(), self.injector.armed(watch):
            logits = class_logits(self.model(**batch)).float()
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor([label], device=device))
            (gradient,) = torch.autograd.grad(loss, deltas[0])
        return gradient[0].float()

    def _ask(self, texts: Sequence[Mapping[str, str]]) -> Tensor:
        return self.victim([tokenizer_input(text) for text in texts])
