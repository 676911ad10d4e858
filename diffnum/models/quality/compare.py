"""Methods compared on a pretrained network, against a reference that none of them computed.

The exact flow of a network is not known, so it is computed by an embedded Runge-Kutta pair of scipy with error control,
in coordinates where the right-hand side is bounded: with ``y = (x - mean) / sqrt(alpha^2 + sigma^2)`` and
``s = sigma / sqrt(alpha^2 + sigma^2)`` the equation reads ``dy/dlam = s^2 y - s eps`` for every schedule. How far
the reference can be trusted is measured by a second run at ten times the tolerance, and errors near that are not used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Start
from diffnum.convergence.rate import RateEstimate, estimate_rate
from diffnum.forms import predict
from diffnum.jobs.data import jsonable
from diffnum.jobs.ledger import Progress
from diffnum.models.denoiser import NetworkDenoiser
from diffnum.models.runs.sampling import initial_noise
from diffnum.plans import Plan, plan_for
from diffnum.schedules import nearest_time
from diffnum.solver import solve
from diffnum.types import FloatArray

__all__ = [
    "DEFAULT_METHODS",
    "DEFAULT_NFE",
    "FOUND",
    "Comparison",
    "MeasuredRun",
    "Reference",
    "compare",
    "converged_reference",
]

DEFAULT_METHODS = ("ddim", "edm_heun", "dpmpp_2m", "dpmpp_3m_corrected", "unipc_3_bh2")
"""One method of each kind: first order, one-step, multistep of order 2 and 3, predictor-corrector."""

DEFAULT_NFE = (5, 10, 20, 40, 80, 160)
"""Model evaluations at which methods are compared."""

LIMITED = 0.4
"""A rate that is lower than a method's order by this much is put down to the network."""

Integrator: TypeAlias = Literal["RK45", "DOP853"]


@dataclass(frozen=True, eq=False)
class Reference:
    """End points of the probability flow of a network, and how far they can be trusted.

    Parameters
    ----------
    x : tensor, shape (n, ...)
        States at ``t_end``.
    agreement : float
        Root-mean-square distance, relative to ``x``, from a run at ten times the tolerance; nan where it was not made.
    evaluations : int
        Network evaluations per sample, mean of the tighter run.
    tolerance : float
        Relative and absolute tolerance per step.
    integrator : {"RK45", "DOP853"}
        Embedded pair of scipy.
    t_start, t_end : float
        Times between which was integrated.
    """

    x: torch.Tensor
    agreement: float
    evaluations: int
    tolerance: float
    integrator: Integrator
    t_start: float
    t_end: float


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """One method in a comparison.

    Parameters
    ----------
    method, label, family : str
        Catalogue name, name in prose, family.
    order : int
        Proved order of the update formula.
    asked, nfe, steps : tuple of int
        Evaluations asked for; those really made (never more); steps.
    errors : tuple of float
        Root-mean-square error relative to the reference, over all samples and pixels.
    images : tuple of tensors
        Final states, one batch a number of evaluations.
    estimate : RateEstimate
        Rate at which the errors fall with the number of steps, and whether they decide it.
    """

    method: str
    label: str
    family: str
    order: int
    asked: tuple[int, ...]
    nfe: tuple[int, ...]
    steps: tuple[int, ...]
    errors: tuple[float, ...]
    images: tuple[torch.Tensor, ...]
    estimate: RateEstimate

    @property
    def rates(self) -> tuple[float, ...]:
        """Observed rate from each number of steps to the next."""
        return tuple(self.estimate.rates.tolist())

    @property
    def observed(self) -> float | None:
        """Slope over the finest three levels that the reference resolves; None if there are fewer."""
        kept = [i for i, note in enumerate(self.estimate.notes) if not note][-3:]
        if len(kept) < 3:
            return None
        n, e = self.estimate.steps[kept].astype(np.float64), self.estimate.errors[kept]
        return float(-np.polyfit(np.log(n), np.log(e), 1)[0])

    @property
    def verdict(self) -> str:
        """What the errors say about the order, in a few words."""
        if self.estimate.status == "decided" and self.estimate.rate is not None:
            return f"order {self.estimate.rate:.1f}"
        why = "too close to the reference" if self.estimate.status == "floor" else self.estimate.status
        falls = "" if self.observed is None else f", falls like n^-{self.observed:.1f}"
        return f"undecided ({why}){falls}" if self.estimate.status != "undecided" else f"undecided{falls}"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Methods on one network, against one reference.

    Parameters
    ----------
    model : str
        Identifier of the network.
    rows : tuple of MeasuredRun
        One a method.
    reference : Reference
        What they are held against.
    n, seed : int
        Number of samples, and seed of their initial noise.
    grid : str
        Kind of grid.
    """

    model: str
    rows: tuple[MeasuredRun, ...]
    reference: Reference
    n: int
    seed: int
    grid: str

    @property
    def limited(self) -> bool | None:
        """Whether methods of order 3 or more fall short of their order; None if none can be judged, or they differ."""
        short = {r.observed < r.order - LIMITED for r in self.rows if r.order >= 3 and r.observed is not None}
        return short.pop() if len(short) == 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Numbers without the images, as JSON-able data; what is not finite becomes None."""
        ref = self.reference
        return {
            "model": self.model,
            "n": self.n,
            "seed": self.seed,
            "grid": self.grid,
            "reference": {
                "integrator": ref.integrator,
                "tolerance": ref.tolerance,
                "agreement": jsonable(ref.agreement),
                "evaluations": ref.evaluations,
                "t_start": ref.t_start,
                "t_end": ref.t_end,
            },
            "limited_by_network": self.limited,
            "rows": [
                {
                    "method": r.method,
                    "order": r.order,
                    "nfe": list(r.nfe),
                    "steps": list(r.steps),
                    "errors": [jsonable(e) for e in r.errors],
                    "rates": [jsonable(e) for e in r.rates],
                    "observed": r.observed,
                    "status": r.estimate.status,
                    "reason": r.estimate.reason,
                }
                for r in self.rows
            ],
        }

    def __str__(self) -> str:
        ref = self.reference
        lines = [
            f"{self.model}: error relative to {ref.integrator} at {ref.tolerance:g} (good to {ref.agreement:.0e}), "
            f"{self.n} samples, seed {self.seed}, grid {self.grid}"
        ]
        for r in self.rows:
            cells = "  ".join(f"{k}:{e:.1e}" for k, e in zip(r.nfe, r.errors, strict=True))
            lines.append(f"  {r.method:<20} {cells}  {r.verdict}")
        return "\n".join(lines)


