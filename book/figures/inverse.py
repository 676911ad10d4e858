"""Measure gradients, inverses and likelihoods on networks: ``python book/figures/inverse.py [PART ...]``.

Writes book/results/inverse.json, part by part; parts that stand there already are kept unless they are named.
"""

from __future__ import annotations

import base64
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import torch

import diffnum as dn
from diffnum.jobs.files import write_json
from diffnum.jobs.ledger import Ledger, digest, source_digest
from diffnum.models.gradients import KeptBytes
from diffnum.plans.reversible import SCHEMES, parasitic_roots, reversible_plan
from diffnum.solver import iterate

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "book/results/inverse.json"
STEPS = (4, 8, 16, 32, 64, 128)


def normals(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Standard normals as a tensor."""
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=dtype)


def grid_of(model: Any, steps: int, t_end: float | None = None) -> dn.grids.Grid:
    """Nodes uniform in half-log-SNR, to where the model ends by default."""
    schedule = model.schedule
    start = getattr(schedule, "default_t_start", schedule.t_max)
    end = t_end or model.default_t_end or float(schedule.time(3.0))
    return dn.grids.uniform_half_log_snr(schedule, steps, t_start=float(start), t_end=end)


def start_of(plan: dn.Plan, shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """States at the first node."""
    return float(plan.schedule.sigma(float(plan.times[0]))) * normals(*shape, seed=seed, dtype=dtype)


def squares(end: torch.Tensor) -> torch.Tensor:
    """A loss."""
    return 0.5 * (end**2).sum()


def pixels(x: torch.Tensor, low: float, high: float) -> str:
    """Intensities as bytes in base64."""
    y = ((x.detach() - low) / (high - low)).clamp(0, 1).mul(255).round().to(torch.uint8).numpy()
    return base64.b64encode(y.tobytes()).decode("ascii")


# -- memory and time against the number of steps -------------------------------------------------------


def memory() -> list[dict[str, Any]]:
    """Most bytes that autograd keeps at a time, states that are kept, and seconds, on the digits in batches of 16."""
    model = dn.load("toy/digits")
    parameters = tuple(model.module.parameters())
    rows = []
    for steps in STEPS:
        grid = grid_of(model, steps, t_end=1e-2)
        ways = {way: dn.plan("dpmpp_2m", model.schedule, grid) for way in ("full", "checkpoint", "continuous")}
        ways["reversible"] = reversible_plan("leapfrog", model.schedule, grid)
        for way, plan in ways.items():
            x = start_of(plan, (16, 1, 8, 8), 0)
            with KeptBytes(parameters) as kept:
                found = dn.gradient(plan, model, x, squares, memory=way)  # type: ignore[arg-type]
            seconds = []
            for _ in range(3):
                begun = process_time()
                dn.gradient(plan, model, x, squares, memory=way)  # type: ignore[arg-type]
                seconds.append(process_time() - begun)
            rows.append(
                {
                    "way": way, "steps": steps, "bytes": kept.most,
                    # a state is x with one past evaluation or one second vector
                    "states": found.kept[0] * 2 * x.numel() * x.element_size(),
                    "evaluations": found.evaluations, "seconds": statistics.median(seconds),
                }
            )  # fmt: skip
    return rows


# -- beside torchdiffeq ---------------------------------------------------------------------------------


def adjoints() -> list[dict[str, Any]]:
    """Error of the gradient of the flow, evaluations, bytes and seconds, beside torchdiffeq's adjoint, in float64."""
    import torchdiffeq

    model = dn.load("toy/digits", dtype=torch.float64)
    parameters, schedule = tuple(model.module.parameters()), model.schedule
    for p in parameters:
        p.requires_grad_(False)
    ends = (1.0, 1e-2)

    def planned(name: str, steps: int, **options: Any) -> dn.Plan:
        return dn.plan(name, schedule, grid_of(model, steps, t_end=ends[1]), **options)

    x = start_of(planned("ddim", 4), (4, 1, 8, 8), 0, torch.float64)
    exact, coarse = (dn.gradient(planned("rho_rk_rk4", n), model, x, squares).x for n in (160, 80))
    size = float(exact.norm())
    rows: list[dict[str, Any]] = [{"way": "reference", "error": float((exact - coarse).norm()) / size}]

    def noted(way: str, knob: Any, run: Callable[[], tuple[torch.Tensor, int]]) -> None:
        begun = process_time()
        with KeptBytes(parameters) as kept:
            found, evaluations = run()
        rows.append(
            {
                "way": way, "knob": knob, "error": float((found - exact).norm()) / size, "evaluations": evaluations,
                "bytes": kept.most, "seconds": process_time() - begun,
            }
        )  # fmt: skip

    for name in ("dpmpp_2m", "dpm_solver_3", "rho_rk_rk4"):
        for steps in (20, 40, 80):
            for way in ("continuous", "checkpoint"):

                def ours(name: str = name, steps: int = steps, way: str = way) -> tuple[torch.Tensor, int]:
                    start = {"start": "high_order"} if dn.method(name).depth else {}
                    given: dict[str, Any] = {}
                    if way == "continuous":
                        given["adjoint"] = planned(name, steps, towards="noise", **start)
                    found = dn.gradient(planned(name, steps, **start), model, x, squares, memory=way, **given)  # type: ignore[arg-type]
                    return found.x, found.evaluations

                noted(f"{name}, {way}", steps, ours)

    alphas = [float(schedule.alpha(t)) for t in ends]
    levels = [float(schedule.sigma(t)) / a for t, a in zip(ends, alphas, strict=True)]

    class Field(torch.nn.Module):
        """The flow in y = x / alpha over rho, as AdjointDPM hands it to torchdiffeq."""

        count = 0

        def forward(self, rho: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            self.count += 1
            # steps of dopri5 may go beyond the end before they are interpolated
            level = min(max(float(rho.detach()), levels[1] / 2), levels[0])
            t = float(schedule.time(-float(np.log(level))))
            alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
            state = alpha * y
            v = (model.with_gradients() if torch.is_grad_enabled() else model)(state, t)
            return sigma * state + alpha * v

    def theirs(method: str, nodes: torch.Tensor, **options: Any) -> tuple[torch.Tensor, int]:
        field, leaf = Field(), (x / alphas[0]).requires_grad_()
        path = torchdiffeq.odeint_adjoint(field, leaf, nodes, method=method, adjoint_params=(), **options)
        squares(alphas[1] * path[-1]).backward()
        assert leaf.grad is not None
        return leaf.grad / alphas[0], field.count

    for steps in (20, 40, 80):
        lam = np.linspace(-np.log(levels[0]), -np.log(levels[1]), steps + 1)
        nodes = torch.tensor(np.exp(-lam))
        for method in ("midpoint", "rk4"):
            noted(f"torchdiffeq {method}", steps, lambda m=method, n=nodes: theirs(m, n))
    for tolerance in (1e-3, 1e-4, 1e-5):
        nodes = torch.tensor(levels, dtype=torch.float64)
        noted(
            "torchdiffeq dopri5", tolerance,
            lambda n=nodes, tol=tolerance: theirs("dopri5", n, rtol=tol, atol=tol),
        )  # fmt: skip
    return rows


# -- there and back -------------------------------------------------------------------------------------


def roundtrip() -> list[dict[str, Any]]:
    """Relative error of the start after a run and its inversion."""
    rows = []
    cases = [
        ("toy/digits", (1, 1, 8, 8), (10, 20, 40, 80)),
        ("galaxies/hsc-32", (1, 1, 32, 32), (20,)),
        ("toy/emoji-32", (1, 3, 32, 32), (20,)),
    ]
    for name, shape, counts in cases:
        for dtype in (torch.float32, torch.float64)[: 1 if name == "toy/emoji-32" else 2]:
            model = dn.load(name, dtype=dtype)
            for steps in counts:
                grid = grid_of(model, steps)

                def noted(way: str, found: Any, start: torch.Tensor, roots: float | None = None) -> None:
                    away = float((found.x - start).abs().max() / start.abs().max())
                    rows.append(
                        {
                            "model": name, "dtype": str(dtype).removeprefix("torch."), "steps": steps, "way": way,  # noqa: B023
                            "error": away, "residual": found.residual, "exact": bool(found.exact),
                            "evaluations": found.evaluations, "root": roots,
                        }
                    )  # fmt: skip

                for scheme in SCHEMES:
                    plan = reversible_plan(scheme, model.schedule, grid)
                    x = start_of(plan, shape, 1, dtype)
                    *_, last = iterate(plan, model, x)
                    # what a distance of the second vector is multiplied by over the whole way back
                    growth = float(np.max(np.abs(np.cumprod(1.0 / parasitic_roots(plan)[::-1]))))
                    noted(scheme, dn.invert(plan, model, last), x, growth)
                ways = (("ddim", "towards_noise"), ("ddim", "stepwise"), ("dpmpp_2m", "corrected"))
                # an evaluation of the emoji network takes as long as that of ten digits: no fixed points there
                for method, how in ways[: 1 if name == "toy/emoji-32" or steps > 20 else 3]:
                    plan = dn.plan(method, model.schedule, grid)
                    x = start_of(plan, shape, 1, dtype)
                    end = dn.solve(plan, model, x)
                    noted(f"{method}, {how}", dn.invert(plan, model, end, how=how, iterations=12), x)  # type: ignore[arg-type]
    return rows


# -- bits per dimension ---------------------------------------------------------------------------------


def bits() -> dict[str, Any]:
    """Bits per dimension of held-out digits, dequantised by uniform noise of one level, with exact and drawn traces."""
    model = dn.load("toy/digits", dtype=torch.float64)
    held = _held_out(16)
    cell = 1.0 / 8.0
    drawn = torch.tensor(np.random.default_rng(0).uniform(-0.5, 0.5, held.shape))
    found: dict[str, Any] = {"images": len(held), "levels": 17, "cell": cell, "dimension": 64, "rows": []}
    for half_log_snr, steps in ((2.0, 20), (3.0, 10), (3.0, 20), (4.0, 20)):
        t_end = float(model.schedule.time(half_log_snr))
        alpha = float(model.schedule.alpha(t_end))
        plan = dn.plan("dpm_solver_3", model.schedule, grid_of(model, steps, t_end=t_end))
        kinds = {"dequantised": held + cell * drawn, "as they are": held}
        for kind in tuple(kinds)[: 1 + (half_log_snr == 4.0)]:
            data = kinds[kind]
            exact = dn.log_likelihood(plan, model, alpha * data)
            # a density of alpha x: that of x has the factor alpha for each entry
            each = exact.bits_per_dimension() - np.log2(alpha) - np.log2(cell)
            row: dict[str, Any] = {
                "half_log_snr": half_log_snr, "steps": steps, "kind": kind, "mean": float(each.mean()),
                "error": float(each.std() / len(each) ** 0.5), "spread": float(each.std()),
            }  # fmt: skip
            if kind == "dequantised":
                row["hutchinson"] = []
                for probes in (1, 4, 16, 64) if half_log_snr == 3.0 and steps == 20 else (4,):
                    told = None
                    got = dn.log_likelihood(plan, model, alpha * data, trace="hutchinson", probes=probes, seed=1)
                    rough = got.bits_per_dimension() - np.log2(alpha) - np.log2(cell)
                    if probes > 1:
                        told = float((got.standard_error**2).mean() ** 0.5 / (64 * np.log(2)))
                    row["hutchinson"].append(
                        {
                            "probes": probes, "mean": float(rough.mean()),
                            "rms": float(((rough - each) ** 2).mean() ** 0.5),
                            "told": told,
                        }
                    )  # fmt: skip
            found["rows"].append(row)
    return found


def many_bits() -> dict[str, Any]:
    """The same of many more digits, with a few probes: at half-log-SNR 3, where the number is least."""
    model, count, cell, probes = dn.load("toy/digits", dtype=torch.float64), 192, 1.0 / 8.0, 8
    held = _held_out(count)
    data = held + cell * torch.tensor(np.random.default_rng(1).uniform(-0.5, 0.5, held.shape))
    t_end = float(model.schedule.time(3.0))
    alpha = float(model.schedule.alpha(t_end))
    plan = dn.plan("dpm_solver_3", model.schedule, grid_of(model, 20, t_end=t_end))
    parts, errors = [], []
    for some in data.split(32):
        got = dn.log_likelihood(plan, model, alpha * some, trace="hutchinson", probes=probes, seed=1)
        parts.append(got.bits_per_dimension() - np.log2(alpha) - np.log2(cell))
        errors.append(got.standard_error / (64 * np.log(2)))
    each, told = (np.concatenate([np.asarray(part) for part in rows]) for rows in (parts, errors))
    return {
        "images": count, "probes": probes, "half_log_snr": 3.0, "steps": 20, "mean": float(each.mean()),
        # of images and probes together: both differ from image to image
        "error": float(each.std(ddof=1) / count**0.5), "spread": float(each.std(ddof=1)),
        "of_probes": float((told**2).mean() ** 0.5 / count**0.5),
    }  # fmt: skip


def _held_out(count: int) -> torch.Tensor:
    """Digits that the network was not trained on: the first 197 of its order."""
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().images).double()[:, None] / 8.0 - 1.0
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(2024))
    return images[order][:count]


