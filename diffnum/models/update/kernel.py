"""The Triton kernel of :func:`diffnum.models.fused`: up to two linear combinations of up to eight tensors at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl

__all__ = ["combine"]

SOURCES, TARGETS, BLOCK = 8, 2, 1024


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _combine(  # type: ignore[no-untyped-def]
    o0, o1, p0, p1, p2, p3, p4, p5, p6, p7,
    a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7,
    size, COUNT: tl.constexpr, TWO: tl.constexpr, BLOCK_SIZE: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    inside = at < size
    value = tl.load(p0 + at, mask=inside).to(tl.float32)
    first = a0 * value
    second = b0 * value
    if COUNT > 1:
        value = tl.load(p1 + at, mask=inside).to(tl.float32)
        first += a1 * value
        second += b1 * value
    if COUNT > 2:
        value = tl.load(p2 + at, mask=inside).to(tl.float32)
        first += a2 * value
        second += b2 * value
    if COUNT > 3:
        value = tl.load(p3 + at, mask=inside).to(tl.float32)
        first += a3 * value
        second += b3 * value
    if COUNT > 4:
        value = tl.load(p4 + at, mask=inside).to(tl.float32)
        first += a4 * value
        second += b4 * value
    if COUNT > 5:
        value = tl.load(p5 + at, mask=inside).to(tl.float32)
        first += a5 * value
        second += b5 * value
    if COUNT > 6:
        value = tl.load(p6 + at, mask=inside).to(tl.float32)
        first += a6 * value
        second += b6 * value
    if COUNT > 7:
        value = tl.load(p7 + at, mask=inside).to(tl.float32)
        first += a7 * value
        second += b7 * value
    tl.store(o0 + at, first, mask=inside)
    if TWO:
        tl.store(o1 + at, second, mask=inside)


def combine(
    targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor], weights: Sequence[Sequence[float]]
) -> None:
    """Write one or two linear combinations.

    Parameters
    ----------
    targets : sequence of tensor
        One or two float32 tensors on a CUDA device.
    sources : sequence of tensor
        One to eight tensors of the same size and memory format, float32 or of half precision.
    weights : sequence of sequence of float
        One row a target, one number a source.
    """
    count, size = len(sources), targets[0].numel()
    pointers: list[Any] = [*sources, *[sources[0]] * (SOURCES - count)]
    rows = [[*row, *[0.0] * (SOURCES - count)] for row in weights]
    rows += [[0.0] * SOURCES] * (TARGETS - len(rows))
    _combine[(triton.cdiv(size, BLOCK),)](
        targets[0], targets[-1], *pointers, *rows[0], *rows[1], size, count, len(targets) == TARGETS, BLOCK
    )