def converged_reference(
    model: NetworkDenoiser,
    x: torch.Tensor,
    t_start: float | None = None,
    t_end: float | None = None,
    *,
    tolerance: float = 1e-8,
    integrator: Integrator = "RK45",
    check: bool = True,
    progress: Progress | None = None,
) -> Reference:
    """Integrate the probability-flow equation of a network with error control.

    Samples are integrated one by one: a network with kinks forces small steps where a sample crosses one, and
    in a batch every sample would pay for the kinks of all.

    Parameters
    ----------
    model : NetworkDenoiser
        Network in float64.
    x : tensor, shape (n, ...)
        States at ``t_start``, float64.
    t_start, t_end : float, optional
        Times; the model's defaults.
    tolerance : float
        Relative and absolute tolerance per step. Networks with ReLU make it costly below 1e-8.
    integrator : {"RK45", "DOP853"}
        Embedded pair: orders 5(4), or 8(5,3) for smooth networks at tight tolerances.
    check : bool
        Repeat at ten times the tolerance, to know how far the result can be trusted.
    progress : callable, optional
        Called as ``progress(done, total, what)`` in samples.

    Returns
    -------
    Reference

    Raises
    ------
    ValueError
        If model or state are not float64, a time is outside the schedule, or the integrator stops.
    """
    if model.dtype != torch.float64 or x.dtype != torch.float64:
        msg = (
            f"model has dtype {model.dtype} and x {x.dtype}: a reference needs float64; load the model with "
            'dtype="float64" and convert x'
        )
        raise ValueError(msg)
    if not 0 < tolerance < 0.1:
        msg = f"tolerance={tolerance}: pass a number between 0 and 0.1, such as 1e-8"
        raise ValueError(msg)
    t_start = model.default_t_start if t_start is None else float(t_start)
    t_end = model.default_t_end if t_end is None else float(t_end)
    ends, loose, evaluations = [], [], 0
    for i in range(len(x)):
        one = _single(model, i, len(x))
        end, count = _integrate(one, x[i : i + 1], (t_start, t_end), tolerance, integrator)
        ends.append(end)
        evaluations += count
        if check:
            loose.append(_integrate(one, x[i : i + 1], (t_start, t_end), 10 * tolerance, integrator)[0])
        if progress is not None:
            progress(i + 1, len(x), "reference samples")
    result = torch.cat(ends) if ends else x
    agreement = _relative(torch.cat(loose), result) if loose else math.nan
    return Reference(result, agreement, round(evaluations / max(len(x), 1)), tolerance, integrator, t_start, t_end)