# -- starts ---------------------------------------------------------------------------------------------

SKETCH = (
    "........",
    ".######.",
    ".....##.",
    "....##..",
    "...##...",
    "..##....",
    "..##....",
    "........",
)
"""What a hand draws of a seven."""


def starts() -> dict[str, Any]:
    """An image from a sketch, on the digits and on the emoji: curves, losses, evaluations, images."""
    found: dict[str, Any] = {}
    model = dn.load("toy/digits")
    sketch = torch.tensor([[1.0 if c == "#" else -1.0 for c in line] for line in SKETCH])[None, None]
    op = dn.inverse.blur(np.outer([1, 2, 1], [1, 2, 1]) / 16, (1, 8, 8))
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("descent", "descent", {"iterations": 25}),
        ("surrogate, 1 step", "surrogate", {"iterations": 40}),
        ("surrogate, 2 steps", "surrogate", {"iterations": 40, "steps": 2}),
        ("candidates", "candidates", {"candidates": 2000}),
        ("policy", "policy", {"rounds": 100}),
        ("reverse_kl", "reverse_kl", {"independent": True, "iterations": 8, "samples": 80}),
    ]
    found["digits"] = _starts(model, op, sketch, 0.3, ways, 10, (-1.0, 1.0))
    model = dn.load("toy/emoji-32")
    # a yellow disc on white, seen at an eighth of the resolution
    y, x = np.mgrid[:32, :32]
    disc = ((x - 15.5) ** 2 + (y - 15.5) ** 2 < 13.0**2)[None]
    colour = np.where(disc, np.array([1.0, 0.55, -0.6])[:, None, None], 1.0)
    painted = torch.tensor(colour[None], dtype=torch.float32)
    op = dn.inverse.downsample((3, 32, 32), 8)
    found["emoji"] = _starts(
        model, op, painted, 0.1,
        [("descent", "descent", {"iterations": 6}),
         ("surrogate, 2 steps", "surrogate", {"iterations": 15, "steps": 2}),
         ("candidates", "candidates", {"candidates": 24})],
        8, (-1.0, 1.0),
    )  # fmt: skip
    return found


