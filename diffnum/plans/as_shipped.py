"""Host tables in the order of evaluation of named schedulers of diffusers.

Each function writes the operations of one step as the scheduler does them, scalars in float32 by the same functions in
the same order. Elementary functions of float32 differ by a rounding between libraries: by default they are rounded
correctly, so that a table is the same everywhere; with torch as ``arithmetic`` the bits are those of diffusers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType
from typing import Any, Final, Protocol

import numpy as np

from diffnum.forms import conversion
from diffnum.jobs.checked import check_name
from diffnum.jobs.shown import short
from diffnum.plans.correct_rounding import CORRECT
from diffnum.plans.host_tables import DTYPES, HostOperation, HostStep, HostTable, rounded_to
from diffnum.schedules import FlowMatching
from diffnum.types import FloatArray, Prediction, Schedule

__all__ = ["DEVICES", "EVALUATIONS", "HostEvaluation", "host_table"]

DEVICES: Final = ("accelerator", "cpu")
"""Where the scheduler whose bits are wanted runs. torch on the CPU rounds a scalar that stands before an array of half
precision to half; its kernels for accelerators keep it in float32."""

_AGREES = 3e-4
"""Relative to the largest state: how far a table in float32 may be from its plan in float64."""


class PlanNumbers(Protocol):
    """What must be known of a plan."""

    @property
    def method(self) -> str:
        """Name in the catalogue."""

    @property
    def prediction(self) -> Prediction:
        """What the model predicts."""

    @property
    def schedule(self) -> Schedule:
        """The noising process."""

    @property
    def times(self) -> FloatArray:
        """Times of the states."""

    @property
    def nfe(self) -> int:
        """Evaluations in the whole run."""

    @property
    def stages(self) -> Sequence[Sequence[tuple[float, float, float]]]:
        """Evaluations of each step."""

    @property
    def programme(self) -> Sequence[Sequence[tuple[str, Mapping[str, Any]]]]:
        """Rows of each step."""

    @property
    def history(self) -> Mapping[str, float]:
        """Evaluations that the caller brings."""

    @property
    def sha256(self) -> str:
        """Content hash."""


@dataclass
class _Writer:
    """Writes the operations of one step, and keeps its scalars."""

    registers: list[str]
    dtype: str
    device: str
    wide: set[str]
    scalars: list[float] = field(default_factory=list)
    operations: list[HostOperation] = field(default_factory=list)

    def _place(self, name: str) -> int:
        if name not in self.registers:
            self.registers.append(name)
        return self.registers.index(name)

    def _do(self, kind: str, target: str, left: str, right: int = 0) -> str:
        sources = {left, self.registers[right]} if kind in ("add", "subtract") else {left}
        wide = kind == "widen" or (kind != "narrow" and bool(sources & self.wide))
        self.operations.append(HostOperation(kind, self._place(target), self._place(left), right))
        (self.wide.add if wide else self.wide.discard)(target)
        return target

    def scale(self, target: str, scalar: Any, left: str) -> str:
        """``target = scalar * left``."""
        rounds = self.device == "cpu" and left not in self.wide
        self.scalars.append(self.half(scalar) if rounds else float(scalar))
        return self._do("scale", target, left, len(self.scalars) - 1)

    def divide(self, target: str, left: str, scalar: Any) -> str:
        """``target = left / scalar``."""
        self.scalars.append(float(scalar))
        return self._do("divide", target, left, len(self.scalars) - 1)

    def add(self, target: str, left: str, right: str) -> str:
        """``target = left + right``."""
        return self._do("add", target, left, self._place(right))

    def subtract(self, target: str, left: str, right: str) -> str:
        """``target = left - right``."""
        return self._do("subtract", target, left, self._place(right))

    def copy(self, target: str, left: str) -> str:
        """``target = left``."""
        return self._do("copy", target, left)

    def widen(self, name: str) -> None:
        """To float32; nothing where the arrays are."""
        if self.dtype != "float32":
            self._do("widen", name, name)

    def narrow(self, name: str) -> None:
        """Back to the dtype of the table."""
        if self.dtype != "float32":
            self._do("narrow", name, name)

    def half(self, scalar: Any) -> float:
        """A scalar that the scheduler keeps in the dtype of its arrays."""
        return float(rounded_to(self.dtype, float(scalar)))


@dataclass(frozen=True)
class _Levels:
    """Levels of a scheduler in float32, and what it makes of them."""

    xp: Any
    sigmas: Any
    flow: bool

    def at(self, i: int) -> tuple[Any, Any]:
        """Signal and noise factors at a node, as ``_sigma_to_alpha_sigma_t``."""
        sigma = self.sigmas[i]
        if self.flow:
            return 1 - sigma, sigma
        alpha = 1 / self.xp.sqrt(sigma * sigma + 1)
        return alpha, sigma * alpha

    def lam(self, i: int) -> Any:
        """Half-log-SNR, as every solver computes it anew."""
        alpha, sigma = self.at(i)
        return self.xp.log(alpha) - self.xp.log(sigma)


def _converted(w: _Writer, s: _Levels, i: int, prediction: Prediction, target: str = "m0") -> None:
    """Data prediction of the network's output, as ``convert_model_output``."""
    alpha, sigma = s.at(i)
    match prediction:
        case "velocity":
            w.subtract(target, "x", w.scale("a", s.sigmas[i], "v"))
        case "noise":
            w.divide(target, w.subtract("a", "x", w.scale("a", sigma, "v")), alpha)
        case "v":
            w.subtract(target, w.scale("a", alpha, "x"), w.scale("b", sigma, "v"))
        case _:
            w.copy(target, "v")


