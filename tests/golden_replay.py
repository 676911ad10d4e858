"""Replay golden-v1 cases, trajectories recorded from the authors' codes, through diffnum's own plans.

``replay(case)`` maps a case's solver and options to records of the catalogue and its recorded time grid to a
:class:`~diffnum.grids.Grid`, and returns the final state. A case that no record covers raises
``NotImplementedError``. Every decision is made from the recorded options, schedule and grid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import diffnum as dn
from diffnum.coefficients.adams import dpmpp_3m_step, exponential_adams_step, multistep
from diffnum.coefficients.method import Method, Rule
from diffnum.coefficients.predictor_corrector import unip
from diffnum.coefficients.runge_kutta import dpm_solver_2, dpm_solver_3, euler_step, exponential_runge_kutta_step
from diffnum.forms import DATA, NOISE, SemilinearForm
from diffnum.grids import from_times
from diffnum.schedules import EDM, Tabulated, VPLinear, linear_betas
from diffnum.tableau import Stage, Step, Window, vectors
from diffnum.types import Array, Denoiser, FloatArray, Prediction, Schedule

__all__ = ["replay"]

Case = Mapping[str, Any]

FEW_STEPS = 10
"""DPM-Solver lowers the order of its last steps only in runs shorter than this, UniPC in all runs."""


def replay(case: Case) -> FloatArray:
    """Final state of a golden-v1 case.

    Parameters
    ----------
    case : mapping
        One JSON record: solver, options, schedule, gmm, time_grid, x_T.

    Returns
    -------
    ndarray, shape of ``x_T``

    Raises
    ------
    ValueError
        If the record is not of the format golden-v1.
    NotImplementedError
        If no record of the catalogue covers the solver with these options.
    """
    if case.get("format") != "golden-v1":
        raise ValueError(f"format={case.get('format')!r}: pass a record of the format golden-v1")
    for pattern, family in FAMILIES.items():
        if found := re.fullmatch(pattern, case["solver"]):
            return family(case, found)
    raise missing(case, "this solver")


def missing(case: Case, what: str) -> NotImplementedError:
    """Name what a case needs."""
    return NotImplementedError(f"{case['solver']} with options {case['options']}: no record covers {what}")


# -- models, schedules and grids -----------------------------------------------------------------------


@dataclass(frozen=True)
class Thresholded:
    """Data prediction with dynamic thresholding: clipped to its 0.995 quantile (at least 1) and divided by it."""

    inner: Denoiser
    prediction: Prediction = "data"

    @property
    def schedule(self) -> Schedule:
        return self.inner.schedule

    def __call__(self, x: Array, t: Any) -> Array:
        data = self.inner(x, t)
        size = np.maximum(np.quantile(np.abs(data), 0.995, axis=1, keepdims=True), 1.0)
        return np.clip(data, -size, size) / size


@dataclass(frozen=True)
class Mislabelled:
    """Noise prediction that believes the state one label cleaner than it is, as PNDM calls its networks."""

    inner: Denoiser
    prediction: Prediction = "noise"

    @property
    def schedule(self) -> Schedule:
        return self.inner.schedule

    def __call__(self, x: Array, t: Any) -> Array:
        return self.inner(x, t - 1.0)


def schedule_of(case: Case) -> Schedule:
    """Schedule as recorded."""
    record = case["schedule"]
    if record["kind"] not in SCHEDULES:
        raise missing(case, f"the schedule {record['kind']}")
    return SCHEDULES[record["kind"]](case)


def ddpm_table(case: Case) -> Tabulated:
    """Table of a linear beta schedule; between the nodes log alpha is linear where the case says so."""
    record = case["schedule"]
    linear = record["kind"] == "ddpm-linear-discrete-interpolated"
    betas = linear_betas(record["N"], record["beta_start"], record["beta_end"])
    return Tabulated.from_betas(betas, "linear" if linear else "spline")


SCHEDULES: Mapping[str, Callable[[Case], Schedule]] = {
    "vp-linear": lambda c: VPLinear(c["schedule"]["beta0"], c["schedule"]["beta1"]),
    "ve-edm": lambda c: EDM(sigma_max=c["time_grid"][0]),
    "edm-ablation": lambda c: EDM(sigma_max=c["sigmas_evaluated"][0]),
    "ddpm-linear-discrete": ddpm_table,
    "ddpm-linear-discrete-interpolated": ddpm_table,
}

LATENT_FOLDERS = ("edm", "diff_sampler")
"""Folders whose x_T are unit-scale latents, which the sampler multiplies by its first sigma."""


def setting(case: Case) -> tuple[Schedule, FloatArray, Denoiser, FloatArray]:
    """Schedule, recorded times, exact noise model and initial state of a case."""
    schedule = schedule_of(case)
    gmm = case["gmm"]
    model = dn.GaussianMixture(gmm["weights"], gmm["means"], gmm["covs"]).denoiser(schedule, "noise")
    times = np.array(case["time_grid"] or [], dtype=np.float64)
    if isinstance(schedule, Tabulated) and schedule.interpolation == "linear":
        times = np.clip(times * schedule.size - 1.0, 0.0, None)  # the code's nodes are (label + 1)/N
    x = np.array(case["x_T"], dtype=np.float64)
    if case["folder"] in LATENT_FOLDERS and isinstance(schedule, EDM):
        x = x * schedule.sigma_max
    return schedule, times, model, x


def denoised(schedule: Schedule, t: float, model: Denoiser, x: Array) -> Array:
    """One more evaluation: the data prediction at the last time."""
    grid = from_times(schedule, [t, schedule.t_min])
    return dn.solve(dn.plan("ddim", schedule, grid), model, x)


def run(case: Case, method: Method, *, lower: bool = False, model: Denoiser | None = None) -> FloatArray:
    """Run a record on the recorded grid."""
    schedule, times, exact, x = setting(case)
    model = exact if model is None else model
    grid = from_times(schedule, times, terminal="lower_order" if lower else "stop")
    x = dn.solve(dn.plan(method, schedule, grid), model, x)
    if case["options"].get("denoise_to_zero"):
        x = denoised(schedule, float(times[-1]), model, x)
    return np.asarray(x)


def with_thresholding(case: Case) -> Denoiser | None:
    """Thresholded data model where the case asks for one."""
    options = case["options"]
    if not (options.get("correcting_x0_fn") == "dynamic_thresholding" or options.get("dynamic_thresholding")):
        return None
    schedule, gmm = schedule_of(case), case["gmm"]
    return Thresholded(dn.GaussianMixture(gmm["weights"], gmm["means"], gmm["covs"]).denoiser(schedule, "data"))


# -- rules that combine coefficient functions of the package and are not records yet ---------------------


def unip_step(window: Window, order: int, variant: str) -> Step:
    """UniP alone: the predictor with its shortcut at order 2."""
    return multistep(window, unip(window.step, window.past[: order - 1], variant, kernel=window.kernel))


def dpmpp_3m_taylor_step(window: Window, order: int) -> Step:
    """DPM-Solver++(3M) as shipped, with exact moments at order 2."""
    return dpmpp_3m_step(window, order) if order == 3 else exponential_adams_step(window, order)


def singlestep_step(window: Window, order: int, inner: tuple[float, ...]) -> Step:
    """DPM-Solver-1, -2 or -3 with given inner nodes."""
    if order == 1:
        return euler_step(window)
    x, k1, k2, k3 = vectors("x k1 k2 k3")
    if order == 2:
        a21, (b1, b2) = dpm_solver_2(window.kernel, inner[0])
        return Step((Stage(0, x), Stage(inner[0], x + a21 * k1)), x + b1 * k1 + b2 * k2)
    a21, (a31, a32), (b1, b2, b3) = dpm_solver_3(window.kernel, *inner)
    stages = (Stage(0, x), Stage(inner[0], x + a21 * k1), Stage(inner[1], x + a31 * k1 + a32 * k2))
    return Step(stages, x + b1 * k1 + b2 * k2 + b3 * k3)


def like(name: str, form: SemilinearForm, rule: Rule | None = None, order: int | None = None) -> Method:
    """Record of the catalogue in another form, with another rule or order."""
    record = dn.method(name)
    order = record.top if order is None else order
    return replace(record, form=form, rule=rule or record.rule, order=order, highest=order)


# -- DPM-Solver and UniPC ------------------------------------------------------------------------------

FORMS = {
    "dpmsolver": NOISE,
    "dpmsolver++": DATA,
    "noise_prediction": NOISE,
    "data_prediction": DATA,
    False: NOISE,
    True: DATA,
}
"""Names that the codes give to the two predictions."""

POWERS = {"time_uniform": 1.0, "time_quadratic": 2.0}
"""Exponents of the grids in time."""


def multistep_method(order: int, form: SemilinearForm, solver_type: str) -> Method:
    """Record of a DPM-Solver multistep method of order 1, 2, 3."""
    if order == 1:
        return like("ddim", form)
    if order == 2:
        return like("dpmpp_2m" if solver_type == "dpmsolver" else "eab_2", form)
    return like("dpmpp_3m", form, None if solver_type == "dpmsolver" else dpmpp_3m_taylor_step)


def dpm_solver(case: Case, found: re.Match[str]) -> FloatArray:
    options = case["options"]
    form, order, solver_type = (
        FORMS[options["algorithm_type"]],
        options["order"],
        options.get("solver_type", "dpmsolver"),
    )
    if options["method"] == "multistep":
        lower = options["lower_order_final"] and options["steps"] < FEW_STEPS
        record = multistep_method(order, form, solver_type)
        return run(case, record, lower=lower, model=with_thresholding(case))
    if options["method"] not in ("singlestep", "singlestep_fixed"):
        raise missing(case, "step-size control")
    if solver_type != "dpmsolver" and order > 1:
        raise missing(case, "singlestep steps with exact moments")
    if case["time_grid"] is None:
        case = {**case, **fast_grid(case)}
    orders = case.get("step_orders") or [order] * (len(case["time_grid"]) - 1)
    return singlestep(case, form, orders, options["skip_type"])


def fast_grid(case: Case) -> dict[str, Any]:
    """Grid and orders of a "fast" singlestep run, where a case does not record them (uniform or quadratic in time)."""
    options, record = case["options"], case["schedule"]
    orders = fast_orders(options["steps"], options["order"])
    power = POWERS[options["skip_type"]]
    roots = np.linspace(record["t_start"] ** (1 / power), record["t_end"] ** (1 / power), sum(orders) + 1)
    times = roots**power
    return {"time_grid": times[np.cumsum([0, *orders])].tolist(), "step_orders": orders}


def fast_orders(budget: int, order: int) -> list[int]:
    """Orders of singlestep steps whose evaluations add up to the budget."""
    whole, rest = divmod(budget, order)
    if order == 3 and rest == 0:
        return [3] * (whole - 1) + [2, 1]
    return [order] * whole + ([rest] if rest else [])


def singlestep(case: Case, form: SemilinearForm, orders: Sequence[int], skip_type: str) -> FloatArray:
    """Steps of varying order, each with the inner nodes of a small grid of the same kind."""
    schedule, times, model, x = setting(case)
    for start, end, order in zip(times[:-1], times[1:], orders, strict=True):
        inner = inner_nodes(schedule, float(start), float(end), order, skip_type)
        record = like("dpm_solver_3", form, partial(singlestep_step, inner=inner), order)
        x = dn.solve(dn.plan(record, schedule, from_times(schedule, [start, end])), model, x)
    if case["options"].get("denoise_to_zero"):
        x = denoised(schedule, float(times[-1]), model, x)
    return np.asarray(x)


def inner_nodes(schedule: Schedule, start: float, end: float, order: int, skip_type: str) -> tuple[float, ...]:
    """Fractions in half-log-SNR of the inner nodes of a grid with ``order`` intervals."""
    u = np.arange(1, order) / order
    if skip_type == "logSNR":
        return tuple(u.tolist())
    # labels of the interpolated table are the code's times, stretched and shifted by one
    shift = 1.0 if isinstance(schedule, Tabulated) else 0.0
    power = POWERS[skip_type]
    roots = (start + shift) ** (1 / power), (end + shift) ** (1 / power)
    t = (roots[0] + u * (roots[1] - roots[0])) ** power - shift
    ends = float(schedule.half_log_snr(start)), float(schedule.half_log_snr(end))
    return tuple(((schedule.half_log_snr(t) - ends[0]) / (ends[1] - ends[0])).tolist())


def unipc(case: Case, found: re.Match[str]) -> FloatArray:
    options = case["options"]
    form, order, variant = FORMS[options["algorithm_type"]], options["order"], options["variant"]
    if options["use_corrector"]:
        if variant == "vary_coeff":
            raise missing(case, "the vary_coeff corrector")
        record = like(f"unipc_{order}_{variant}", form)
    else:
        rule = exponential_adams_step if variant == "vary_coeff" else partial(unip_step, variant=variant)
        record = like(f"eab_{order}", form, rule)
    return run(case, record, lower=options["lower_order_final"], model=with_thresholding(case))


def dc_solver(case: Case, found: re.Match[str]) -> FloatArray:
    options = case["options"]
    if set(options["dc_ratios"]) != {1.0}:
        raise missing(case, "compensation ratios other than 1")
    return run(case, dn.method(f"unipc_{options['order']}_{options['variant']}"), lower=options["lower_order_final"])


# -- DEIS, Runge-Kutta in rho, iPNDM -------------------------------------------------------------------

RUNGE_KUTTA = {"1euler": 1, "2heun": 2, "4rk": 4}
"""Tableaux of rhoRK that are records."""


def deis(case: Case, found: re.Match[str]) -> FloatArray:
    options = case["options"]
    degree = options.get("ab_order", 0)
    # a left Riemann sum is exact for the constant integrand of rhoAB-0 and for nothing else
    exact = options.get("quadrature") != "riemann10000" or (options["method"] == "rho_ab" and degree == 0)
    if not exact:
        raise missing(case, "the 10000-cell Riemann sum")
    if options["method"] in ("t_ab", "rho_ab"):
        return run(case, dn.method(f"deis_{'tab' if options['method'] == 't_ab' else 'rhoab'}{degree}"))
    if options["method"] == "ipndm":
        return run(case, dn.method("ghvb_4"))
    name = options["rk_method"]
    if name not in RUNGE_KUTTA:
        raise missing(case, f"the tableau {name}")
    rule = None if name == "2heun" else exponential_runge_kutta_step
    heun = dn.method("edm_heun")
    return run(case, like("edm_heun", heun.form, rule, RUNGE_KUTTA[name]))


# -- EDM, k-diffusion, diff-sampler --------------------------------------------------------------------


def edm_heun(case: Case, found: re.Match[str]) -> FloatArray:
    if case["options"]["S_churn"]:
        raise missing(case, "churn")
    return run(case, dn.method("edm_heun"))


def edm_ablation(case: Case, found: re.Match[str]) -> FloatArray:
    options = case["options"]
    if (options["schedule"], options["scaling"]) != ("linear", "none") or options.get("alpha", 1.0) != 1.0:
        raise missing(case, "steps in a time other than sigma, or a free second node")
    name = {"euler": "ddim", "heun": "edm_heun"}[options["solver"]]
    # Heun evaluates at both ends of each step but the last
    levels = case["sigmas_evaluated"][:: 2 if name == "edm_heun" else 1]
    return run({**case, "time_grid": [*levels, 0.0]}, dn.method(name))


K_DIFFUSION: Mapping[str, Callable[[], Method]] = {
    "euler": lambda: dn.method("ddim"),
    "heun": lambda: dn.method("edm_heun"),
    "dpm_2": lambda: like("dpm_solver_3", NOISE, None, 2),
    "dpm_2_ancestral": lambda: like("dpm_solver_3", NOISE, None, 2),
    "dpmpp_2s_ancestral": lambda: like("dpm_solver_3", DATA, None, 2),
    "dpmpp_sde": lambda: like("dpm_solver_3", DATA, None, 2),
    "dpmpp_2m": lambda: dn.method("dpmpp_2m"),
    "dpmpp_2m_sde": lambda: dn.method("dpmpp_2m"),
    "dpmpp_3m_sde": lambda: like("dpmpp_3m", DATA, dpmpp_3m_taylor_step),
}
"""Samplers at eta = 0."""


def k_diffusion(case: Case, found: re.Match[str]) -> FloatArray:
    options, name = case["options"], found[1]
    if options.get("eta"):
        raise missing(case, "noise")
    if name == "lms":
        return run(case, dn.method(f"lms_{options.get('order', 4)}"))
    if name == "dpm_fast":
        return dpm_fast(case)
    if name not in K_DIFFUSION:
        raise missing(case, "this sampler")
    return run(case, K_DIFFUSION[name]())


def dpm_fast(case: Case) -> FloatArray:
    """Singlestep steps on equal intervals of the half-log-SNR; the orders spend the budget exactly."""
    orders = fast_orders(case["options"]["n"], 3)
    lam = np.linspace(-np.log(case["time_grid"][0]), -np.log(case["time_grid"][-1]), len(orders) + 1)
    times = [case["time_grid"][0], *np.exp(-lam[1:-1]).tolist(), case["time_grid"][-1]]
    return singlestep({**case, "time_grid": times}, NOISE, orders, "logSNR")


def diff_sampler(case: Case, found: re.Match[str]) -> FloatArray:
    options, name = case["options"], found[1]
    order, form = options.get("max_order", 1), FORMS[options.get("predict_x0", True)]
    if name == "deis" and options["deis_mode"] != "rhoab":
        raise missing(case, "tAB with a refitted VP time and its own quadrature")
    if name == "ipndm_v" and order > 2:
        raise missing(case, "iPNDM_v of order 3 and 4")
    ratio = options.get("r", 0.5)
    records: Mapping[str, Callable[[], Method]] = {
        "euler": lambda: dn.method("ddim"),
        "heun": lambda: dn.method("edm_heun"),
        "dpm_2": lambda: like("dpm_solver_3", NOISE, partial(singlestep_step, inner=(ratio,)), 2),
        "ipndm": lambda: dn.method(f"ghvb_{order}"),
        "ipndm_v": lambda: dn.method(f"lms_{order}"),
        "deis": lambda: dn.method(f"lms_{order}"),
        "dpm_pp": lambda: multistep_method(order, form, "dpmsolver"),
        "unipc": lambda: like(f"unipc_{order}_{options['variant']}", form),
    }
    if name not in records:
        raise missing(case, "this sampler")
    return run(case, records[name](), lower=name in ("dpm_pp", "unipc"), model=with_thresholding(case))


# -- momentum and PNDM ---------------------------------------------------------------------------------


def momentum(case: Case, found: re.Match[str]) -> FloatArray:
    number, beta = case["options"]["order"], case["options"]["beta"]
    if found[1] != "ghvb" and beta != 1:
        raise missing(case, "HB and NT with beta < 1")
    if isinstance(schedule_of(case), Tabulated):  # the wrapper's last step goes to label 0
        case = {**case, "time_grid": [*case["time_grid"], 0.0]}
    return run(case, dn.method(f"ghvb_{number:.17g}"))


def dpm_guided(case: Case, found: re.Match[str]) -> FloatArray:
    options = case["options"]
    if options["method"].startswith("phvb"):
        number = int(options["method"].removeprefix("phvb")) - 1 + options["momentum"]
        return run(case, dn.method(f"ghvb_{number:.17g}"))
    form = FORMS[options["algorithm_type"]]
    if form is DATA and options["momentum"] != 1:  # with noise prediction the code ignores the momentum
        raise missing(case, "DPM-Solver++(2M) with momentum")
    return run(case, like("dpmpp_2m", form), lower=options["lower_order_final"] and options["steps"] < FEW_STEPS)


def pndm_ddim(case: Case, found: re.Match[str]) -> FloatArray:
    """The state that the code labels t stands at label t + 1 of the table; its last label is -1."""
    case = {**case, "time_grid": [label + 1 for label in case["time_grid"]]}
    level = case["options"]["model_level"]
    if not level.startswith("abar[t]"):
        return run(case, dn.method("ddim"))
    return run(case, dn.method("ddim"), model=Mislabelled(setting(case)[2]))


FAMILIES: Mapping[str, Callable[[Case, re.Match[str]], FloatArray]] = {
    r"dpmsolver(\+\+)?/.*": dpm_solver,
    r"unipc/.*": unipc,
    r"dc-solver/.*": dc_solver,
    r"deis/.*": deis,
    r"edm/heun": edm_heun,
    r"edm/ablation": edm_ablation,
    r"k-diffusion/(\w+)": k_diffusion,
    r"diff-sampler/(\w+)": diff_sampler,
    r"(ghvb|hb|nt)/.*": momentum,
    r"dpm_guided/.*": dpm_guided,
    r"pndm/DDIM": pndm_ddim,
}
"""Solver names, as patterns, and who runs them."""
