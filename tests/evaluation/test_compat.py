from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("nltk")

SCRIPT = """
import logging, os, sys
logger = logging.getLogger("mine")
before = dict(os.environ)
import hf_robust_tickets.evaluation
assert "textattack" not in sys.modules and "nltk" not in sys.modules
from hf_robust_tickets._compat import import_textattack
textattack = import_textattack()
assert dict(os.environ) == before
assert not logger.disabled
import importlib.util
for name in ("flair", "jieba", "langdetect", "bert_score"):
    absent = importlib.util.find_spec(name) is None
    assert not (absent and name in sys.modules), name
from hf_robust_tickets.errors import MissingDependencyError
if importlib.util.find_spec("flair") is None:
    try:
        textattack.shared.attacked_text.Sentence("x")
    except MissingDependencyError as error:
        assert "pip install flair" in str(error)
    else:
        raise AssertionError("a stand-in was used")
print("fine", end="")
"""


def test_import_has_no_side_effects():
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "fine"), found.stderr
