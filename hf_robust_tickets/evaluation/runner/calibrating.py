"""The temperature at which attacks see a model's scores: fitted once, kept in the folder of the evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..._files import read_json, write_json
from ...errors import ConfigurationError
from ..config import EvaluationConfig
from ..fingerprints import sample_fingerprint
from ..results.example import tokenizer_input
from ..results.recipe import RecipeResult
from ..sampling import Example, select_examples
from ..victim.model import Victim, evaluation_mode
from ..victim.scored import ScoredVictim, find_head
from ..victim.temperature import Temperature, fit_temperature
from .preparation import CALIBRATED, PreparedRecipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .ranks import RankGroup

FILE = "calibration.json"

DEVELOPMENT_EXAMPLES = 1000
"""Most development examples that are used: one number is fitted."""

LOOKED_AT = 64
"""Texts on which the classifier's last layer is looked for."""


def check_calibration(calibrate: bool, development_data: Any, torch_compile: bool) -> None:
    """Refuses a calibration that cannot be done.

    Raises:
        ConfigurationError: If there are no development data, or data without a calibration, or a compiled model.
    """
    if calibrate and development_data is None:
        raise ConfigurationError(
            "expected development data to calibrate on, got none: pass development_data= (--development_file), a "
            "split that is not the attacked one"
        )
    if development_data is not None and not calibrate:
        raise ConfigurationError("expected development_data with calibrate=True alone, got calibrate=False")
    if calibrate and torch_compile:
        raise ConfigurationError(
            "expected calibrate or torch_compile, got both: a compiled model does not run the hooks that read scores"
        )


def development_sample(dataset: Any, model: PreTrainedModel, config: EvaluationConfig) -> list[Example]:
    """The development data that the temperature is fitted on, a seeded, stratified sample of at most 1,000."""
    return select_examples(dataset, model.config, replace(config, num_examples=DEVELOPMENT_EXAMPLES))


def development_warnings(development: Sequence[Example], attacked: Sequence[Example]) -> list[str]:
    """Says so where a temperature was fitted on what is attacked.

    Returns:
        Warnings; empty if no text is in both.
    """
    known = {tuple(example.texts.values()) for example in development}
    both = sum(tuple(example.texts.values()) in known for example in attacked)
    if not both:
        return []
    return [f"{both} of {len(attacked)} attacked texts are development data too: take another split for either"]


def fit(victim: Victim, development: Sequence[Example]) -> Temperature:
    """Looks for the layer that scores come from, and fits the temperature.

    Args:
        victim: The model.
        development: Development data.

    Raises:
        DataError: If no temperature calibrates the model.
    """
    texts = [tokenizer_input(example.texts) for example in development]
    labels = torch.tensor([example.label for example in development], dtype=torch.long, device="cpu")
    with evaluation_mode(victim.model):
        head = find_head(victim, texts[:LOOKED_AT])
        scored = with_scores(victim.model, victim.tokenizer, options_of(victim), head)
        scores = scored.scored(texts)[1]
    return fit_temperature(scores, labels, head)


def common_temperature(
    victim: Victim,
    development: Sequence[Example],
    folder: Path | None,
    fixed: Mapping[str, Any],
    ranks: RankGroup | None,
) -> Temperature:
    """The temperature that the folder holds, or that is fitted now; on ranks, the leader's.

    Args:
        victim: The model.
        development: Development data.
        folder: Where an earlier run kept it; None for nowhere.
        fixed: The circumstances of the evaluation.
        ranks: The ranks that share the work; None for one process.
    """
    if ranks is not None and not ranks.leads:
        return Temperature.from_dict(ranks.same(FILE, None))
    temperature = kept_temperature(folder, fixed) or fit(victim, development)
    return temperature if ranks is None else Temperature.from_dict(ranks.same(FILE, vars(temperature)))


def options_of(victim: Victim) -> dict[str, Any]:
    """The arguments that another `Victim` of the same kind takes."""
    return {"batch_size": victim.batch_size, "max_length": victim.max_length, "bf16": victim.bf16}


def with_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any], head: str | None
) -> ScoredVictim:
    """A victim that tells its scores too."""
    kept = {name: value for name, value in options.items() if name != "torch_compile"}
    return ScoredVictim(model, tokenizer, head, **kept)


def circumstances(development: Sequence[Example]) -> dict[str, str]:
    """What of the calibration must not change while outcomes are gathered."""
    return {"development": sample_fingerprint(development)}


def kept_temperature(folder: Path | None, fixed: Mapping[str, Any]) -> Temperature | None:
    """What an earlier run in the folder has fitted under the same circumstances: batches of another size round
    otherwise, and the attacks of one evaluation see one temperature.

    Raises:
        CheckpointError: If the file is damaged.
    """
    if folder is None or not (folder / FILE).exists():
        return None
    values = read_json(folder / FILE, "a calibration")
    same = all(values.get(name) == fixed[name] for name in ("model", "tokenizer", "development", "max_length"))
    return Temperature.from_dict(values.get("temperature"), f" in {folder / FILE}") if same else None


def keep_temperature(folder: Path, fixed: Mapping[str, Any], temperature: Temperature) -> None:
    """Writes it for the next run in the folder."""
    names = ("model", "tokenizer", "development", "max_length")
    write_json(folder / FILE, {**{name: fixed[name] for name in names}, "temperature": vars(temperature)})


def with_minimum(
    results: Mapping[str, RecipeResult], prepared: Sequence[PreparedRecipe], temperature: Temperature | None
) -> dict[str, RecipeResult]:
    """One result per recipe: of the attacks at T = 1 and at T*, the one that leaves less accuracy; T* where both
    leave the same.
    """
    found = {}
    for one in prepared:
        name = one.recipe.name
        if one.calibrated:
            continue
        if temperature is None or name + CALIBRATED not in results:
            found[name] = results[name]
            continue
        at_1, at_t = results[name], results[name + CALIBRATED]
        used = at_t if at_t.accuracy_under_attack <= at_1.accuracy_under_attack else at_1
        reason = f"the smaller of the figures at T = 1 and at T* = {temperature.value:.3g} is reported (calibrate)"
        found[name] = replace(
            used,
            recipe=name,
            # the same attack on two models has one description, whichever of its figures is the smaller one
            description=at_1.description,
            sha256=at_1.sha256,
            seconds=at_1.seconds + at_t.seconds,
            not_comparable=(*used.not_comparable, reason),
            at_temperatures={
                "temperature": temperature.value,
                "accuracy_at_1": at_1.accuracy_under_attack,
                "accuracy_at_temperature": at_t.accuracy_under_attack,
            },
        )
    return found
