"""Signs of life on standard error: a bar on a terminal, elsewhere a line at least every ten seconds."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import typer

__all__ = ["SECONDS", "progress_bar", "pulse", "tracked"]

SECONDS = 9.0
"""Longest silence; a little less than is promised, as threads wake up late."""


@dataclass
class _Work:
    """What is being done, for the thread that says it."""

    title: str
    seconds: float
    state: str = ""
    shown: bool = False
    begun: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    def heard(self) -> None:
        """Note that something was said just now."""
        self.said = time.monotonic()

    def speak(self) -> None:
        """Say what is being done, and for how long it has been."""
        self.heard()
        parts = (self.title, self.state, f"{self.said - self.begun:.0f} s")
        typer.echo(" ... ".join(part for part in parts if part), err=True)

    def watch(self, over: threading.Event) -> None:
        """Break every silence that gets too long, until it is over; a bar that is shown speaks for itself."""
        while not over.wait(max(0.0, self.said + self.seconds - time.monotonic())):
            if self.shown:
                self.heard()
            elif time.monotonic() >= self.said + self.seconds:
                self.speak()


_current: list[_Work] = []


@contextmanager
def pulse(title: str, seconds: float | None = None) -> Iterator[None]:
    """Say now and then, while the block runs, that it does.

    Parameters
    ----------
    title : str
        What it does.
    seconds : float, optional
        Longest silence, in seconds; :data:`SECONDS` by default.
    """
    work, over = _Work(title, SECONDS if seconds is None else seconds), threading.Event()
    thread = threading.Thread(target=work.watch, args=(over,), name="diffnum-pulse", daemon=True)
    _current.append(work)
    _start_deaf(thread)
    try:
        yield
    finally:
        over.set()
        _current.remove(work)
        thread.join()


def _start_deaf(thread: threading.Thread) -> None:
    """Start a thread that no interrupt is delivered to: those are for the main thread, which may hold them back."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        thread.start()
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """Bar on standard error, gone when done; where that is no terminal a plain line at the start, and now and then."""
    if not _current:
        with pulse(title), progress_bar(title) as show:
            yield show
        return
    work = _current[-1]
    before = (work.title, work.state)
    if sys.stderr is None or not sys.stderr.isatty():
        typer.echo(f"{title} ...", err=True)
        work.heard()
        work.title, work.state = title, ""

        def note(done: int, total: int, what: str) -> None:
            work.state = f"{done} of {total}" + (f", {what}" if what else "")

        try:
            yield note
        finally:
            work.title, work.state = before
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[what]}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, what="")
        work.shown = True
        try:
            yield lambda done, total, what: bar.update(task, completed=done, total=total, what=what)
        finally:
            work.shown = False


def tracked(
    results: Iterable[tuple[Any, Any]], total: int, title: str, name: Callable[[Any], str]
) -> Iterator[tuple[Any, Any]]:
    """Pairs of item and result as they come, with progress where there are several."""
    if total < 2:
        yield from results
        return
    with progress_bar(title) as show:
        show(0, total, "")
        for done, (item, result) in enumerate(results, start=1):
            show(done, total, name(item))
            yield item, result
