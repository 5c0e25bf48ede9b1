"""A Python process that talks to a Hub of ours: the client reads its endpoint at import, so it needs its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testing.hub.store import TOKEN
from tests.testing.paths import ROOT

# Runs snippets one after the other in one namespace; a snippet leaves its result in `result`.
_LOOP = """
import contextlib, io, json, sys, traceback
# While whoever started this one starts another.
import torch, transformers.models.auto
answers, sys.stdout = sys.stdout, sys.stderr
names = {}
for line in sys.stdin:
    names["result"], printed = None, io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(json.loads(line), "snippet", "exec"), names)
        answer = {"result": names["result"]}
    except BaseException as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        answer = {"error": str(error), "kinds": kinds, "trace": traceback.format_exc()}
    answers.write(json.dumps({**answer, "printed": printed.getvalue()}) + "\\n")
    answers.flush()
"""

# An installed package is hidden as one that was never installed.
_HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_robust_tickets":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""


@dataclass
class Outcome:
    """What became of a snippet: its `result`, or the error it raised; and what it printed."""

    result: Any = None
    error: str | None = None
    kinds: tuple[str, ...] = ()
    trace: str = ""
    printed: str = ""


def environment(endpoint: str, home: Path, **more: str) -> dict[str, str]:
    """Variables of a process that sees our Hub as the Hub, and nothing of the user's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    hub = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    # Xet is a protocol of the real Hub alone: without it the client takes LFS.
    local = "127.0.0.1,localhost"
    return {**kept, **hub, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": local, "no_proxy": local, **more}


class HubProcess:
    """A process that runs what it is told; its imports are paid for once.

    Args:
        endpoint: Address of the Hub.
        folder: Its working folder, cache and log.
        with_package: Whether this package can be imported.
    """

    def __init__(self, endpoint: str, folder: Path, *, with_package: bool) -> None:
        folder.mkdir(parents=True)
        variables = environment(endpoint, folder / "home", **({"PYTHONPATH": str(ROOT)} if with_package else {}))
        self._log = folder / "log.txt"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP if with_package else _HIDE + _LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w"),
            text=True,
            env=variables,
            cwd=folder,
        )

    def try_to_run(self, snippet: str, **names: Any) -> Outcome:
        """Runs a snippet that may fail; `names` are set before it."""
        given = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        self._process.stdin.write(json.dumps(given + snippet) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self._log.read_text()[-3000:]
        return Outcome(**json.loads(answer))

    def run(self, snippet: str, **names: Any) -> Any:
        """Runs a snippet that must not fail, and gives its `result`."""
        outcome = self.try_to_run(snippet, **names)
        assert outcome.error is None, outcome.trace
        return outcome.result

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
