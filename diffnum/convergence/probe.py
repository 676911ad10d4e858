r"""Probe: the weights that a black box really uses, read off by feeding it basis vectors.

Every sampler of the linear class calls its model at linear combinations of the initial sample and of earlier
evaluations, and returns one. So the initial sample is made the basis vector ``e_0``, evaluation number ``j``
answers ``e_j`` whatever it is asked, and the coordinates of all states *are* the weights, to rounding. Runs
with other vectors decide whether the sampler is linear, deterministic and free of noise at all.

The rows that are read off are cumulative: they lead back to the initial sample. Steps are cut out of them at
the nodes: the state of a step is the last one at which the model was called at its first node. A corrector's result,
which no model sees, is thereby expressed through the predicted points, an equivalent multistep method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Start
from diffnum.convergence.bench import SAME_NODE, ZERO, Bench, Run
from diffnum.convergence.checks import check_signature, name_of
from diffnum.convergence.nodes import INTERVAL, fractions
from diffnum.forms import DATA, NOISE, VELOCITY, Nodes, conversion
from diffnum.grids import from_half_log_snr
from diffnum.plans import Plan, plan
from diffnum.schedules import VPLinear
from diffnum.solver import solve
from diffnum.tableau import Tableau
from diffnum.types import Array, FloatArray, Prediction, Sampler, Schedule

__all__ = ["Call", "Difference", "Probe", "WeightComparison", "probe"]

_FORMS = {"data": DATA, "noise": NOISE, "velocity": VELOCITY}
"""Forms in which weights are stated, by the prediction that they multiply."""

_EXACT = 1e-11
"""Relative departure from linearity that rounding in double precision can."""


@dataclass(frozen=True)
class Call:
    """One evaluation of the model.

    Parameters
    ----------
    half_log_snr : float
        Where the model was called; a node of the grid where it is one to 1e-8.
    prediction : str
        What was asked of it.
    row : ndarray, shape (1 + nfe,)
        The state at which it was called, in coordinates (initial sample, evaluation 1, evaluation 2, ...).
    """

    half_log_snr: float
    prediction: Prediction
    row: FloatArray


@dataclass(frozen=True)
class Difference:
    """One weight that is not what it should be.

    Parameters
    ----------
    step : int
        Step of the sampler, from 0.
    row : str
        ``"k2"``, ... for the state at which evaluation 2 of the step is made, ``"x"`` for the new state.
    weight : str
        ``"x"`` for the old state, ``"k1"``, ... for evaluations of this step, ``"m1"``, ... for the last one
        before it, the one before that, ...
    found, expected : float
        Normalised weights; see :meth:`Probe.weights`.
    """

    step: int
    row: str
    weight: str
    found: float
    expected: float

    @property
    def size(self) -> float:
        """Absolute difference."""
        return abs(self.found - self.expected)

    def __str__(self) -> str:
        """One clause of a sentence."""
        text = (
            f"step {self.step}, row {self.row}: the weight of {self.weight} is {self.found:.12g}, "
            f"not {self.expected:.12g}"
        )
        relative = (self.found / self.expected - 1) if self.expected else 0.0
        return text + (f" ({100 * relative:+.3g} %)" if relative else "")


@dataclass(frozen=True)
class WeightComparison:
    """A sampler against a method of the catalogue, weight by weight.

    Parameters
    ----------
    name, reference : str
        Sampler and method.
    worst : float
        Largest absolute difference of normalised weights; infinite where the evaluations do not correspond.
    differences : tuple of Difference
        Weights that differ by more than the tolerance, in the order in which the sampler uses them.
    reason : str
        Why the evaluations do not correspond; empty where they do.
    """

    name: str
    reference: str
    worst: float
    differences: tuple[Difference, ...] = ()
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the sampler is the method."""
        return not self.reason and not self.differences

    def __str__(self) -> str:
        """Verdict: the first weight that is off, and the largest difference."""
        if self.reason:
            return f"{self.name} is not {self.reference}: {self.reason}"
        if self.ok:
            return f"{self.name} is {self.reference}: no weight differs by more than {self.worst:.1e}"
        more = f"; {len(self.differences) - 1} more weights differ" if len(self.differences) > 1 else ""
        return f"{self.name} is not {self.reference}: {self.differences[0]}{more}; largest difference {self.worst:.3g}"


