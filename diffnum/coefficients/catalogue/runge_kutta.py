"""Records of the one-step methods: DPM-Solver, and Runge-Kutta tableaux in the plain clocks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from itertools import pairwise

from diffnum.coefficients import runge_kutta
from diffnum.coefficients.catalogue.members import Members, fixed
from diffnum.coefficients.method import Method
from diffnum.coefficients.tableaux import TABLEAUX, ButcherTableau, two_stage
from diffnum.forms import DATA, DRIFT, NOISE, RHO, VELOCITY, SemilinearForm

__all__ = ["FAMILY"]

_NUMBER = r"\d+(?:\.\d+|/\d+)?"
"""Inner node in a name: decimal or fraction, such as 0.25 or 1/3."""


def _edm_heun(name: str) -> Method:
    return Method(
        name=name,
        title="EDM Heun",
        family="heun",
        form=RHO,
        order=2,
        rule=runge_kutta.heun_step,
        depth=0,
        cite="karras2022edm",
        equation="algorithm 1",
        summary="Explicit trapezoidal rule in sigma/alpha; Euler on a step to sigma = 0.",
        claimed_order=2,
        order_with_startup=2,
        aliases={"diffusers": "HeunDiscreteScheduler", "k-diffusion": "sample_heun", "ComfyUI": "heun"},
        distinguish="Heun's method of order 3.",
    )


# -- DPM-Solver ----------------------------------------------------------------------------------------

_TWO_THIRDS = Fraction(2, 3)

_STEMS: Mapping[str, tuple[SemilinearForm, int, str]] = {
    "dpm_solver_2": (NOISE, 2, "DPM-Solver-2"),
    "dpm_solver_3": (NOISE, 3, "DPM-Solver-3"),
    "dpmpp_2s": (DATA, 2, "DPM-Solver++(2S)"),
    "dpmpp_3s": (DATA, 3, "DPM-Solver++(3S)"),
}

_OTHERS: Mapping[str, Mapping[str, str]] = {
    "dpm_solver_2": {
        "diffusers": "KDPM2DiscreteScheduler",
        "k-diffusion": "sample_dpm_2",
        "ComfyUI": "dpm_2",
        "papers": "DPM-Solver-2; dpm_2 of diff-sampler with free r",
    },
    "dpm_solver_3": {
        "diffusers": 'DPMSolverSinglestepScheduler(algorithm_type="dpmsolver", solver_order=3)',
        "k-diffusion": "DPMSolver.dpm_solver_3_step",
        "papers": "a method of Hochbruck and Ostermann (2005), three stages",
    },
    "dpmpp_2s": {
        "diffusers": "DPMSolverSinglestepScheduler(solver_order=2)",
        "k-diffusion": "sample_dpmpp_2s_ancestral(eta=0)",
        "ComfyUI": "dpmpp_2s_ancestral with eta 0",
    },
    "dpmpp_3s": {"diffusers": "DPMSolverSinglestepScheduler(solver_order=3)"},
    "dpmpp_2s_taylor": {"papers": "RES of order 2 (res_2s); ETD-RK2 with inner node 1"},
}


def _dpm_solver(found: re.Match[str]) -> Method:
    """DPM-Solver with one step per interval and inner nodes at fixed fractions of the half-log-SNR."""
    stem, variant = found["stem"], "taylor" if found["taylor"] else "dpmsolver"
    form, stages, title = _STEMS[stem]
    given = tuple(Fraction(r) for r in (found["r1"], found["r2"]) if r)
    nodes = given or tuple(Fraction(j, stages) for j in range(1, stages))
    bounds = (Fraction(0), *nodes)
    if len(nodes) != stages - 1 or not all(a < b for a, b in pairwise(bounds)) or nodes[-1] > 1:
        wanted = "one inner node, 0 < r1 <= 1" if stages == 2 else "two inner nodes, 0 < r1 < r2 <= 1"
        msg = f"method={found[0]!r} has the inner nodes {', '.join(map(str, nodes))}: {stem} takes {wanted}"
        raise ValueError(msg)
    order = 3 if stages == 3 and nodes[1] == _TWO_THIRDS else 2
    shown = ", ".join(f"r{i} = {r}" for i, r in enumerate(nodes, start=1))
    lost = "" if order == stages else f" Order {stages} would need r2 = 2/3."
    return Method(
        name=found[0],
        title=f"{title}{', taylor' if found['taylor'] else ''} ({shown})",
        family="dpm_solver",
        form=form,
        order=order,
        highest=stages,
        rule=partial(runge_kutta.dpm_solver_step, variant=variant, nodes=nodes),
        depth=0,
        cite="lu2022dpm" if form is NOISE else "lu2022dpmpp",
        equation=("algorithm 1; " if (form, stages) == (DATA, 2) else "")
        + f"LuChengTHU/dpm-solver at 52bc3fbc, singlestep_dpm_solver_{'second' if stages == 2 else 'third'}_update",
        summary=f"Exponential Runge-Kutta method in half-log-SNR with inner nodes {shown}.{lost}",
        claimed_order=stages,
        order_with_startup=order,
        options={"variant": variant, "nodes": nodes},
        aliases=_OTHERS.get(found[0], {}),
        distinguish="dpmpp_2m and dpmpp_3m, which are multistep.",
        stiff_order=order,
    )


def _in_place(found: re.Match[str]) -> Method | None:
    """DPM-Solver whose stages are the nodes of the grid: a step of order q spans q intervals."""
    form = NOISE if found["stem"] == "dpm_solver" else DATA
    order, fixed_order = int(found["order"]), found["kind"] == "fixed"
    variant = "taylor" if found["taylor"] else "dpmsolver"
    kind = "all steps of one order" if fixed_order else "orders that spend every interval on one evaluation"
    return Method(
        name=found[0],
        title=f"{'DPM-Solver' if form is NOISE else 'DPM-Solver++'}-{order} singlestep, {found['kind']}",
        family="dpm_solver",
        form=form,
        order=order,
        rule=partial(runge_kutta.dpm_solver_step, variant=variant),
        depth=0,
        cite="lu2022dpm" if form is NOISE else "lu2022dpmpp",
        equation="LuChengTHU/dpm-solver at 52bc3fbc, dpm_solver_pytorch.py, "
        "get_orders_and_timesteps_for_singlestep_solver",
        summary=f"Singlestep DPM-Solver, {kind}; inner nodes are those of the grid.",
        claimed_order=order,
        order_with_startup=order if fixed_order else min(order, 2),
        options={"variant": variant},
        orders={"irregular": min(order, 2)},
        aliases={"k-diffusion": "sample_dpm_fast"} if (form, order, fixed_order) == (NOISE, 3, False) else {},
        distinguish="dpm_solver_2 and dpm_solver_3, which make one step of full order per interval.",
        deviation="Inner nodes are those of the grid and not the fractions of the paper: order 3 on grids that are "
        "uniform in half-log-SNR only, and the fast list ends on steps of order 2 and 1."
        if order == 3
        else "",
        corrected=("dpm_solver_3" if form is NOISE else "dpmpp_3s") + ("_taylor" if found["taylor"] else "")
        if order == 3
        else "",
        singlestep=True,
        full_orders=fixed_order,
    )


# -- tableaux ------------------------------------------------------------------------------------------

_CLOCKS: Mapping[str, tuple[SemilinearForm, str, str, str]] = {
    "rho": (RHO, "sigma/alpha, noise prediction", "zhang2023deis", "rhoRK-DEIS"),
    "velocity": (VELOCITY, "sigma/(alpha + sigma), velocity prediction", "lipman2023flow", "eq. (1)"),
    "time": (DRIFT, "time, the linear part of the equation included", "karras2022edm", "eq. (4), ablation_sampler"),
}
"""Form, its name, and where its equation is: work and place."""


def _by_name(found: re.Match[str]) -> Method | None:
    tableau = TABLEAUX.get(found["tableau"])
    return None if tableau is None else _tableau(found[0], found["clock"], tableau, {"tableau": found["tableau"]})


def _two_stage(found: re.Match[str]) -> Method:
    node = Fraction(found["node"])
    return _tableau(found[0], found["clock"], two_stage(node), {"tableau": "two_stage", "node": node})


def _tableau(name: str, clock: str, tableau: ButcherTableau, options: Mapping[str, object]) -> Method:
    form, where, cite, place = _CLOCKS[clock]
    return Method(
        name=name,
        title=f"{tableau.title} in {where}",
        family="explicit_runge_kutta",
        form=form,
        order=tableau.order,
        rule=partial(runge_kutta.tableau_step, tableau=tableau),
        depth=0,
        cite=cite,
        equation=f"{place}; {tableau.source}",
        summary=f"Classical explicit Runge-Kutta method with {tableau.stages} stages in {where}.",
        claimed_order=tableau.order,
        order_with_startup=tableau.order,
        options=options,
        aliases={"papers": "rhoRK-DEIS"} if form is RHO else {},
        distinguish="dpm_solver_2, whose midpoint is that of log(sigma/alpha)." if "midpoint" in name else "",
    )


_OFFICIAL = {
    "1euler": "euler",
    "2heun": "heun",
    "3kutta": "kutta3",
    "3ral": "ralston3",
    "3heun": "heun3",
    "3vdh": "vdh3",
    "3ssprk": "ssprk3",
    "4rk": "rk4",
}
"""Names of the DEIS code for its tableaux."""

FAMILY = (
    fixed("edm_heun", _edm_heun, heun="edm_heun"),
    Members(
        rf"(?P<stem>dpm_solver_[23]|dpmpp_[23]s)(?P<taylor>_taylor)?(?:_r(?P<r1>{_NUMBER})(?:_(?P<r2>{_NUMBER}))?)?",
        _dpm_solver,
        ("dpm_solver_2", "dpm_solver_3", "dpmpp_2s", "dpmpp_3s"),
        {
            "dpm_solver_1": "eab_noise_1",
            "dpmpp_1": "eab_1",
            "dpm_2": "dpm_solver_2",
            "kdpm2": "dpm_solver_2",
            "res_2s": "dpmpp_2s_taylor",
            "etd_rk2": "dpmpp_2s_taylor_r1",
        },
    ),
    Members(
        r"(?P<stem>dpm_solver|dpmpp)_(?P<kind>fast|fixed)_(?P<order>[123])(?P<taylor>_taylor)?",
        _in_place,
        (),
        {"dpm_fast": "dpm_solver_fast_3"},
    ),
    Members(
        r"(?P<clock>rho|velocity|time)_rk_(?P<tableau>[a-z]+\d*)",
        _by_name,
        ("rho_rk_kutta3", "rho_rk_rk4", "velocity_rk_heun3"),
        {f"rho_rk_{theirs}": f"rho_rk_{ours}" for theirs, ours in _OFFICIAL.items()}
        | {"edm_euler": "rho_rk_euler", "rk4": "rho_rk_rk4"},
    ),
    Members(rf"(?P<clock>rho|velocity|time)_rk_2_(?P<node>{_NUMBER})", _two_stage, ()),
)
