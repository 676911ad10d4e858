"""Other people's code, run so that it cannot end, silence, outlast or change the program that calls it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from functools import update_wrapper
from typing import Any, NoReturn

import numpy as np

__all__ = ["Guarded", "OutOfTime", "kept_state", "outspoken", "seeds", "time_limit"]


class OutOfTime(KeyboardInterrupt):
    """The time for other people's code is over; what lets an interrupt through lets this through."""


def _torch() -> Any:
    """Torch where it is loaded."""
    return sys.modules.get("torch")


def _settings() -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """Settings of the process that code may leave changed: what they are called -> (value, how to put it back)."""
    found: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "numpy's reaction to floating-point errors (np.seterr)": (np.geterr(), lambda value: np.seterr(**value)),
        "the working directory (os.chdir)": (os.getcwd(), os.chdir),
    }
    torch = _torch()
    if torch is not None and hasattr(torch, "get_default_dtype"):
        found |= {
            "torch's default dtype (torch.set_default_dtype)": (
                torch.get_default_dtype(),
                torch.set_default_dtype,
            ),
            "whether torch records gradients (torch.set_grad_enabled)": (
                torch.is_grad_enabled(),
                torch.set_grad_enabled,
            ),
            "torch's number of threads (torch.set_num_threads)": (torch.get_num_threads(), torch.set_num_threads),
        }
    return found


@contextlib.contextmanager
def kept_state(changes: MutableMapping[str, None]) -> Iterator[None]:
    """Put back what the code of the block changes for the whole process, and take a note of it.

    Parameters
    ----------
    changes : mutable mapping
        Gets a key for each setting that was changed, in words.
    """
    before = _settings()
    try:
        yield
    finally:
        after = _settings()
        for name, (value, restore) in before.items():
            if after[name][0] != value:
                changes[name] = None
                restore(value)


class Guarded:
    """A sampler whose changes to the process are put back after every call.

    Parameters
    ----------
    sampler : callable
        ``sampler(model, x, nodes) -> x``.

    Attributes
    ----------
    changes : dict
        What it changed, in words, as keys.
    """

    def __init__(self, sampler: Callable[..., Any]) -> None:
        self.sampler = sampler
        self.changes: dict[str, None] = {}
        update_wrapper(self, sampler, updated=())
        if not hasattr(self, "__name__"):
            self.__name__ = type(sampler).__name__

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Sample of the sampler."""
        with kept_state(self.changes):
            return self.sampler(*args, **options)


@contextlib.contextmanager
def outspoken() -> Iterator[None]:
    """Let what the code of the block prints go to standard error, and turn ``os._exit`` into ``SystemExit``.

    Standard output is for the answer, such as JSON; a program that ends at once would end with status 0 and no answer.
    """
    leave, process = os._exit, os.getpid()

    def caught(status: int) -> NoReturn:
        if os.getpid() != process:  # a process that the code has made may end
            leave(status)
        raise SystemExit(status)

    os._exit = caught
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os._exit = leave


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise :class:`OutOfTime` in the block after some seconds, where the system can: in the main thread of Unix."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(*_: Any) -> NoReturn:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, 1e8))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def seeds(run: Callable[[], object]) -> tuple[str, ...]:
    """Global generators that a run leaves in one state whatever they were in before: it seeds them.

    Parameters
    ----------
    run : callable
        Called twice. The generators are put back afterwards.

    Returns
    -------
    tuple of str
        Calls that do so, such as ``"np.random.seed"``.
    """
    torch = _torch()
    generators: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[], Any], Callable[[Any], bytes]]] = {
        "np.random.seed": (np.random.get_state, np.random.set_state, np.random.random, lambda s: repr(s[1:]).encode()),
        "random.seed": (random.getstate, random.setstate, random.random, lambda s: repr(s).encode()),
    }
    if torch is not None and hasattr(torch, "get_rng_state"):
        state, put = torch.get_rng_state, torch.set_rng_state
        generators["torch.manual_seed"] = (state, put, lambda: torch.rand(1), lambda s: s.numpy().tobytes())
    kept = {name: get() for name, (get, *_) in generators.items()}
    try:
        states = []
        for _ in range(2):
            for _, _, draw, _ in generators.values():
                draw()
            before = {name: text(get()) for name, (get, _, _, text) in generators.items()}
            run()
            states.append((before, {name: text(get()) for name, (get, _, _, text) in generators.items()}))
        (_, first), (before, second) = states
        return tuple(name for name in generators if first[name] == second[name] != before[name])
    finally:
        for name, (_, put_back, *_) in generators.items():
            put_back(kept[name])
