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

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from diffnum.types import Array

SMALL = 1 << 20
"""Largest number of multiplications of a whole evaluation that one thread does."""

SMALL_PRODUCT = 1 << 21
"""Largest number of multiplications of one of numpy's matrix products that one thread does."""

UNSPREAD = 450_000
"""Multiplications that OpenBLAS leaves to one thread; 0.3.31 spreads from 460800 with one row, from 2^19 with more."""


@cache
def _runtimes() -> tuple[Any, ...]:
    """OpenMP runtimes of the process; first asked for when torch is loaded."""
    return tuple(ThreadpoolController().select(user_api="openmp").lib_controllers)


def by_calling_thread(work: float, function: Callable[..., Array], y: Array, *args: Any) -> Array:
    """Return ``function(*args)``, computed by the calling thread alone if it is small.

    Parameters
    ----------
    work : float
        Number of multiplications of the largest matrix product; more than :data:`SMALL` may use all threads.
    function : callable
        What is computed.
    y : array
        The state: numpy's arrays need no care but that of :func:`product`.
    *args
        Arguments of ``function``.
    """
    if work > SMALL or isinstance(y, np.ndarray):
        return function(*args)
    changed = [(runtime, threads) for runtime in _runtimes() if (threads := runtime.get_num_threads()) > 1]
    for runtime, _ in changed:
        runtime.set_num_threads(1)
    try:
        return function(*args)
    finally:
        for runtime, threads in changed:
            runtime.set_num_threads(threads)


def product(xp: Any, a: Array, b: Array) -> Array:
    """Matrix product of shapes (n, k) and (k, m), by the calling thread alone if it is small."""
    if not isinstance(a, np.ndarray):
        return xp.matmul(a, b)
    (n, k), m = a.shape, b.shape[1]
    if not UNSPREAD < n * k * m <= SMALL_PRODUCT:
        return np.matmul(a, b)
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
