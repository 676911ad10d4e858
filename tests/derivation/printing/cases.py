"""What printed programs and formulas are held against: the shipped rules, run on numbers of fifty digits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import mpmath

import diffnum as dn
from diffnum.coefficients.method import Method
from diffnum.derivation import SCHEMES
from diffnum.derivation.given import GivenScale, furnish
from diffnum.derivation.printing.formulas import Formula
from diffnum.forms import ExponentialKernel, TabulatedKernel
from diffnum.proofs import Derivation
from diffnum.proofs.arithmetic import exact_rule
from diffnum.proofs.steps import inner_nodes, top_placement
from diffnum.tableau import Step, Window

UNLISTED = (
    "ddim_eta0.9", "dpmpp_2s_ancestral_eta0.7", "edm_heun_churn_tau0.6", "er_sde_2_sde2", "seeds_3_tau0.5", "eab_5",
    "flow_sde_1.4", "cps_1",
    "dc_solver_2", "unipc_3_bh2_dc", "dpm_solver_v3_2", "dpm_solver_v3_3",
)  # fmt: skip
"""Members of families that are not listed, and take parameters of another kind."""

STEPS = (1e-8, 1e-4, 0.01, 0.3, 1.0, 3.0, 8.0, 20.0)
PAST = (-1.3, -2.1, -3.7, -4.4)
MOMENTS = (-0.4, -0.18, -0.11, -0.08)


def names() -> list[str]:
    """All listed methods, and some that are not."""
    return [*dn.methods("all"), *(name for name in UNLISTED if _exists(name))]


def _exists(name: str) -> bool:
    try:
        dn.method(name)
    except ValueError:
        return False
    return True


@cache
def derive(name: str) -> Derivation:
    """Derivation, once."""
    return dn.derive(name)


def given(name: str) -> float:
    """Number for a parameter that a plan would be given."""
    stem, _, index = name.partition("_")
    j = int(index or 0)
    return {
        "rho": 0.83, "theta": -1.2 - 0.9 * j, "alpha": (0.7, 0.6)[j % 2], "sigma": (0.71, 0.8)[j % 2], "G": 1.07,
        "J": 0.31 / (j + 1), "B": 0.013, "l": (0.21, 0.24)[j % 2], "d": 0.93 + 0.02 * j, "b": 0.01 * (j - 1),
        "s": 0.37,
    }[stem]  # fmt: skip


def level(record: Method, h: float) -> Any:
    """tau of a step: what the eta of an ancestral method stands for there; any number where levels stand for it."""
    level = record.noise.level
    if level is None or SCHEMES[record.noise.scheme].stands_for:
        level = 0.9
    if record.noise.scheme != "ancestral" or level == 1:
        return mpmath.mpf(level)
    with mpmath.workdps(50):
        variance = -(mpmath.mpf(level) ** 2) * mpmath.expm1(-2 * mpmath.mpf(h))
        return mpmath.sqrt(-mpmath.log1p(-variance) / (2 * mpmath.mpf(h)))


def arguments(name: str, h: float) -> list[float]:
    """Arguments of the printed function for a step of length h."""
    record, formula = dn.method(name), derive(name).formula
    known = {"h": h} | {name: record.options[name] for name in ("beta", "theta") if name in record.options}
    known |= {f"u_{j}": u for j, u in enumerate(PAST, start=1)} | {f"M_{k}": m for k, m in enumerate(MOMENTS)}
    if record.stochastic:
        known["tau"] = float(level(record, h))
    return [known[a] if a in known else given(a) for a in formula.arguments]


@cache
def shipped(name: str, h: float) -> dict[str, dict[str, Any]]:
    """Weights of the shipped rule at full order with its own history."""
    with mpmath.workdps(50):
        step = _stochastic(name, h) if dn.method(name).stochastic else _deterministic(name, h)
        return {row: {s: mpmath.mpf(w) for s, w in value.items()} for row, _, value in step.rows()}


def _kernel(record: Method, h: Any) -> Any:
    moments = tuple(mpmath.mpf(m) for m in MOMENTS)
    return TabulatedKernel(moments) if record.form.rate is None else ExponentialKernel(h, record.form.rate)


def _deterministic(name: str, h: float) -> Step:
    record = dn.method(name)
    place, long = top_placement(record), mpmath.mpf(h)
    past = tuple(mpmath.mpf(u) for u in PAST[: place.past])

    def value(wanted: str, number: float | None = None) -> Any:
        if wanted.startswith("u_"):
            return mpmath.mpf(PAST[int(wanted[2:]) - 1])
        return mpmath.mpf(given(wanted) if number is None else number)

    window = Window(
        long,
        past,
        _kernel(record, long),
        place.known,
        place.depth,
        place.last,
        inner=inner_nodes(place),
        past_times=past,
    )
    window = furnish(window, record.family, value, record.options)
    return exact_rule(place.rule, lambda n, v: value(n, v))(window, place.order)


def _stochastic(name: str, h: float) -> Step:
    record = dn.method(name)
    place, long = top_placement(record), mpmath.mpf(h)
    past = tuple(mpmath.mpf(u) for u in PAST[: place.past])
    if record.noise.scheme == "extended":
        kernel = TabulatedKernel(tuple(mpmath.mpf(m) for m in MOMENTS[: place.order]))
        window = Window(long, past, kernel, place.known, place.depth, place.last)
        rise = level(record, h) ** 2 * long
        return place.rule.func(window, place.order, **{**place.rule.keywords, "scale": GivenScale(rise)})
    rate = -1 if record.form.prediction == "data" else 1
    window = Window(long, past, ExponentialKernel(long, rate), place.known, place.depth, place.last)
    if stands_for := SCHEMES[record.noise.scheme].stands_for:
        start, shrink = mpmath.mpf(given("s_0")), mpmath.exp(-long)
        window = furnish(window, record.family, {"s_0": start, "E": shrink}.__getitem__, record.options)
        number = stands_for(start, shrink, mpmath.exp(-(level(record, h) ** 2) * long), mpmath.sqrt)
        return place.rule.func(window, place.order, **{**place.rule.keywords, "level": number})
    return place.rule(window, place.order)


def expected(name: str, h: float) -> Iterator[tuple[str, str, float, float]]:
    """Row, vector, weight, and the largest weight of the row, in the order of the printed results."""
    rows = shipped(name, h)
    for row, source in derive(name).entries:
        largest = max(abs(w) for s, w in rows[row].items() if s != "x")
        yield row, source, float(rows[row].get(source, 0)), float(largest)


def printed_values(formula: Formula, name: str, h: float) -> dict[str, float]:
    """Numbers of a typeset formula by their names in print; signal and noise at the nodes are taken at random."""
    numbers = dict(zip(formula.arguments, arguments(name, h), strict=True)) | {"h": h}
    found = {_typeset(n): v for n, v in numbers.items()}
    for i, index in enumerate(["n", *(formula._index(row).replace(" ", "") for row in formula.nodes)]):
        found[rf"\alpha_{{{index}}}"] = 0.9 * math.cos(0.3 + 0.1 * i)
        found[rf"\sigma_{{{index}}}"] = math.sin(0.4 + 0.17 * i)
    return found


def _typeset(name: str) -> str:
    stem, _, index = name.partition("_")
    if name in ("tau", "s_0"):  # in code only
        return {"tau": r"\eta", "s_0": r"\chi_{n}"}[name]
    letter = rf"\{stem}" if stem in ("eta", "beta", "rho", "theta", "alpha", "sigma") else stem
    return f"{letter}_{{{index}}}" if index else letter
