"""InfoBERT's critic inside the model that it judges, for the time of a training, and the loss it makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers import Trainer

from ...adversaries import Adversary
from ...adversaries.text.infobert import AnchorCritic, anchored_information, anchored_tokens, bottleneck
from ...errors import ConfigurationError
from .base import Extension, register_extension

if TYPE_CHECKING:
    from ..arguments import AdversaryOptions
    from ..steps.context import StepContext

_NAME = "anchor_critic"


class AnchoredInformation(Extension):
    """The loss of `InfoBERT`: the task's, the information bottleneck and the anchored features."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._critic: CriticHook | None = None

    @classmethod
    def validate(cls, trainer: Trainer, adversary: Adversary, options: AdversaryOptions) -> None:
        """As in `Extension.validate`: the critic must be a part of the model, and see whole batches."""
        args, model = trainer.args, trainer.accelerator.unwrap_model(trainer.model)
        if options.adversary_layer:
            raise ConfigurationError(
                f"{adversary.name} looks at the embeddings, got adversary_layer={options.adversary_layer}: use 0, or "
                "freelb"
            )
        if args.n_gpu > 1:
            raise ConfigurationError(
                f"{adversary.name} compares the words of a whole micro-batch, got {args.n_gpu} devices in one "
                "process, each with a replica of torch.nn.DataParallel: launch with "
                f"`torchrun --nproc_per_node {args.n_gpu}`"
            )
        for where, there in (
            ("deepspeed, whose engine takes every gradient of a trained pass for the last", args.deepspeed),
            ("a PEFT model, whose checkpoints leave its estimator out", hasattr(model, "peft_config")),
        ):
            if there:
                raise ConfigurationError(
                    f"{adversary.name} trains an estimator in the model and ranks words by a gradient, got {where}: "
                    "use freelb"
                )

    def begin_training(self) -> None:
        """As in `Extension.begin_training`: the optimiser and checkpoints find the critic in the model."""
        self._critic = CriticHook(self.runner.trainer.model)

    def end_training(self) -> None:
        """As in `Extension.end_training`."""
        if self._critic is not None:
            self._critic.remove()
            self._critic = None

    def loss(self, context: StepContext, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any) -> Tensor:
        """As in `Extension.loss`."""
        if self._critic is None:
            raise ConfigurationError(
                f"{context.adversary.name} trains an estimator: call train(), not training_step()"
            )
        adversary, perturbation, runner = context.adversary, context.perturbation, self.runner
        with self._critic.armed():
            wanted = {**inputs, "output_hidden_states": True}
            loss, outputs = runner.task_loss(model, wanted, num_items_in_batch)
        context.note(loss * runner.window(num_items_in_batch), outputs)
        perturbation.require_delta()
        embeddings, *_, scores = hidden_states(outputs)
        spread = adversary.bottleneck_coefficient * bottleneck(embeddings, perturbation.mask)
        loss = loss + runner.per_step(spread, num_items_in_batch)
        perturbation.grad = runner.gradient(loss, perturbation.delta, retain_graph=True)
        anchors = anchored_tokens(perturbation.grad, perturbation.mask, adversary.lowest, adversary.highest)
        information = anchored_information(scores, anchors)
        return loss - runner.per_step(adversary.anchor_coefficient * information, num_items_in_batch)


class CriticHook:
    """Puts a critic into a model, where the optimiser, checkpoints and data parallelism find its weights.

    It is called inside the model's own forward pass, and its scores are among the outputs: what is not, data
    parallelism takes for unused.

    Args:
        model: The unwrapped model; a critic it has already is kept.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        if not hasattr(model, _NAME):
            weight = model.get_input_embeddings().weight
            critic = AnchorCritic(model.config.get_text_config().hidden_size)
            model.add_module(_NAME, critic.to(device=weight.device, dtype=weight.dtype))
        self._armed = False
        self._handle = model.register_forward_hook(self._hook)

    @contextmanager
    def armed(self) -> Iterator[None]:
        """While it lasts, the outputs' hidden states end in the critic's scores, `(batch, tokens, batch)`."""
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    def remove(self) -> None:
        """Takes the critic out of the model."""
        self._handle.remove()
        delattr(self._model, _NAME)

    def _hook(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if self._armed:
            states = hidden_states(output)
            scores = getattr(module, _NAME)(states[0], states[-1][:, 0])
            # Not under a name of its own: data parallelism rebuilds outputs from the names of their class.
            output["hidden_states"] = (*states, scores)
        return output


def hidden_states(outputs: Any) -> tuple[Tensor, ...]:
    """The output of the embeddings, of each layer, and what `CriticHook` adds.

    Raises:
        ConfigurationError: If the model gives no hidden states.
    """
    states = outputs.get("hidden_states") if isinstance(outputs, dict) else None
    if not states:
        raise ConfigurationError(
            "infobert needs the hidden states of the model, and it gives none: use a transformers model that returns "
            "them (output_hidden_states), or freelb"
        )
    return states


register_extension("critic", AnchoredInformation)
