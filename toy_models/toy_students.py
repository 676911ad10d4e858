"""Train a toy student by every loss of diffnum.distillation, and hold its law against the best of its class.

    python -m toy_models.toy_students --out book/results/toy-students.json

One-step generators are trained on exact gradients, feature students on drawn pairs, on a mixture of three peaks on the
line and on a rotated product in the plane; about a minute on an idle core. The best of the class is found without Adam:
in closed form where there is one (forward KL: moments), by BFGS on value and gradient else, and for regressions as the
resting point, which is the solution of a linear system.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

import diffnum as dn
from diffnum import distillation as dd
from diffnum.distillation.quadrature import normal_nodes

SCHEDULE = dn.schedules.FlowMatching()
LINE, PLANE = dn.problems.three_peaks(), dn.problems.rotated_product(2)
TIMES, NEAR, SEED = [0.2, 0.5], 0.1, 1
Z, MASS = normal_nodes(0.05)


def generator_losses(problem: Any) -> dict[str, Any]:
    """Losses of one-step students, by name."""
    divergences = {f"f-distill, {n}": dd.f_divergence(n, problem, SCHEDULE, TIMES) for n in dd.DIVERGENCES}
    weighted = {
        name: dd.f_divergence("reverse-kl", problem, SCHEDULE, TIMES, weighting=weighting)
        for name, weighting in (("VSD", "vsd"), ("moment matching", "moments"))
    }
    return {
        **divergences,
        **weighted,
        "DMD": dd.distribution_matching(problem, SCHEDULE, TIMES),
        "SDS": dd.score_distillation(problem, SCHEDULE, TIMES),
        "MMD, Gaussian kernel": dd.gaussian_kernel_loss(problem),
        "MMD, degree 1 as shipped": dd.polynomial_kernel_loss(problem, 1),
        "MMD, degree 2": dd.polynomial_kernel_loss(problem, 2),
    }


def best_of_class(name: str, loss: Any, start: dd.Generator, problem: Any) -> dd.Generator | None:
    """Minimiser of a loss over the class, without the training; None where there is no value to minimise."""
    if name == "f-distill, forward-kl":
        return dd.affine_optimum(problem, "forward-kl")
    if not hasattr(loss, "value") or name == "SDS":
        return None  # of SDS it is a point, which has no density
    found = minimize(
        lambda theta: loss.value(start.replace(theta)),
        start.parameters,
        jac=lambda theta: loss.gradient(start.replace(theta)),
        method="BFGS",
        options={"gtol": 1e-9},
    )
    return start.replace(found.x)


def divergence(student: dd.Generator, problem: Any) -> float:
    """KL of student to data, both with noise of level 0.1."""
    return dd.f_divergence("reverse-kl", problem, SCHEDULE, [NEAR]).value(student)


def generators(problem: Any, steps: int) -> list[dict[str, Any]]:
    """A row for each loss of affine one-step students."""
    dim, rows = problem.dim, []
    start = dd.Generator([[-0.3, 0.2][:dim]], [[0.8] * dim])
    for name, loss in generator_losses(problem).items():
        began = time.perf_counter()
        run = dd.train_generator(loss, start, steps=steps)
        seconds = time.perf_counter() - began
        best = best_of_class(name, loss, start, problem)
        spread = np.linalg.eigvalsh(run.student.factors[0] @ run.student.factors[0].T)
        row = {
            "loss": name,
            "dimension": dim,
            "measure": "KL",
            "start": divergence(start, problem),
            "trained": divergence(run.student, problem),
            "best": None if best is None else divergence(best, problem),
            "deviation": float(np.sqrt(spread.min())),
            "steps": steps,
            "seconds": round(seconds, 2),
            "curve": np.round(run.curve[:: max(1, steps // 25)], 6).tolist(),
        }
        if dim == 1:
            made = run.student.means[0, 0] + run.student.factors[0, 0, 0] * Z
            row["w2"] = dd.wasserstein(problem, made, MASS)
        print(row["loss"], dim, row["trained"], row["best"], flush=True)
        rows.append(row)
    return rows


def regression_losses(problem: Any) -> dict[str, Any]:
    """Losses of feature students, by name."""
    flow, teacher = dd.flow_map(problem, SCHEDULE), problem.denoiser(SCHEDULE)
    times = np.linspace(1.0, 0.0, 9)
    steps = list(pairwise(times))
    halves = [(1, 0), (1, 0.5), (0.5, 0), (1, 0.75), (0.75, 0.5), (0.5, 0.25), (0.25, 0)]
    return {
        "progressive": dd.progressive_distillation(teacher, [(1.0, 0.0)], substeps=16, weight=lambda *_: 1.0),
        "consistency distillation": dd.consistency_distillation(flow, steps),
        "consistency training": dd.consistency_training(SCHEDULE, steps),
        "continuous consistency": dd.continuous_consistency(SCHEDULE, times[:-1]),
        "MeanFlow": dd.mean_flow(SCHEDULE, [(t, 0.0) for t in times[:-1]]),
        "shortcut": dd.shortcut(SCHEDULE, halves, np.linspace(0.05, 1.0, 8)),
    }


def distance(student: Any, problem: Any, z: np.ndarray, predicts_data: bool) -> float:
    """On the line W2 of one-step samples to the data; in the plane their mean square distance to the exact flow."""
    made = student(z, 1.0, 0.0) if predicts_data else z - student(z, 1.0, 0.0)
    if problem.dim == 1:
        return dd.wasserstein(problem, made, MASS)
    exact = dd.flow_map(problem, SCHEDULE).consistency(z, 1.0)
    return float(np.sqrt(np.mean(np.sum((made - exact) ** 2, axis=1))))


def regressions(problem: Any, steps: int) -> list[dict[str, Any]]:
    """A row for each loss of feature students."""
    dim, rows = problem.dim, []
    network = dd.feature_student(dim, units=20 * dim)
    rng = np.random.default_rng(9)
    z = Z[:, None] if dim == 1 else rng.standard_normal((4000, dim))
    n = 3000
    drawn = dd.Pairs(problem.sample(n, 5), rng.standard_normal((n, dim)), np.full(n, 1.0 / n))
    pairs = dd.exact_batch(problem, spacing=0.5) if dim == 1 else drawn
    for name, loss in regression_losses(problem).items():
        began = time.perf_counter()
        run = dd.train_student(loss, network, problem, steps=steps, seed=SEED)
        seconds = time.perf_counter() - began
        try:
            rest: float | None = distance(dd.resting_point(loss, network, pairs), problem, z, name == "progressive")
        except RuntimeError:  # targets that run away from the student
            rest = None
        row = {
            "loss": name,
            "dimension": dim,
            "measure": "W2" if dim == 1 else "distance to the flow",
            "start": distance(network, problem, z, name == "progressive"),
            "trained": distance(run.student, problem, z, name == "progressive"),
            "best": rest,
            "steps": steps,
            "seconds": round(seconds, 2),
            "curve": np.round(run.curve.reshape(25, -1).mean(axis=1), 6).tolist(),
        }
        print(row["loss"], dim, row["trained"], row["best"], flush=True)
        rows.append(row)
    return rows


def preferences(steps: int) -> list[dict[str, Any]]:
    """PRDP and PSO: a Gaussian policy against the tilt, in closed form."""
    reference, start, rows = dn.Gaussian([0.3], 0.7), dd.Generator([[0.3]], [[np.sqrt(0.7)]]), []
    for name, by_rank in (("PRDP", False), ("PSO", True)):
        loss = dd.preference_loss(reference, slope=0.6, curvature=0.8, temperature=0.5, pairwise=by_rank, spacing=0.4)
        began = time.perf_counter()
        run = dd.train_generator(loss, start, steps=steps)
        seconds = time.perf_counter() - began
        goal = loss.optimum

        def gap(student: dd.Generator, goal: Any = goal) -> float:
            """KL of two Gaussians on the line."""
            c, v = float(student.factors[0, 0, 0]) ** 2, float(goal.eigenvalues[0])
            return 0.5 * (c / v - 1.0 - np.log(c / v) + (float(student.means[0, 0]) - float(goal.mean[0])) ** 2 / v)

        row = {"loss": name, "dimension": 1, "measure": "KL to the tilt", "start": gap(start)}
        row |= {"trained": gap(run.student), "best": 0.0, "steps": steps, "seconds": round(seconds, 2)}
        row["curve"] = np.round(run.curve[:: max(1, steps // 25)], 6).tolist()
        rows.append(row)
    return rows


def guided(steps: int) -> list[dict[str, Any]]:
    """Guidance distilled into one network, against the best of its class."""
    narrow = dn.problems.Mixture1D(np.array([1.0]), np.array([0.9]), np.array([0.1]))
    model = dn.guidance.classifier_free(narrow.denoiser(SCHEDULE), 2.0, unconditional=LINE.denoiser(SCHEDULE))
    loss, network = dd.guidance_distillation(model, [0.3, 0.6, 0.9]), dd.feature_student(units=20)
    began = time.perf_counter()
    run = dd.train_student(loss, network, LINE, steps=steps, seed=SEED)
    seconds = time.perf_counter() - began
    pairs = dd.exact_batch(LINE, spacing=0.5)
    value: Callable[[Any], float] = lambda s: float(np.sqrt(loss.terms(s, pairs).value))  # noqa: E731
    row = {"loss": "guidance", "dimension": 1, "measure": "distance to the guided model", "start": value(network)}
    row |= {"trained": value(run.student), "best": value(dd.resting_point(loss, network, pairs)), "steps": steps}
    row |= {"seconds": round(seconds, 2), "curve": np.round(run.curve.reshape(25, -1).mean(axis=1), 6).tolist()}
    return [row]


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    rows = [*generators(LINE, 250), *regressions(LINE, 500), *preferences(250), *guided(500)]
    rows += [*generators(PLANE, 120), *regressions(PLANE, 500)]
    command = "python -m toy_models.toy_students --out book/results/toy-students.json"
    record = {"command": command, "seed": SEED, "noise_of_kl": NEAR, "rows": rows}
    words.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