def _aged(w: _Writer, depth: int) -> None:
    """Move the history back by one."""
    for j in range(depth, 0, -1):
        w.copy(f"m{j}", f"m{j - 1}")


def _flow_euler(w: _Writer, s: _Levels, i: int, run: _Run) -> None:  # noqa: ARG001
    w.widen("x")
    w.add("x", "x", w.scale("a", s.sigmas[i + 1] - s.sigmas[i], "v"))
    w.narrow("x")


def _dpmpp(w: _Writer, s: _Levels, i: int, run: _Run) -> None:
    """DPM-Solver++ multistep, midpoint; order 3 as shipped."""
    xp, order = s.xp, run.orders[i]
    _converted(w, s, i, run.prediction)
    w.widen("x")
    (alpha, sigma), (_, sigma_s) = s.at(i + 1), s.at(i)
    lam_s, h = s.lam(i), s.lam(i + 1) - s.lam(i)
    decay = xp.exp(-h) - 1.0
    base = w.subtract("a", w.scale("a", sigma / sigma_s, "x"), w.scale("b", alpha * decay, "m0"))
    if order == 2:
        r = (lam_s - s.lam(i - 1)) / h
        w.scale("b", 1.0 / r, w.subtract("b", "m0", "m1"))
        base = w.subtract("a", base, w.scale("b", 0.5 * (alpha * decay), "b"))
    if order == 3:
        r0, r1 = (lam_s - s.lam(i - 1)) / h, (s.lam(i - 1) - s.lam(i - 2)) / h
        w.scale("c", 1.0 / r0, w.subtract("c", "m0", "m1"))
        w.scale("d", 1.0 / r1, w.subtract("d", "m1", "m2"))
        w.add("e", "c", w.scale("e", r0 / (r0 + r1), w.subtract("e", "c", "d")))
        w.scale("d", 1.0 / (r0 + r1), w.subtract("d", "c", "d"))
        base = w.add("a", base, w.scale("e", alpha * (decay / h + 1.0), "e"))
        base = w.subtract("a", base, w.scale("d", alpha * ((decay + h) / (h * h) - 0.5), "d"))
    w.copy("x", base)
    w.narrow("x")
    _aged(w, min(run.depth, i + 1))


