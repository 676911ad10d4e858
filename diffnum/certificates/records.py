"""Certificates as data: what was proved, bounded and measured of one method, and what contradicts its record."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffnum.certificates.accuracy import Accuracy
from diffnum.coefficients.method import GRID_KINDS
from diffnum.jobs.data import from_data, json_text, jsonable, parsed

__all__ = ["Agreement", "Certificate", "Certificates", "Measurement", "ProofResult"]

FORMAT = "diffnum-certificates-v1"


@dataclass(frozen=True)
class ProofResult:
    """Outcome of the symbolic proof.

    Parameters
    ----------
    ok : bool
        Whether every identity holds.
    orders : mapping of str to int
        Proved order of the update formula with exact history, by kind of grid.
    identities : sequence of (str, bool, str)
        Statements, whether each holds, and what differs where it does not.
    """

    ok: bool
    orders: Mapping[str, int]
    identities: Sequence[tuple[str, bool, str]]


@dataclass(frozen=True)
class Measurement:
    """One measured rate.

    Parameters
    ----------
    schedule, grid, problem : str
        What it was measured on.
    variant, measure : str
        As in :mod:`diffnum.convergence.study`.
    expected : float or None
        Rate that the record implies (one more than the order for local defects).
    rate : float or None
        Extrapolated rate; where nothing settles the last pair rate.
    finding : str
        What the rate says of the recorded order: "as recorded", "above", "below", "undecided", or
        "observed" where the record says nothing.
    reason : str
        The estimator's sentence.
    steps, errors : sequences
        The data.
    """

    schedule: str
    grid: str
    problem: str
    variant: str
    measure: str
    expected: float | None
    rate: float | None
    finding: str
    reason: str
    steps: Sequence[int] = ()
    errors: Sequence[float] = ()

    @property
    def shown(self) -> str:
        """Rate for a reader: the order where it is decided, else the rate with a tilde."""
        if self.rate is None:
            return "-"
        order = round(self.rate)
        settled = self.finding != "undecided" and abs(self.rate - order) <= 0.1
        return f"{order:g}" if settled else f"~{self.rate:.2f}"


@dataclass(frozen=True)
class Agreement:
    """How many recorded trajectories of the authors' codes the method reproduces.

    Parameters
    ----------
    reproduced, cases : int
        Trajectories reproduced, and trajectories that the method was asked to reproduce.
    worst : float
        Largest difference in units of the tolerance (1e-9 relative).
    """

    reproduced: int = 0
    cases: int = 0
    worst: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether no trajectory differs."""
        return self.reproduced == self.cases