@dataclass(frozen=True, eq=False)
class Probe:
    """What a sampler really computes.

    Parameters
    ----------
    name : str
        Name of the sampler.
    schedule : Schedule
        Noising process that turned half-log-SNRs into alpha and sigma.
    nodes : ndarray, shape (n + 1,)
        Half-log-SNRs that the sampler was given.
    prediction : {"data", "noise", "velocity"}
        What the evaluations are that the weights multiply; :meth:`for_prediction` changes it.
    calls : tuple of Call
        Evaluations, in order.
    result : ndarray, shape (1 + nfe,)
        The returned sample in coordinates (initial sample, evaluation 1, evaluation 2, ...).
    residual : float
        Relative departure from linearity: the accuracy of the weights.
    mutates_input : bool
        Whether the sampler wrote into the array that it was given.
    """

    name: str
    schedule: Schedule
    nodes: FloatArray
    prediction: Prediction
    calls: tuple[Call, ...]
    result: FloatArray = field(repr=False)
    residual: float = 0.0
    mutates_input: bool = False

    @property
    def nfe(self) -> int:
        """Model evaluations of the whole run."""
        return len(self.calls)

    @property
    def _zero(self) -> float:
        """Fraction of the largest weight below which weights are rounding."""
        return max(ZERO, 4 * self.residual)

    @property
    def ignores_model(self) -> bool:
        """Whether the result depends on no evaluation."""
        return not np.any(np.abs(self.result[1:]) > self._zero)

    @cached_property
    def wasted(self) -> tuple[int, ...]:
        """Numbers, from 1, of the evaluations on which the result does not depend."""
        used: set[int] = set()
        for row, number in ((self.result, 0), *((self.calls[k - 1].row, k) for k in range(self.nfe, 0, -1))):
            if not number or number in used:
                used |= {int(j) + 1 for j in np.flatnonzero(np.abs(row[1:]) > self._zero * np.abs(row).max())}
        return tuple(k for k in range(1, self.nfe + 1) if k not in used)

    @cached_property
    def duplicated(self) -> tuple[tuple[int, int], ...]:
        """Pairs of evaluations, from 1, at the same half-log-SNR and the same state."""
        return tuple(
            (i, j)
            for (i, a), (j, b) in combinations(enumerate(self.calls, start=1), 2)
            if a.half_log_snr == b.half_log_snr and np.allclose(a.row, b.row, rtol=0.0, atol=self._zero)
        )

    @property
    def findings(self) -> tuple[str, ...]:
        """What deserves a word, as sentences; empty for a faultless sampler."""
        found = []
        if self.ignores_model:
            found.append("the result does not depend on the model")
        if self.mutates_input:
            found.append("the sampler writes into its input x: let it work on a copy")
        if self.residual > _EXACT:
            found.append(f"weights hold to {self.residual:.0e} only: the sampler computes in low precision")
        if self.wasted and not self.ignores_model:
            found.append(f"evaluations that the result does not use: {', '.join(map(str, self.wasted))}")
        if self.duplicated:
            pairs = ", ".join(f"{i} and {j}" for i, j in self.duplicated)
            found.append(f"evaluations made twice, at the same state and half-log-SNR: {pairs}")
        outside = [
            k for k, call in enumerate(self.calls, start=1) if not self.nodes[0] <= call.half_log_snr <= self.nodes[-1]
        ]
        if outside:
            found.append(f"evaluations outside the nodes: {', '.join(map(str, outside))}")
        return tuple(found)

    def for_prediction(self, prediction: Prediction) -> Probe:
        """The same numbers as weights of another prediction.

        Parameters
        ----------
        prediction : {"data", "noise", "velocity"}
            What the weights are to multiply.
        """
        if prediction not in _FORMS:
            msg = f"prediction={prediction!r} has no normal form: use one of {', '.join(_FORMS)}"
            raise ValueError(msg)
        if prediction == self.prediction:
            return self
        pairs = [conversion(prediction, self.prediction, *self._levels(c.half_log_snr)) for c in self.calls]
        *rows, result = _exchange([*(c.row for c in self.calls), self.result], pairs)
        calls = tuple(replace(call, row=row) for call, row in zip(self.calls, rows, strict=True))
        return replace(self, prediction=prediction, calls=calls, result=result)

    def _levels(self, lam: float) -> tuple[float, float]:
        """Alpha and sigma at a half-log-SNR."""
        t = float(self.schedule.time(lam))
        return float(self.schedule.alpha(t)), float(self.schedule.sigma(t))

    # -- steps -------------------------------------------------------------------------------------

    @cached_property
    def _cuts(self) -> tuple[int, ...]:
        """For each step its first evaluation, as an index of ``calls``; steps end where the next one begins."""
        cuts = [0]
        for node in self.nodes[1:-1]:
            at_node = [k for k, call in enumerate(self.calls) if call.half_log_snr == node and k > cuts[-1]]
            if at_node:
                cuts.append(at_node[-1])
        return tuple(cuts)

    @cached_property
    def _relations(self) -> tuple[tuple[int, str, float, dict[str, float]], ...]:
        """Rows relative to the state of their step: (step, target, half-log-SNR, {source: weight})."""
        found = []
        ends = (*self._cuts[1:], self.nfe)
        for step, (first, end) in enumerate(zip(self._cuts, ends, strict=True)):
            base = self.calls[first].row if step else np.eye(1, self.nfe + 1)[0]
            targets = [
                (f"k{k - first + 1}", c.half_log_snr, c.row) for k, c in enumerate(self.calls) if first <= k < end
            ]
            after = self.calls[end] if end < self.nfe else None
            if after is None:
                targets.append(("x", float(self.nodes[-1]), self.result))
            else:
                targets.append(("x", after.half_log_snr, after.row))
            for target, lam, row in targets:
                found.append((step, target, lam, _relative(row, base, first, self._zero)))
        return tuple(found)

    @cached_property
    def steps(self) -> tuple[Tableau, ...]:
        """One tableau (U, A, V, B) a step; vectors as in :mod:`diffnum.tableau`.

        The state ``x`` of a step is the last one at which the model was called at the step's first node (in the
        first step: the initial sample); ``m1, m2, ...`` are the evaluations before those of the step.
        """
        rows: dict[int, dict[str, dict[str, float]]] = {}
        for step, target, _, row in self._relations:
            rows.setdefault(step, {})[target] = row
        ends = (*self._cuts[1:], self.nfe)
        depths = [0] * (len(ends) + 1)  # evaluations that must be known when a step begins
        for step in reversed(range(len(ends))):
            used = [int(name[1:]) for row in rows[step].values() for name in row if name[0] == "m"]
            depths[step] = max(0, *used, depths[step + 1] - (ends[step] - self._cuts[step]))
        return tuple(
            self._tableau(rows[step], range(first, end), (depths[step], depths[step + 1]), step)
            for step, (first, end) in enumerate(zip(self._cuts, ends, strict=True))
        )

    def _tableau(
        self, rows: Mapping[str, Mapping[str, float]], calls: range, depths: tuple[int, int], step: int
    ) -> Tableau:
        """Tableau of one step from its rows."""
        lam = [self.calls[k].half_log_snr for k in calls]
        start = self.calls[self._cuts[step]].half_log_snr if step else float(self.nodes[0])
        following = self._cuts[step + 1 : step + 2]
        end = self.calls[following[0]].half_log_snr if following else float(self.nodes[-1])
        at = Nodes.at(self.schedule, self.schedule.time(np.array([start, end, *lam])))
        names = [f"k{j + 1}" for j in range(len(calls))]
        inputs = ("x", *(f"m{j + 1}" for j in range(depths[0])))
        outputs = ("x", *(f"m{j + 1}" for j in range(depths[1])))
        known = [*reversed(names), *inputs[1:]]
        moved = {name: {known[j]: 1.0} for j, name in enumerate(outputs[1:])}
        stages, results = (
            [(moved[target] if target in moved else rows[target]) for target in targets] for targets in (names, outputs)
        )
        (U, A), (V, B) = ((_matrix(block, inputs), _matrix(block, names)) for block in (stages, results))
        return Tableau(
            inputs, outputs, (), float(at.t[0]), float(at.t[1]), at.t[2:], at.alpha[2:], at.sigma[2:],
            U, A, V, B, np.zeros((len(names), 0)), np.zeros((len(outputs), 0)),
        )  # fmt: skip

    @cached_property
    def plan(self) -> Plan:
        """A plan with the recovered numbers: it runs, folds and prints like those of the catalogue."""
        return Plan(self.name, self.prediction, self.schedule, self.steps, {}, "ramp", "stop", self.prediction)

    @cached_property
    def _normalised(self) -> tuple[tuple[int, str, dict[str, float]], ...]:
        """Rows (step, target, weights), free of scale and gain."""
        form = _FORMS[self.prediction]
        found = []
        for step, target, lam, row in self._relations:
            start = self.calls[self._cuts[step]].half_log_snr if step else float(self.nodes[0])
            at = Nodes.at(self.schedule, self.schedule.time(np.array([start, lam])))
            scale, gain = form.scale(at), float(form.gain(at)[1])
            ratio = float(scale[1] / scale[0])
            found.append((step, target, {name: w / (ratio if name == "x" else gain) for name, w in row.items()}))
        return tuple(found)

    def weights(self, step: int) -> dict[str, dict[str, float]]:
        r"""Weights of one step in the normal form of :attr:`prediction`.

        Parameters
        ----------
        step : int
            Number of the step, from 0; negative from the end.

        Returns
        -------
        dict of dict
            Rows ``{target: {source: weight}}``: :math:`X = c\,(\mathrm{scale}_1/\mathrm{scale}_0)\,x +
            \mathrm{gain}_1 \sum_j w_j M_j` with ``c`` the weight of ``"x"``, which is 1 for an exponential
            integrator, and (scale, gain) = (sigma, alpha) for data, (alpha, -sigma) for noise, (alpha + sigma, alpha
            + sigma) for velocity.

        Raises
        ------
        ValueError
            If there is no such step.
        """
        count = len(self._cuts)
        if not -count <= step < count:
            msg = f"step={step} does not exist: the sampler makes {count} steps, numbered from 0"
            raise ValueError(msg)
        return {target: row for number, target, row in self._normalised if number == step % count}

    # -- comparison --------------------------------------------------------------------------------

    def compare(
        self, method: str | Method, *, start: Start | None = None, tolerance: float = 1e-10
    ) -> WeightComparison:
        """Hold the weights against those of a method of the catalogue on the same nodes.

        Parameters
        ----------
        method : str or Method
            Name or record.
        start : {"ramp", "high_order"}, optional
            Start-up rule of the method; the shipped one by default.
        tolerance : float
            Absolute difference of normalised weights that is accepted.
        """
        record = find_method(method) if isinstance(method, str) else method
        prediction = record.form.prediction
        other = probe(record, nodes=self.nodes, schedule=self.schedule, start=start).for_prediction(prediction)
        mine = self.for_prediction(prediction)
        if self.nfe != other.nfe:
            reason = f"{self.nfe} evaluations on {len(self.nodes) - 1} steps, not {other.nfe}"
            return WeightComparison(self.name, record.name, np.inf, reason=reason)
        for k, (a, b) in enumerate(zip(mine.calls, other.calls, strict=True), start=1):
            if abs(a.half_log_snr - b.half_log_snr) > SAME_NODE:
                reason = f"evaluation {k} is at half-log-SNR {a.half_log_snr:.9g}, not {b.half_log_snr:.9g}"
                return WeightComparison(self.name, record.name, np.inf, reason=reason)
        worst, differences = 0.0, []
        for (step, target, found), (_, _, expected) in zip(mine._normalised, other._normalised, strict=True):
            for source in found | expected:
                difference = Difference(step, target, source, found.get(source, 0.0), expected.get(source, 0.0))
                worst = max(worst, difference.size)
                if difference.size > tolerance:
                    differences.append(difference)
        return WeightComparison(self.name, record.name, worst, tuple(differences))

    def __str__(self) -> str:
        """Weights of all steps, and the findings."""
        lines = [
            f"{self.name}: {len(self._cuts)} steps, {self.nfe} evaluations, weights of {self.prediction} predictions"
        ]
        for step, target, row in self._normalised:
            if row == {"x": 1.0}:
                continue
            terms = "  ".join(f"{weight:+.10f} {name}" for name, weight in row.items())
            lines.append(f"  step {step:<3} {target:<3} = {terms}")
        return "\n".join([*lines, *(f"  note: {finding}" for finding in self.findings)])