def compare(
    model: NetworkDenoiser,
    methods: Sequence[str | Method] = DEFAULT_METHODS,
    nfe: Sequence[int] = DEFAULT_NFE,
    n: int = 4,
    seed: int = 0,
    *,
    grid: str = "uniform_half_log_snr",
    start: Start | None = None,
    reference: Reference | None = None,
    tolerance: float = 1e-8,
    integrator: Integrator = "RK45",
    plans: Sequence[Plan] = (),
    progress: Progress | None = None,
) -> Comparison:
    """Run methods on a network at several numbers of evaluations and hold them against a converged reference.

    Parameters
    ----------
    model : NetworkDenoiser
        Network in float64, perhaps ``.conditioned(labels)``.
    methods : sequence of str or Method
        Methods of the catalogue.
    nfe : sequence of int
        Evaluations allowed, increasing; every method takes as many whole steps as fit.
    n, seed : int
        Number of samples, and seed of their initial noise (:func:`~diffnum.models.runs.sampling.initial_noise`).
    grid : str
        Builder of :mod:`diffnum.grids`, between the model's default times.
    start : {"ramp", "high_order"}, optional
        Start-up; as shipped by default.
    reference : Reference, optional
        From :func:`converged_reference` on the same noise; computed where not given.
    tolerance, integrator
        As in :func:`converged_reference`.
    plans : sequence of Plan
        Plans found elsewhere (:func:`diffnum.calibration.fit_plan`), of different numbers of evaluations: one more row.
    progress : callable, optional
        Called as ``progress(done, total, what)`` in reference samples and runs.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If the model is not float64, a method or grid is unknown, an ``nfe`` is too small for one step, or the
        numbers of evaluations do not increase.
    """
    levels = tuple(int(k) for k in nfe)
    if not levels or any(b <= a for a, b in pairwise(levels)):
        msg = f"nfe={list(nfe)}: pass increasing numbers of evaluations, such as 5 10 20 40"
        raise ValueError(msg)
    if n < 1:
        msg = f"n={n}: draw at least one sample"
        raise ValueError(msg)
    records = [find_method(m) if isinstance(m, str) else m for m in methods]
    if not records:
        msg = "methods is empty: name at least one"
        raise ValueError(msg)
    named = {r.name: [plan_for(model, r, nfe=k, grid=grid, start=start) for k in levels] for r in records}
    found = sorted(plans, key=lambda p: p.nfe)
    _check_found(found)
    total, done = n + sum(map(len, named.values())) + len(found), 0
    schedule, t_start = model.schedule, model.default_t_start
    noise = initial_noise(n, model.sample_shape, seed, dtype=torch.float64, device=model.device)
    x = float(schedule.sigma(t_start)) * noise + schedule.mean
    if reference is None:
        reference = converged_reference(
            model,
            x,
            tolerance=tolerance,
            integrator=integrator,
            progress=None if progress is None else lambda i, _, what: progress(i, total, what),
        )
    done = n
    rows = []
    for record in records:
        images = []
        for numbers in named[record.name]:
            images.append(solve(numbers, model, x))
            done += 1
            if progress is not None:
                progress(done, total, record.name)
        facts = (record.name, record.title.removesuffix(" (bh2)"), record.family, record.order)
        rows.append(_row(facts, levels, named[record.name], images, reference))
    if found:
        ends = []
        for numbers in found:
            ends.append(solve(numbers, model, x))
            done += 1
            if progress is not None:
                progress(done, total, FOUND[0])
        rows.append(_row(FOUND, tuple(p.nfe for p in found), found, ends, reference))
    return Comparison(model.name, tuple(rows), reference, n, seed, grid)