def _unipc(w: _Writer, s: _Levels, i: int, run: _Run) -> None:
    """UniPC in data prediction: corrector of the step before, then the predictor; nothing is widened."""
    _converted(w, s, i, run.prediction)
    if i > 0:
        order = run.orders[i - 1]
        rhos, differences, b, base = _unipc_parts(w, s, i - 1, order, "y", "m1", run)
        summed = _summed(w, rhos[:-1], differences)
        newest = w.scale("e", w.half(rhos[-1]), w.subtract("e", "m0", "m1"))
        if summed:
            newest = w.add("e", summed, newest)
        w.subtract("x", base, w.scale("e", b, newest))
    order = run.orders[i]
    w.copy("y", "x")
    rhos, differences, b, base = _unipc_parts(w, s, i, order, "x", "m0", run, predictor=True)
    if summed := _summed(w, rhos, differences):
        w.subtract("x", base, w.scale("c", b, summed))
    else:
        w.copy("x", base)
    _aged(w, min(run.depth, i + 1))


def _unipc_parts(
    w: _Writer, s: _Levels, i: int, order: int, state: str, newest: str, run: _Run, *, predictor: bool = False
) -> tuple[list[Any], list[str], Any, str]:
    """Weights, divided differences, their common factor, and the first-order step from node i."""
    xp = s.xp
    (alpha, sigma), (_, sigma_s) = s.at(i + 1), s.at(i)
    lam_s = s.lam(i)
    h = s.lam(i + 1) - lam_s
    first = int(newest[1:])
    differences, ratios = [], []
    for j in range(1, order):
        ratio = (s.lam(i - j) - lam_s) / h
        ratios.append(ratio)
        name = ("c", "d")[j - 1]
        differences.append(w.divide(name, w.subtract(name, f"m{first + j}", newest), ratio))
    hh = -h
    phi_1 = xp.expm1(hh)
    phi_k = phi_1 / hh - 1
    b_h = hh if run.variant == "bh1" else xp.expm1(hh)
    base = w.subtract("a", w.scale("a", sigma / sigma_s, state), w.scale("b", alpha * phi_1, newest))
    count = order - 1 if predictor else order
    if count == 0:
        return [], [], alpha * b_h, base
    if count == 1:
        return [0.5], differences, alpha * b_h, base
    nodes, matrix, right, factorial = xp.stack([*ratios, xp.ones_like(h)]), [], [], 1
    for k in range(1, order + 1):
        matrix.append(nodes ** (k - 1))
        right.append(phi_k * factorial / b_h)
        factorial *= k + 1
        phi_k = phi_k / hh - 1 / factorial
    rhos = xp.linalg.solve(xp.stack(matrix)[:count, :count], xp.stack(right)[:count])
    return list(rhos), differences, alpha * b_h, base


def _summed(w: _Writer, rhos: Sequence[Any], differences: Sequence[str]) -> str:
    """Weighted sum of divided differences, as ``einsum("k,bkc...->bc...")`` does it.

    Products and sum are in float32, from operands of the dtype of the arrays, rounded once at the end.
    """
    pairs = list(zip(rhos, differences, strict=False))
    if len(pairs) < 2:  # one product, rounded once either way
        return next((w.scale(name, w.half(rho), name) for rho, name in pairs), "")
    total = ""
    for rho, name in pairs:
        w.widen(name)
        part = w.scale(name, w.half(rho), name)
        total = w.add("c", total, part) if total else part
    w.narrow(total)
    return total


@dataclass(frozen=True)
class _Run:
    """What the steps of a run share."""

    prediction: Prediction
    orders: tuple[int, ...]
    depth: int
    variant: str


