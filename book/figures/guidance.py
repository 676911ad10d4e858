"""Measure what guidance does to solvers, and leave the numbers in book/results/guidance.json.

``python book/figures/guidance.py`` takes a few minutes; ``--quick`` a few seconds, for a look (other numbers of steps
and fewer scales). Four subjects: one Gaussian class of a Gaussian population (the guided flow is linear: the stability
analysis is exact), a mixture of two classes in the plane (a flow that is not linear), and the trained networks that are
here (``toy/digits``; ``toy/emoji-32`` where it has been trained).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

import diffnum as dn
from diffnum.analysis import amplification, largest_stiffness, stability, stiffness
from diffnum.guidance import Guided, Ramp, autoguidance, cfg_plus_plus, classifier_free
from diffnum.guidance.thresholding import StaticThreshold
from diffnum.models import model_ids
from diffnum.types import FloatArray

RESULTS = Path(__file__).resolve().parents[1] / "results/guidance.json"
SCHEDULE = dn.schedules.VPLinear()
SCALES = (1.0, 2.0, 4.0, 7.5, 15.0)
STEPS = (10, 20, 40)
METHODS = (
    "ddim", "dpmpp_2m", "dpm_solver_2m", "lms_2", "plms_2", "ghvb_1.8", "ghvb_1.5", "mdpm2_0.8", "mdpm2_0.5",
    "dpmpp_3m_corrected", "eab_noise_3", "lms_3", "plms_3", "ghvb_2.8", "ghvb_2.8_variable", "hb_3_0.8",
    "eab_4", "lms_4", "plms_4", "ghvb_3.8", "hb_4_0.8", "unipc_2_bh2", "unipc_3_bh2", "edm_heun", "dpmpp_2s",
)  # fmt: skip
"""Each remedy beside what it should cure: same order, other form; same weights, with heavy ball."""
GROWTH = 2.0
"""A perturbation that grows so many times more than it does without guidance counts as an instability."""
POPULATION, CLASS = 1.0, 0.01
"""Variances of the population and of the class, along the direction that the class decides."""


# ---------------------------------------------------------------- subjects


def gaussian_subject(scale: float) -> Guided:
    """A narrow Gaussian class in a wide Gaussian population."""
    whole = dn.Gaussian(np.zeros(2), np.diag([POPULATION, 0.25]))
    part = dn.Gaussian(np.array([0.8, 0.3]), np.diag([CLASS, 0.25]))
    return classifier_free(part.denoiser(SCHEDULE), scale, unconditional=whole.denoiser(SCHEDULE))


def mixture_subject(scale: float) -> Guided:
    """One of two classes, each of two round components; the classes are 2 apart, the components 1.1."""
    means = np.array([[1.0, 0.6], [1.0, -0.6], [-1.0, 0.5], [-1.0, -0.5]])
    whole = dn.GaussianMixture([0.25] * 4, means, [0.04] * 4, labels=[0, 0, 1, 1])
    part = whole.conditional(0)
    return classifier_free(part.denoiser(SCHEDULE), scale, unconditional=whole.denoiser(SCHEDULE))


def reference(model: Any, x: Any, start: float, end: float, tolerance: float, times: Sequence[float] = ()) -> list[Any]:
    """Guided flow by DOP853 in x/sqrt(alpha^2 + sigma^2) and half-log-SNR: states at ``times``, then at the end."""
    schedule = model.schedule

    def size(t: float) -> float:
        return math.hypot(float(schedule.alpha(t)), float(schedule.sigma(t)))

    def right(lam: float, y: FloatArray) -> FloatArray:
        t = float(schedule.time(lam))
        s = float(schedule.sigma(t)) / size(t)
        noise = dn.predict(model, like(x, size(t) * y), t, "noise")
        return s * s * y - s * flat(noise)

    stops = [*times, end]
    lams = [float(schedule.half_log_snr(t)) for t in (start, *stops)]
    found = solve_ivp(
        right,
        (lams[0], lams[-1]),
        flat(x) / size(start),
        method="DOP853",
        rtol=tolerance,
        atol=tolerance,
        t_eval=lams[1:],
    )
    return [like(x, size(t) * found.y[:, i]) for i, t in enumerate(stops)]


def flat(x: Any) -> FloatArray:
    """Entries of an array or tensor as one vector."""
    return np.asarray(x.cpu() if hasattr(x, "cpu") else x, dtype=np.float64).ravel()


def like(x: Any, values: FloatArray) -> Any:
    """Values as an array or tensor of the shape and kind of ``x``."""
    shaped = values.reshape(tuple(x.shape))
    return shaped if isinstance(x, np.ndarray) else x.new_tensor(shaped)


def distance(x: Any, y: Any) -> float:
    """Root-mean-square difference relative to ``y``."""
    a, b = flat(x), flat(y)
    return float(np.sqrt(np.mean((a - b) ** 2) / np.mean(b**2)))


# ---------------------------------------------------------------- measurements


def limit(method: str, h: float) -> tuple[float, float]:
    """Ends of the real interval: of z, and of s at a step ``h`` in half-log-SNR.

    In the clock sigma/alpha a step from rho to rho e^-h has z = -s (1 - e^-h).
    """
    found = stability(method, h)
    return found.real, found.stiffness if found.step else found.real / -math.expm1(-h)


def critical(test: Callable[[float], bool], top: float = 40.0) -> float | None:
    """Smallest scale from 1 upwards, to a hundredth, at which ``test`` holds; None if it never does."""
    scales = np.arange(1.0, top, 0.25)
    first = next((i for i, w in enumerate(scales) if test(w)), None)
    if first is None:
        return None
    if first == 0:
        return 1.0
    low, high = scales[first - 1], scales[first]
    while high - low > 0.01:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if test(middle) else (middle, high)
    return float(round(high, 2))


def population_stiffness(scale: float, t: float) -> float:
    """Stiffness of the Gaussian subject along the direction that the class decides, in closed form."""
    rho2 = math.exp(-2.0 * float(SCHEDULE.half_log_snr(t)))
    part, whole = CLASS / (CLASS + rho2), POPULATION / (POPULATION + rho2)
    return 1.0 - scale * part + (scale - 1.0) * whole


def stiffness_growth(scales: Sequence[float]) -> dict[str, Any]:
    """Largest stiffness over the run against the scale, for both exact subjects."""
    grid = dn.grids.uniform_half_log_snr(SCHEDULE, 200)
    start = np.random.default_rng(0).standard_normal((64, 2))
    found: dict[str, Any] = {}
    for name, subject in (("population", gaussian_subject), ("mixture", mixture_subject)):
        rows = []
        for w in scales:
            model, times = subject(w), grid.t[1:-1:4].tolist()
            states = reference(model, start, float(grid.t[0]), float(grid.t[-1]), 1e-8, times)
            values = [stiffness(model, x, t)[:, -1] for x, t in zip(states, [*times, float(grid.t[-1])], strict=True)]
            rows.append({"scale": w, "largest": float(np.max(values)), "median": float(np.median(np.max(values, 0)))})
        slope = np.polyfit([r["scale"] for r in rows], [r["largest"] for r in rows], 1)
        found[name] = {"rows": rows, "slope": float(slope[0]), "intercept": float(slope[1])}
    return found


def population_limits(methods: Sequence[str], steps: Sequence[int], scales: Sequence[float]) -> dict[str, Any]:
    """Predicted critical scales on the Gaussian subject."""
    found: dict[str, Any] = {}
    for n in steps:
        grid = dn.grids.uniform_half_log_snr(SCHEDULE, n)
        h = float(grid.lam[1] - grid.lam[0])
        found[str(n)] = {"h": h, "methods": {name: predicted(name, plan_of(name, n), h, scales) for name in methods}}
    return found


def predicted(name: str, numbers: dn.Plan, h: float, scales: Sequence[float]) -> dict[str, Any]:
    """Critical scale of one method, from its region of stability and from the plan itself."""
    z, s = limit(name, h)
    lams = np.linspace(*(float(SCHEDULE.half_log_snr(t)) for t in (1.0, 1e-3)), 400)
    times = [float(SCHEDULE.time(lam)) for lam in lams]

    def growth(w: float) -> float:
        return float(amplification(numbers, lambda t: population_stiffness(w, t)).max())

    free = growth(1.0)
    return {
        "z": z,
        "s": s,
        "from_region": critical(lambda w: max(population_stiffness(w, t) for t in times) > s),
        "from_plan": critical(lambda w: growth(w) > GROWTH * free),
        "growth": {str(w): growth(w) for w in scales},
    }


def errors(
    subject: Callable[[float], Guided], methods: Sequence[str], steps: Sequence[int], scales: Sequence[float]
) -> dict[str, Any]:
    """Relative errors at the end of the run, on 64 samples."""
    start = np.random.default_rng(1).standard_normal((64, 2))
    found: dict[str, Any] = {}
    for w in scales:
        model = subject(w)
        end = reference(model, start, 1.0, 1e-3, 1e-11)[-1]
        found[str(w)] = {
            str(n): {name: distance(dn.solve(plan_of(name, n), model, start), end) for name in methods} for n in steps
        }
    return found


def overtaken(methods: Sequence[str], steps: Sequence[int], top: float) -> dict[str, Any]:
    """Smallest scale (to a half) at which a method is worse than DDIM with the same steps on the Gaussian subject."""
    start = np.random.default_rng(1).standard_normal((64, 2))
    found: dict[str, Any] = {str(n): dict.fromkeys(methods) for n in steps}
    for w in np.arange(1.0, top + 0.5, 0.5):
        model = gaussian_subject(float(w))
        end = reference(model, start, 1.0, 1e-3, 1e-10)[-1]
        for n in steps:
            plain = distance(dn.solve(plan_of("ddim", n), model, start), end)
            for name, since in found[str(n)].items():
                if since is None and distance(dn.solve(plan_of(name, n), model, start), end) > plain:
                    found[str(n)][name] = float(w)
    return found


def plan_of(method: str, n: int) -> dn.Plan:
    """Plan on the uniform grid in half-log-SNR."""
    return dn.plan(method, SCHEDULE, dn.grids.uniform_half_log_snr(SCHEDULE, n))


def interval_order(steps: Sequence[int]) -> dict[str, Any]:
    """What a guidance interval does to the order: sharp edges, edges at nodes, and a smooth window."""
    low, high, w = 0.2, 5.0, 4.0
    base = mixture_subject(w)
    sharp = classifier_free(base.main, w, unconditional=base.weak, interval=(low, high))
    ramp = Ramp(SCHEDULE, 1.0, w, "window", sigma_max=high, sigma_min=low)
    smooth = classifier_free(base.main, ramp, unconditional=base.weak)
    edges = [float(SCHEDULE.time(-math.log(rho))) for rho in (high, low)]
    start = np.random.default_rng(2).standard_normal((64, 2))

    def through_edges(method: str, n: int) -> FloatArray:
        """Restart at the edges: no history goes across, and every stage asks the model of its own part."""
        x, ends = start, [1.0, *edges, 1e-3]
        lams = [float(SCHEDULE.half_log_snr(t)) for t in ends]
        for i, part in enumerate((base.main, base, base.main)):
            share = max(1, round(n * (lams[i + 1] - lams[i]) / (lams[-1] - lams[0])))
            grid = dn.grids.uniform_half_log_snr(SCHEDULE, share, t_start=ends[i], t_end=ends[i + 1])
            x = dn.solve(dn.plan(method, SCHEDULE, grid), part, x)
        return x

    exact = start
    for i, part in enumerate((base.main, base, base.main)):
        exact = reference(part, exact, [1.0, *edges][i], [*edges, 1e-3][i], 1e-12)[-1]
    bent = start
    for begin, end in zip([1.0, *edges], [*edges, 1e-3], strict=True):
        bent = reference(smooth, bent, begin, end, 1e-12)[-1]
    found: dict[str, Any] = {"interval": [low, high], "scale": w, "steps": list(steps), "methods": {}}
    for name in ("ddim", "dpmpp_2m", "dpmpp_3m_corrected", "dpmpp_3s", "eab_4"):
        found["methods"][name] = {
            "sharp": [distance(dn.solve(plan_of(name, n), sharp, start), exact) for n in steps],
            "restarted": [distance(through_edges(name, n), exact) for n in steps],
            "window": [distance(dn.solve(plan_of(name, n), smooth, start), bent) for n in steps],
        }
        for kind, values in list(found["methods"][name].items()):
            half = len(steps) // 2
            rate = -np.polyfit(np.log(steps[half:]), np.log(values[half:]), 1)[0]
            found["methods"][name][f"{kind}_rate"] = float(rate)
    return found


def plus_plus(steps: Sequence[int]) -> dict[str, Any]:
    """CFG++ with more and more steps beside classifier-free guidance: the weight, and where the samples end."""
    start = np.random.default_rng(3).standard_normal((256, 2))
    base = mixture_subject(1.0)
    rows = []
    for n in steps:
        grid = dn.grids.uniform_half_log_snr(SCHEDULE, n)
        numbers = dn.plan("ddim", SCHEDULE, grid)
        plus = cfg_plus_plus(base.main, grid, 0.6, unconditional=base.weak)
        plain = classifier_free(base.main, 4.0, unconditional=base.weak)
        ends = {name: dn.solve(numbers, model, start) for name, model in (("cfg_pp", plus), ("cfg", plain))}
        rows.append(
            {"steps": n, "weight": float(plus.weight(float(grid.t[0])))}
            | {f"{name}_mean": float(x[:, 0].mean()) for name, x in ends.items()}
        )
    return {"lambda": 0.6, "scale": 4.0, "rows": rows}


NETWORKS: dict[str, dict[str, Any]] = {
    "toy/digits": {"scales": SCALES, "steps": STEPS, "methods": METHODS, "n": 8},
    "toy/emoji-32": {
        "scales": (1.0, 4.0, 7.5),
        "steps": (10, 20),
        "methods": (
            "ddim", "dpmpp_2m", "dpm_solver_2m", "plms_2", "ghvb_1.8", "dpmpp_3m_corrected", "eab_noise_3", "plms_3",
            "ghvb_2.8", "eab_4", "plms_4", "ghvb_3.8", "unipc_2_bh2", "unipc_3_bh2", "dpmpp_2s",
        ),
        "n": 2,
        "places": 6,
        "iterations": 10,
        "tolerance": 1e-4,
        "dtype": "float32",
        "rules_at": 4.0,
    },
}  # fmt: skip
"""What is measured on the trained networks; the larger one is asked less."""


def network(
    name: str,
    scales: Sequence[float],
    steps: Sequence[int],
    methods: Sequence[str],
    n: int,
    places: int = 12,
    iterations: int = 20,
    tolerance: float = 1e-7,
    dtype: str = "float64",
    rules_at: float | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Errors, largest stiffness and largest pixel on a trained network with classes."""
    from diffnum.models.runs.sampling import initial_noise

    model = dn.load(name, dtype=dtype, device=device)
    bound = model.conditioned([i % model.num_classes for i in range(n)])
    schedule, begin, end = model.schedule, model.default_t_start, model.default_t_end
    x = float(schedule.sigma(begin)) * initial_noise(n, model.sample_shape, 0, dtype=model.dtype, device=device)
    lams = np.linspace(*(float(schedule.half_log_snr(t)) for t in (begin, end)), places + 2)[1:-1]
    times = [float(schedule.time(lam)) for lam in lams]
    found: dict[str, Any] = {"samples": n, "tolerance": tolerance, "half_log_snr": lams.tolist(), "scales": {}}
    for w in scales:
        guided = classifier_free(bound, w)
        states = reference(guided, x, begin, end, tolerance, times)
        stiff = [
            largest_stiffness(guided, z, t, iterations=iterations) for z, t in zip(states[:-1], times, strict=True)
        ]
        clipped = StaticThreshold(guided, max(model.value_range))
        kept = reference(clipped, x, begin, end, max(tolerance, 1e-5))[-1]
        found["scales"][str(w)] = {
            "stiffness": [float(np.max(s)) for s in stiff],
            "median_stiffness": [float(np.median(s)) for s in stiff],
            "largest": float(np.abs(flat(states[-1])).max()),
            "runs": {str(k): runs(guided, x, states[-1], methods, k) for k in steps},
            "thresholded": {
                "distance": distance(kept, states[-1]),
                "largest": float(np.abs(flat(kept)).max()),
                "errors": {m: run["error"] for m, run in runs(clipped, x, kept, methods, steps[0]).items()},
            },
        }
        print(f"{name}: scale {w} done", file=sys.stderr)
    if rules_at is not None:
        found["rules"] = rules(bound, rounded(dn.load(name, dtype=dtype, device=device), bound), x, rules_at, tolerance)
    return found


