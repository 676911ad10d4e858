"""Train a toy student by every loss of diffnum.distillation, and hold its law against the best of its class.

    python -m toy_models.toy_students --out book/results/toy-students.json

One-step generators are trained on exact gradients, feature students on drawn pairs, on a mixture of three peaks on the
line and on a rotated product in the plane; a few minutes on an idle core. The best of the class is found without Adam:
in closed form where there is one (moments, quantiles, least squares), by BFGS on value and gradient from several starts
else, and for regressions as the resting point. ``excess`` is the value of a student's loss over that of the best.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import linear_sum_assignment, minimize
from scipy.spatial.distance import cdist

import diffnum as dn
from diffnum import distillation as dd
from diffnum.distillation.quadrature import normal_nodes

SCHEDULE = dn.schedules.FlowMatching()
LINE, PLANE = dn.problems.three_peaks(), dn.problems.rotated_product(2)
TIMES, NEAR, SEED = [0.2, 0.5], 0.1, 1
Z, MASS = normal_nodes(0.05)
Row = dict[str, Any]


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


def valued(name: str, loss: Any, problem: Any) -> Any:
    """What a loss is the gradient of: of DMD the reverse KL divergence with the weight of moment matching."""
    return generator_losses(problem)["moment matching"] if name == "DMD" else loss


def best_of_class(name: str, loss: Any, start: dd.Generator, problem: Any) -> dd.Generator:
    """Minimiser of a loss over the affine maps, without the training: the least that is found from several starts."""
    covering, mixture = dd.affine_optimum(problem, "forward-kl"), problem.mixture
    if name == "f-distill, forward-kl":
        return covering
    peaks = [dd.Generator(m[None], 0.3 * np.eye(problem.dim)[None]) for m in mixture.means]
    if name == "SDS":  # the mean of a function of the sample is least where every sample is at its minimum: a point
        peaks = [p.replace(p.parameters * np.r_[np.ones(problem.dim), np.zeros(problem.dim**2)]) for p in peaks]
        starts = peaks
    else:
        starts = [start, covering, *(peaks if problem.dim == 1 else ())]
    found = [descended(loss, s) for s in starts]
    return min(found, key=loss.value)


def descended(loss: Any, start: dd.Generator) -> dd.Generator:
    """Local minimum by BFGS on value and gradient."""
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


def distance(made: np.ndarray, problem: Any) -> float:
    """W2 of what a student makes of the nodes of the line, or of equally likely points of the plane, to the data."""
    return dd.wasserstein(problem, made, MASS if problem.dim == 1 else None)


def noise(problem: Any) -> np.ndarray:
    """Noise that :func:`distance` wants samples of."""
    return Z[:, None] if problem.dim == 1 else dd.normal_points(1000, 2)


def generated(student: dd.Generator, problem: Any) -> float:
    """W2 of an affine student to the data; of all maps with its law that with a symmetric matrix."""
    vectors, lengths, _ = np.linalg.svd(student.factors[0])
    return distance(student.means[0] + noise(problem) @ (vectors * lengths) @ vectors.T, problem)


def timed(name: str, problem: Any, measure: str, train: Callable[[], dd.Training], thin: int) -> tuple[Any, Row]:
    """Train; the student, and the part of the row that all trainings have."""
    began = time.perf_counter()
    run = train()
    seconds = round(time.perf_counter() - began, 2)
    curve = np.round(run.curve[: thin * (len(run.curve) // thin)].reshape(thin, -1).mean(axis=1), 6).tolist()
    row = {"loss": name, "dimension": problem.dim, "measure": measure, "steps": len(run.curve), "seconds": seconds}
    return run.student, row | {"curve": curve}


def generators(problem: Any, steps: int) -> list[Row]:
    """A row for each loss of affine one-step students."""
    dim, rows = problem.dim, []
    start = dd.Generator([[-0.3, 0.2][:dim]], [[0.8] * dim])
    for name, loss in generator_losses(problem).items():
        count = steps if hasattr(loss, "levels") or name == "DMD" else 400
        student, row = timed(name, problem, "KL", lambda o=loss, n=count: dd.train_generator(o, start, steps=n), 20)
        whole = valued(name, loss, problem)
        best = best_of_class(name, whole, start, problem)
        row |= of_generator(student, best, start, whole, problem)
        print(name, dim, row["trained"], row["best"], row["excess"], row["w2"], flush=True)
        rows.append(row)
    return rows


def of_generator(student: dd.Generator, best: dd.Generator, start: dd.Generator, loss: Any, problem: Any) -> Row:
    """Distances of an affine student, of the best one and of the start to the data."""
    spread = np.linalg.eigvalsh(student.factors[0] @ student.factors[0].T)
    kl = {k: divergence(s, problem) for k, s in (("start", start), ("trained", student), ("best", best))}
    w2 = {"w2": generated(student, problem), "w2_best": generated(best, problem)}
    excess = {} if loss is None else {"excess": float(loss.value(student) - loss.value(best))}
    return kl | w2 | excess | {"deviation": float(np.sqrt(max(spread.min(), 0.0)))}


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


def one_step(student: Any, problem: Any, predicts_data: bool) -> float:
    """W2 of one-step samples to the data."""
    z = noise(problem)
    return distance(student(z, 1.0, 0.0) if predicts_data else z - student(z, 1.0, 0.0), problem)


def rule(problem: Any, n: int, spacing: float) -> dd.Pairs:
    """Pairs for expectations: exact on the line, drawn in the plane."""
    if problem.dim == 1:
        return dd.exact_batch(problem, spacing=spacing)
    eps = np.random.default_rng(9).standard_normal((n, problem.dim))
    return dd.Pairs(problem.sample(n, 5), eps, np.full(n, 1.0 / n))


def regressions(problem: Any, steps: int) -> list[Row]:
    """A row for each loss of feature students."""
    dim, rows = problem.dim, []
    network, pairs = dd.feature_student(dim, units=20 * dim), rule(problem, 3000, 0.5)
    for name, loss in regression_losses(problem).items():
        train = lambda o=loss: dd.train_student(o, network, problem, steps=steps, seed=SEED)  # noqa: E731
        student, row = timed(name, problem, "W2", train, 25)
        try:
            rest: dd.FeatureStudent | None = dd.resting_point(loss, network, pairs)
        except RuntimeError:  # targets that run away from the student
            rest = None
        for key, net in (("start", network), ("trained", student), ("best", rest)):
            row[key] = None if net is None else one_step(net, problem, name == "progressive")
        print(name, dim, row["trained"], row["best"], flush=True)
        rows.append(row)
    return rows


# ---------------------------------------------------------------- heights, filters, observations, penalised flows


def transports() -> list[Row]:
    """DPM-OT: heights of a map to points of the data, against those of quantiles; in the plane on a product grid."""
    rows = []
    for problem, counts in ((LINE, (40,)), (PLANE, (6, 5))):
        sides = problem.mixtures if problem.dim > 1 else (problem,)
        axes = [dd.semi_discrete(quantiles(side, n)) for side, n in zip(sides, counts, strict=True)]
        places = np.stack([m.ravel() for m in np.meshgrid(*[a.points for a in axes], indexing="ij")], axis=1)
        heights = sum(np.meshgrid(*[a.heights for a in axes], indexing="ij")).ravel()
        turned = places if problem.dim == 1 else places @ problem.rotation.T
        loss = dd.transport_loss(turned)
        train = lambda o=loss: dd.train_generator(o, o.start, steps=400, rate=0.05)  # noqa: E731
        student, row = timed("transport", problem, "W2", train, 20)
        best = loss.start.replace(heights)
        for key, map_ in (("start", loss.start), ("trained", student), ("best", best)):
            row[key] = distance(map_(noise(problem)), problem)
        row |= {"excess": loss.value(student) - loss.value(best)}
        row |= {"wrong_mass": float(np.abs(loss.gradient(student)).sum() / 2)}
        print("transport", problem.dim, row["trained"], row["best"], row["wrong_mass"], flush=True)
        rows.append(row)
    return rows


def quantiles(side: Any, n: int) -> np.ndarray:
    """Middles of n equally likely pieces of a mixture on the line."""
    z = dd.normal_points(n, 1)
    return np.asarray(dd.flow_map(side, SCHEDULE).consistency(z, 1.0))[:, 0]


class Field:
    """A stationary Gaussian field with a falling spectrum, on a periodic grid."""

    def __init__(self, shape: tuple[int, ...], power: float) -> None:
        waves = np.meshgrid(*[np.fft.fftfreq(n) * n for n in shape], indexing="ij")
        self.spectrum = (1.0 / (1.0 + sum(w**2 for w in waves)) ** power).ravel()
        self.shape, self.dim = shape, len(shape)


def spectra() -> list[Row]:
    """Slim: filters as denoisers, with and without the weights 1/S; law of 32 steps of DDIM, an entry a frequency."""
    rows = []
    for field, radius in ((Field((64,), 1.0), 2), (Field((16, 16), 1.5), 1)):
        s, times = field.spectrum, np.linspace(1.0, 0.0, 33)
        responses = dd.filter_responses(field.shape, radius)
        for name, weights in (("filters", None), ("filters, weights 1/S", 1.0 / s)):
            loss = dd.spectral_distillation(s, SCHEDULE, times[:-1], responses, weights=weights)
            train = lambda o=loss: dd.train_generator(o, o.start, steps=400)  # noqa: E731
            student, row = timed(name, field, "W2 of a field", train, 20)
            for key, gains in (
                ("start", loss.start.gains),
                ("trained", student.gains),
                ("best", loss.optimum.gains),
                ("full", loss.goal),
            ):
                v = dd.generated_spectrum(s, SCHEDULE, times, gains)
                row[key] = float(np.sqrt(np.sum((np.sqrt(v) - np.sqrt(s)) ** 2) / np.sum(s)))
                if key != "start":  # whose law has no density
                    row[f"kl_{key}"] = float(0.5 * np.mean(v / s - 1.0 - np.log(v / s)))
            row["excess"] = loss.value(student) - loss.value(loss.optimum)
            print(name, field.dim, row["trained"], row["best"], row["kl_trained"], row["kl_full"], flush=True)
            rows.append(row)
    return rows


def observations() -> list[Row]:
    """DFM: an affine student that sees directions of the data only, against the best affine map."""
    eye, rows = np.eye(2), []
    cases = [(LINE, "observations", [np.ones((1, 1))]), (PLANE, "observations of each axis", [eye[:1], eye[1:]])]
    cases.append((PLANE, "observations of three directions", [eye[:1], eye[1:], np.array([[0.6, 0.8]])]))
    for problem, name, operators in cases:
        loss = dd.observation_loss(problem, operators, NEAR)
        start = dd.Generator([[-0.3, 0.2][: problem.dim]], [[0.8] * problem.dim])
        train = lambda o=loss, s=start: dd.train_generator(o, s, steps=400)  # noqa: E731
        student, row = timed(name, problem, "KL", train, 20)
        row |= of_generator(student, dd.affine_optimum(problem, "forward-kl"), start, loss, problem)
        row |= {"hidden": len(dd.undetermined(operators))}
        print(name, problem.dim, row["trained"], row["best"], row["excess"], flush=True)
        rows.append(row)
    return rows


def penalised(problem: Any, strengths: tuple[float, ...], steps: int) -> list[Row]:
    """LRNDE: flow matching with a penalty on local errors; law and evaluations of an adaptive run."""
    network, pairs, rows = dd.feature_student(problem.dim, units=20 * problem.dim), rule(problem, 600, 1.0), []
    for strength in strengths:
        loss = dd.regularised_flow(SCHEDULE, [0.25, 0.5, 0.75, 1.0], strength=strength, step=0.25)
        name = f"flow matching, penalty {strength:g}" if strength else "flow matching"
        train = lambda o=loss: dd.train_student(o, network, problem, steps=steps, batch=128, seed=SEED)  # noqa: E731
        student, row = timed(name, problem, "W2", train, 25)
        best = whitened(loss, network, pairs)
        for key, net in (("start", network), ("trained", student), ("best", best)):
            row[key], row[f"nfe_{key}"] = integrated(net, problem)
            row[f"error_{key}"] = replace(loss, strength=1.0).terms(net, pairs).error
        row["excess"] = loss.terms(student, pairs).value - loss.terms(best, pairs).value
        print(name, problem.dim, row["trained"], row["best"], row["nfe_trained"], row["nfe_best"], flush=True)
        rows.append(row)
    return rows


def whitened(loss: Any, network: dd.FeatureStudent, pairs: dd.Pairs) -> dd.FeatureStudent:
    """Minimum by BFGS, in coordinates in which flow matching alone is a round bowl."""
    bases = np.concatenate(
        [network.basis(pairs.at(SCHEDULE, t), t) * np.sqrt(pairs.weights)[:, None] for t in loss.times]
    )
    values, vectors = np.linalg.eigh(bases.T @ bases / len(loss.times))
    scaled = vectors / np.sqrt(np.maximum(values, 1e-9 * values.max()))
    at = lambda u: network.replace(network.coefficients + scaled @ u.reshape(network.coefficients.shape))  # noqa: E731

    def both(u: np.ndarray) -> tuple[float, np.ndarray]:
        terms = loss.terms(at(u), pairs)
        return terms.value, (scaled.T @ terms.gradient).ravel()

    found = minimize(both, np.zeros(network.coefficients.size), jac=True, method="BFGS", options={"maxiter": 100})
    return at(found.x)


def integrated(student: dd.FeatureStudent, problem: Any) -> tuple[float, int]:
    """W2 of what the velocity of a student carries noise to, by Dormand and Prince's pair to 1e-3, and evaluations."""
    z = noise(problem)
    velocity = lambda t, y: student(y.reshape(z.shape), t).ravel()  # noqa: E731
    run = solve_ivp(velocity, (1.0, 0.0), z.ravel(), rtol=1e-3, atol=1e-3)
    return distance(run.y[:, -1].reshape(z.shape), problem), int(run.nfev)


