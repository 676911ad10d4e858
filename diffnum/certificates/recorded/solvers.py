"""Replay golden-v1 cases, trajectories recorded from the authors' codes, through diffnum's own plans.

``replay(case)`` maps a case's solver and options to records of the catalogue and its recorded time grid to a
:class:`~diffnum.grids.Grid`, and returns the final state. A case that no record covers raises
``NotImplementedError``. Every decision is made from the recorded options, schedule and grid.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffnum.certificates.recorded.calibrated import CALIBRATED
from diffnum.certificates.recorded.case import Case, planned
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.forms import DATA, NOISE, SemilinearForm, drift_form
from diffnum.grids import from_half_log_snr, from_times
from diffnum.guidance.thresholding import DynamicThreshold
from diffnum.problems import GaussianMixture
from diffnum.schedules import EDM, Brownian, Tabulated, VPFitted, VPLinear, linear_betas
from diffnum.solver import solve
from diffnum.types import Array, Denoiser, FloatArray, Prediction, Schedule

__all__ = ["load", "pack", "replay"]

PACKED = Path(__file__).with_name("golden.json.gz")
"""All cases, without their intermediate states and model calls."""

BULKY = (
    "evals", "states", "patches", "x_coef", "eps_coef", "coeff_list", "lambda_grid", "rho_grid", "sigmabar",
    "alpha", "abar_at_states",
)  # fmt: skip
"""Fields of a case that :func:`pack` leaves out."""

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
        msg = f"format={case.get('format')!r}: pass a record of the format golden-v1"
        raise ValueError(msg)
    if lacking := {"solver", "options", "schedule", "gmm", "time_grid", "x_T"} - set(case):
        msg = f"case lacks {', '.join(sorted(lacking))}: pass a whole record of the format golden-v1"
        raise ValueError(msg)
    for name in UNCOVERED:
        if case["options"].get(name):
            raise missing(case, f"{name}={case['options'][name]!r}")
    try:
        for pattern, calibrated in CALIBRATED.items():
            if re.fullmatch(pattern, case["solver"]):
                return calibrated(case, *setting(case))
        for pattern, family in FAMILIES.items():
            if found := re.fullmatch(pattern, case["solver"]):
                return family(case, found)
    except KeyError as error:
        raise missing(case, f"a case without, or with another, {error}") from error
    raise missing(case, "this solver")


UNCOVERED = ("eta", "S_churn", "correcting_xt_fn", "guidance_scale")
"""Options that change what is solved, and that no deterministic plan reproduces where they are not zero."""


def load(path: Path = PACKED) -> list[dict[str, Any]]:
    """Cases of a packed file.

    Parameters
    ----------
    path : Path
        Compressed JSON that :func:`pack` wrote.

    Returns
    -------
    list of dict
        One a case, as recorded.
    """
    cases: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
    return cases


def pack(folder: Path, path: Path = PACKED) -> None:
    """Write the cases of a folder, one JSON file each, into one compressed file; the same cases give the same bytes.

    Parameters
    ----------
    folder : Path
        Folders of one JSON file a case, format "golden-v1"; other files are passed over.
    path : Path
        File to write; replaced where it is there.
    """
    records = (json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*/*.json")))
    cases = [
        {name: value for name, value in record.items() if name not in BULKY}
        for record in records
        if record.get("format") == "golden-v1"
    ]
    path.write_bytes(gzip.compress(json.dumps(cases, separators=(",", ":")).encode(), mtime=0))


def missing(case: Case, what: str) -> NotImplementedError:
    """Name what a case needs."""
    return NotImplementedError(f"{case['solver']} with options {case['options']}: no record covers {what}")


# -- models, schedules and grids -----------------------------------------------------------------------


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


@dataclass(frozen=True)
class AnalyticStart:
    """Noise model whose value at the first node is that of data of unit variance, ``x / sqrt(1 + sigma^2)``."""

    inner: Denoiser
    start: float
    prediction: Prediction = "noise"

    @property
    def schedule(self) -> Schedule:
        return self.inner.schedule

    def __call__(self, x: Array, t: Any) -> Array:
        return x / np.sqrt(1.0 + self.start**2) if float(t) == self.start else self.inner(x, t)


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
    "vp-linear": lambda c: VPLinear(c["schedule"]["beta0"], c["schedule"]["beta1"], c["schedule"].get("T", 1.0)),
    "ve-edm": lambda c: EDM(sigma_max=c["time_grid"][0]),
    "ddpm-linear-discrete": ddpm_table,
    "ddpm-linear-discrete-interpolated": ddpm_table,
}

LATENTS = ("edm/", "diff-sampler/")
"""Solvers whose x_T are unit-scale latents, which they multiply by their first sigma."""


def setting(case: Case) -> tuple[Schedule, FloatArray, Denoiser, FloatArray]:
    """Schedule, recorded times, exact noise model and initial state of a case."""
    schedule = schedule_of(case)
    gmm = case["gmm"]
    model = GaussianMixture(gmm["weights"], gmm["means"], gmm["covs"]).denoiser(schedule, "noise")
    times = np.array(case["time_grid"] or [], dtype=np.float64)
    if isinstance(schedule, Tabulated) and schedule.interpolation == "linear":
        times = np.clip(times * schedule.size - 1.0, 0.0, None)  # the code's nodes are (label + 1)/N
    x = np.array(case["x_T"], dtype=np.float64)
    if case["solver"].startswith(LATENTS) and isinstance(schedule, EDM):
        x = x * schedule.sigma_max
    return schedule, times, model, x


TERMINALS = {
    (False, False): "stop",
    (False, True): "denoise",
    (True, False): "lower_order",
    (True, True): "lower_order_denoise",
}
"""Terminal rules by (lower order, denoise)."""


def run(
    case: Case,
    method: Method,
    *,
    lower: bool = False,
    model: Denoiser | None = None,
    times: FloatArray | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> FloatArray:
    """Run a record on the recorded grid."""
    schedule, recorded, exact, x = setting(case)
    times = recorded if times is None else times
    model = exact if model is None else model
    denoise = bool(case["options"].get("denoise_to_zero"))
    grid = from_times(schedule, times, terminal=TERMINALS[lower, denoise])
    return np.asarray(solve(planned(method, schedule, grid, parameters=parameters), model, x))


def model_of(case: Case, form: SemilinearForm = NOISE) -> Denoiser:
    """Exact model, with what the case does to it; only data predictions are thresholded."""
    options = case["options"]
    _, times, model, _ = setting(case)
    if options.get("afs"):
        model = AnalyticStart(model, float(times[0]))
    if options.get("correcting_x0_fn") not in (None, "dynamic_thresholding"):
        raise missing(case, f"correcting_x0_fn={options['correcting_x0_fn']!r}")
    if not (options.get("correcting_x0_fn") or options.get("dynamic_thresholding")):
        return model
    if form is NOISE and options.get("denoise_to_zero"):
        raise missing(case, "noise prediction with a thresholded last step")
    return model if form is NOISE else DynamicThreshold(model)


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
    stem = "dpm_solver" if form is NOISE else "dpmpp"
    if order == 1:
        return find_method(f"{stem}_1")
    return find_method(f"{stem}_{order}m{'_taylor' if solver_type == 'taylor' else ''}")


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
        return run(case, record, lower=lower, model=model_of(case, form))
    kinds = {"singlestep": "fast", "singlestep_fixed": "fixed"}
    if options["method"] not in kinds:
        raise missing(case, "step-size control")
    stem = "dpm_solver" if form is NOISE else "dpmpp"
    suffix = "_taylor" if solver_type == "taylor" else ""
    return singlestep(case, f"{stem}_{kinds[options['method']]}_{order}{suffix}", options["skip_type"])


def singlestep(case: Case, name: str, skip_type: str) -> FloatArray:
    """Run a singlestep record: the recorded nodes are the ends of its steps, the grid needs its stages too."""
    schedule = schedule_of(case)
    if case["time_grid"] is None:
        case = {**case, **fast_grid(case)}
    outer = setting(case)[1]
    orders = case.get("step_orders") or [find_method(name).order] * (len(outer) - 1)
    nodes = [
        node
        for start, end, order in zip(outer[:-1], outer[1:], orders, strict=True)
        for node in (start, *inner_nodes(schedule, float(start), float(end), order, skip_type))
    ]
    return run(
        case, find_method(name), times=np.array([*nodes, outer[-1]]), model=model_of(case, find_method(name).form)
    )


def fast_grid(case: Case) -> dict[str, Any]:
    """Ends of the steps of a "fast" run and their orders, where a case does not record them (grids in time)."""
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


def inner_nodes(schedule: Schedule, start: float, end: float, order: int, skip_type: str) -> list[float]:
    """Inner nodes of a grid with ``order`` intervals from ``start`` to ``end``."""
    u = np.arange(1, order) / order
    if skip_type == "logSNR":
        first, last = (float(schedule.half_log_snr(t)) for t in (start, end))
        return list(schedule.time(first + u * (last - first)))
    # labels of the interpolated table are the code's times, stretched and shifted by one
    shift = 1.0 if isinstance(schedule, Tabulated) else 0.0
    power = POWERS[skip_type]
    roots = (start + shift) ** (1 / power), (end + shift) ** (1 / power)
    return list((roots[0] + u * (roots[1] - roots[0])) ** power - shift)


def unipc(case: Case, found: re.Match[str]) -> FloatArray:
    options = case["options"]
    form, order, variant = FORMS[options["algorithm_type"]], options["order"], options["variant"]
    noise = "_noise" if form is NOISE else ""
    if options["use_corrector"]:
        name = f"unipc_{order}_{'vary' if variant == 'vary_coeff' else variant}{noise}"
    else:
        name = f"eab{noise}_{order}" if variant == "vary_coeff" else f"unip_{order}_{variant}{noise}"
    return run(case, find_method(name), lower=options["lower_order_final"], model=model_of(case, form))


def dc_solver(case: Case, found: re.Match[str]) -> FloatArray:
    options = case["options"]
    if set(options["dc_ratios"]) != {1.0}:
        raise missing(case, "compensation ratios other than 1")
    return run(case, find_method(f"unipc_{options['order']}_{options['variant']}"), lower=options["lower_order_final"])


# -- DEIS, Runge-Kutta in rho, iPNDM -------------------------------------------------------------------


def deis(case: Case, found: re.Match[str]) -> FloatArray:
    options = case["options"]
    if options["method"] in ("t_ab", "rho_ab"):
        kind = "tab" if options["method"] == "t_ab" else "rhoab"
        official = "_official" if options["quadrature"] == "riemann10000" else ""
        return run(case, find_method(f"deis_{kind}{options['ab_order']}{official}"))
    if options["method"] == "ipndm":
        return run(case, find_method("ipndm_4"))
    return run(case, find_method(f"rho_rk_{options['rk_method']}"))


# -- EDM, k-diffusion, diff-sampler --------------------------------------------------------------------


def edm_heun(case: Case, found: re.Match[str]) -> FloatArray:
    return run(case, find_method("edm_heun"))


def edm_ablation(case: Case, found: re.Match[str]) -> FloatArray:
    """Steps in a time of their own: the process has the scaling, another schedule the clock; both are of EDM's paper.

    The sampler lays down times for a range of noise levels, which are those of the recorded evaluations.
    """
    options, evaluated = case["options"], case["sigmas_evaluated"]
    heun = options["solver"] == "heun"
    # two evaluations a step but on the last, which is Euler's to sigma = 0
    levels = np.array(evaluated[:: 2 if heun else 1])
    clock = ABLATION_CLOCKS[options["schedule"]](*ABLATION_RANGES[options["discretization"]])
    process = ABLATION_PROCESSES[options["scaling"]](float(levels[0]))
    grid = from_half_log_snr(process, [*-np.log(levels), np.inf])
    record = find_method(f"time_rk_2_{options.get('alpha', 1.0)}" if heun else "time_rk_euler")
    gmm = case["gmm"]
    model = GaussianMixture(gmm["weights"], gmm["means"], gmm["covs"]).denoiser(process, "data")
    x = np.array(case["x_T"]) * float(process.sigma(float(grid.t[0])))
    made = planned(replace(record, form=drift_form(clock)), process, grid)
    return np.asarray(solve(made, model, x))


ABLATION_CLOCKS: Mapping[str, Callable[[float, float], Schedule]] = {
    "linear": lambda low, high: EDM(low, high),
    "ve": lambda low, high: Brownian(low, high),
    "vp": lambda low, high: VPFitted(low, high),
}
"""sigma as a function of time."""

ABLATION_RANGES: Mapping[str, tuple[float, float]] = {
    "vp": (
        float(VPLinear().sigma(1e-3) / VPLinear().alpha(1e-3)),
        float(VPLinear().sigma(1.0) / VPLinear().alpha(1.0)),
    ),
    "ve": (0.02, 100.0),
    "iddpm": (0.002, 81.0),
    "edm": (0.002, 80.0),
}
"""Noise levels between which a discretization lays its nodes, to which the clocks are fitted."""

ABLATION_PROCESSES: Mapping[str, Callable[[float], Schedule]] = {
    "none": lambda high: EDM(sigma_max=high),
    "vp": lambda high: VPLinear(t_max=3.0),
}
"""Scale of the signal as a function of sigma."""


K_DIFFUSION: Mapping[str, Callable[[], Method]] = {
    "euler": lambda: find_method("ddim"),
    "heun": lambda: find_method("edm_heun"),
    "dpm_2": lambda: find_method("dpm_solver_2"),
    "dpm_2_ancestral": lambda: find_method("dpm_solver_2"),
    "dpmpp_2s_ancestral": lambda: find_method("dpmpp_2s"),
    "dpmpp_sde": lambda: find_method("dpmpp_2s"),
    "dpmpp_2m": lambda: find_method("dpmpp_2m"),
    "dpmpp_2m_sde": lambda: find_method("dpmpp_2m"),
    "dpmpp_3m_sde": lambda: find_method("dpmpp_3m_taylor"),
}
"""Samplers at eta = 0."""


def k_diffusion(case: Case, found: re.Match[str]) -> FloatArray:
    options, name = case["options"], found[1]
    if name == "lms":
        return run(case, find_method(f"lms_{options.get('order', 4)}"))
    if name == "dpm_fast":
        return dpm_fast(case)
    if name not in K_DIFFUSION:
        raise missing(case, "this sampler")
    if name == "dpmpp_2m_sde" and options.get("solver_type", "midpoint") == "heun":
        return run(case, find_method("eab_2"))
    return run(case, K_DIFFUSION[name]())


def dpm_fast(case: Case) -> FloatArray:
    """Singlestep steps on equal intervals of the half-log-SNR; the orders spend the budget exactly."""
    orders = fast_orders(case["options"]["n"], 3)
    first, last = case["time_grid"]
    times = [first, *np.geomspace(first, last, len(orders) + 1)[1:-1].tolist(), last]
    return singlestep({**case, "time_grid": times, "step_orders": orders}, "dpm_solver_fast_3", "logSNR")


def diff_sampler(case: Case, found: re.Match[str]) -> FloatArray:
    options, name = case["options"], found[1]
    order, form = options.get("max_order", 1), FORMS[options.get("predict_x0", True)]
    noise = "_noise" if form is NOISE else ""
    records: Mapping[str, Callable[[], Method]] = {
        "euler": lambda: find_method("ddim"),
        "heun": lambda: find_method("edm_heun"),
        "dpm_2": lambda: find_method(f"dpm_solver_2_r{options.get('r', 0.5)}"),
        "ipndm": lambda: find_method(f"ipndm_{order}"),
        "ipndm_v": lambda: find_method(f"ipndm_v_{order}"),
        "deis": lambda: find_method(f"deis_tab{order - 1}_edm_official" if tab else f"lms_{order}"),
        "dpm_pp": lambda: multistep_method(order, form, "dpmsolver"),
        "unipc": lambda: find_method(f"unipc_{order}_{options['variant']}{noise}"),
    }
    tab = options.get("deis_mode") == "tab"
    if name not in records:
        raise missing(case, "this sampler")
    return run(case, records[name](), lower=name in ("dpm_pp", "unipc"), model=model_of(case, form))


# -- momentum and PNDM ---------------------------------------------------------------------------------


def momentum(case: Case, found: re.Match[str]) -> FloatArray:
    number, beta, buffer = (case["options"][name] for name in ("order", "beta", "buffer_order"))
    if found[1] == "ghvb":
        record = find_method(f"ghvb_{number:.17g}")
    else:
        record = find_method(f"{found[1]}_{int(buffer)}_{float(beta)!r}")
    if isinstance(schedule_of(case), Tabulated):  # the wrapper's last step goes to label 0
        case = {**case, "time_grid": [*case["time_grid"], 0.0]}
    return run(case, record)


def dpm_guided(case: Case, found: re.Match[str]) -> FloatArray:
    options = case["options"]
    if options["method"].startswith("phvb"):
        number = int(options["method"].removeprefix("phvb")) - 1 + options["momentum"]
        return run(case, find_method(f"ghvb_{number:.17g}"))
    form = FORMS[options["algorithm_type"]]
    # with noise prediction the code ignores the momentum
    name = f"mdpm2_{float(options['momentum'])!r}" if form is DATA else "dpm_solver_2m"
    return run(case, find_method(name), lower=options["lower_order_final"] and options["steps"] < FEW_STEPS)


def pndm(case: Case, found: re.Match[str]) -> FloatArray:
    """The state that the code labels t stands at label t + 1 of the table; its last label is -1."""
    options, name = case["options"], found[1]
    if name not in PNDM:
        raise missing(case, "this sampler")
    case = {**case, "time_grid": [label + 1 for label in case["time_grid"]]}
    mislabelled = options["model_level"].startswith("abar[t]")
    record, parameters = find_method(PNDM[name]), None
    if record.own_start and record.own_start.inner_times:
        # a middle between two labels is truncated towards the data
        middle = ((case["skip"] + 1) // 2 / case["skip"],)
        record = replace(record, own_start=replace(record.own_start, inner_times=middle))
    if record.parameters:
        labels, schedule = np.array(case["time_grid"]), schedule_of(case)
        parameters = {"alpha_ahead": schedule.alpha(labels[:-1] - 1.0), "labels": -np.diff(labels)}
    return run(case, record, model=Mislabelled(setting(case)[2]) if mislabelled else None, parameters=parameters)


PNDM = {"DDIM": "ddim", "S-PNDM": "s_pndm", "F-PNDM": "pndm", "FON": "fon"}
"""Samplers of the PNDM code."""


def diffusers_pndm(case: Case, found: re.Match[str]) -> FloatArray:
    """Starts are those of S-PNDM and F-PNDM; the recorded labels are the evaluated ones, with repetitions."""
    options = case["options"]
    skip = case["schedule"]["N"] // options["steps"]
    labels = [options["steps_offset"] + skip * i for i in reversed(range(options["steps"]))]
    end = -1 if options["set_alpha_to_one"] else 0
    record = find_method("pndm")
    if options["skip_prk_steps"]:  # the first step is that of S-PNDM
        record = replace(record, own_start=find_method("s_pndm").own_start)
    ends = [] if labels[-1] == end else [end]  # from the last label to itself nothing changes
    return run(case, record, times=np.array([*labels, *ends], dtype=np.float64))


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
    r"pndm/(.*)": pndm,
    r"diffusers/PNDM/.*": diffusers_pndm,
}
"""Solver names, as patterns, and who runs them."""
