"""Samplers of ComfyUI as its code computes them, on any model of the data, with the noise handed in.

Written anew in numpy from Comfy-Org/ComfyUI at a125cd84, comfy/k_diffusion/sampling.py (ddpm: lines 972-1000, lcm:
1003-1018, heunpp2: 1021-1075, ipndm: 1079-1119, deis: 1189-1235 with comfy/k_diffusion/deis.py 1-83, res_multistep:
1364-1441, gradient_estimation: 1445-1486, er_sde: 1494-1557, seeds_2: 1560-1611, seeds_3: 1614-1677, sa_solver and
sa_solver_pece: 1680-1786 with comfy/k_diffusion/sa_solver.py 10-97), comfy/extra_samplers/uni_pc.py (uni_pc: 579-679,
sample: 690-748, sample_unipc: 839-870), and from comfyanonymous/ComfyUI at 02159d81, sampling.py, sample_exp_heun_2_x0,
and sample_sa_solver, which returns the predicted state (that of a125cd84 returns the one before the last step unless it
goes to sigma = 0). Levels are those of variance exploding states, x = x_0 + sigma eps, and all positive.

Each is ``sampler(model, x, sigmas, noise)`` with ``model(x, sigma)`` and ``noise(sigma, sigma_next)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

Model = Callable[[Any, float], Any]
Draw = Callable[[float, float], Any]
Sampler = Callable[[Model, Any, Sequence[float], Draw], Any]


def _first(h: float) -> float:
    """h phi_1(h)."""
    return math.expm1(h)


def _second(h: float) -> float:
    """h phi_2(h)."""
    return (math.expm1(h) - h) / h


def _ancestral(now: float, after: float, eta: float) -> tuple[float, float]:
    """Level to go down to, and deviation of the noise."""
    up = min(after, eta * math.sqrt(after**2 * (now**2 - after**2) / now**2))
    return math.sqrt(after**2 - up**2), up


def ddpm(model: Model, x: Any, sigmas: Sequence[float], noise: Draw) -> Any:
    """DDPMSampler_step, on states of variance preserving processes."""
    for now, after in pairwise(sigmas):
        eps = (x - model(x, now)) / now
        bar, bar_after = 1.0 / (now**2 + 1.0), 1.0 / (after**2 + 1.0)
        alpha = bar / bar_after
        y = (x / math.sqrt(1.0 + now**2) - (1.0 - alpha) * eps / math.sqrt(1.0 - bar)) / math.sqrt(alpha)
        y = y + math.sqrt((1.0 - alpha) * (1.0 - bar_after) / (1.0 - bar)) * noise(now, after)
        x = y * math.sqrt(1.0 + after**2)
    return x


def lcm(model: Model, x: Any, sigmas: Sequence[float], noise: Draw) -> Any:
    """Data prediction, and fresh noise up to the next level."""
    for now, after in pairwise(sigmas):
        x = model(x, now) + after * noise(now, after)
    return x


def heunpp2(model: Model, x: Any, sigmas: Sequence[float], noise: Draw) -> Any:
    """Three slopes weighted by their levels; fewer at the end."""
    for i, (now, after) in enumerate(pairwise(sigmas)):
        slope = (x - model(x, now)) / now
        if i + 2 >= len(sigmas):
            x = x + (after - now) * slope
            continue
        second = x + (after - now) * slope
        slope_2 = (second - model(second, after)) / after
        if i + 3 >= len(sigmas):
            w = after / (2.0 * sigmas[0])
            x = x + (after - now) * ((1.0 - w) * slope + w * slope_2)
            continue
        ahead = sigmas[i + 2]
        third = second + (ahead - after) * slope_2
        slope_3 = (third - model(third, ahead)) / ahead
        w2, w3 = after / (3.0 * sigmas[0]), ahead / (3.0 * sigmas[0])
        x = x + (after - now) * ((1.0 - w2 - w3) * slope + w2 * slope_2 + w3 * slope_3)
    return x


def ipndm(model: Model, x: Any, sigmas: Sequence[float], noise: Draw) -> Any:
    """Adams-Bashforth with the weights of equal steps."""
    weights = ([1.0], [1.5, -0.5], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24])
    slopes: list[Any] = []
    for now, after in pairwise(sigmas):
        slopes = [(x - model(x, now)) / now, *slopes][:4]
        x = x + (after - now) * sum(w * s for w, s in zip(weights[len(slopes) - 1], slopes, strict=True))
    return x


def deis(model: Model, x: Any, sigmas: Sequence[float], noise: Draw) -> Any:
    """tAB in the time of a variance preserving process between 0.002 and 80, by sums of 10000 points."""
    end, top = math.log1p(0.002**2), math.log1p(80.0**2)
    slope = 2.0 * (end / 1e-3 - top) / (1e-3 - 1.0)
    least = top - 0.5 * slope
    times = [(math.sqrt(least**2 + 2.0 * slope * math.log1p(s * s)) - least) / slope for s in sigmas]
    slopes: list[Any] = []
    for i, (now, after) in enumerate(pairwise(sigmas)):
        slopes = [(x - model(x, now)) / now, *slopes][:3]
        if i == 0:
            x = x + (after - now) * slopes[0]
            continue
        tau = np.linspace(times[i], times[i + 1], 10_000)
        alpha = np.exp(-0.5 * tau**2 * slope - tau * least)
        integrand = 0.5 * (tau * slope + least) / np.sqrt(alpha * (1.0 - alpha))
        past = [times[i - k] for k in range(len(slopes))]
        for j, value in enumerate(slopes):
            others = [(tau - past[k]) / (past[j] - past[k]) for k in range(len(past)) if k != j]
            x = x + float((integrand * np.prod(others, axis=0)).sum()) * (times[i + 1] - times[i]) / 10_000 * value
    return x


def res_multistep(model: Model, x: Any, sigmas: Sequence[float], noise: Draw, eta: float = 0.0) -> Any:
    """Two-step method down to sigma_down, with the past node where the step before it went down to."""
    past: Any = None
    down_before = 0.0
    for i, (now, after) in enumerate(pairwise(sigmas)):
        data = model(x, now)
        down, up = _ancestral(now, after, eta) if eta else (after, 0.0)
        if past is None:
            x = x + (down - now) * (x - data) / now
        else:
            h = math.log(now / down)
            c = (-math.log(sigmas[i - 1]) + math.log(down_before)) / h
            phi_1 = math.expm1(-h) / -h
            phi_2 = (phi_1 - 1.0) / -h
            x = math.exp(-h) * x + h * ((phi_1 - phi_2 / c) * data + phi_2 / c * past)
        if up:
            x = x + up * noise(now, after)
        past, down_before = data, down
    return x


def gradient_estimation(model: Model, x: Any, sigmas: Sequence[float], noise: Draw) -> Any:
    """Euler with twice the slope less the one before."""
    past = None
    for now, after in pairwise(sigmas):
        slope = (x - model(x, now)) / now
        x = x + (after - now) * (slope if past is None else 2.0 * slope - past)
        past = slope
    return x


def er_sde(model: Model, x: Any, sigmas: Sequence[float], noise: Draw, cells: int = 200) -> Any:
    """ER-SDE of three stages with sums over cells."""

    def scale(level: Any) -> Any:
        return level * (np.exp(level**0.3) + 10.0)

    data_before: Any = None
    first_before: Any = None
    for i, (now, after) in enumerate(pairwise(sigmas)):
        data, r, dt = model(x, now), float(scale(after) / scale(now)), after - now
        x = r * x + (1.0 - r) * data
        if i:
            at = after + np.arange(cells) * (-dt / cells)
            first = (data - data_before) / (now - sigmas[i - 1])
            x = x + (dt + float((1.0 / scale(at)).sum()) * (-dt / cells) * float(scale(after))) * first
            if i > 1:
                second = (first - first_before) / ((now - sigmas[i - 2]) / 2.0)
                moment = float(((at - now) / scale(at)).sum()) * (-dt / cells)
                x = x + (dt**2 / 2.0 + moment * float(scale(after))) * second
            first_before = first
        x = x + math.sqrt(after**2 - now**2 * r**2) * noise(now, after)
        data_before = data
    return x


def seeds_2(
    model: Model,
    x: Any,
    sigmas: Sequence[float],
    noise: Draw,
    eta: float = 1.0,
    r: float = 0.5,
    solver_type: str = "phi_1",
) -> Any:
    """Two stages in data prediction, with the noise of one path."""
    for now, after in pairwise(sigmas):
        h = math.log(now / after)
        inner = now * math.exp(-r * h)
        data, long = model(x, now), h * (eta + 1.0)
        stage = inner / now * math.exp(-r * h * eta) * x - _first(-r * long) * data
        path: Any = 0.0
        if eta:
            path = math.sqrt(-math.expm1(-2.0 * r * h * eta)) * noise(now, inner)
            stage = stage + inner * path
        inside = model(stage, inner)
        if solver_type == "phi_1":
            fac = 1.0 / (2.0 * r)
            moved = _first(-long) * ((1.0 - fac) * data + fac * inside)
        else:
            late = _second(-long) / r
            moved = (_first(-long) - late) * data + late * inside
        x = after / now * math.exp(-h * eta) * x - moved
        if eta:
            left = (r - 1.0) * h * eta
            path = path * math.exp(left)
            if r < 1.0:
                path = path + math.sqrt(-math.expm1(2.0 * left)) * noise(inner, after)
            x = x + after * path
    return x


def seeds_3(model: Model, x: Any, sigmas: Sequence[float], noise: Draw, eta: float = 1.0) -> Any:
    """Three stages in data prediction, with the noise of one path."""
    r_1, r_2 = 1.0 / 3.0, 2.0 / 3.0
    for now, after in pairwise(sigmas):
        h = math.log(now / after)
        long = h * (eta + 1.0)
        at = [now * math.exp(-r * h) for r in (r_1, r_2)]
        data = model(x, now)
        path = math.sqrt(-math.expm1(-2.0 * r_1 * h * eta)) * noise(now, at[0])
        stage = at[0] / now * math.exp(-r_1 * h * eta) * x - _first(-r_1 * long) * data + at[0] * path
        second = model(stage, at[0])
        late = r_2 / r_1 * _second(-r_2 * long)
        left = (r_1 - r_2) * h * eta
        path = path * math.exp(left) + math.sqrt(-math.expm1(2.0 * left)) * noise(at[0], at[1])
        stage = at[1] / now * math.exp(-r_2 * h * eta) * x - ((_first(-r_2 * long) - late) * data + late * second)
        third = model(stage + at[1] * path, at[1])
        late = _second(-long) / r_2
        left = (r_2 - 1.0) * h * eta
        path = path * math.exp(left) + math.sqrt(-math.expm1(2.0 * left)) * noise(at[1], after)
        x = after / now * math.exp(-h * eta) * x - ((_first(-long) - late) * data + late * third) + after * path
    return x


def adams_weights(nodes: Sequence[float], begin: float, end: float, tau: float) -> Any:
    """Integrals of Lagrange's polynomials against the kernel of the reverse equation, by the recursion of the code."""
    rate, moments = 1.0 + tau**2, []
    for p in range(len(nodes)):
        value = end**p - begin**p * math.exp(-rate * (end - begin))
        moments.append(value - p / rate * moments[-1] if p else value)
    return np.linalg.solve(np.vander(nodes, increasing=True).T, np.array(moments))