@dataclass(frozen=True)
class HostEvaluation:
    """The order of evaluation of one scheduler.

    Parameters
    ----------
    scheduler : str
        Its class in diffusers.
    methods : mapping of str to (int, str)
        Methods of the catalogue that it computes, with its ``solver_order`` and ``solver_type``.
    source : str
        Where it stands.
    predictions : tuple of str
        What the network may return.
    flows_only : bool
        Whether it knows flows alone.
    step : callable
        Writes one step.
    """

    scheduler: str
    methods: Mapping[str, tuple[int, str]]
    source: str
    predictions: tuple[Prediction, ...]
    flows_only: bool
    step: Callable[[_Writer, _Levels, int, _Run], None]

    def __repr__(self) -> str:
        """Short form."""
        return short("HostEvaluation", self.scheduler, methods=list(self.methods), flows_only=self.flows_only)


EVALUATIONS: Final[Mapping[str, HostEvaluation]] = MappingProxyType(
    {
        each.scheduler: each
        for each in (
            HostEvaluation(
                "FlowMatchEulerDiscreteScheduler",
                {"ddim": (1, "")},
                "huggingface/diffusers 0.42.1, schedulers/scheduling_flow_match_euler_discrete.py, step",
                ("velocity",),
                True,
                _flow_euler,
            ),
            HostEvaluation(
                "DPMSolverMultistepScheduler",
                {"dpmpp_2m": (2, "midpoint"), "dpmpp_3m": (3, "midpoint"), "ddim": (1, "midpoint")},
                "huggingface/diffusers 0.42.1, schedulers/scheduling_dpmsolver_multistep.py, convert_model_output, "
                "dpm_solver_first_order_update, multistep_dpm_solver_second_order_update and third_order_update",
                ("velocity", "noise", "v", "data"),
                False,
                _dpmpp,
            ),
            HostEvaluation(
                "UniPCMultistepScheduler",
                {f"unipc_{n}_{variant}": (n, variant) for n in (1, 2, 3) for variant in ("bh1", "bh2")},
                "huggingface/diffusers 0.42.1, schedulers/scheduling_unipc_multistep.py, convert_model_output, "
                "multistep_uni_p_bh_update, multistep_uni_c_bh_update; FlowUniPC of flows is the same formula",
                ("velocity", "noise", "v", "data"),
                False,
                _unipc,
            ),
        )
    }
)
"""Schedulers whose order of evaluation is known. UniPC's sums of order 3 are matrix products there, of a row of two and
two arrays. In half precision their products are exact in float32, so that every library which sums in float32 gives the
bits of the table. In float32 a library that fuses multiplication and addition spares the rounding of one product:
the sum is then off by at most eps/2 of that product, and the last place of the sum."""


def _orders(n: int, order: int, *, falls: bool, clean: bool) -> tuple[int, ...]:
    """Orders of the steps: they rise from 1, and fall at the end where that is asked for, or the data are reached."""
    left = [n - i if falls else order for i in range(n)]
    if clean:
        left[-1] = 1
    return tuple(min(order, i + 1, left[i]) for i in range(n))


