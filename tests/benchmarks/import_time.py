"""What does ``import diffnum.coefficients`` cost? ``python -m tests.benchmarks.import_time [rounds]``.

Each import runs in a fresh interpreter, in turn with ``import numpy``; the interpreter's own start is measured too
and taken off both. The target is at most one and a half times the cost of numpy.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from functools import partial

from tests.benchmarks.timing import in_turn

STATEMENTS = (
    "pass",
    "import numpy",
    "import diffnum.coefficients",
    "from diffnum.coefficients import exponential_adams",
    "import diffnum",
)


def run(statement: str) -> None:
    subprocess.run([sys.executable, "-c", statement], check=True)


def main(rounds: int = 21) -> None:
    times = in_turn({s: partial(run, s) for s in STATEMENTS}, rounds)
    own = {s: [t - start for t, start in zip(times[s], times["pass"], strict=True)] for s in STATEMENTS[1:]}
    base = statistics.median(own["import numpy"])
    print(f"{'statement':<52}{'median':>10}   over numpy (target 1.5)")
    for statement, values in own.items():
        median = statistics.median(values)
        print(f"{statement:<52}{1e3 * median:7.1f} ms   {median / base:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
