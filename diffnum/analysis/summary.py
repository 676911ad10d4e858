"""Everything that the analysis knows of a method, in one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike

from diffnum.analysis.amplification import check_step, record_of
from diffnum.analysis.error_constants import ErrorConstant, error_constant
from diffnum.analysis.gaussian import FrequencyResponse, Start, frequency_response
from diffnum.analysis.stability import Stability, StabilityRegion, stability, stability_region
from diffnum.coefficients.method import Method
from diffnum.grids import Grid
from diffnum.jobs.checked import check_schedule
from diffnum.jobs.shown import short, table_html
from diffnum.schedules import VPLinear
from diffnum.types import Schedule

__all__ = ["NFE", "SPECTRUM", "STEP", "Analysis", "analyse"]

STEP = 0.5
"""Step in half-log-SNR of the stability analysis: about 20 steps from pure noise to data on VP-linear."""

SPECTRUM = tuple(np.logspace(-3, 1, 9).tolist())
"""Variances of the Gaussian data, eigenvalues of their covariance."""

NFE = (5, 10, 20, 40, 80)
"""Budgets of evaluations."""

Part = TypeVar("Part")


@dataclass(frozen=True, eq=False)
class Analysis:
    """Stability, error constants and exact output law of one method; a part that does not apply is None.

    Parameters
    ----------
    method, title : str
        Name and title of the method.
    stability : Stability or None
        Real and imaginary limits and the root condition.
    region : StabilityRegion or None
        Region of absolute stability.
    constant : ErrorConstant or None
        Principal error constants.
    response : FrequencyResponse or None
        Output laws on Gaussian data.
    refusals : mapping of str to str
        Why a part is None, by its name.
    """

    method: str
    title: str
    stability: Stability | None
    region: StabilityRegion | None
    constant: ErrorConstant | None
    response: FrequencyResponse | None
    refusals: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Short form; ``str`` has the tables."""
        return short("Analysis", self.method, parts=[name for name, part in self._parts().items() if part is not None])

    def _repr_html_(self) -> str:
        listed = {**{name: part for name, part in self._parts().items() if part is not None}, **self.refusals}
        rows = [(name, line) for name, part in listed.items() for line in str(part).splitlines() if line.strip()]
        heads = [name if i == 0 or rows[i - 1][0] != name else "" for i, (name, _) in enumerate(rows)]
        return table_html(("", ""), [(head, line) for head, (_, line) in zip(heads, rows, strict=True)], self.title)

    def _parts(self) -> dict[str, Any]:
        """What was found, by name."""
        return {
            "stability": self.stability,
            "roots": self.stability and self.stability.zero,
            "error constants": self.constant,
            "Gaussian data": self.response,
        }

    def __str__(self) -> str:
        """All tables, one below the other."""
        parts = [self.title, self.stability, self.stability and self.stability.zero, self.constant, self.response]
        reasons = [f"no {part}: {reason}" for part, reason in self.refusals.items()]
        return "\n\n".join(str(part) for part in (*parts, *reasons) if part)

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON-able data; infinite ones stay floats."""
        return {
            "method": self.method,
            "title": self.title,
            "stability": None if self.stability is None else _stability(self.stability),
            "region": None if self.region is None else _region(self.region),
            "constant": None if self.constant is None else _constant(self.constant),
            "response": None if self.response is None else _response(self.response),
            "refusals": dict(self.refusals),
        }


def _stability(found: Stability) -> dict[str, Any]:
    return {
        "form": found.form,
        "step": found.step,
        "nfe_per_step": found.nfe,
        "real": found.real,
        "imaginary": found.imaginary,
        "stiffness": found.stiffness,
        "zero_stable": found.zero.stable,
        "roots": [[root.real, root.imag] for root in found.zero.roots],
    }


def _region(found: StabilityRegion) -> dict[str, Any]:
    return {
        "area": found.area,
        "rectangle": [float(v) for v in (found.re[0], found.re[-1], found.im[0], found.im[-1])],
        "locus": [[float(z.real), float(z.imag)] for z in found.locus],
    }


def _constant(found: ErrorConstant) -> dict[str, Any]:
    return {
        "order": found.order,
        "linear": found.linear,
        "quadrature": found.quadrature,
        "polynomial": found.polynomial.tolist(),
        "rate": found.rate,
    }


def _response(found: FrequencyResponse) -> dict[str, Any]:
    return {
        "nfe": found.nfe.tolist(),
        "eigenvalues": found.eigenvalues.tolist(),
        "gain": found.gain.tolist(),
        "exact_gain": found.exact_gain.tolist(),
        "deviation": found.deviation.tolist(),
        **{name: getattr(found, name)().tolist() for name in ("w2", "kl", "frechet")},
    }


def analyse(
    method: Method | str,
    *,
    step: float = STEP,
    schedule: Schedule | None = None,
    nfe: Sequence[int] = NFE,
    eigenvalues: ArrayLike = SPECTRUM,
    grid: Callable[[int], Grid] | None = None,
    start: Start = "noise",
    parameters: Mapping[str, float] | None = None,
) -> Analysis:
    """Analyse a method: absolute and zero-stability, error constants, output law on Gaussian data.

    Parameters
    ----------
    method : str or Method
        Name or record; ``hb_NAME_BETA`` is a method under heavy ball.
    step : float
        Step in half-log-SNR (natural log of alpha/sigma), >= 0, for the stability of exponential forms; 0 is the limit.
    schedule : Schedule, optional
        The noising process of the runs; VP-linear by default.
    nfe : sequence of int
        Budgets of evaluations of the runs.
    eigenvalues : array_like, shape (d,)
        Variances of the Gaussian data, > 0.
    grid : callable, optional
        Grid of the runs, ``grid(n)``; uniform in half-log-SNR by default.
    start : {"noise", "marginal"}
        Law of the first state; see :func:`~diffnum.analysis.gaussian.propagate`.
    parameters : mapping of str to float, optional
        The numbers that :attr:`Method.parameters` asks for.

    Returns
    -------
    Analysis
        Where a part does not apply to the method, it is None and ``refusals`` says why.

    Raises
    ------
    ValueError
        If the method is unknown or asks for other parameters, the step or a budget is out of range, or an eigenvalue is
        not positive.

    Examples
    --------
    >>> analyse("lms_2", nfe=(10,)).stability.real
    1.0
    """
    record = record_of(method)
    try:
        variances = np.atleast_1d(np.asarray(eigenvalues, dtype=np.float64))
    except (TypeError, ValueError) as error:
        msg = f"eigenvalues={eigenvalues!r} are no numbers: give the variances of the data, finite and > 0"
        raise TypeError(msg) from error
    if not (np.isfinite(variances).all() and (variances > 0).all()):
        msg = f"eigenvalues={eigenvalues!r}: give the variances of the data, finite and > 0"
        raise ValueError(msg)
    check_step(step)
    if schedule is not None:
        check_schedule(schedule)
    if grid is not None and not callable(grid):
        msg = f"grid={grid!r} is no function: pass grid(n) -> Grid, such as partial(dn.grids.karras, schedule)"
        raise TypeError(msg)
    if start not in get_args(Start):
        msg = f"start={start!r} is unknown: use one of {', '.join(get_args(Start))}"
        raise ValueError(msg)
    if isinstance(nfe, int | float) or not all(isinstance(k, int | np.integer) for k in nfe):
        msg = f"nfe={nfe!r}: give a sequence of whole numbers, such as (5, 10, 20)"
        raise TypeError(msg)
    if not len(nfe) or min(nfe) < 1:
        msg = f"nfe={tuple(nfe)}: give at least one budget of evaluations, each at least 1"
        raise ValueError(msg)
    if set(parameters or {}) != set(record.parameters):
        msg = (
            f"parameters={sorted(parameters or {})}: {record.name} takes exactly {sorted(record.parameters) or 'none'}"
        )
        raise ValueError(msg)
    refusals: dict[str, str] = {}

    def attempt(part: str, make: Callable[[], Part]) -> Part | None:
        try:
            return make()
        except ValueError as error:
            refusals[part] = str(error)
            return None

    return Analysis(
        record.name,
        record.title,
        attempt("stability", lambda: stability(record, step, parameters)),
        attempt("region", lambda: stability_region(record, step, parameters=parameters)),
        attempt("constant", lambda: error_constant(record, parameters=parameters)),
        attempt(
            "response",
            lambda: frequency_response(
                record,
                VPLinear() if schedule is None else schedule,
                nfe,
                variances,
                grid=grid,
                start=start,
                parameters=parameters,
            ),
        ),
        refusals,
    )