def sa_solver(
    model: Model,
    x: Any,
    sigmas: Sequence[float],
    noise: Draw,
    tau: Callable[[float], float] = lambda _: 1.0,
    pece: bool = False,
) -> Any:
    """Stochastic Adams predictor of 3 and corrector of 4 nodes; tau at the level where a step ends."""
    lam = [-math.log(s) for s in sigmas]
    predicted, drawn, level, h = x, 0.0, 0.0, 0.0
    past: list[Any] = []
    for i in range(len(sigmas) - 1):
        data = model(predicted, sigmas[i])
        past = [*past, data][-4:]
        if i:
            nodes = lam[i + 1 - len(past) : i + 1]
            weights = adams_weights(nodes, lam[i - 1], lam[i], level)
            x = sigmas[i] / sigmas[i - 1] * math.exp(-(level**2) * h) * x
            x = x + sum(float(w) * value for w, value in zip(weights, past, strict=True)) + drawn
            if pece:
                past[-1] = model(x, sigmas[i])
        level, h = tau(sigmas[i + 1]), lam[i + 1] - lam[i]
        used = past[-3:]
        weights = adams_weights(lam[i + 1 - len(used) : i + 1], lam[i], lam[i + 1], level)
        predicted = sigmas[i + 1] / sigmas[i] * math.exp(-(level**2) * h) * x
        predicted = predicted + sum(float(w) * value for w, value in zip(weights, used, strict=True))
        drawn = 0.0
        if level:
            drawn = sigmas[i + 1] * math.sqrt(-math.expm1(-2.0 * level**2 * h)) * noise(sigmas[i], sigmas[i + 1])
            predicted = predicted + drawn
    return predicted