FOUND = ("found", "found plans", "found", 0)
"""Name, label, family and order of a row of found plans: they have no order, each is one set of numbers."""


def _check_found(plans: Sequence[Plan]) -> None:
    """Refuse two found plans of one number of evaluations: a row has one of each."""
    levels = [p.nfe for p in plans]
    if len(set(levels)) < len(levels):
        msg = f"plans have {levels} evaluations: give one plan for each number"
        raise ValueError(msg)


def _row(
    facts: tuple[str, str, str, int],
    asked: tuple[int, ...],
    plans: Sequence[Any],
    images: Sequence[torch.Tensor],
    reference: Reference,
) -> MeasuredRun:
    """Errors of one method, and the rate that they support."""
    size = math.sqrt(float(reference.x.square().mean()))
    each = np.stack([_per_sample(x - reference.x) / size for x in images])
    steps, first = np.unique([len(p) for p in plans], return_index=True)  # two levels may allow the same steps
    floor = 0.0 if math.isnan(reference.agreement) else reference.agreement  # of the looser run: an upper bound
    return MeasuredRun(
        method=facts[0],
        label=facts[1],
        family=facts[2],
        order=facts[3],
        asked=asked,
        nfe=tuple(p.nfe for p in plans),
        steps=tuple(len(p) for p in plans),
        errors=tuple(float(np.sqrt(np.mean(e**2))) for e in each),
        images=tuple(images),
        estimate=estimate_rate(steps.tolist(), each[first], floor=floor),
    )


def _integrate(
    model: NetworkDenoiser,
    x: torch.Tensor,
    times: tuple[float, float],
    tolerance: float,
    integrator: Integrator,
) -> tuple[torch.Tensor, int]:
    """End point of one sample, and the evaluations that it took."""
    from scipy.integrate import solve_ivp  # a quarter of a second that sampling need not pay

    schedule = model.schedule
    mean, low, high = schedule.mean, min(times), max(times)

    def scale(t: float) -> tuple[float, float]:
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        size = math.hypot(alpha, sigma)
        return size, sigma / size

    def slope(lam: float, y: FloatArray) -> FloatArray:
        t = min(max(nearest_time(schedule, lam), low), high)
        size, s = scale(t)
        state = torch.from_numpy(y).reshape(x.shape).to(x.device)
        noise = predict(model, size * state + mean, t, to="noise")
        if not bool(torch.isfinite(noise).all()):
            msg = f"{model.name} returned values that are not finite at t={t:g}: are its weights whole?"
            raise ValueError(msg)
        return (s * s * state - s * noise).reshape(-1).cpu().numpy()  # type: ignore[no-any-return]

    span = tuple(float(schedule.half_log_snr(t)) for t in times)
    if not all(map(math.isfinite, span)):
        msg = f"times {times} have half-log-SNR {span}: integrate between times where both are finite"
        raise ValueError(msg)
    first, last = scale(times[0])[0], scale(times[1])[0]
    start = ((x - mean) / first).reshape(-1).cpu().numpy()
    found = solve_ivp(slope, span, start, method=integrator, rtol=tolerance, atol=tolerance, t_eval=span[1:])
    if not found.success:
        msg = f"the reference at tolerance={tolerance:g} stopped ({found.message}): loosen the tolerance"
        raise ValueError(msg)
    end = torch.from_numpy(found.y[:, -1].copy()).reshape(x.shape).to(x.device)
    return last * end + mean, int(found.nfev)


def _single(model: NetworkDenoiser, index: int, n: int) -> NetworkDenoiser:
    """Model for one sample of a batch: where every sample has its own label, that of the sample."""
    labels = getattr(model, "labels", None)
    if labels is None or labels.ndim == 0:
        return model
    if len(labels) != n:
        msg = f"the model is conditioned on {len(labels)} labels and there are {n} samples: make them equal"
        raise ValueError(msg)
    return model.conditioned(labels[index])


def _per_sample(difference: torch.Tensor) -> FloatArray:
    """Root mean square of every sample, shape (n,)."""
    return np.asarray(difference.square().flatten(1).mean(1).sqrt().cpu().numpy(), dtype=np.float64)


def _relative(x: torch.Tensor, reference: torch.Tensor) -> float:
    """Root-mean-square distance relative to the reference."""
    return math.sqrt(float((x - reference).square().mean() / reference.square().mean()))