def probe(
    sampler: str | Method | Sampler,
    *,
    nodes: Sequence[float] | FloatArray | None = None,
    schedule: Schedule | None = None,
    shape: tuple[int, ...] = (1,),
    start: Start | None = None,
    seed: int = 0,
) -> Probe:
    """Recover the weights that a sampler really uses.

    Parameters
    ----------
    sampler : str, Method or callable
        Catalogue name or record, or ``sampler(model, x, nodes) -> x`` with ``nodes`` the half-log-SNRs, increasing, and
        ``model.data(x, lam)``, ``.noise``, ``.velocity``, ``.score`` the predictions (there are also
        ``model.denoiser(prediction)(x, t)`` and ``model.schedule``). It must be deterministic and linear.
    nodes : sequence of float, shape (n + 1,), optional
        Half-log-SNRs, natural log of alpha/sigma, increasing; by default 8 irregular steps from -2 to 2.
    schedule : Schedule, optional
        Noising process, which gives alpha and sigma; VP-linear by default.
    shape : tuple of int
        Leading axes of the state; the coordinates are one more axis at the end. ``(1, 1, 1)`` for samplers
        that insist on images.
    start : {"ramp", "high_order"}, optional
        Start-up rule where ``sampler`` is of the catalogue.
    seed : int
        Seed of the vectors with which linearity is checked.

    Returns
    -------
    Probe

    Raises
    ------
    ValueError
        If the sampler is not linear (thresholding, adaptive steps), random, adds noise or a constant, returns another
        shape or what is not finite, treats the samples of a batch differently, or calls the model with another shape.
    TypeError
        If ``sampler`` is neither a name, nor a record, nor callable.

    Examples
    --------
    >>> found = probe("dpmpp_2m", nodes=[-1.0, 0.0, 1.0])
    >>> round(found.weights(1)["x"]["m1"], 6)
    -0.31606
    """
    schedule = VPLinear() if schedule is None else schedule
    if not shape or min(shape) < 1:
        msg = f"shape={shape!r}: pass sizes > 0 of one state, such as (1,) or (1, 2, 2)"
        raise ValueError(msg)
    if not isinstance(sampler, str | Method) and callable(sampler):
        check_signature(name_of(sampler), sampler)
    if nodes is None:
        nodes = INTERVAL[0] + (INTERVAL[1] - INTERVAL[0]) * fractions("irregular", 8)
    lam = from_half_log_snr(schedule, nodes).lam
    if not np.isfinite(lam[-1]):
        msg = "nodes end at infinity, where sigma = 0: end at a finite half-log-SNR"
        raise ValueError(msg)
    if isinstance(sampler, str | Method):
        record = find_method(sampler) if isinstance(sampler, str) else sampler
        name, run = record.name, _planned(record, start)
    elif callable(sampler):
        name, run = getattr(sampler, "__name__", type(sampler).__name__), sampler
    else:
        msg = f"sampler={sampler!r} is a {type(sampler).__name__}: pass a name, a Method or a callable"
        raise TypeError(msg)
    bench = Bench(name, run, schedule, lam, shape)
    return _normal_form(bench, *bench.read(np.random.default_rng(seed)))