def uni_pc(model: Model, x: Any, sigmas: Sequence[float], noise: Draw, variant: str = "bh1") -> Any:
    """UniPC of order 3 and less at both ends, in data prediction, no corrector at the end."""
    lam, steps = [-math.log(s) for s in sigmas], len(sigmas) - 1
    order = min(3, steps - 1)
    past = [model(x, sigmas[0])]
    for i in range(1, steps + 1):
        q = min(order, i) if i < order else min(order, steps + 1 - i)
        h = lam[i] - lam[i - 1]
        ratios = [(lam[i - 1 - j] - lam[i - 1]) / h for j in range(1, q)]
        slopes = [(past[-1 - j] - past[-1]) / r for j, r in zip(range(1, q), ratios, strict=True)]
        hh, factorial = -h, 1.0
        size = hh if variant == "bh1" else math.expm1(hh)
        part, right, matrix = math.expm1(hh) / hh - 1.0, [], []
        for k in range(1, q + 1):
            matrix.append([*(r ** (k - 1) for r in ratios), 1.0])
            right.append(part * factorial / size)
            factorial *= k + 1
            part = part / hh - 1.0 / factorial
        base = sigmas[i] / sigmas[i - 1] * x - math.expm1(hh) * past[-1]
        rhos = [0.5] if q == 2 else np.linalg.solve(np.array(matrix)[:-1, :-1], right[:-1]) if q > 2 else []
        x = base - size * sum((float(r) * s for r, s in zip(rhos, slopes, strict=True)), 0.0 * base)
        if i < steps:
            data = model(x, sigmas[i])
            rhos = [0.5] if q == 1 else np.linalg.solve(np.array(matrix), right)
            moved = sum((float(r) * s for r, s in zip(rhos[:-1], slopes, strict=True)), 0.0 * base)
            x = base - size * (moved + float(rhos[-1]) * (data - past[-1]))
            past = [*past, data][-order:]
    return x


SAMPLERS: dict[str, Sampler] = {
    "ddpm": ddpm,
    "deis": deis,
    "er_sde": er_sde,
    "exp_heun_2_x0": partial(seeds_2, eta=0.0, r=1.0, solver_type="phi_2"),
    "exp_heun_2_x0_sde": partial(seeds_2, r=1.0, solver_type="phi_2"),
    "gradient_estimation": gradient_estimation,
    "heunpp2": heunpp2,
    "ipndm": ipndm,
    "lcm": lcm,
    "res_multistep": res_multistep,
    "res_multistep_ancestral": partial(res_multistep, eta=1.0),
    "sa_solver": sa_solver,
    "sa_solver_pece": partial(sa_solver, pece=True),
    "seeds_2": seeds_2,
    "seeds_3": seeds_3,
    "uni_pc": uni_pc,
    "uni_pc_bh2": partial(uni_pc, variant="bh2"),
}
"""Name in ComfyUI -> its sampler with default options; tau of SA-Solver is 1 everywhere."""
