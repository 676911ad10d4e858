"""The mutation run: which check finds which defect, and why the global order alone does not find them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from diffnum.certificates.certify import LIBRARIES, certifiable
from diffnum.certificates.mutants import KINDS, Mutant, mutants, mutated
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.catalogue import methods as catalogue
from diffnum.coefficients.method import Method
from diffnum.convergence.measure import measured_rate
from diffnum.convergence.nodes import INTERVAL, PLAIN_INTERVAL
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.probe import Probe, probe
from diffnum.convergence.rate import RateEstimate
from diffnum.jobs.environment import versions
from diffnum.jobs.ledger import Ledger, Progress, digest, source_digest
from diffnum.jobs.parallel import spread
from diffnum.problems import three_peaks
from diffnum.proofs import placements
from diffnum.proofs.claims import is_derived
from diffnum.proofs.orders import formal_order
from diffnum.schedules import VPLinear

__all__ = ["KILLERS", "Kill", "Kills", "mutate"]

KILLERS = ("refused", "proof", "order conditions", "local order", "global order", "probe")
"""Checks: the rule's own of its input; derived == shipped; B-series; measured one-step defect; measured global rate;
weights read off a run."""

GRIDS = ("uniform", "irregular")
STEPS = (24, 48, 96, 192)
POINTS = 6
PROBED = 1e-10
"""Difference of normalised weights that a probe tells from rounding."""


@dataclass(frozen=True)
class Kill:
    """What became of one mutant.

    Parameters
    ----------
    method : str
        The sound method.
    mutant : Mutant
        The defect.
    killers : tuple of str
        Checks that reject the mutant.
    equivalent : bool
        Whether no step of any plan differs from the sound method's, so that there is nothing to find.
    explanation : str
        Why the global order survives, where it does.
    """

    method: str
    mutant: Mutant
    killers: tuple[str, ...]
    equivalent: bool
    explanation: str = ""

    @property
    def killed(self) -> bool:
        """Whether some check rejects the mutant."""
        return bool(self.killers)


class KillCount(NamedTuple):
    """One kind of defect in the table."""

    kind: str
    planted: int
    killed: Mapping[str, int]
    survivors: int


@dataclass(frozen=True)
class Kills:
    """Outcome of a mutation run.

    Parameters
    ----------
    kills : tuple of Kill
        One a mutant; equivalent ones included.
    """

    kills: tuple[Kill, ...]
    killers: tuple[str, ...] = KILLERS

    @property
    def planted(self) -> tuple[Kill, ...]:
        """Mutants that differ from the sound method."""
        return tuple(k for k in self.kills if not k.equivalent)

    @property
    def survivors(self) -> tuple[Kill, ...]:
        """Mutants that no check rejects."""
        return tuple(k for k in self.planted if not k.killed)

    @property
    def unexplained(self) -> tuple[Kill, ...]:
        """Mutants that the global order accepts for no reason known here."""
        return tuple(k for k in self.planted if "global order" not in k.killers and k.explanation == UNEXPLAINED)

    @property
    def rate(self) -> float:
        """Fraction of the planted defects that some check finds."""
        return sum(k.killed for k in self.planted) / len(self.planted) if self.planted else 1.0

    @property
    def ok(self) -> bool:
        """Whether every planted defect is found, and every miss of the global order has its reason."""
        return not self.survivors and not self.unexplained

    def table(self) -> list[KillCount]:
        """Kills by kind of defect, and in all."""
        rows = []
        for kind in (*KINDS, "all"):
            here = [k for k in self.planted if kind in (k.mutant.kind, "all")]
            if here:
                killed = {killer: sum(killer in k.killers for k in here) for killer in self.killers}
                rows.append(KillCount(kind, len(here), killed, sum(not k.killed for k in here)))
        return rows

    def explanations(self) -> dict[str, int]:
        """Why the global order survives, and how often."""
        found: dict[str, int] = {}
        for k in self.planted:
            if k.explanation:
                found[k.explanation] = found.get(k.explanation, 0) + 1
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def summary(self) -> str:
        """One sentence."""
        count, idle = len(self.planted), len(self.kills) - len(self.planted)
        found = sum(k.killed for k in self.planted)
        text = f"{found} of {count} planted defects are found ({100 * self.rate:.4g} %)"
        return text + (f"; {idle} more change no step of any plan." if idle else ".")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record."""
        return {
            "summary": self.summary(),
            "rate": self.rate,
            "ok": self.ok,
            "table": [row._asdict() for row in self.table()],
            "explanations": self.explanations(),
            "survivors": [f"{k.method}: {k.mutant}" for k in self.survivors],
            "unexplained": [f"{k.method}: {k.mutant}" for k in self.unexplained],
        }

    def __str__(self) -> str:
        """Table of killers, and what survives."""
        head = "  ".join(f"{killer:>16}" for killer in self.killers)
        lines = [self.summary(), f"{'defect':<16} {'planted':>7}  {head}  survive"]
        for row in self.table():
            cells = "  ".join(f"{row.killed[killer]:>16}" for killer in self.killers)
            lines.append(f"{row.kind:<16} {row.planted:>7}  {cells}  {row.survivors:>7}")
        lines += [f"the global order survives {count}: {why}" for why, count in self.explanations().items()]
        lines += [f"SURVIVES {k.method}: {k.mutant}" for k in self.survivors]
        lines += [f"UNEXPLAINED {k.method}: {k.mutant}" for k in self.unexplained]
        return "\n".join(lines)


