"""Uploads to the Hub: the card that goes along, and what is said when one fails."""

from __future__ import annotations

import inspect
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import PreTrainedModel, Trainer
from transformers.trainer_utils import HubStrategy, SaveStrategy
from transformers.utils.hub import PushInProgress

from ..._compat import hub_connection_error
from ...errors import ConfigurationError, HubError, RobustTicketsError
from .card import write_model_card
from .contents import files_to_upload, patterns

_AGAIN = "push again when the Hub answers; large files that arrived are not sent a second time"
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


class Publisher:
    """Writes a trainer's model card, uploads what may leave, and says in one line what became of it.

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

    def push(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """What `Trainer.push_to_hub` does, but for what is uploaded: `files_to_upload` of the output folder."""
        trainer, args = self._trainer, self._trainer.args
        trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
        token = token if token is not None else args.hub_token
        if trainer.hub_model_id is None:
            trainer.init_hf_repo(token=token, private=private)
        trainer.save_model(_internal_call=True)
        if not trainer.is_world_process_zero():
            return None
        kwargs.setdefault("model_name", self._repository().split("/")[-1])
        tags = kwargs.pop("tags", None) or []
        own = getattr(trainer.model, "model_tags", None) or []
        tags = list(dict.fromkeys([*([tags] if isinstance(tags, str) else tags), *own]))
        trainer.create_model_card(**kwargs, **({"tags": tags} if tags else {}))
        trainer._finish_current_push()
        return self._upload(Path(args.output_dir), commit_message, token, revision or args.hub_revision, not blocking)

    def push_checkpoint(self, checkpoint: Path) -> None:
        """Uploads a checkpoint's model in the background, as `hub_strategy` and `hub_always_push` say."""
        trainer, args = self._trainer, self._trainer.args
        if not trainer.is_world_process_zero() or args.hub_strategy == HubStrategy.END:
            return
        running = [job for job in getattr(trainer.push_in_progress, "jobs", ()) if not job.done()]
        if running and not args.hub_always_push:
            return
        trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
        # The checkpoint may be deleted before the upload has read it.
        copy = tempfile.TemporaryDirectory(dir=args.output_dir, prefix="_push-")
        for name in files_to_upload(checkpoint):
            Path(copy.name, name).parent.mkdir(exist_ok=True)
            shutil.copyfile(checkpoint / name, Path(copy.name, name))
        by_step = args.save_strategy == SaveStrategy.STEPS
        when = f"step {trainer.state.global_step}" if by_step else f"epoch {int(trainer.state.epoch)}"
        message = f"Training in progress, {when}"
        job = self._upload(Path(copy.name), message, args.hub_token, args.hub_revision, in_background=True)
        job.add_done_callback(lambda _: copy.cleanup())
        trainer.push_in_progress = PushInProgress([*running, job])

    def check_strategy(self) -> None:
        """Checks that what `hub_strategy` asks for may leave.

        Raises:
            ConfigurationError: If it asks for whole checkpoints: they hold the arguments, token included, as a pickle.
        """
        args = self._trainer.args
        if args.push_to_hub and args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            raise ConfigurationError(
                f"expected hub_strategy 'end' or 'every_save', got {args.hub_strategy.value!r}, which uploads the "
                "optimiser and the arguments with their token: upload a checkpoint yourself with `hf upload`"
            )

    def _upload(
        self, folder: Path, message: str | None, token: str | None, revision: str | None, in_background: bool
    ) -> Any:
        return HfApi(library_name="hf_robust_tickets").upload_folder(
            repo_id=self._trainer.hub_model_id,
            folder_path=folder,
            commit_message=message,
            token=token,
            run_as_future=in_background,
            allow_patterns=patterns(files_to_upload(folder)),
            revision=revision,
        )

    def explained(self, revision: str | None = None) -> AbstractContextManager[None]:
        """While it lasts, what the Hub's client raises becomes a `HubError` of one line."""
        return explain_failed_push(self._repository(), revision)

    def _repository(self) -> str:
        trainer = self._trainer
        return trainer.hub_model_id or trainer.args.hub_model_id or Path(trainer.args.output_dir).absolute().name


def card_options(trainer: Trainer, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call of `create_model_card` by name, with `Trainer.create_model_card`'s own defaults."""
    given = inspect.signature(Trainer.create_model_card).bind(trainer, *args, **kwargs)
    given.apply_defaults()
    return {name: value for name, value in given.arguments.items() if name != "self"}


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