def host_table(
    plan: PlanNumbers,
    dtype: str = "float32",
    evaluation: str = "as diffusers",
    *,
    levels: Sequence[float] | None = None,
    arithmetic: ModuleType | None = None,
    device: str = "accelerator",
) -> HostTable:
    """Scalars and operations of each step; see :meth:`diffnum.plans.Plan.host_table`."""
    check_name("dtype", dtype, DTYPES)
    check_name("device", device, DEVICES)
    if plan.history:
        msg = f"plan of {plan.method} needs evaluations from its caller: plan it with start='ramp'"
        raise ValueError(msg)
    if any(name[0] == "z" for rows in plan.programme for _, row in rows for name in row):
        msg = f"plan of {plan.method} draws noise: host tables are for deterministic plans"
        raise ValueError(msg)
    if evaluation == "plan":
        return _of_plan(plan, dtype)
    found = _evaluation(plan, evaluation)
    order, variant = found.methods[plan.method]
    xp: Any = CORRECT if arithmetic is None else arithmetic
    given = _given(plan, levels)
    sigmas = xp.asarray(given.tolist(), dtype=xp.float32)
    clean, n = float(given[-1]) == 0.0, len(given) - 1
    levels_there = _Levels(xp, sigmas, isinstance(plan.schedule, FlowMatching))

    def made(orders: tuple[int, ...], dtype: str) -> HostTable:
        run = _Run(plan.prediction, orders, order if found.step is _unipc else order - 1, variant)
        registers, wide, steps = ["x", "v"], set[str](), []
        for i in range(n):
            writer = _Writer(registers, dtype, device, wide)
            with np.errstate(all="ignore"):  # the level 0 has no logarithm, and nothing of it is left in the end
                found.step(writer, levels_there, i, run)
            if not np.isfinite(writer.scalars).all():
                msg = f"step {i} of {found.scheduler} has scalars that are not finite at the levels {given[i : i + 2]}"
                raise ValueError(msg)
            t = float(plan.times[i])
            steps.append(HostStep(t, float(given[i]), tuple(writer.scalars), tuple(writer.operations)))
        names = (plan.method, found.scheduler, dtype, plan.prediction, plan.sha256)
        return HostTable(*names, tuple(registers), tuple(steps))

    for orders in dict.fromkeys(_orders(n, order, falls=falls, clean=clean) for falls in (False, True)):
        if _agree(plan, made(orders, "float32")):
            return made(orders, dtype)
    msg = (
        f"plan of {plan.method} is not what {found.scheduler} computes on these nodes (its start-up, or the rule of "
        "its last steps, is another): plan it with start='ramp' and terminal 'stop' or 'lower_order', or take "
        "evaluation='plan'"
    )
    raise ValueError(msg)


def _evaluation(plan: PlanNumbers, name: str) -> HostEvaluation:
    """HostEvaluation by name, for this plan."""
    flow = isinstance(plan.schedule, FlowMatching)
    if name == "as diffusers":
        fitting = [e for e in EVALUATIONS.values() if plan.method in e.methods and flow >= e.flows_only]
        fitting = [e for e in fitting if plan.prediction in e.predictions] or fitting
        if not fitting:
            known = sorted({method for e in EVALUATIONS.values() for method in e.methods})
            msg = f"method {plan.method!r} has no scheduler whose order of evaluation is known: use one of {known}"
            raise ValueError(msg)
        found = fitting[0]
    else:
        check_name("evaluation", name, ("as diffusers", "plan", *EVALUATIONS))
        found = EVALUATIONS[name]
    if plan.method not in found.methods:
        msg = f"evaluation={name!r} computes {', '.join(found.methods)}, not {plan.method!r}: use evaluation='plan'"
        raise ValueError(msg)
    if plan.prediction not in found.predictions:
        msg = f"prediction {plan.prediction!r}: {found.scheduler} takes {', '.join(found.predictions)}; use one of them"
        raise ValueError(msg)
    if found.flows_only and not flow:
        msg = f"schedule {plan.schedule.name!r}: {found.scheduler} knows flows alone, use DPMSolverMultistepScheduler"
        raise ValueError(msg)
    inside = plan.times[:-1]
    alpha, sigma = np.asarray(plan.schedule.alpha(inside)), np.asarray(plan.schedule.sigma(inside))
    if not flow and not np.allclose(alpha**2 + sigma**2, 1.0, atol=1e-6):
        msg = f"schedule {plan.schedule.name!r}: {found.scheduler} knows flows and variance preserving processes alone"
        raise ValueError(msg)
    return found


def _given(plan: PlanNumbers, levels: Sequence[float] | None) -> FloatArray:
    """Levels of the nodes in float32: those of the plan, or the scheduler's own, the same but for rounding."""
    t = plan.times
    alpha, sigma = np.asarray(plan.schedule.alpha(t)), np.asarray(plan.schedule.sigma(t))
    own = sigma if isinstance(plan.schedule, FlowMatching) else sigma / alpha
    if _clean(plan):
        own[-1] = 0.0
    if levels is None:
        return np.asarray(own, dtype=np.float32).astype(np.float64)
    asked = np.asarray(levels, dtype=np.float32).astype(np.float64)
    if asked.shape != own.shape or not np.allclose(asked, own, rtol=1e-4, atol=1e-7):
        msg = (
            f"levels={asked.tolist()}: they are those of the plan in float32, {own.tolist()}; pass them, or leave them"
        )
        raise ValueError(msg)
    return asked