def _starts(
    model: Any, op: Any, sketch: torch.Tensor, noise: float, ways: Any, steps: int, span: tuple[float, float]
) -> dict[str, Any]:
    plan = dn.plan("dpmpp_2m", model.schedule, grid_of(model, steps))
    loss = dn.inverse.misfit(op, op(sketch)[0], noise)
    z = normals(1, *sketch.shape[1:], seed=3)
    first = dn.solve(plan, model, float(plan.schedule.sigma(float(plan.times[0]))) * z)
    rows = []
    for label, method, options in ways:
        begun = process_time()
        got = dn.inverse.optimise_start(plan, model, loss, z, method=method, **options)
        keep = np.unique(np.linspace(0, len(got.curve) - 1, 60).astype(int))
        rows.append(
            {
                "way": label, "loss": got.loss, "objective": got.objective, "square": float((got.z**2).sum()),
                "evaluations": got.evaluations, "seconds": process_time() - begun, "reason": got.reason,
                "curve": [[c, v] for c, v in (got.curve[i] for i in keep)], "image": pixels(got.end, *span),
            }
        )  # fmt: skip
        print("   ", label, got.loss, got.objective, got.evaluations, rows[-1]["seconds"], flush=True)
    return {
        "shape": list(sketch.shape[1:]), "steps": steps, "noise": noise, "sketch": pixels(sketch, *span),
        "first": pixels(first, *span), "first_loss": float(loss(first)[0]), "rows": rows,
    }  # fmt: skip


