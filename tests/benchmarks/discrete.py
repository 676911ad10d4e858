"""What do exact laws, studies on tokens and samples of a network cost? ``python -m tests.benchmarks.discrete``.

Targets: the exact law of a chain of 3^6 states after 64 steps below 1 s (of two leaps with rates at both states, on a
law without symmetries, all pairs of states have to be summed: several seconds); the study of all samplers below 60 s; a
step of sampling a network at most 1.1 times the network's own evaluation.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch

from diffnum.discrete import Law, Masked, Uniform, convergence_study, output_law, sample, samplers
from diffnum.models import load_tokens
from tests.benchmarks.timing import in_turn, table

STEPS = 16


def main(rounds: int = 5) -> None:
    torch.set_num_threads(1)
    three = Law.markov(6, 0.7 * np.eye(3) + 0.1, np.ones(3) / 3)
    two = Law.markov(6, [[0.8, 0.2], [0.2, 0.8]], [0.5, 0.5])
    rng = np.random.default_rng(0)
    uneven = Law.markov(6, rng.dirichlet(np.ones(3), size=(5, 3)), rng.dirichlet(np.ones(3)))
    cases = {"uniform, 3 tokens": (three, Uniform()), "masked, 2 tokens": (two, Masked())}
    cases["uniform, 3 tokens, without symmetries"] = (uneven, Uniform())
    for case, (law, process) in cases.items():
        for name in ("ancestral", "tau_leaping_corrected", "theta_rk2", "theta_trapezoidal"):
            began, used = time.perf_counter(), time.process_time()
            output_law(name, law, process, 64)
            took, used = time.perf_counter() - began, time.process_time() - used
            print(f"exact law, 3^6 states, 64 steps, {case}, {name}: {took:.2f} s, {used:.2f} s of processor")

    began = time.perf_counter()
    studied = 0
    for process in (Masked(), Uniform()):
        for name, record in samplers(process.name).items():
            if record.order is not None:
                convergence_study(name, process=process)
                studied += 1
    print(f"study of {studied} samplers: {time.perf_counter() - began:.1f} s on one core (target 60 s)")

    model, state = load_tokens("digits-tokens"), np.full((64, 64), 4)

    def evaluations() -> None:
        for _ in range(STEPS):
            model(state, 0.5)

    things = {"network alone": evaluations, "ancestral": lambda: sample(model, Masked(), "ancestral", 64, STEPS)}
    print(table(in_turn(things, rounds), "network alone", "1.1"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
