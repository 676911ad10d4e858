"""Sums over past evaluations in closed form are the sums."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

import diffnum as dn
from diffnum.derivation.algebra import bseries
from diffnum.derivation.algebra.power_sums import PastSums
from diffnum.derivation.algebra.series import SeriesRing
from diffnum.proofs.orders import expanded
from diffnum.tableau import Step, Vector, Window

NAMES = ["eab_2", "eab_3", "eab_noise_3", "dpmpp_2m", "dpmpp_3m", "unipc_2_bh2", "lms_4", "deis_tab2", "abm_3_variable"]


def summary(record: dn.Method) -> list[tuple[str, int, str]]:
    expansion = expanded(record, "irregular")
    return [(str(r.tree), r.power, str(r.leading)) for r in expansion.residuals if r.leading]


@pytest.mark.parametrize("name", NAMES)
def test_closed_sums_give_the_expansion_that_addition_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = expanded(dn.method(name), "irregular")
    monkeypatch.setattr(bseries, "_sums", lambda *given: {})
    added = expanded(dn.method(name), "irregular")
    assert closed.order == added.order
    assert [(str(r.tree), r.power, str(r.leading)) for r in closed.failing] == [
        (str(r.tree), r.power, str(r.leading)) for r in added.failing
    ]


def test_a_weight_that_is_no_integral_is_summed_as_it_is() -> None:
    record = dn.method("eab_3")

    def rule(window: Window, order: int) -> Step:
        step = record.rule(window, order)
        return Step(step.stages, Vector({s: w * Fraction(6, 5) if s == "m2" else w for s, w in step.x.items()}))

    assert expanded(replace(record, rule=rule), "irregular").order == 0


def test_polynomials_in_a_symbol_come_apart_and_quotients_are_refused() -> None:
    ring = SeriesRing(3, ("u_1", "c"))
    c, u = ring.symbol("c"), ring.symbol("u_1")
    parts = ring.by_powers("c", c * c * ring.h * 3 / u + u)
    assert [str(p.coefficients[0]) for p in parts] == ["u_1", "0", "0"]
    assert parts[2][1] == (3 / u)[0]
    with pytest.raises(ValueError, match="no polynomial in c"):
        ring.by_powers("c", u / c)


def test_higher_sums_follow_from_the_first_for_any_weights() -> None:
    ring = SeriesRing(4, ("u_1", "u_2", "c"))
    u, v = ring.symbol("u_1"), ring.symbol("u_2")
    weights = [(ring.constant(2), u), (u + 3, v)]
    sums = PastSums(weights, [], lambda k: ring.constant(1), ring.symbol("c"), ring, 3)
    assert sums.power_sum(4) == 2 * u**4 + (u + 3) * v**4
