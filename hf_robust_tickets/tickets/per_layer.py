"""The widths of a pruned model in the words of transformers: `per_layer_config`, beside our own record of them.

Since 5.15 a configuration says with `per_layer_config` in what its layers differ
(https://huggingface.co/docs/transformers/heterogeneous_configurations). Model code that builds its layers by it is
announced (transformers, pull request 45332); until then it tells other programs the true widths.
"""

from __future__ import annotations

import copy
from typing import Any

from transformers import PretrainedConfig

from .modeling_robust_ticket import PER_LAYER

_NEURONS = ("ffn_dim", "hidden_dim", "n_inner", "intermediate_size")


def per_layer_entries(config: PretrainedConfig) -> dict[str, Any]:
    """What the `config.json` of a pruned model gets beside `robust_ticket`, in the order in which it is set.

    Where the family's own check of its configuration reads a width that its layers differ in, as that of Llama does in
    5.23, it has to be allowed to, or nothing could open the file.

    Args:
        config: That of a pruned model, `robust_ticket` included.

    Returns:
        `per_layer_config`, and what allows that check; empty where the configuration cannot say it.
    """
    found = per_layer_config(config)
    if not found:
        return {}
    tried = copy.deepcopy(config)
    try:
        tried.per_layer_config = found
        tried.validate()
    except RuntimeError:  # `AmbiguousGlobalPerLayerAttributeError`, which only some versions have
        return {PER_LAYER[0]: True, PER_LAYER[1]: found}
    return {PER_LAYER[1]: found}


def per_layer_config(config: PretrainedConfig) -> dict[str, dict[str, Any]] | None:
    """What each layer of a pruned model has of its own.

    With grouped key and value heads, both numbers of heads are given. A layer that lost all heads, or all neurons, is
    said to skip `"attention"`, or `"mlp"`.

    Args:
        config: That of a pruned model, `robust_ticket` included.

    Returns:
        Number of the layer, as text -> the configuration's own name of a width -> its value; layers that were not cut
        are left out. None where the configuration cannot say it: it has no name for a width, or for a layer.
    """
    record = config.robust_ticket
    layers = range(len(record["heads"]))
    # By its own name: the Trainer opens the file as a configuration of no family, which knows no other.
    if config.is_encoder_decoder or config.to_dict().get("num_hidden_layers") != len(layers):
        return None
    found: dict[str, dict[str, Any]] = {str(i): {} for i in layers}
    for kind, block in (("heads", "attention"), ("neurons", "mlp")):
        for i, kept, dense in zip(layers, record[kind], record["dense"][kind]):
            if kept == dense:
                continue
            widths = {"skip": [block]} if kept == 0 else _widths(config, kind, kept, dense)
            if widths is None:
                return None
            skipped = [*found[str(i)].get("skip", []), *widths.get("skip", [])]
            found[str(i)] |= {**widths, "skip": skipped} if skipped else widths
    return {i: widths for i, widths in found.items() if widths}


def _widths(config: PretrainedConfig, kind: str, kept: int, dense: int) -> dict[str, int] | None:
    """Names and values of the kept heads, or neurons; None where the dense ones have no name."""
    names = config.attribute_map
    if kind == "neurons":
        known = [name for name in _NEURONS if hasattr(config, name)]
        named = [name for name in known if getattr(config, name) in (dense, None)]
        # None stands for the family's own multiple of the hidden size.
        return {names.get(named[0], named[0]): kept} if named == known and named else None
    query = getattr(config, "num_attention_heads", None)
    groups = getattr(config, "num_key_value_heads", None)
    if groups == dense and query is not None:
        heads = {"num_attention_heads": kept * (query // groups), "num_key_value_heads": kept}
    elif groups is None and query == dense:
        heads = {"num_attention_heads": kept}
    else:
        return None
    return {names.get(name, name): value for name, value in heads.items()}
