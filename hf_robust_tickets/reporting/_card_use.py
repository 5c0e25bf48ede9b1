"""The parts of a model card that say how to open the model, and what to cite."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model_card import CardFacts

CITATIONS = """```bibtex
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
```"""


def loading(facts: CardFacts, repository: str) -> str:
    """The ways to open it."""
    auto = facts.auto_class or "AutoModel"
    if facts.ticket is None and facts.package_module is not None:
        return _loading_own(facts.package_module, auto, repository)
    if facts.ticket is None:
        code = f'from transformers import {auto}\n\nmodel = {auto}.from_pretrained("{repository}")'
        return f"## How to load it\n\n```python\n{code}\n```"
    pipeline = facts.task not in (None, "multiple-choice")
    stock = [
        f"from transformers import {auto}{', pipeline' if pipeline else ''}",
        "",
        f'model = {auto}.from_pretrained("{repository}", trust_remote_code=True)',
    ]
    if pipeline:
        stock.append(f'pipe = pipeline("{facts.task}", model="{repository}", trust_remote_code=True)')
    stock_code = "\n".join(stock)
    return f"""## How to load it

All three ways give the same logits. A plain `from_pretrained` fails on the sizes of the weights.

1. With `hf_robust_tickets`; no code of the repository is run:

```python
from hf_robust_tickets import load_pruned

model = load_pruned("{repository}")
```

2. With transformers alone. `trust_remote_code=True` runs `modeling_robust_ticket.py` of the repository, which builds
   the stock model and shrinks it; read it, and pin `revision=` to a commit:

```python
{stock_code}
```

3. At full size, zeros in the place of what was cut, for a plain `from_pretrained` anywhere; the speed is then that of
   the dense model:

```python
from hf_robust_tickets import export_dense, load_pruned

export_dense(load_pruned("{repository}"), "dense")
```"""


def _loading_own(module: str, auto: str, repository: str) -> str:
    return f"""## How to load it

With `hf_robust_tickets`, whose import makes the class known; no code of the repository is run:

```python
import {module}
from transformers import {auto}

model = {auto}.from_pretrained("{repository}")
```

With transformers alone. `trust_remote_code=True` runs the model's code of the repository; read it, and pin
`revision=` to a commit:

```python
from transformers import {auto}

model = {auto}.from_pretrained("{repository}", trust_remote_code=True)
```"""


def citation() -> str:
    """Both papers."""
    return f"## Citation\n\n{CITATIONS}"