# -- measurements on networks ---------------------------------------------------------------------------

CHUNK = 2
"""Images that are restored at a time; a run that was stopped goes on after them."""

POSTERIORS: tuple[tuple[str, str, bool], ...] = (
    ("dps", "dps", False),
    ("dds", "dds", False),
    ("ddrm", "ddrm", False),
    ("diffpir", "diffpir", False),
    ("dds_corrected", "dds_corrected", False),
    ("pigdm", "pigdm", False),
    ("pigdm, variance of the pixels", "pigdm", True),
)
"""Label, method, and whether it is told the variance of the prior's pixels in place of 1."""


class Case(NamedTuple):
    """A network behind an operator, as a user would have it."""

    model: str
    operator: str
    op: Any
    noise: float
    span: tuple[float, float]
    images: int
    samples: int
    steps: int
    over: Any = None
    """Pixels over which errors are taken, all by default."""


def cases() -> list[Case]:
    """Masks, blurs and lower resolution on digits, galaxies and emoji."""
    line = np.arange(-4, 5)
    psf = np.exp(-0.5 * (line[:, None] ** 2 + line[None, :] ** 2) / 1.5**2)
    psf, small = psf / psf.sum(), np.outer([1, 2, 1], [1, 2, 1]) / 16
    half = np.ones((1, 8, 8), dtype=bool)
    half[:, 4:] = False
    columns = np.ones((1, 32, 32), dtype=bool)
    columns[:, :, 13:19] = False
    hole = np.ones((3, 32, 32), dtype=bool)
    hole[:, 8:24, 8:24] = False
    inv = dn.inverse
    unit = (-1.0, 1.0)
    return [
        Case("toy/digits", "mask", inv.mask(half), 0.1, unit, 64, 9, 40, ~half),
        Case("toy/digits", "blur", inv.blur(small, (1, 8, 8)), 0.1, unit, 64, 9, 40),
        Case("toy/digits", "downsample", inv.downsample((1, 8, 8), 2), 0.1, unit, 64, 9, 40),
        Case("galaxies/hsc-32", "mask", inv.mask(columns), 0.2, (0.0, 7.0), 8, 4, 60, ~columns),
        Case("galaxies/hsc-32", "blur", inv.blur(psf, (1, 32, 32)), 0.2, (0.0, 7.0), 8, 4, 60),
        Case("galaxies/hsc-32", "downsample", inv.downsample((1, 32, 32), 2), 0.2, (0.0, 7.0), 8, 4, 60),
        Case("toy/emoji-32", "mask", inv.mask(hole), 0.05, unit, 8, 4, 30, ~hole),
        Case("toy/emoji-32", "blur", inv.blur(psf, (3, 32, 32)), 0.05, unit, 8, 4, 30),
        Case("toy/emoji-32", "downsample", inv.downsample((3, 32, 32), 4), 0.05, unit, 8, 4, 30),
    ]