@dataclass(frozen=True)
class Certificate:
    """Everything that was established of one method.

    Parameters
    ----------
    name, title : str
        The method.
    nfe_per_step, claimed : int
        Model evaluations a step; order that its authors claim.
    recorded : mapping of str to int
        Order of the record by kind of grid.
    recorded_with_startup : int
        Order of the record with start-up and last step as shipped.
    proof : ProofResult
        Symbolic proof.
    accuracy : Accuracy
        Certified accuracy of the weights.
    orders : sequence of Measurement
        Global and local rates of the update formula on each schedule, grid and problem.
    ends : sequence of Measurement
        Rates with start-up, last step, both, and with the order lowered at the end.
    golden : Agreement
        Agreement with recorded trajectories.
    """

    name: str
    title: str
    nfe_per_step: int
    claimed: int
    recorded: Mapping[str, int]
    recorded_with_startup: int
    proof: ProofResult
    accuracy: Accuracy
    orders: Sequence[Measurement]
    ends: Sequence[Measurement]
    golden: Agreement

    @property
    def contradictions(self) -> tuple[str, ...]:
        """What speaks against the record."""
        return tuple(self._contradictions())

    def _contradictions(self) -> Iterator[str]:
        if not self.proof.ok:
            yield "not proved: " + "; ".join(f"{c}: {d}" for c, ok, d in self.proof.identities if not ok)
        if not self.accuracy.ok:
            yield f"weights are off by {self.accuracy.worst:.3g} eps, more than {self.accuracy.bound:g}"
        for cell in self._cells():
            low = [m for m in cell if m.finding == "below"]
            # a kind problem may show more, not every one; one step from exact history may be better than all of them
            high = cell[0].measure == "global" and all(m.finding == "above" for m in cell)
            for m in low or (cell[:1] if high else []):
                where = f"{m.schedule}, {m.grid} grid, {m.problem}"
                yield f"{m.measure} rate on {where}: {m.reason}; recorded {m.expected:g}"
        for m in self.ends:
            if m.finding == "below":
                yield f"{m.variant} on {m.grid} grid: {m.reason}; recorded {m.expected:g}"
        if not self.golden.ok:
            yield f"reproduces {self.golden.reproduced} of {self.golden.cases} recorded trajectories"

    @property
    def undecided(self) -> tuple[str, ...]:
        """Cells (schedule, grid, measure) in which no problem shows the recorded order."""
        return tuple(
            f"{cell[0].measure} rate on {cell[0].schedule}, {cell[0].grid} grid: {cell[0].reason}"
            for cell in self._cells()
            if not any(m.finding in ("as recorded", "below") for m in cell)
            and any(m.finding == "undecided" for m in cell)
        )

    def _cells(self) -> Iterator[list[Measurement]]:
        cells: dict[tuple[str, str, str], list[Measurement]] = {}
        for m in self.orders:
            cells.setdefault((m.schedule, m.grid, m.measure), []).append(m)
        yield from cells.values()

    @property
    def ok(self) -> bool:
        """Whether all is proved, bounded, measured and agreed with."""
        return not self.contradictions and not self.undecided

    def measured(self, grid: str, schedule: str | None = None) -> str:
        """Order of the formula on a kind of grid, the lowest over problems (and schedules) that decide it."""
        rows = [m for m in self.orders if m.measure == "global" and m.grid == grid and schedule in (None, m.schedule)]
        return _lowest(rows)

    def end(self, variant: str) -> str:
        """Lowest order of a variant over the kinds of grid."""
        return _lowest([m for m in self.ends if m.variant == variant])

    def summary(self) -> str:
        """One line."""
        orders = [str(self.proof.orders.get(kind, "?")) for kind in GRID_KINDS]
        order = orders[0] if len(set(orders)) == 1 else " / ".join(orders)
        cells = {(m.schedule, m.grid, m.problem) for m in self.orders}
        golden = f"golden {self.golden.reproduced} of {self.golden.cases}" if self.golden.cases else "golden: none"
        return (
            f"{self.name}: order {order} (claimed {self.claimed}), {'proved' if self.proof.ok else 'NOT proved'}; "
            f"weights within {self.accuracy.worst:.2f} eps; measured in {len(cells)} settings; "
            f"start-up {self.end('start-up')}, last step {self.end('last step')}, as shipped {self.end('as shipped')}; "
            f"{golden}"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record."""
        verdict = {"ok": self.ok, "contradictions": list(self.contradictions), "undecided": list(self.undecided)}
        return {**jsonable(self), "verdict": verdict}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Certificate:
        """Certificate from :meth:`to_dict`."""
        return from_data(cls, data)


def _lowest(rows: Sequence[Measurement]) -> str:
    """Smallest rate shown; decided ones first where they agree with it."""
    known = [m for m in rows if m.rate is not None]
    return min(known, key=lambda m: m.rate if m.rate is not None else math.inf).shown if known else "-"


@dataclass(frozen=True)
class Certificates:
    """Certificates of several methods, with what they were made by.

    Parameters
    ----------
    certificates : tuple of Certificate
        One a method.
    seed : int
        Seed of starting points and inputs.
    versions : mapping of str to str
        Package, Python and libraries.
    settings : mapping
        Schedules, grids, problems, points.
    """

    certificates: tuple[Certificate, ...]
    seed: int
    versions: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every certificate holds."""
        return all(c.ok for c in self.certificates)

    def __getitem__(self, name: str) -> Certificate:
        """Certificate of a method."""
        for certificate in self.certificates:
            if certificate.name == name:
                return certificate
        msg = f"{name!r} was not certified: {', '.join(c.name for c in self.certificates)} were"
        raise KeyError(msg)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record."""
        return {
            "format": FORMAT,
            "seed": self.seed,
            "versions": dict(self.versions),
            "settings": jsonable(self.settings),
            "ok": self.ok,
            "certificates": [c.to_dict() for c in self.certificates],
        }

    def to_json(self) -> str:
        """JSON text: the same for the same findings."""
        return json_text(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Certificates:
        """Certificates from :meth:`to_json`.

        Raises
        ------
        ValueError
            If the text is no record of certificates.
        """
        try:
            data = parsed(text)
            found = data.get("format")
            certificates = tuple(Certificate.from_dict(c) for c in data["certificates"] if found == FORMAT)
            made = cls(certificates, data["seed"], data["versions"], data["settings"])
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            msg = f"text is no record in the format {FORMAT} ({error}): write it with to_json()"
            raise ValueError(msg) from None
        if found != FORMAT:
            msg = f"text has format={found!r}, not {FORMAT}: make the certificates anew"
            raise ValueError(msg)
        return made