# -- arithmetic of rows ------------------------------------------------------------------------------


def _normal_form(bench: Bench, read: Run, residual: float) -> Probe:
    """Weights in a prediction that has a normal form."""
    asked = [prediction for _, prediction in read.where]
    kinds = {"noise" if name == "score" else name for name in asked}
    prediction = kinds.pop() if len(kinds) == 1 and kinds <= set(_FORMS) else "data"
    at = Nodes.at(bench.schedule, bench.schedule.time(np.array([lam for lam, _ in read.where])))
    pairs = [
        conversion(prediction, target, alpha, sigma)
        for target, alpha, sigma in zip(asked, at.alpha.tolist(), at.sigma.tolist(), strict=True)
    ]
    *rows, result = _exchange(list(read.states), pairs)
    calls = tuple(Call(lam, asks, row) for (lam, asks), row in zip(read.where, rows, strict=True))
    return Probe(bench.name, bench.schedule, bench.nodes, prediction, calls, result, residual, read.mutated)


def _planned(record: Method, start: Start | None) -> Callable[[Any, Array, FloatArray], Array]:
    """Catalogue method as a sampler."""

    def run(model: Any, x: Array, nodes: FloatArray) -> Array:
        numbers = plan(record, model.schedule, from_half_log_snr(model.schedule, nodes), start=start)
        return solve(numbers, model.denoiser(numbers.prediction), x)

    return run


