"""Is this tree slower than a commit? ``python -m tests.benchmarks.against COMMIT [--rounds N] [--only WORD]``.

The commit is checked out in a temporary folder. One process imports diffnum from there and one from here; they
time the same cases in turn, so that a busy machine slows both alike. Printed are, for each case, the fastest time
of both, their ratio here / there, and the median over the rounds of that ratio; a case is slower where both are
above 1.05 (on a busy machine the median strays, on an idle one the fastest). The cases are told in public names,
which both trees must know.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("ddim", "dpmpp_2m", "dpmpp_3m_corrected", "eab_3", "dpm_solver_3", "unipc_3_bh2")
MIXTURES = (
    ("isotropic", 10, 2),
    ("isotropic", 100, 64),
    ("isotropic", 1000, 256),
    ("diagonal", 100, 64),
    ("full", 10, 2),
    ("full", 20, 32),
)
TARGET = 1.05


class Free:
    """Model that costs nothing."""

    prediction = "noise"

    def __init__(self, schedule: Any, answer: Any) -> None:
        self.schedule, self.answer = schedule, answer

    def __call__(self, *_: Any) -> Any:
        return self.answer


def cases() -> Iterator[tuple[str, Callable[[], object]]]:
    """Name of each case and the call that is timed, in the tree that ``import diffnum`` finds."""
    import numpy as np
    import torch

    import diffnum as dn

    schedule = dn.schedules.VPLinear()
    grid = dn.grids.uniform_half_log_snr(schedule, n=20, t_start=1.0, t_end=1e-3)
    rng = np.random.default_rng(0)
    small, latent = rng.standard_normal((64, 2)), torch.randn(1, 4, 64, 64)
    for name in METHODS:
        yield f"plan {name}", partial(dn.plan, name, schedule, grid)
        plan = dn.plan(name, schedule, grid, prediction="noise")
        for kind, x in (("numpy", small), ("torch", latent)):
            yield f"solve {name} {kind}", partial(dn.solve, plan, Free(schedule, x), x)
    for kind, count, dim in MIXTURES:
        if kind == "full":
            factors = rng.standard_normal((count, dim, dim)) / np.sqrt(dim)
            covariances = 0.2 * factors @ np.swapaxes(factors, 1, 2) + 0.1 * np.eye(dim)
        else:
            covariances = rng.uniform(0.1, 0.5, count if kind == "isotropic" else (count, dim))
        mixture = dn.GaussianMixture(np.full(count, 1.0 / count), rng.standard_normal((count, dim)), covariances)
        model, x = mixture.denoiser(schedule, "score"), mixture.sample(64, seed=1)
        yield f"score {kind} K={count} d={dim} numpy", partial(model, x, 0.3)
        yield f"score {kind} K={count} d={dim} torch", partial(model, torch.tensor(x, dtype=torch.float32), 0.3)


def work() -> None:
    """Time the cases named on the standard input, one a line: the fastest of a few calls, in seconds."""
    import torch

    found = dict(cases())
    sys.stdout.write("\t".join(found) + "\n")
    sys.stdout.flush()
    with torch.no_grad():
        for line in sys.stdin:
            call, times = found[line.rstrip("\n")], []
            end = time.perf_counter() + 0.02
            while len(times) < 2 or time.perf_counter() < end:
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
            sys.stdout.write(f"{min(times)}\n")
            sys.stdout.flush()


class Worker:
    """Process that imports diffnum from one tree."""

    def __init__(self, tree: Path, threads: int) -> None:
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker"],
            cwd=tree,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.names = self._line().split("\t")

    def time(self, name: str) -> float:
        """Seconds of one case."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """Let the process end."""
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            msg = f"the process of {self.process.args} ended"
            raise SystemExit(msg)
        return line.rstrip("\n")


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Files of a commit in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit, "diffnum"], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    arguments = parser.parse_args()
    with checked_out(arguments.commit) as there:
        workers = Worker(ROOT, arguments.threads), Worker(there, arguments.threads)
        names = [name for name in workers[0].names if name in workers[1].names and arguments.only in name]
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for turn in range(arguments.rounds):
            for name in names:
                pair = [0.0, 0.0]
                for index in (0, 1) if turn % 2 else (1, 0):  # neither is always the first
                    pair[index] = workers[index].time(name)
                times[name].append((pair[0], pair[1]))
        for worker in workers:
            worker.close()
    print(f"{'':40}   here / ms  {arguments.commit[:8]:>8} / ms     ratio    median (target {TARGET})")
    slower = []
    for name, pairs in times.items():
        here, there = (1e3 * min(each) for each in zip(*pairs, strict=True))
        median = statistics.median(a / b for a, b in pairs)
        slower += [name] * (min(here / there, median) > TARGET)
        print(f"{name:40}{here:12.3f}{there:14.3f}{here / there:10.3f}{median:10.3f}{' *' if name in slower else ''}")
    print(f"{len(slower)} of {len(names)} cases slower")


if __name__ == "__main__":
    work() if sys.argv[1:] == ["--worker"] else main()
