"""Uploads to the Hub: the card that goes along, and what is said when one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import PreTrainedModel, Trainer

from ..._compat import hub_connection_error
from ...errors import HubError, RobustTicketsError
from .card import write_model_card

_AGAIN = "push again when the Hub answers; large files that arrived are not sent a second time"
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


class Publisher:
    """Writes a trainer's model card, and says in one line what became of an upload.

    Args:
        trainer: Its `card_facts` is what the card says, its `card_options` are defaults of `create_model_card`.
        stock_card: The card of the classes that the trainer extends, for models with cards of their own (adapters).
    """

    def __init__(self, trainer: Trainer, stock_card: Callable[..., None]) -> None:
        self._trainer = trainer
        self._stock_card = stock_card

    def write_card(self, folder: Path, options: dict[str, Any]) -> None:
        """Writes the card into a folder, once for all processes; a `README.md` that somebody edited is kept.

        Args:
            folder: Where the model lies.
            options: Keyword arguments of `Trainer.create_model_card`; those that are `None` are not given.

        Raises:
            CheckpointError: If a report in the folder is damaged.
        """
        trainer = self._trainer
        if not trainer.is_world_process_zero():
            return
        given = {key: value for key, value in options.items() if value is not None}
        options = {**options, **(trainer.card_options or {}), **given}
        model = trainer.accelerator.unwrap_model(trainer.model)
        if not isinstance(model, PreTrainedModel):
            self._stock_card(**options)
            return
        repository = trainer.hub_model_id or folder.absolute().name
        write_model_card(folder, model, trainer.card_facts(**options), repository)

    def after_save(self, output_dir: str | None) -> None:
        """The card of a model that a user has saved, unless a push that this has set off wrote it already."""
        args = self._trainer.args
        if not (args.push_to_hub and output_dir in (None, args.output_dir)):
            folder = Path(output_dir or args.output_dir)
            self.write_card(folder, {"model_name": folder.absolute().name})

    def explained(self, revision: str | None = None) -> AbstractContextManager[None]:
        """While it lasts, what the Hub's client raises becomes a `HubError` of one line."""
        return explain_failed_push(self._repository(), revision)

    def _repository(self) -> str:
        trainer = self._trainer
        return trainer.hub_model_id or trainer.args.hub_model_id or Path(trainer.args.output_dir).absolute().name


@contextmanager
def explain_failed_push(repository: str, revision: str | None = None) -> Iterator[None]:
    """Turns what the Hub's client raises into one line that says what failed and what to do.

    Raises:
        HubError: If the Hub refused, or was not reached. Other errors pass through unchanged.
    """
    try:
        yield
    except RobustTicketsError:
        raise
    except Exception as error:
        reason = _why(error, repository, revision)
        if reason is None:
            raise
        raise HubError(f"expected to push to {repository}, got {reason}; the local files are whole") from error


def _why(error: BaseException, repository: str, revision: str | None) -> str | None:
    """What went wrong and the remedy; None if it is not the Hub's business."""
    if isinstance(error, ValueError) and "Invalid metadata in README.md" in str(error):
        return f"a refusal of the card ({_one_line(error)}): correct the metadata at the top of README.md"
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, HfHubHTTPError):
            return _why_refused(cause, repository, revision)
    for cause in causes:
        if isinstance(cause, OfflineModeIsEnabled):
            return "offline mode: unset HF_HUB_OFFLINE"
        if isinstance(cause, LocalTokenNotFoundError):
            return f"no token: {_LOG_IN}"
        if isinstance(cause, HFValidationError):
            return f"a name that no repository can have ({_one_line(cause)}): pass OWNER/NAME"
        # The client's Xet library raises its own errors, and the built-in ConnectionError.
        from_xet = type(cause).__module__.split(".")[0] == "hf_xet"
        if from_xet or isinstance(cause, (hub_connection_error(), ConnectionError)):
            return f"no answer ({type(cause).__name__}: {_one_line(cause)}): {_AGAIN}"
    return None


def _why_refused(error: HfHubHTTPError, repository: str, revision: str | None) -> str:
    status = error.response.status_code
    said = error.response.headers.get("X-Error-Message") or error.server_message or ""
    answer = f"{status} {' '.join(said.split())}".strip()
    if isinstance(error, RevisionNotFoundError):
        create = f"hf repos branch create {repository} {revision or 'BRANCH'}"
        return f"no branch {revision or 'of that name'} there ({answer}): create it with `{create}`"
    if status == 401 and not (isinstance(error, RepositoryNotFoundError) and "not found" in said.lower()):
        return f"a token that the Hub does not accept ({answer}): {_LOG_IN}"
    if isinstance(error, RepositoryNotFoundError):
        return f"no such repository that this token may see ({answer}): check the name, and {_LOG_IN}"
    if status == 403:
        return f"a token without the right to write there ({answer}): take another token, or a name of your own"
    if status == 409:
        return f"a repository of that name ({answer}): allow it, or take another name"
    if status == 429 or status >= 500:
        return f"no success ({answer}): {_AGAIN}"
    return f"a refusal ({answer}): correct what it names"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
