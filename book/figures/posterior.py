"""Run the posterior benchmark and write book/results/posterior.json: ``python book/figures/posterior.py``.

Finished entries are kept in out/posterior.jsonl, so that a run that was stopped goes on.
"""

from pathlib import Path

from diffnum.cli.progress import progress_bar
from diffnum.inverse.benchmarking import benchmark
from diffnum.jobs.files import write_json

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run, and write."""
    with progress_bar("posteriors") as show:
        found = benchmark(ledger=ROOT / "out/posterior.jsonl", progress=show)
    write_json(ROOT / "book/results/posterior.json", {**found, "command": "python book/figures/posterior.py"})


if __name__ == "__main__":
    main()
