"""Work spread over processes, one task a method.

By default the processes are those of joblib on this machine. A sweep that is too large for it goes to a cluster by
joblib's own mechanism, without a change here; for dask (for ray: ``register_ray()`` and ``"ray"``)::

    from dask.distributed import Client
    from joblib import parallel_config

    with Client("tcp://scheduler:8786"), parallel_config(backend="dask"):
        proofs = dict(spread(dn.prove, dn.methods()))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["spread"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST = 4
"""Processes by default, at most: each holds sympy, and perhaps torch."""


def spread(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int | None = None, *, ordered: bool = False
) -> Iterator[tuple[Item, Result]]:
    """Apply a function to items, in several processes.

    Parameters
    ----------
    function : callable
        Of one item; a module's function, so that other processes find it.
    items : iterable
        Such as names of methods.
    jobs : int, optional
        Processes, at least 1; 1 stays in this one. By default what a joblib backend in force says, or one a core, at
        most four.
    ordered : bool
        Whether results come in the order of the items; otherwise as they get ready.

    Yields
    ------
    item, result
        One pair an item.

    Raises
    ------
    ValueError
        If ``jobs`` is less than 1.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs={jobs}: at least one process is needed")
    from joblib import Parallel, delayed
    from joblib.parallel import get_active_backend

    work = list(items)
    in_force = get_active_backend()[1]
    count = jobs or (in_force if in_force not in (None, 1) else min(_MOST, os.cpu_count() or 1))
    if count == 1 or len(work) < 2:
        yield from ((item, function(item)) for item in work)
        return
    kind = "generator" if ordered else "generator_unordered"
    parallel = Parallel(n_jobs=count, return_as=kind, batch_size=1, pre_dispatch="all")
    for number, result in parallel(delayed(_numbered)(function, i, item) for i, item in enumerate(work)):
        yield work[number], result


def _numbered(function: Callable[[Item], Result], number: int, item: Item) -> tuple[int, Result]:
    """Result with the number of its task, as results may come in any order."""
    return number, function(item)