REFUSED = "the rule refuses the nodes that it is given, so that there is no run to measure"
ELSEWHERE = "the defect is in steps of the start-up or the end, of which a study of the formula makes none"
HIGHER = "the order conditions up to the recorded order still hold: the defect lives in the terms beyond"
UNSETTLED = "the rates have not settled on any order within the steps of this run: a small defect shows late"
CANCELLED = "the one-step defect is of lower order on the problem, but its sum along this grid is not"
HIDDEN = "at these step counts the errors are those of the sound method to a quarter: the defect's own are smaller"
UNEXPLAINED = "not known"


def mutate(
    names: Sequence[str] | None = None,
    *,
    cache_dir: str | Path | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Kills:
    """Plant every defect in every method and see which checks find it.

    Parameters
    ----------
    names : sequence of str, optional
        Methods; all listed deterministic ones by default.
    cache_dir, jobs, progress
        As for :func:`diffnum.certificates.certify`.

    Returns
    -------
    Kills
    """
    chosen = [certifiable(name).name for name in (catalogue() if names is None else names)]
    ledger = Ledger(None if cache_dir is None else Path(cache_dir) / "mutants.jsonl")
    environment = {"source": source_digest(), **versions(*LIBRARIES)}
    keys = {name: digest([name, environment]) for name in chosen}
    missing = [name for name in chosen if keys[name] not in ledger]
    done = len(chosen) - len(missing)
    for name, result in spread(_work, missing, jobs):
        ledger.put(keys[name], result)
        done += 1
        if progress is not None:
            progress(done, len(chosen), name)
    return Kills(tuple(_kill(data) for name in chosen for data in ledger[keys[name]]))


def _work(name: str) -> list[dict[str, Any]]:
    """Fates of all mutants of a method, as JSON-able data."""
    record = find_method(name)
    return [asdict(examine(record, mutant)) for mutant in mutants(record)]


def _kill(data: Mapping[str, Any]) -> Kill:
    return Kill(
        data["method"], Mutant(**data["mutant"]), tuple(data["killers"]), data["equivalent"], data["explanation"]
    )


def examine(record: Method, mutant: Mutant) -> Kill:
    """Put one mutant before all checks.

    Parameters
    ----------
    record : Method
        Sound method.
    mutant : Mutant
        Defect.
    """
    spoilt = mutated(record, mutant)
    try:
        placements(spoilt)
    except (ValueError, ZeroDivisionError):
        return Kill(record.name, mutant, ("refused",), equivalent=False, explanation=REFUSED)
    derived = is_derived(spoilt)
    seen = _seen_by_probe(record, spoilt)
    if derived and not seen:
        return Kill(record.name, mutant, (), equivalent=True)
    orders_hold = _orders_hold(record, spoilt)
    rates = {(grid, measure): _rate(spoilt, grid, measure) for grid in GRIDS for measure in ("global", "local")}
    found = {
        "proof": not derived,
        "order conditions": not orders_hold,
        "local order": any(_off(record, rates[grid, "local"], grid, 1) for grid in GRIDS),
        "global order": any(_off(record, rates[grid, "global"], grid, 0) for grid in GRIDS),
        "probe": seen,
    }
    killers = tuple(name for name in KILLERS if found.get(name))
    why = "" if found["global order"] else _explained(record, spoilt, orders_hold, rates)
    return Kill(record.name, mutant, killers, equivalent=False, explanation=why)


def _explained(
    record: Method, spoilt: Method, orders_hold: bool, rates: Mapping[tuple[str, str], RateEstimate | None]
) -> str:
    """Why the global order does not tell a mutant from the method."""
    if not _top_differs(record, spoilt):
        return ELSEWHERE
    if orders_hold:
        return HIGHER
    if any((rate := rates[grid, "global"]) is None or rate.status != "decided" for grid in GRIDS):
        return UNSETTLED
    if any(_off(record, rates[grid, "local"], grid, 1) for grid in GRIDS):
        return CANCELLED
    if all(_alike(rates[grid, "global"], _sound(record.name, grid)) for grid in GRIDS):
        return HIDDEN
    return UNEXPLAINED


def _alike(rate: RateEstimate | None, sound: RateEstimate | None) -> bool:
    """Whether two runs have the same errors, to a quarter."""
    if rate is None or sound is None:
        return False
    ratio = rate.errors / sound.errors
    return bool((ratio > 0.75).all() and (ratio < 1.25).all())


@cache
def _sound(name: str, grid: str) -> RateEstimate | None:
    """Global rate of the sound method."""
    return _rate(find_method(name), grid, "global")


def _orders_hold(record: Method, spoilt: Method) -> bool:
    """Whether the B-series of a mutant shows the recorded order on every kind of grid; a rule that fails does not."""
    try:
        return all(
            formal_order(spoilt, grid) >= record.order_on(grid) for grid in (GRIDS if record.depth else GRIDS[:1])
        )
    except Exception:
        return False


def _top_differs(record: Method, spoilt: Method) -> bool:
    """Whether the step at full order, which the study of the formula makes, is another one."""
    sound, other = (
        r.programme(r.exact_steps + 2, start="exact", continues=True)[-1].rehearse() for r in (record, spoilt)
    )
    return [(n, c, dict(v)) for n, c, v in sound.rows()] != [(n, c, dict(v)) for n, c, v in other.rows()]


def _off(record: Method, rate: RateEstimate | None, grid: str, above: int) -> bool:
    """Whether a measured rate excludes the recorded order; a run that breaks down does."""
    expected = record.order_on(grid) + above
    return rate is None or (rate.rejects(expected, 0.2 if above else 0.1) and not _kinder(rate, expected))


def _kinder(rate: RateEstimate, expected: float) -> bool:
    """A rate above the recorded one speaks for a kind problem."""
    return rate.status == "decided" and rate.rate is not None and rate.rate > expected


def _rate(spoilt: Method, grid: str, measure: str) -> RateEstimate | None:
    """Rate of a mutant's formula; None where it cannot be run."""
    try:
        return measured_rate(spoilt, _oracle(bool(spoilt.form.rate)), grid, measure, STEPS)  # type: ignore[arg-type]
    except (ValueError, ZeroDivisionError, OverflowError, FloatingPointError):
        return None


@cache
def _oracle(half_log_snr: bool) -> Oracle:
    """One set of exact trajectories for all mutants: their states are computed once."""
    return Oracle(three_peaks(), VPLinear(), INTERVAL if half_log_snr else PLAIN_INTERVAL, POINTS, seed=0)


def _seen_by_probe(record: Method, spoilt: Method) -> bool:
    """Whether the weights of a whole run, start and end included, differ."""
    sound = _probed(record.name)
    try:
        found = probe(spoilt).for_prediction(sound.prediction)
    except (ValueError, ZeroDivisionError):
        return True
    if found.nfe != sound.nfe:
        return True
    same = zip((*found.calls,), (*sound.calls,), strict=True)
    if any(abs(a.half_log_snr - b.half_log_snr) > 1e-8 for a, b in same):
        return True
    rows = [(a.row, b.row) for a, b in zip(found.calls, sound.calls, strict=True)] + [(found.result, sound.result)]
    return any(float(abs(a - b).max()) > PROBED for a, b in rows)


@cache
def _probed(name: str) -> Probe:
    """Weights of the sound method."""
    return probe(name)
