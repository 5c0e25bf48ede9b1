"""What is the same where a sum may have been taken in another order: weights to the bit, outputs within rounding.

A processor adds the terms of a product in an order of its own, which depends on its vector width, on the shape, on the
number of threads and on where the operands lie in memory: the weights of an opened checkpoint lie where its file has
them, at any address, and not at the multiples of 64 bytes at which torch allocates. So two models with the same
weights need not give the same bits, and a test that asks for them holds on some processors only.

How far two orders may be apart: in any order, a sum of n products is off by at most n * u * sum |a_i * b_i|, where u =
eps / 2 (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1), and by about sqrt(n) of these u
when the roundings are independent. The models of the tests take some 10 products of at most 128 terms one after the
other, with values of order one between them (a normalisation sees to that): 2 * sqrt(10) * sqrt(128) * u is 36 eps.
Half-precision types are summed in float32 and rounded once per product: sqrt(10), say 4 eps. Measured, over all
families, tasks and vector widths: at most 1 eps between two loads, at most 4 between a masked model and a pruned one.
What the tests look for, one unit too many or one weight of another model, moves an output by 1e-3: 8,000 eps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

ROUNDINGS = {torch.float64: 36, torch.float32: 36, torch.bfloat16: 4, torch.float16: 4}


def tolerance(expected: torch.Tensor) -> float:
    """How far another order of summation may move outputs of a model of the tests, in their own unit."""
    largest = float(expected.detach().abs().max()) if expected.numel() else 0.0
    return ROUNDINGS[expected.dtype] * torch.finfo(expected.dtype).eps * max(1.0, largest)


def assert_same_outputs(got: Any, expected: Any) -> None:
    """Fails unless two outputs, tensors or nested lists of what was float32, are equal but for their rounding."""
    got, expected = torch.as_tensor(got), torch.as_tensor(expected)
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance(expected))


def assert_same_weights(got: nn.Module, expected: nn.Module) -> None:
    """Fails unless two models have parameters and buffers of the same names, types and bits."""
    ours, theirs = got.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype and torch.equal(value, theirs[name]), name