def axes(steps: int) -> list[Row]:
    """Slim on mixtures: a gain a principal axis, or one for all, as denoisers; law of 32 steps of DDIM."""
    rows, times = [], np.linspace(1.0, 0.0, 33)
    for problem in (LINE, PLANE):
        frame = dd.principal_axes(problem)
        kinds = {"an axis": np.eye(problem.dim), "of all axes": np.ones((1, problem.dim))}
        kinds = kinds if problem.dim > 1 else {"an axis": np.eye(1)}
        whole = distance(by_ddim(problem.denoiser(SCHEDULE), times, noise(problem)), problem)
        for kind, weights in product(kinds, (None, 1.0 / frame.spectrum)):
            loss = dd.principal_distillation(problem, SCHEDULE, times[:-1], kinds[kind], weights=weights)
            name = f"one gain {kind}" + ("" if weights is None else ", weights 1/S")
            train = lambda o=loss: dd.train_generator(o, o.start, steps=steps)  # noqa: E731
            student, row = timed(name, problem, "KL", train, 20)
            start, trained, best = (
                frame.generated(SCHEDULE, times, net.gains) for net in (loss.start, student, loss.optimum)
            )
            row |= of_generator(trained, best, start, None, problem)
            row |= {"excess": loss.value(student) - loss.value(loss.optimum), "floor": loss.floor}
            row |= {"w2_full": whole}
            print(name, problem.dim, row["trained"], row["best"], row["excess"], row["floor"], flush=True)
            rows.append(row)
    return rows


