"""Small work stays in the calling thread.

Threads of one parallel region wait for each other in a loop that never sleeps (OpenMP's barrier, OpenBLAS's server).
While every core is free the wait takes microseconds. When another process holds a core, two threads of ours share the
other one, and the waiting thread spins through its whole time slice before the working one gets its turn: some 8 ms a
region (Linux, measured), and a score of a few thousand entries enters a dozen of them. Work that takes less than the
wait is therefore done by one thread.

OpenMP, which torch's operations and its matrix products use, keeps the number of threads for each calling thread, so
that it can be lowered for a moment without a word to other threads (MKL inside torch follows, unless the program
called ``torch.set_num_threads``). OpenBLAS, which numpy's matrix products use, keeps one number a process, which is
left alone: products are divided into blocks that it does not spread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from diffnum.types import Array

SMALL = 1 << 20
"""Largest number of multiplications of a whole evaluation that one thread does."""

SMALL_PRODUCT = 1 << 21
"""Largest number of multiplications of one of numpy's matrix products that one thread does."""

UNSPREAD = 1 << 18
"""Largest number of multiplications that OpenBLAS leaves to one thread, products with one row included."""

_NUMPY = "array_api_compat.numpy"


@cache
def _runtimes(namespace: str) -> tuple[Any, ...]:  # noqa: ARG001
    """OpenMP runtimes of the process; asked once a namespace, when its library is loaded already."""
    return tuple(ThreadpoolController().select(user_api="openmp").lib_controllers)


@contextmanager
def calling_thread(xp: Any, work: float) -> Iterator[None]:
    """Keep OpenMP to the calling thread inside the block, if ``work`` multiplications are few.

    Parameters
    ----------
    xp : module
        Namespace of the arrays.
    work : float
        Number of multiplications of the block; more than :data:`SMALL` may use all threads.
    """
    if work > SMALL:
        yield
        return
    before = [(runtime, runtime.get_num_threads()) for runtime in _runtimes(xp.__name__)]
    changed = [(runtime, threads) for runtime, threads in before if threads > 1]
    for runtime, _ in changed:
        runtime.set_num_threads(1)
    try:
        yield
    finally:
        for runtime, threads in changed:
            runtime.set_num_threads(threads)


def product(xp: Any, a: Array, b: Array) -> Array:
    """Matrix product of shapes (n, k) and (k, m), by the calling thread alone if it is small."""
    (n, k), m = a.shape, b.shape[1]
    if xp.__name__ != _NUMPY or not UNSPREAD < n * k * m <= SMALL_PRODUCT:
        return xp.matmul(a, b)
    out = np.empty((n, m), dtype=np.result_type(a, b))
    if n >= m:
        for run in _runs(n, UNSPREAD // (k * m)):
            np.matmul(a[run], b, out=out[run])
    else:
        for run in _runs(m, UNSPREAD // (k * n)):
            np.matmul(a, b[:, run], out=out[:, run])
    return out


def _runs(length: int, longest: int) -> Iterator[slice]:
    step = max(1, longest)
    return (slice(start, start + step) for start in range(0, length, step))
