"""The parts of a model card that say how to open the model, and what to cite."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .escaping import Markdown, code_block, join_markdown, markdown

if TYPE_CHECKING:
    from .model_card import CardFacts

CITATIONS = """
@inproceedings{xi-etal-2022-efficient,
  title     = {Efficient Adversarial Training with Robust Early-Bird Tickets},
  author    = {Xi, Zhiheng and Zheng, Rui and Gui, Tao and Zhang, Qi and Huang, Xuanjing},
  booktitle = {Proceedings of the 2022 Conference on Empirical Methods in Natural Language Processing},
  year      = {2022}
}

@inproceedings{chen2022sparsity,
  title     = {Sparsity Winning Twice: Better Robust Generalization from More Efficient Training},
  author    = {Chen, Tianlong and Zhang, Zhenyu and Wang, Pengjun and Balachandra, Santosh and Ma, Haoyu and
               Wang, Zehao and Wang, Zhangyang},
  booktitle = {International Conference on Learning Representations},
  year      = {2022}
}
""".strip()


def loading(facts: CardFacts, repository: str) -> Markdown:
    """The ways to open it."""
    auto = facts.auto_class or "AutoModel"
    # The literal of a string, in Python as in JSON.
    repository = json.dumps(repository)
    if facts.ticket is None and facts.package_module is not None:
        return _loading_own(facts.package_module, auto, repository)
    if facts.ticket is None:
        return markdown(
            "## How to load it\n\n{}", _python(f"from transformers import {auto}", "", _model(auto, repository))
        )
    pipeline = facts.task not in (None, "multiple-choice")
    stock = [
        f"from transformers import {auto}{', pipeline' if pipeline else ''}",
        "",
        _model(auto, repository, remote=True),
    ]
    if pipeline:
        task = json.dumps(facts.task)
        stock.append(f"pipe = pipeline({task}, model={repository}, trust_remote_code=True)")
    own = _python("from hf_robust_tickets import load_pruned", "", f"model = load_pruned({repository})")
    dense = _python(
        "from hf_robust_tickets import export_dense, load_pruned",
        "",
        f'export_dense(load_pruned({repository}), "dense")',
    )
    return markdown(_THREE_WAYS, own=own, stock=_python(*stock), dense=dense)


_THREE_WAYS = """## How to load it

All three ways give the same logits. A plain `from_pretrained` refuses the checkpoint.

1. With `hf_robust_tickets`; no code of the repository is run:

{own}

2. With transformers alone. `trust_remote_code=True` runs `modeling_robust_ticket.py` and `robust_ticket_surgery.py` of
   the repository, which build the stock model and shrink it; read them, and pin `revision=` to a commit:

{stock}

3. At full size, zeros in the place of what was cut, for a plain `from_pretrained` anywhere; the speed is then that of
   the dense model:

{dense}"""

_OWN = """## How to load it

With `hf_robust_tickets`, whose import makes the class known; no code of the repository is run:

{own}

With transformers alone. `trust_remote_code=True` runs the model's code of the repository; read it, and pin
`revision=` to a commit:

{stock}"""


def _loading_own(module: str, auto: str, repository: str) -> Markdown:
    importing = f"from transformers import {auto}"
    own = _python(f"import {module}", importing, "", _model(auto, repository))
    return markdown(_OWN, own=own, stock=_python(importing, "", _model(auto, repository, remote=True)))


def _model(auto: str, repository: str, remote: bool = False) -> str:
    return f"model = {auto}.from_pretrained({repository}{', trust_remote_code=True' if remote else ''})"


def _python(*lines: str) -> Markdown:
    return code_block("\n".join(lines), "python")


def citation() -> Markdown:
    """Both papers."""
    return join_markdown([Markdown("## Citation"), code_block(CITATIONS, "bibtex")])