def _exchange(rows: Sequence[FloatArray], pairs: Sequence[tuple[float, float]]) -> list[FloatArray]:
    """Rows for other evaluations: evaluation j is ``p_j X_j + q_j new_j``, with X_j its own state."""
    unit = np.eye(len(pairs) + 1)
    known: list[FloatArray] = []
    new: list[FloatArray] = []
    for k, row in enumerate(rows):
        total = row[0] * unit[0]
        for weight, evaluation in zip(row[1:], known, strict=False):
            total = total + weight * evaluation
        new.append(total)
        if k < len(pairs):
            p, q = pairs[k]
            known.append(p * total + q * unit[k + 1])
    return new


def _relative(row: FloatArray, base: FloatArray, first: int, zero: float) -> dict[str, float]:
    """A cumulative row as {source: weight} on top of the state ``base``; ``first`` is the step's first evaluation."""
    factor = row[0] / base[0] if abs(base[0]) > np.finfo(float).tiny else 0.0
    rest = row - factor * base
    noise = zero * max(np.abs(row).max(), np.abs(factor * base).max())
    weights = {"x": float(factor)} if factor else {}
    for j in range(first, len(rest) - 1):
        if abs(rest[j + 1]) > noise:
            weights[f"k{j - first + 1}"] = float(rest[j + 1])
    for j in range(first - 1, -1, -1):
        if abs(rest[j + 1]) > noise:
            weights[f"m{first - j}"] = float(rest[j + 1])
    return weights


def _matrix(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> FloatArray:
    """Matrix of the weights of ``names``."""
    return np.array([[row.get(name, 0.0) for name in names] for row in rows]).reshape(len(rows), len(names))