def runs(model: Any, x: Any, exact: Any, methods: Sequence[str], steps: int) -> dict[str, dict[str, float | None]]:
    """Error and largest pixel of each method on a guided network."""
    from diffnum.plans import plan_for

    ends = {m: dn.solve(plan_for(model, m, steps), model, x, check_finite=False) for m in methods}
    return {
        m: {"error": _finite(distance(z, exact)), "largest": _finite(float(np.abs(flat(z)).max()))}
        for m, z in ends.items()
    }


def rounded(model: Any, bound: Any, bits: int = 4) -> Any:
    """A worse version of a network, under the labels of ``bound``: each weight tensor rounded to 2^bits - 1 values."""
    import torch

    with torch.no_grad():
        for weight in model.module.parameters():
            unit = weight.abs().max() / (2 ** (bits - 1) - 1)
            if unit > 0:
                weight.copy_(torch.round(weight / unit) * unit)
    return model.conditioned(bound.labels)


def rules(
    bound: Any, weak: Any, x: Any, scale: float, tolerance: float, steps: Sequence[int] = (10, 20)
) -> dict[str, Any]:
    """Ways to guide a network, at one scale: range, distance to plain guidance, and errors of three methods."""
    schedule, begin, end = bound.schedule, bound.default_t_start, bound.default_t_end
    subjects = {
        "none": bound,
        "plain": classifier_free(bound, scale),
        "interval 0.3 to 5": classifier_free(bound, scale, interval=(0.3, 5.0)),
        "rising weight": classifier_free(bound, Ramp(schedule, 1.0, 2.0 * scale - 1.0)),
        "rescaled by 0.7": classifier_free(bound, scale, rescale=0.7),
        "autoguidance": autoguidance(bound, weak, 2.0),
    }
    ends = {what: reference(subject, x, begin, end, tolerance)[-1] for what, subject in subjects.items()}
    methods = ("ddim", "dpmpp_2m", "dpmpp_3m_corrected")
    found: dict[str, Any] = {
        what: {
            "largest": float(np.abs(flat(ends[what])).max()),
            "distance_to_plain": distance(ends[what], ends["plain"]),
            "runs": {str(k): runs(subject, x, ends[what], methods, k) for k in steps},
        }
        for what, subject in subjects.items()
    }
    for k in steps:
        grid = dn.grids.uniform_half_log_snr(schedule, n=k, t_start=begin, t_end=end)
        plus = cfg_plus_plus(bound, grid, 0.6)
        image = dn.solve(dn.plan("ddim", schedule, grid), plus, x, check_finite=False)
        found[f"CFG++ 0.6, {k} steps"] = {
            "largest": float(np.abs(flat(image)).max()),
            "distance_to_plain": distance(image, ends["plain"]),
        }
    return {"scale": scale, "rules": found}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer scales, steps and methods")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for the networks")
    parser.add_argument(
        "--network", choices=tuple(NETWORKS), help="measure this one again and keep the rest of the file"
    )
    chosen = parser.parse_args(arguments)
    if chosen.network:
        results = json.loads(chosen.out.read_text(encoding="utf-8"))
        results["networks"][chosen.network] = network(chosen.network, **NETWORKS[chosen.network], device=chosen.device)
        write(chosen.out, results)
        return
    quick = chosen.quick
    scales, steps = (SCALES[::2], STEPS[:1]) if quick else (SCALES, STEPS)
    methods = ("ddim", "dpmpp_2m", "lms_3", "ghvb_2.8") if quick else METHODS
    results = {"version": dn.__version__, "scales": scales, "steps": steps, "growth": GROWTH}
    results["stiffness"] = stiffness_growth(scales)
    results["population"] = {
        "variances": [POPULATION, CLASS],
        "limits": population_limits(methods, steps, scales),
        "errors": errors(gaussian_subject, methods, steps, scales),
        "worse_than_ddim_from": overtaken(methods, steps, 4.0 if quick else 15.0),
    }
    results["mixture"] = {"errors": errors(mixture_subject, methods, steps, scales)}
    results["interval"] = interval_order((10, 20, 40) if quick else (20, 40, 80, 160, 320, 640))
    results["cfg_pp"] = plus_plus((5, 10, 20) if quick else (5, 10, 20, 40, 80, 160, 320))
    results["networks"] = {}
    for name, settings in ({} if quick else NETWORKS).items():
        if name in model_ids():
            results["networks"][name] = network(name, **settings, device=chosen.device)
    write(chosen.out, results)


def write(out: Path, results: dict[str, Any]) -> None:
    """Leave the numbers in a file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
