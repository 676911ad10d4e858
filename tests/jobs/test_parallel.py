"""Work is spread over processes, or over whatever backend joblib has in force."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from joblib import parallel_config, register_parallel_backend
from joblib.parallel import ThreadingBackend

import diffnum as dn
from diffnum.jobs.parallel import _deaf_to_interrupts, spread

NAMES = ["ddim", "eab_2", "edm_heun", "lms_2"]


def nfe_of_ten_steps(name: str) -> int:
    return dn.method(name).nfe(10)


EXPECTED = {name: nfe_of_ten_steps(name) for name in NAMES}


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_item_gets_its_own_result_whatever_the_number_of_processes(jobs: int) -> None:
    assert dict(spread(nfe_of_ten_steps, NAMES, jobs)) == EXPECTED
    assert list(spread(nfe_of_ten_steps, NAMES, jobs, ordered=True)) == list(EXPECTED.items())


def test_a_backend_is_plugged_in_by_the_mechanism_of_joblib() -> None:
    tasks = []

    class Counting(ThreadingBackend):  # stands for dask or ray
        def submit(self, func, callback=None):  # type: ignore[no-untyped-def]
            tasks.append(func)
            return super().submit(func, callback)

    register_parallel_backend("counting", Counting)
    with parallel_config(backend="counting", n_jobs=3):
        proofs = dict(spread(dn.prove, NAMES))
    assert len(tasks) == len(NAMES)
    assert all(proofs.values())
    assert set(proofs) == set(NAMES)


def test_an_error_in_a_task_is_an_error_of_the_sweep() -> None:
    with pytest.raises(ValueError, match="method='no such thing' is unknown"):
        list(spread(nfe_of_ten_steps, ["ddim", "no such thing"], 2))


def test_no_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="jobs=0: at least one process is needed"):
        list(spread(nfe_of_ten_steps, NAMES, 0))


def slow(number: int) -> int:
    time.sleep(0.2)
    return number


def test_a_sweep_that_is_left_early_says_nothing(recwarn: pytest.WarningsRecorder) -> None:
    work = spread(slow, range(40), 2)
    assert len(list(itertools.islice(work, 2))) == 2
    work.close()  # type: ignore[attr-defined]
    assert not recwarn.list


def signals_blocked(_: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal masks")
def test_only_this_process_hears_an_interrupt() -> None:
    assert all(blocked for _, blocked in spread(signals_blocked, range(2), 2))
    assert not signals_blocked(0)


def test_complaints_of_other_threads_pass_and_the_hook_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[type[BaseException]] = []
    hook = lambda arguments: heard.append(arguments.exc_type)  # noqa: E731
    monkeypatch.setattr(threading, "excepthook", hook)
    work = spread(slow, range(2), 2)
    next(work)
    thread = threading.Thread(target=int, args=("no number",))
    thread.start()
    thread.join()
    assert heard == [ValueError]
    list(work)
    assert threading.excepthook is hook


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals of POSIX")
def test_an_interrupt_that_another_thread_takes_waits_for_the_end_of_the_start() -> None:
    reached = []

    def start() -> None:
        with _deaf_to_interrupts():
            thread = threading.Thread(target=take_interrupt)
            thread.start()
            thread.join()
            reached.append("the end")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached == ["the end"]


def take_interrupt() -> None:
    """A thread that does not block the signal, as those of numerical libraries."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.raise_signal(signal.SIGINT)


LEFT_BEHIND = """
import contextlib
from diffnum.jobs import parallel
from joblib.externals.loky.backend import resource_tracker
{told}
with parallel._deaf_to_interrupts():
    resource_tracker.register("/gone-before-its-tracker-heard", "semlock")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal masks")
@pytest.mark.parametrize(
    ("told", "silent"), [("", True), ("parallel._silent_trackers = contextlib.nullcontext", False)]
)
def test_what_tidies_up_after_killed_processes_says_nothing(told: str, silent: bool) -> None:
    words = [sys.executable, "-c", LEFT_BEHIND.format(told=told)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)  # the tracker holds the pipe to its end
    assert done.stdout == ""
    assert (done.stderr == "") is silent, done.stderr
    assert not any("resource_tracker" in option for option in sys.warnoptions)