def _clean(plan: PlanNumbers) -> bool:
    """Whether the result is the last data prediction."""
    ((_, alpha, sigma),) = plan.stages[-1] if len(plan.stages[-1]) == 1 else ((0.0, 1.0, 1.0),)
    p, q = (float(factor) for factor in conversion(plan.prediction, "data", alpha, sigma))
    row = dict(dict(plan.programme[-1])["x"])
    return bool(np.allclose([row.pop("x", 0.0), row.pop("k1", 0.0)], [p, q], rtol=1e-9) and not any(row.values()))


def _agree(plan: PlanNumbers, table: HostTable) -> bool:
    """Whether a table does what its plan says, on evaluations that are any numbers."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((plan.nfe, 64))
    if plan.nfe != len(table):
        return False
    told, result = _planned(plan, values)
    asked: list[Any] = []

    def model(x: Any, t: float) -> Any:  # noqa: ARG001
        asked.append(x)
        return values[len(asked) - 1].astype(np.float32)

    found = table.run(model, np.ones(64, dtype=np.float32))
    size = max(float(np.max(np.abs(state))) for state in (*told, result))
    gaps = [np.max(np.abs(a - b)) for a, b in zip((*asked, found), (*told, result), strict=True)]
    return bool(np.max(gaps) <= _AGREES * size)


def _planned(plan: PlanNumbers, values: FloatArray) -> tuple[list[FloatArray], FloatArray]:
    """States at which a plan asks for evaluations, and its result, where it is told these values."""
    vectors: dict[str, Any] = {"x": np.ones(values.shape[1]), "one": np.ones(values.shape[1])}
    told: list[FloatArray] = []
    for stages, rows in zip(plan.stages, plan.programme, strict=True):
        made: dict[str, Any] = {"one": vectors["one"]}
        evaluated: dict[str, Any] = {}
        for number, (target, row) in enumerate(rows):
            state = sum(weight * {**vectors, **evaluated}[name] for name, weight in row.items())
            if number < len(stages):
                evaluated[target] = values[len(told)]
                told.append(state)
            else:
                made[target] = state
        vectors = made
    return told, vectors["x"]


def _of_plan(plan: PlanNumbers, dtype: str) -> HostTable:
    """The plan's own rows as one multiplication and one addition a weight, first the state, in float32."""
    registers, wide, steps = ["x", "v"], set[str](), []
    for i, (stages, rows) in enumerate(zip(plan.stages, plan.programme, strict=True)):
        if len(stages) != 1 or dict(rows[0][1]) != {"x": 1.0}:
            msg = (
                f"step {i} of {plan.method} has {len(stages)} stages: an engine's step has one evaluation, at its state"
            )
            raise ValueError(msg)
        writer = _Writer(registers, dtype, "accelerator", wide)
        writer.widen("x")
        writer.widen("v")
        outputs = rows[1:]
        for target, row in outputs:
            total = ""
            for name, weight in row.items():
                source = "v" if name == "k1" else name
                part = writer.scale(f"{target}'" if not total else "a", np.float32(weight), source)
                total = writer.add(total, total, part) if total else part
        for target, _ in outputs:
            writer.copy(target, f"{target}'")
        writer.narrow("x")
        t, alpha, sigma = stages[0]
        level = float(np.float32(sigma if isinstance(plan.schedule, FlowMatching) else sigma / alpha))
        steps.append(HostStep(t, level, tuple(writer.scalars), tuple(writer.operations)))
    return HostTable(plan.method, "plan", dtype, plan.prediction, plan.sha256, tuple(registers), tuple(steps))
