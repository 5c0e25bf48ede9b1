"""Uploads to the Hub: the card that goes along, and what is said when one fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
from ...reporting.model_card import CardFacts
from .card import facts_of_trainer, write_model_card

_AGAIN = "push again when the Hub answers; large files that arrived are not sent a second time"
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


class PublishingTrainer(Trainer):
    """`Trainer` whose card says what was pruned, how, and what it withstands; else it is `Trainer`.

    Attributes:
        card_options: Default keyword arguments of `create_model_card`, e.g. `{"dataset": "my reviews"}`.
    """

    card_options: dict[str, Any] | None = None

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Writes the card into `args.output_dir`; see `Trainer.create_model_card` for the arguments.

        A `README.md` that somebody edited is kept. Robustness reports in the folder are shown if they are of these
        very weights.

        Raises:
            CheckpointError: If a report in the folder is damaged.
        """
        given = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        self._write_card(Path(self.args.output_dir), given)

    def card_facts(self, **options: Any) -> CardFacts:
        """What the card says; `options` are those of `create_model_card`."""
        return facts_of_trainer(self, **options)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in `Trainer.save_model`, with the card."""
        super().save_model(output_dir, _internal_call)
        # A push that this has set off wrote it already.
        pushed = self.args.push_to_hub and output_dir in (None, self.args.output_dir)
        if not _internal_call and not pushed:
            folder = Path(output_dir or self.args.output_dir)
            self._write_card(folder, {"model_name": folder.absolute().name})

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer.push_to_hub`.

        Raises:
            HubError: If the upload failed; local files are as they were, and another push completes it.
        """
        with explain_failed_push(self._hub_name(), kwargs.get("revision") or self.args.hub_revision):
            return super().push_to_hub(*args, **kwargs)

    def init_hf_repo(self, *args: Any, **kwargs: Any) -> None:
        """As in `Trainer.init_hf_repo`.

        Raises:
            HubError: If the repository cannot be created.
        """
        with explain_failed_push(self._hub_name()):
            super().init_hf_repo(*args, **kwargs)

    def _hub_name(self) -> str:
        return self.hub_model_id or self.args.hub_model_id or Path(self.args.output_dir).absolute().name

    def _write_card(self, folder: Path, options: dict[str, Any]) -> None:
        if not self.is_world_process_zero():
            return
        given = {key: value for key, value in options.items() if value is not None}
        options = {**options, **(self.card_options or {}), **given}
        model = self.accelerator.unwrap_model(self.model)
        if not isinstance(model, PreTrainedModel):
            # Adapters have cards of their own.
            super().create_model_card(**options)
            return
        write_model_card(folder, model, self.card_facts(**options), self.hub_model_id or folder.absolute().name)


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
