"""What the report says of a method: derived, proved, measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import GRID_KINDS, Method
from diffnum.report.prose import SEED, anchor, broken, sentence, to_mathml

__all__ = ["MethodSection", "examine"]


@dataclass(frozen=True)
class MethodSection:
    """What the page says of one method; the attributes are those that the template names.

    Parameters
    ----------
    name, title, form, source : str
        Of the record.
    claimed : int
        Order that is claimed.
    proved : str
        Order that is proved, in words; ``proof_ok``, whether the proof holds.
    proof_ok : bool
        Whether all identities hold.
    measured : mapping of str to str
        Kind of grid -> measured order.
    shipped : str
        Order as shipped.
    nfe_per_step : int
        Evaluations of one step more.
    verdict, tone, summary, distinguish : str
        What is said first, how it is coloured, in one sentence, and how the method differs from its neighbours.
    formula, error_constant : str
        Update and leading error constant, as the page shows them.
    argument, identities, residuals
        The proof: its sentences, identities (ok, claim, difference) and what is left at the next order.
    study_verdict, study_table, plot : str
        The order study: sentence, table and figure, in HTML and SVG.
    contradictions, undecided : tuple of str
        Where measurement and proof differ, and what the data do not decide.
    """

    name: str
    title: str
    form: str
    claimed: int
    proved: str
    proof_ok: bool
    measured: Mapping[str, str]
    shipped: str
    nfe_per_step: int
    verdict: str
    tone: str
    summary: str
    distinguish: str
    source: str
    formula: str
    error_constant: str
    argument: tuple[tuple[str, str], ...]
    identities: tuple[tuple[bool, str, str], ...]
    residuals: tuple[Mapping[str, Any], ...]
    study_verdict: str
    study_table: str
    plot: str
    contradictions: tuple[str, ...]
    undecided: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """Identifier in the page."""
        return anchor(self.name)


def examine(name: str, *, quick: bool = False) -> MethodSection:
    """Derive, prove and measure one method.

    Parameters
    ----------
    name : str
        Name in the catalogue.
    quick : bool
        Measure on one problem only.

    Returns
    -------
    MethodSection
    """
    from diffnum.certificates.orders import contradictions, formula_and_shipped
    from diffnum.plot import to_svg
    from diffnum.proofs import derive, prove

    record = find_method(name)
    derivation, proof = derive(name), prove(name)
    study = formula_and_shipped(name, SEED, quick=quick)
    measured = {kind: _measured(study.select(), kind) for kind in GRID_KINDS}
    against = tuple(contradictions(record, study.select()))
    undecided = tuple(f"{name} on {s.grid} grids ({s.problem})" for s in study.select() if s.order is None)
    shipped = min((_measured(study.select("as shipped"), kind) for kind in GRID_KINDS), key=_number)
    verdict, tone = _verdict(record, study, shipped, bool(against) or not proof.ok)
    return MethodSection(
        name=name,
        title=record.title[0].upper() + record.title[1:],
        form=_form_text(record),
        claimed=record.claimed_order,
        proved=_proved(proof.orders),
        proof_ok=proof.ok,
        measured=measured,
        shipped=shipped,
        nfe_per_step=record.nfe_per_step,
        verdict=verdict,
        tone=tone,
        summary=record.summary,
        distinguish=record.distinguish,
        source=f"{record.cite}, {record.equation}",
        formula=to_mathml(broken(derivation.latex())),
        error_constant=_constant(derivation.error_constant),
        argument=tuple((line.text, to_mathml(line.equation) if line.equation else "") for line in derivation.argument),
        identities=tuple((i.ok, i.claim.replace("==", "="), i.detail) for i in proof.identities),
        residuals=tuple(
            {"grid": r.grid, "order": r.order, "trees": r.trees, "zero": r.zero, "example": r.example}
            for r in proof.residuals
        ),
        study_verdict=sentence(study.verdict.partition(": ")[2]),
        study_table="\n".join(str(study).splitlines()[1:]),
        plot=to_svg(study.plot(), title=_plot_title(record, measured), prefix=anchor(name)),
        contradictions=against,
        undecided=undecided,
    )


def _measured(series: Sequence[Any], kind: str) -> str:
    """Order on a kind of grid, the lowest over problems; a rate with a tilde where it is not decided."""
    shown = []
    for s in (s for s in series if s.grid == kind):
        rate = s.estimate.rate if s.estimate.rate is not None else s.estimate.last_rate
        value = s.order if s.order is not None else rate
        if value is not None and math.isfinite(value):
            shown.append((value, f"{value:g}" if s.order is not None else f"~{value:.2f}"))
    return min(shown)[1] if shown else "~nan"


def _number(shown: str) -> float:
    """Number in what is shown; a rate that is missing counts as infinite."""
    value = float(shown.strip("~"))
    return math.inf if math.isnan(value) else value


def _verdict(record: Method, study: Any, shipped: str, wrong: bool) -> tuple[str, str]:
    """What a reader takes away, and its tone."""
    if wrong:
        return "contradicts its record", "bad"
    if study.order is None:
        return "measurement undecided", ""
    worst = min(record.order_on(kind) for kind in GRID_KINDS)
    parts = []
    if record.order < record.claimed_order:
        parts.append(f"order {record.order}, not {record.claimed_order} as claimed")
    if worst < record.order:
        parts.append(f"order {worst} on irregular steps")
    if "~" in shipped:
        parts.append("the run as shipped has not settled")
    elif _number(shipped) < worst:
        parts.append(f"start-up as shipped costs {worst - _number(shipped):g}")
    return ("; ".join(parts), "") if parts else ("as claimed", "good")


def _form_text(record: Method) -> str:
    """Prediction and clock of a form."""
    return {
        "data": "data, λ",
        "noise": "noise, λ",
        "rho": "noise, σ/α",
        "velocity": "velocity, σ/(α + σ)",
        "time": "noise, t",
    }.get(record.form.name, record.form.name)


def _proved(orders: Mapping[str, int]) -> str:
    """Proved order, with the exceptions."""
    if len(set(orders.values())) == 1:
        return str(next(iter(orders.values())))
    return " / ".join(str(orders[kind]) for kind in GRID_KINDS)


def _plot_title(record: Method, measured: Mapping[str, str]) -> str:
    """What the plot shows, in words."""
    found = ", ".join(f"{order} on {kind} grids" for kind, order in measured.items())
    return f"Errors of {record.title} against steps on logarithmic axes; measured order {found}."


def _constant(value: Any) -> str:
    """Error constant as MathML; sympy expressions typeset themselves, so that sympy need not be imported here."""
    return to_mathml(value._repr_latex_().strip("$").removeprefix(r"\displaystyle "), block=False)
