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
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["spread"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST = 4
"""Processes by default, at most: each holds sympy, and perhaps torch."""

_OF_TRACKERS = "ignore:resource_tracker"
"""Warnings of the processes that remove what killed ones left behind, as an option of Python."""


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
        One pair an item. Closing the iterator, an interrupt included, stops the processes at once and without a word.

    Raises
    ------
    ValueError
        If ``jobs`` is less than 1.
    """
    if jobs is not None and jobs < 1:
        msg = f"jobs={jobs}: at least one process is needed"
        raise ValueError(msg)
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
    with _stopped_quietly():
        results: Generator[tuple[int, Result], None, None] | None = None
        try:
            with _deaf_to_interrupts():
                results = parallel(delayed(_numbered)(function, i, item) for i, item in enumerate(work))
            for number, result in results:
                yield work[number], result
        finally:
            if results is not None:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message=".*adjusting the input task", category=UserWarning)
                    results.close()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes and threads that start here never see Ctrl-C, which a terminal sends to all of them.

    They would answer with a traceback each. This process sees it when the block is left, and stops them: until then its
    handler only takes note, since a signal that one thread does not take is taken by another.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as loky_tracker

    with _postponed_interrupts():
        with _silent_trackers():
            for tracker in (resource_tracker, loky_tracker):
                tracker.ensure_running()  # now, as starting one lifts the mask
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _silent_trackers() -> Iterator[None]:
    """Processes that start here, and tidy up after those that are killed, do so without a word.

    A process that is stopped between the removal of a semaphore and the word to its tracker leaves one that the tracker
    looks for in vain; what a tracker has to say concerns who wrote the pool. They take their options from this list.
    """
    sys.warnoptions.append(_OF_TRACKERS)
    try:
        yield
    finally:
        sys.warnoptions.remove(_OF_TRACKERS)


@contextmanager
def _postponed_interrupts() -> Iterator[None]:
    """Answer interrupts that arrive in the block at its end; only the main thread may, and has to."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if arrived and callable(handler):
            handler(arrived[0], None)


@contextmanager
def _stopped_quietly() -> Iterator[None]:
    """Hold back the complaint of joblib's manager thread about processes that it was told to kill.

    It may look up a task that it dropped a moment before (KeyError in ``add_call_item_to_queue`` of loky).
    """
    complain = threading.excepthook

    def unless_killed(arguments: Any) -> None:
        flags = getattr(arguments.thread, "executor_flags", None)
        if not getattr(flags, "shutdown", False):
            complain(arguments)

    threading.excepthook = unless_killed
    try:
        yield
    finally:
        threading.excepthook = complain


def _numbered(function: Callable[[Item], Result], number: int, item: Item) -> tuple[int, Result]:
    """Result with the number of its task, as results may come in any order."""
    return number, function(item)
