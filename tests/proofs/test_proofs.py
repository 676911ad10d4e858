"""Every record of the catalogue is proved; everything spoilt is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import pytest
import sympy

import diffnum as dn
from diffnum import proofs
from diffnum.certificates.mutants import perturbed
from diffnum.coefficients.method import Method
from diffnum.derivation.published import PUBLISHED, Published
from diffnum.proofs import Proof, claims, orders
from diffnum.proofs.steps import top_placement
from diffnum.proofs.theorems import runge_kutta
from diffnum.tableau import Step, Window

NAMES = list(dn.methods())
QUICK = ("ddim", "eab_2", "dpmpp_2m", "edm_heun", "dpm_solver_3", "lms_4", "ghvb_1.8", "deis_tab1")


@cache
def prove(name: str) -> Proof:
    """Proof of a method of the catalogue, once."""
    return dn.prove(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_listed_method_is_proved(name: str) -> None:
    proof = prove(name)
    assert proof.ok, str(proof)
    assert proof.order == dn.method(name).order
    for grid in ("uniform", "smooth", "irregular"):
        assert proof.orders[grid] == dn.method(name).order_on(grid)


@pytest.mark.parametrize(
    "name", ["unipc_1_bh1", "unipc_1_bh2", "unipc_2_bh1", "ghvb_0.5", "ghvb_2", "ghvb_3.2", "deis_tab0", "lms_2"]
)
def test_members_that_are_not_listed_are_proved_too(name: str) -> None:
    proof = prove(name)
    assert proof.ok, str(proof)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eab_5", "lms_6", "unipc_4_bh2", "ghvb_4.5", "eab_noise_4"])
def test_members_of_high_order_are_proved_too(name: str) -> None:
    proof = prove(name)
    assert proof.ok, str(proof)


@pytest.mark.parametrize("name", QUICK)
def test_residuals_vanish_up_to_the_order_and_not_beyond(name: str) -> None:
    proof = prove(name)
    for grid in {r.grid for r in proof.residuals}:
        order = dn.method(name).order_on(grid)
        summary = [(r.order, r.zero) for r in proof.residuals if r.grid == grid]
        assert summary == [(q, q <= order) for q in range(1, order + 2)]


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("ddim", "same state"),
        ("dpmpp_3m_corrected", "those of eab_3"),
        ("unipc_3_bh1", "predictor is eab_3"),
        ("unipc_3_bh2", "Adams-Moulton"),
        ("unipc_2_bh2", "predictor is dpmpp_2m"),
        ("unipc_2_bh2", "predicted points"),
    ],
)
def test_theorems_on_relatives_are_part_of_the_proof(name: str, claim: str) -> None:
    assert [i.ok for i in prove(name).identities if claim in i.claim] == [True]


# -- negative controls -------------------------------------------------------------------------------


def weights(record: Method) -> Iterator[tuple[str, str]]:
    """All (row, vector) of the step at full order with a weight that is not zero."""
    for row, _, value in top_placement(record).rehearse().rows():
        yield from ((row, source) for source, weight in value.items() if weight != 0)


EVERY_WEIGHT = [(name, *entry) for name in NAMES for entry in weights(dn.method(name))]


@pytest.mark.parametrize(("name", "row", "source"), EVERY_WEIGHT)
def test_one_percent_on_any_weight_breaks_the_identity(name: str, row: str, source: str) -> None:
    spoilt = perturbed(dn.method(name), row, source)
    assert not claims.is_derived(spoilt)


@pytest.mark.parametrize(("name", "row", "source"), [e for e in EVERY_WEIGHT if e[1][0] in "kx"])
def test_one_percent_on_any_weight_of_the_state_or_a_stage_costs_order(name: str, row: str, source: str) -> None:
    record = dn.method(name)
    sound = orders.expanded(record, "uniform")
    spoilt = orders.expanded(perturbed(record, row, source), "uniform")
    # where the method falls short already, a spoilt stage may leave the order, but not the leading error
    assert spoilt.order < sound.order or spoilt.failing != sound.failing
    if record.order_on("uniform") == record.claimed_order:
        assert spoilt.order < sound.order


@pytest.mark.parametrize("name", QUICK)
def test_a_perturbed_method_is_not_proved(name: str) -> None:
    proof = dn.prove(perturbed(dn.method(name), "x", "k1"))
    assert not proof.ok
    assert not proof
    assert "NOT proved" in str(proof)


@pytest.mark.parametrize("name", QUICK)
def test_a_factor_of_one_changes_nothing(name: str) -> None:
    assert dn.prove(perturbed(dn.method(name), "x", "k1", 1)).ok


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("shift", [-1, 1])
def test_a_record_that_claims_another_order_is_refuted(name: str, shift: int) -> None:
    record = dn.method(name)
    stated = {grid: record.order_on(grid) + shift for grid in ("uniform", "smooth", "irregular")}
    wrong = replace(record, highest=record.top, order=record.order + shift, orders=stated)
    proof = dn.prove(wrong)
    assert not proof.ok
    assert all(not i.ok for i in proof.identities if i.claim.startswith("order"))
    assert all(i.ok for i in proof.identities if "shipped" in i.claim)


def tampered(
    formula: Published, symbols: Any, order: int, *, row: str, source: str, **options: Any
) -> dict[str, dict[str, Any]]:
    rows = formula.rows(symbols, order, **options)
    if source in rows.get(row, {}):
        rows[row][source] = rows[row][source] * Fraction(101, 100)
    return rows


@pytest.mark.parametrize("name", QUICK)
def test_a_tampered_published_formula_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = dn.method(name)
    changed = tuple(replace(f, rows=partial(tampered, f, row="x", source="k1")) for f in PUBLISHED[record.family])
    monkeypatch.setattr(claims, "PUBLISHED", MappingProxyType({record.family: changed}))
    proof = dn.prove(name)
    assert not proof.ok
    assert all(not i.ok for i in proof.identities if i.claim.startswith("shipped == published"))
    assert all(i.ok for i in proof.identities if i.claim.startswith("derived == shipped"))


def test_a_method_without_derivation_or_publication_is_not_proved() -> None:
    proof = dn.prove(replace(dn.method("eab_2"), family="homemade"))
    assert not proof.ok
    assert {i.claim for i in proof.identities if not i.ok} == {"derived == shipped", "shipped == published"}


def test_a_rule_that_raises_is_reported_and_not_raised() -> None:
    def broken(window: Window, order: int) -> Step:
        msg = "no such luck"
        raise RuntimeError(msg)

    proof = dn.prove(replace(dn.method("ddim"), rule=broken))
    assert not proof.ok
    assert "no such luck" in str(proof)


# -- results -----------------------------------------------------------------------------------------


def test_unknown_methods_are_refused_with_the_nearest_names() -> None:
    with pytest.raises(ValueError, match="dpmpp_2m"):
        dn.prove("dpmpp_2n")
    with pytest.raises(ValueError, match="unknown"):
        dn.derive("no such thing")
    with pytest.raises(ValueError, match="homemade"):
        dn.derive(replace(dn.method("ddim"), family="homemade"))


def test_aliases_and_records_are_understood() -> None:
    assert dn.prove("euler").name == dn.prove(dn.method("ddim")).name == "ddim"
    assert dn.derive("unip_3").name == "eab_3"


def test_derived_weights_are_plain_expressions_with_real_exponentials() -> None:
    h, u = sympy.symbols("h u_1")
    derivation = dn.derive("dpmpp_2m")
    weight = derivation.weights["x"]["m1"]
    assert sympy.cancel((weight - (1 - sympy.exp(-h)) / (2 * u)) * sympy.exp(h)) == 0
    assert derivation.weights["x"]["x"] == 1
    assert derivation.weights["m1"] == {"k1": 1}


def test_error_constants_are_those_of_the_books() -> None:
    u1, u2, u3 = sympy.symbols("u_1 u_2 u_3")
    uniform = {u1: -1, u2: -2, u3: -3}
    constants = [dn.derive(n).error_constant.subs(uniform) for n in ("ddim", "eab_2", "eab_3", "lms_4")]
    assert constants == [sympy.Rational(1, 2), sympy.Rational(5, 12), sympy.Rational(3, 8), sympy.Rational(251, 720)]
    assert dn.derive("edm_heun").error_terms == {"[oo]": sympy.Rational(-1, 12), "[[o]]": sympy.Rational(1, 6)}
    assert dn.derive("unipc_3_bh2").error_constant.subs(uniform) == sympy.Rational(-19, 720)


@pytest.mark.parametrize(
    "name",
    [
        "hb_edm_heun_0.8",
        "nt_dpm_solver_3_0.7",
        "hb_unipc_2_bh2_0.8",
        "hb_deis_tab1_0.8",
        "hb_flowturbo_0.5",
        "ghvb_5.5",
    ],
)
def test_heavy_ball_on_any_base_is_proved_and_has_order_one(name: str) -> None:
    proof = prove(name)
    assert proof.ok, str(proof)
    assert proof.orders["uniform"] == (6 if name == "ghvb_5.5" else 1)


@pytest.mark.parametrize(
    "name", ["dpm_solver_2", "dpm_solver_3", "dpmpp_2s_taylor", "dpmpp_3s_taylor", "dpmpp_3s_r0.4_0.9"]
)
def test_dpm_solver_is_proved_for_all_inner_nodes(name: str) -> None:
    proof = prove(name)
    assert proof.ok, str(proof)
    stated = [i.claim for i in proof.identities if "inner nodes" in i.claim]
    assert len(stated) == 2
    assert ("r_2 = 2/3" in stated[1]) == (dn.method(name).top == 3)


def test_a_spoilt_weight_is_noticed_at_free_nodes_too() -> None:
    for source in ("k1", "k2"):
        spoilt = perturbed(dn.method("dpm_solver_2"), "x", source)
        assert runge_kutta._free_nodes(spoilt)
    assert "order is 0" in runge_kutta._order_of_free_nodes(perturbed(dn.method("dpm_solver_3"), "x", "k3"))


# -- methods whose plans are given numbers -------------------------------------------------------------

STATISTICS = dn.ModelStatistics.constant(0.5, 0.1, 0.2)
V3 = [
    {"order": 1},
    {"order": 2},
    {"order": 3},
    {"order": 3, "corrector": True},
    {"order": 3, "pseudo": True},
    {"order": 2, "corrector": True, "pseudo_corrector": True},
]


@pytest.mark.parametrize("name", ["dc_solver_2_bh2", "dc_solver_2_bh1_d1_noise"])
def test_dc_solver_is_proved_for_every_ratio_and_every_time(name: str) -> None:
    proof = prove(name)
    assert proof.ok, str(proof)
    stated = [i.claim for i in proof.identities]
    assert "with ratios 1 the weights are those of UniPC" in stated
    assert "a ratio other than 1 leaves order 1" in stated


@pytest.mark.parametrize("options", V3, ids=str)
def test_dpm_solver_v3_is_proved_for_all_statistics(options: dict[str, Any]) -> None:
    record = dn.dpm_solver_v3(STATISTICS, **options)
    proof = dn.prove(record)
    assert proof.ok, str(proof)
    assert proof.order == record.order


@pytest.mark.parametrize("source", ["x", "one", "k1", "f1"])
def test_one_percent_on_any_weight_of_dpm_solver_v3_is_noticed(source: str) -> None:
    spoilt = perturbed(dn.dpm_solver_v3(STATISTICS, 2), "x", source)
    assert not proofs.is_derived(spoilt)


def test_the_error_constant_of_dpm_solver_v3_is_that_of_interpolation() -> None:
    u = sympy.Symbol("u_1")
    derivation = dn.derive(dn.dpm_solver_v3(STATISTICS, 2))
    assert sympy.simplify(derivation.error_constant - (2 - 3 * u) / 12) == 0
    assert sympy.simplify(derivation.error_constant - dn.derive("eab_2").error_constant) == 0
    assert r"f_{n-1}" in derivation.latex()
    assert "rho" in dn.derive("dc_solver_2_bh2").code()