def preferences(steps: int) -> list[Row]:
    """PRDP and PSO: affine policies on tilts of a Gaussian, which they reach, and of mixtures, each with its best."""
    rows = []
    for reference, name, slope in (
        (dn.Gaussian([0.3], 0.7), " of a Gaussian", [0.6]),
        (LINE, "", [0.6]),
        (PLANE, "", [0.6, -0.3]),
    ):
        dim = reference.dim
        start = dd.Generator([[0.3, 0.1][:dim]], [[np.sqrt(0.7)] * dim])
        for by_rank in (False, True):
            loss = dd.preference_loss(reference, slope=slope, curvature=0.8, temperature=0.5, pairwise=by_rank)
            train = lambda o=loss, s=start: dd.train_generator(o, s, steps=steps)  # noqa: E731
            student, row = timed(("PSO" if by_rank else "PRDP") + name, reference, "KL to the tilt", train, 25)
            row |= of_generator(student, loss.affine_optimum, start, loss, loss.optimum)
            print(row["loss"], dim, row["trained"], row["best"], row["excess"], row["w2"], flush=True)
            rows.append(row)
    return rows


def guided(steps: int) -> list[Row]:
    """Guidance distilled into one network: its law, of 8 steps of DDIM, against that of the guided model's flow."""
    rows, times = [], np.linspace(1.0, 0.0, 9)
    for problem in (LINE, PLANE):
        mixture = problem.mixture
        some = dn.GaussianMixture([0.4, 0.6], mixture.means[-2:], mixture.covariances[-2:])
        whole = mixture.denoiser(SCHEDULE)
        model = dn.guidance.classifier_free(some.denoiser(SCHEDULE), 2.0, unconditional=whole)
        loss, network = dd.guidance_distillation(model, times[:-1]), dd.feature_student(problem.dim, 20 * problem.dim)
        train = lambda o=loss, n=network, p=problem: dd.train_student(o, n, p, steps=steps, seed=SEED)  # noqa: E731
        student, row = timed("guidance", problem, "W2 to the guided law", train, 25)
        pairs, z = rule(problem, 3000, 0.5), dd.normal_points(1000, problem.dim)
        goal = by_ddim(model, np.linspace(1.0, 0.0, 1025), z)
        for key, net in (("start", network), ("trained", student), ("best", dd.resting_point(loss, network, pairs))):
            row[key] = apart(by_ddim(net, times, z), goal)
            row[f"error_{key}"] = float(np.sqrt(loss.terms(net, pairs).value))
        row["full"] = apart(by_ddim(model, times, z), goal)
        row["excess"] = row["error_trained"] ** 2 - row["error_best"] ** 2
        print("guidance", problem.dim, row["trained"], row["best"], row["full"], row["error_best"], flush=True)
        rows.append(row)
    return rows


