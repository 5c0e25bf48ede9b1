"""`robust-tickets VERB ...`: finds the verb, runs it, and turns an expected error into one line."""

from __future__ import annotations

import importlib
import logging
import sys

from .._version import __version__
from ..errors import RobustTicketsError
from .signals import Terminated, farewell, sigterm_unwinds

VERBS = {
    "doctor": "what is installed, which resources are there, which recipes run and compare",
    "demo": "the whole job on a small synthetic corpus, with a summary page",
    "train": "search a ticket, prune, fine-tune and save; --ticket none: train under attack alone",
    "sparse": "train under attack with masks on single weights",
    "search": "search a ticket only",
    "sweep": "train over sparsities and steps of the draw, attack each, and compare",
    "distance": "how far tickets are apart, and how far chance would put them",
    "prune": "cut a ticket out of a model",
    "evaluate": "attack a model with TextAttack recipes",
    "attack": "attack one sentence, or a pair, and show what becomes of it",
    "probe": "embedding balls, token flips, natural noise, contrast sets, transfer",
    "resources": "what the recipes need, whether it is there, and how to get it",
    "report": "reports of attacks as a web page, with every text before and after",
    "compare": "whether models differ under the same attacks",
    "push": "check a checkpoint, write its model card, and upload it to the Hub",
    "bench": "measure a pruned model's speed, memory and size against the dense one",
}


def usage() -> str:
    """The help of the command itself."""
    verbs = "\n".join(f"  {name:<10} {text}" for name, text in VERBS.items())
    return (
        "usage: robust-tickets VERB [options]\n\nSmall, fast and robust language models.\n\n"
        f"{verbs}\n\nrobust-tickets VERB --help lists the options of a verb; one YAML file may stand in their place."
        "\n--debug shows the whole traceback of an error.\n--version prints the version."
    )


def main(argv: list[str] | None = None) -> int:
    """Entry point of the console script.

    Args:
        argv: Arguments without the program's name; `None` means those of the process.

    Returns:
        Exit status: 0 when what was asked for was done, 2 where an option or an input is wrong, 1 for any other
        error, 130 after Ctrl-C, 143 after SIGTERM.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = _take_debug(argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(__version__)
        return 0
    verb, *rest = argv
    if verb not in VERBS:
        print(f"robust-tickets: unknown verb {verb!r}: expected one of {', '.join(VERBS)}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO if debug else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        with sigterm_unwinds():
            importlib.import_module(f".{verb}", __package__).run(rest)
    except (KeyboardInterrupt, Terminated) as stop:
        if debug:
            raise
        status, line = farewell(verb, stop)
        print(f"\n{line}", file=sys.stderr)
        return status
    except Exception as error:
        if debug:
            raise
        expected = isinstance(error, (RobustTicketsError, OSError, ValueError))
        hint = "" if expected else f" ({type(error).__name__}; --debug shows where)"
        print(f"robust-tickets {verb}: {_one_line(error)}{hint}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0


def _take_debug(argv: list[str]) -> bool:
    """Removes a bare `--debug`; followed by a value it is the option of `TrainingArguments` of that name."""
    for i, argument in enumerate(argv):
        if argument == "--debug" and (i + 1 == len(argv) or argv[i + 1].startswith("--")):
            del argv[i]
            return True
    return False


def _one_line(error: BaseException) -> str:
    """What an error says, and what was noted of it on its way: at which row, in which file."""
    said = [" ".join(text.split()) for text in (str(error), *getattr(error, "__notes__", ()))]
    return "; ".join(filter(None, said)) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
