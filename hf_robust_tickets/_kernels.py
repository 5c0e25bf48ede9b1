"""How many compiled kernels a process keeps on a CPU."""

from __future__ import annotations

import os

VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_KERNELS = 16_384


def keep_compiled_kernels() -> None:
    """Lets oneDNN keep 16,384 compiled kernels instead of 1,024, unless the environment says how many.

    Products in bfloat16 on a CPU are compiled for their shape, at about a millisecond each. A dense model has a
    handful of shapes per length of a batch; a pruned one, whose layers are as wide as what they kept, has them per
    layer, and batches of all lengths push each other out: half a model then takes as long as a whole one
    (`docs/performance.md`). What is kept costs some 50 kB each. oneDNN reads the number at its first product, so this
    comes with the import.
    """
    os.environ.setdefault(VARIABLE, str(_KERNELS))