def by_ddim(model: Any, times: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Samples that DDIM makes with a prediction of data."""
    for t, s in pairwise(times.tolist()):
        x = s / t * x + (SCHEDULE.alpha(s) - s / t * SCHEDULE.alpha(t)) * np.asarray(model(x, t))
    return x


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """W2 of two sets of as many equally likely points: in order on the line, by assignment in the plane."""
    if one.shape[1] == 1:
        return float(np.sqrt(np.mean((np.sort(one[:, 0]) - np.sort(other[:, 0])) ** 2)))
    cost = cdist(one, other, "sqeuclidean")
    return float(np.sqrt(cost[linear_sum_assignment(cost)].mean()))


GROUPS: dict[str, Callable[[], list[Row]]] = {
    "transports": transports,
    "spectra": spectra,
    "observations": observations,
    "axes": lambda: axes(300),
    "preferences": lambda: preferences(200),
    "guided": lambda: guided(400),
    "penalised": lambda: [*penalised(LINE, (0.0, 1e4, 1e5), 500), *penalised(PLANE, (0.0, 1e5), 300)],
    "generators": lambda: [*generators(LINE, 250), *generators(PLANE, 120)],
    "regressions": lambda: [*regressions(LINE, 500), *regressions(PLANE, 500)],
}
"""Rows by the kind of student."""


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=GROUPS, help="renew these rows of the file, and keep the others")
    words = parser.parse_args()
    kept = [] if words.only is None else json.loads(words.out.read_text(encoding="utf-8"))["rows"]
    rows = [row for row in kept if row["group"] not in words.only]
    for name in words.only or GROUPS:
        rows += [{"group": name} | row for row in GROUPS[name]()]
    rows.sort(key=lambda row: list(GROUPS).index(row["group"]))
    command = "python -m toy_models.toy_students --out book/results/toy-students.json"
    record = {"command": command, "seed": SEED, "noise_of_kl": NEAR, "rows": rows}
    words.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
