"""What does a busy machine do to a score? ``python -m tests.benchmarks.busy_cores [seconds]``.

Each score is timed alone, then while as many processes as the machine has cores less one do nothing but count,
with as many threads as there are cores. The ratio of the mean times should be near 1 up to
``diffnum.problems._threads.SMALL`` multiplications (marked `one`: one thread by design); beyond, threads that wait
for each other make the ratio anything up to hundreds, unless ``OMP_WAIT_POLICY=passive`` is set.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from diffnum.problems._threads import SMALL
from diffnum.schedules import VPLinear
from tests.benchmarks.mixture_score import CASES, make_mixture, without_gradients

BATCH = 64


@contextmanager
def counting(processes: int) -> Iterator[None]:
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        time.sleep(0.3)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def mean_times(things: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Mean times; not medians, since the waits that matter are long and few."""
    found = {}
    for name, thing in things.items():
        thing()
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < 5 or time.perf_counter() < end:
            start = time.perf_counter()
            thing()
            times.append(time.perf_counter() - start)
        found[name] = statistics.mean(times)
    return found


def main(seconds: float = 0.3) -> None:
    things: dict[str, Callable[[], object]] = {}
    small = set()
    for kind, count, dim in CASES:
        mixture = make_mixture(kind, count, dim)
        model, x = mixture.denoiser(VPLinear(), "score"), mixture.sample(BATCH, seed=1)
        for library, state in (("numpy", x), ("float32", torch.tensor(x).float()), ("float64", torch.tensor(x))):
            name = f"{kind} K={count} d={dim} {library}"
            things[name] = partial(without_gradients, model, state, 0.3)
            if BATCH * count * dim * (dim if kind == "full" else 1) <= SMALL:
                small.add(name)
    cores = os.cpu_count() or 1
    idle = mean_times(things, seconds)
    with counting(max(1, cores - 1)):
        busy = mean_times(things, seconds)
    print(f"batch {BATCH}, {torch.get_num_threads()} threads, {max(1, cores - 1)} other processes")
    print(f"{'':40}   idle / ms   busy / ms   busy / idle")
    for name in things:
        mark = " one" if name in small else ""
        print(f"{name:40}{1e3 * idle[name]:12.3f}{1e3 * busy[name]:12.3f}{busy[name] / idle[name]:14.1f}{mark}")
    print(f"largest ratio of one thread's work: {max(busy[name] / idle[name] for name in small):.1f}")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