def restored() -> list[dict[str, Any]]:
    """Masks, blur and lower resolution on three networks: error against the truth, spread, coverage, and images.

    Finished images are kept in out/restored.jsonl, so that a run that was stopped goes on.
    """
    kept, found = Ledger(ROOT / "out/restored.jsonl"), []
    for case in cases():
        model = dn.load(case.model)
        op, shape = case.op, case.op.shape
        fine = dn.plan("dpmpp_2m", model.schedule, grid_of(model, 40))
        # the last ones tell the variance of pixels, and none of them is restored
        drawn = torch.cat(
            [dn.solve(fine, model, start_of(fine, (8, *shape), 5 + i)).detach() for i in range(case.images // 8 + 2)]
        )
        truth, variance = drawn[: case.images], float(drawn[case.images :].var(0).mean())
        y = op(truth) + case.noise * normals(case.images, *op.measured, seed=6)
        rows = []
        for label, method, told in POSTERIORS:
            record = dn.inverse.METHODS[method]
            plan = dn.plan(record.method, model.schedule, grid_of(model, case.steps))
            options = {"variance": variance} if told else {}
            parts = []
            for first in range(0, case.images, CHUNK):
                settings = [case.model, case.operator, case.noise, case.images, case.steps, case.samples, label, first]
                key = digest([*settings, source_digest()])
                if key not in kept:
                    places = slice(first, first + CHUNK)
                    kept.put(key, _restored(model, case, plan, method, options, truth[places], y[places], first))
                parts.append(kept[key])
            rows.append({"label": label, "method": method, **_summed(parts, case, record, plan)})
            print("   ", case.model, case.operator, {k: v for k, v in rows[-1].items() if k != "image"}, flush=True)
        back = op.adjoint if case.operator == "blur" else op.pseudo_inverse
        found.append(
            {
                "model": case.model, "operator": case.operator, "noise": case.noise, "images": case.images,
                "samples": case.samples, "steps": case.steps, "shape": list(shape), "variance": variance,
                # the true image is one of k + 1 exchangeable ones: as often the least or the largest of a pixel as any
                "expected": (case.samples - 1) / (case.samples + 1), "seen": pixels(back(y[:1]), *case.span),
                "truth": pixels(truth[:1], *case.span), "rows": rows,
            }
        )  # fmt: skip
    return found


def _restored(
    model: Any, case: Case, plan: dn.Plan, method: str, options: Any, truth: torch.Tensor, y: torch.Tensor, first: int
) -> dict[str, Any]:
    """Squared error, variance, coverage and squared residual of some images, and one sample of the first."""
    n, shape, begun = len(truth), case.op.shape, process_time()
    each = y.repeat_interleave(case.samples, 0)
    start = start_of(plan, (n * case.samples, *shape), 1000 + first)
    try:
        x = dn.inverse.sample(
            model, case.op, each, case.noise, method=method, plan=plan, x=start, seed=first, **options
        )
    except ValueError as error:
        return {"failed": str(error)}
    x = x.detach()
    every, where = x.reshape(n, case.samples, *shape), np.ones(shape, dtype=bool) if case.over is None else case.over
    over = torch.tensor(where)
    inside = (every.amin(1) < truth) & (truth < every.amax(1))
    return {
        "error": ((every.mean(1) - truth) ** 2)[:, over].mean(1).tolist(),
        "variance": every.var(1)[:, over].mean(1).tolist(),
        "inside": inside[:, over].float().mean(1).tolist(),
        "residual": ((case.op(x) - each) ** 2).reshape(n, -1).mean(1).tolist(),
        "image": pixels(every[0, :1], *case.span),
        "seconds": process_time() - begun,
    }


def _summed(parts: list[dict[str, Any]], case: Case, record: Any, plan: dn.Plan) -> dict[str, Any]:
    """Means over images with their standard errors; those of ratios by leaving out one image after the other."""
    about = {"nfe": plan.nfe, "gradient": "gradient" in record.needs}
    if failed := [part["failed"] for part in parts if "failed" in part]:
        return {**about, "failed": failed[0], "lost": len(failed) / len(parts)}
    error, variance, inside, residual = (
        np.array([v for part in parts for v in part[key]]) for key in ("error", "variance", "inside", "residual")
    )
    n = len(error)

    def ratio(chosen: Any) -> float:
        # of a right sampler the mean of k samples is off by sqrt(1 + 1/k) times the spread
        return float(np.sqrt(error[chosen].mean() / (1 + 1 / case.samples) / variance[chosen].mean()))

    without = np.array([ratio(np.arange(n) != i) for i in range(n)])
    return {
        **about, "error": float(error.mean() ** 0.5), "spread": float(variance.mean() ** 0.5),
        "ratio": ratio(np.arange(n)),
        "ratio_error": float(np.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2))),
        "inside": float(inside.mean()), "inside_error": float(inside.std(ddof=1) / n**0.5),
        "residual": float(residual.mean() ** 0.5) / case.noise, "seconds": sum(part["seconds"] for part in parts),
        "image": parts[0]["image"],
    }  # fmt: skip


PARTS: dict[str, Callable[[], Any]] = {
    "memory": memory,
    "adjoints": adjoints,
    "roundtrip": roundtrip,
    "bits": bits,
    "many_bits": many_bits,
    "starts": starts,
    "restored": restored,
}


def _written() -> dict[str, Any]:
    """Parts that stand in the file."""
    return dict(json.loads(TARGET.read_text())["parts"]) if TARGET.is_file() else {}


def main() -> None:
    """Run the parts that are missing, or those that are named."""
    named = sys.argv[1:]
    if unknown := set(named) - set(PARTS):
        sys.exit(f"{', '.join(sorted(unknown))} is no part: name some of {', '.join(PARTS)}")
    torch.set_num_threads(1)
    for part, measured in PARTS.items():
        if part in named or (not named and part not in _written()):
            print(part, flush=True)
            begun = process_time()
            rows = measured()
            entry = {"found": rows, "seconds": process_time() - begun}
            parts = {**_written(), part: entry}  # read again: parts may be measured side by side
            write_json(TARGET, {"version": dn.__version__, "command": "python book/figures/inverse.py", "parts": parts})


if __name__ == "__main__":
    main()
