"""Every stochastic record is proved; everything spoilt is not; the constants are those of the runs."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import partial
from types import MappingProxyType

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.certificates.mutants import perturbed
from diffnum.coefficients import stochastic as cs
from diffnum.convergence.stochastic import strong_study
from diffnum.derivation.algebra.reverse import ReverseParts, ReverseSymbols, SquareRoot, covariance, path_covariance
from diffnum.derivation.algebra.symbols import SymbolicKernel
from diffnum.derivation.printing.notation import NOISE
from diffnum.derivation.published import PUBLISHED
from diffnum.proofs import claims
from diffnum.proofs.noise import law_identities, response_of
from diffnum.proofs.steps import top_case, top_placement

NAMES = list(dn.methods("stochastic"))
QUICK = (
    "sde_dpmpp_1", "sde_dpmpp_2m", "sde_trapezoid", "sde_dpm_2m", "seeds_2", "sa_solver_2_2", "ddpm",
    "dpm_2_ancestral", "dpmpp_sde", "edm_heun_churn",
)  # fmt: skip
FLOW = ("flow_sde_0.7", "dance_sde_0.3", "cps_0.5", "euler_ancestral_rf_1")


@pytest.mark.parametrize("name", NAMES)
def test_every_listed_method_is_proved(name):
    proof = dn.prove(name)
    assert proof.ok, str(proof)
    assert proof.order == dn.method(name).order
    claims = " ".join(i.claim for i in proof.identities)
    orders = ("strong order", "weak order") if dn.method(name).noise.approaches else ("order 0",)
    for claim in ("derived == shipped", "shipped == published", "without noise", *orders):
        assert claim in claims


@pytest.mark.parametrize(
    "name", ["sde_dpmpp_2m_tau0.5", "seeds_2_tau0", "ddim_eta0.2", "dpm_2_ancestral_eta0", "er_sde_2_sde4",
             "sa_solver_1_2_exact_tau2", "sa_solver_noise_2", "dpm_2_churn_tau0.3"],
)  # fmt: skip
def test_members_that_are_not_listed_are_proved_too(name):
    proof = dn.prove(name)
    assert proof.ok, str(proof)


def weights(name):
    """All (row, vector) of the step at full order with a weight."""
    for row, _, value in top_placement(dn.method(name)).rehearse().rows():
        yield from ((row, source) for source, weight in value.items() if not (isinstance(weight, int) and weight == 0))


@pytest.mark.parametrize(
    ("name", "row", "source"), [(n, *entry) for n in (*QUICK, *FLOW, "er_sde_2", "er_sde_3") for entry in weights(n)]
)
def test_one_percent_on_any_weight_breaks_the_identity(name, row, source):
    spoilt = perturbed(dn.method(name), row, source)
    assert not claims.is_derived(spoilt)


@pytest.mark.parametrize("name", ["seeds_2", "sde_trapezoid"])
def test_one_percent_on_the_noise_is_no_path(name):
    for row in ("k2", "x"):
        found = list(law_identities(top_case(perturbed(dn.method(name), row, "z1"))))
        assert not found[0].ok
    assert all(i.ok for i in law_identities(top_case(dn.method(name))))


def test_the_noise_of_the_official_seeds_3_is_that_of_no_path():
    # its first two draws change places at the end: the variance stays, the covariance with the stages does not
    record = dn.method("seeds_3")

    def swapped(window, order, **options):
        step = record.rule.func(window, order, **{**record.rule.keywords, **options})
        x = dict(step.x)
        if {"z1", "z2"} <= x.keys() and order == 3:
            x["z1"], x["z2"] = x["z2"], x["z1"]
        return type(step)(step.stages, type(step.x)(x), step.memory)

    proof = dn.prove(replace(record, rule=partial(swapped, tau=1.0)))
    failed = [i.claim for i in proof.identities if not i.ok]
    assert any("one path" in claim for claim in failed)
    assert not any(claim.startswith("shipped == published") for claim in failed), "the variances agree"


@pytest.mark.parametrize("name", ["sde_dpmpp_2m", "ddim_eta0.5", "dpm_2_ancestral", "seeds_3"])
@pytest.mark.parametrize("key", ["strong", "weak"])
def test_a_record_that_claims_another_order_is_refuted(name, key):
    record = dn.method(name)
    proof = dn.prove(replace(record, noise=replace(record.noise, **{key: record.noise.order(key) + 1})))
    assert not proof.ok
    assert [i.claim.split()[0] for i in proof.identities if not i.ok] == [key]


def test_a_record_with_another_slope_is_refuted():
    record = dn.method("er_sde_3")
    proof = dn.prove(replace(record, noise=replace(record.noise, base="er_sde_corrected")))
    assert any(i.claim.startswith("derived == shipped") for i in proof.identities if not i.ok)


@pytest.mark.parametrize("name", [*QUICK, *FLOW])
def test_a_tampered_published_formula_is_noticed(name, monkeypatch):
    record = dn.method(name)

    def tampered(sound, symbols, order, **options):
        printed = sound.rows(symbols, order, **options)
        return {
            r: {s: w * Fraction(101, 100) if s == NOISE else w for s, w in row.items()} for r, row in printed.items()
        }

    changed = tuple(replace(f, rows=partial(tampered, f)) for f in PUBLISHED[record.family])
    assert all(i.ok for i in claims.shipped_is_published(top_case(record)))
    monkeypatch.setattr(claims, "PUBLISHED", MappingProxyType({record.family: changed}))
    assert not any(i.ok for i in claims.shipped_is_published(top_case(record)))


def test_a_rule_that_raises_is_reported_and_not_raised():
    def broken(window, order):
        msg = "no such luck"
        raise RuntimeError(msg)

    proof = dn.prove(replace(dn.method("sde_dpmpp_1"), rule=broken))
    assert not proof.ok
    assert "no such luck" in str(proof)


# -- arithmetic --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", ["data", "noise"])
def test_moments_and_variances_are_those_of_the_shipped_kernel(prediction):
    symbols = ReverseSymbols.for_reverse(root=2)
    kernel = cs.ReverseKernel(symbols.h, symbols["tau"], prediction, SymbolicKernel)
    parts = ReverseParts(symbols, prediction)
    for c in (Fraction(1, 2), Fraction(1)):
        assert all(kernel.moment(k, c) == parts.moment(k, c) for k in range(4))
        assert kernel.variance(c) == path_covariance(symbols, prediction, c, c)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize(("a", "b"), [(Fraction(1, 2), Fraction(1)), (Fraction(1), Fraction(1))])
def test_covariances_are_the_integrals_of_itos_isometry(prediction, a, b):
    h, tau, s = sympy.symbols("h tau s", positive=True)
    rho = -(tau**2) if prediction == "data" else sympy.Integer(1)
    integrand = 2 * tau**2 * h * sympy.exp(rho * h * (a - s)) * sympy.exp(rho * h * (b - s))
    exact = sympy.integrate(integrand, (s, 0, sympy.Rational(*min(a, b).as_integer_ratio())))
    ours = path_covariance(ReverseSymbols.for_reverse(root=2), prediction, a, b).as_expr()
    values = {h: sympy.Rational(7, 10), tau: sympy.Rational(13, 10)}
    ours = ours.subs({sympy.Symbol("h"): values[h], sympy.Symbol("tau"): values[tau]})
    assert abs(sympy.N(exact.subs(values) - ours, 30)) < 1e-20


def test_roots_of_squares_are_found_and_others_stay_formal():
    symbols = ReverseSymbols.for_reverse()
    E, T = symbols["E"], symbols["T"]
    assert symbols.square_root(4 * E**2 / T**2) == 2 * E / T
    root = symbols.square_root(1 - T * T)
    assert isinstance(root, SquareRoot)
    assert root * root == 1 - T * T
    assert symbols["eta"] * symbols["eta"] * (1 - E * E) == 1 - T * T
    with pytest.raises(TypeError, match="not rational"):
        covariance({"z1": root}, {"z1": symbols.square_root(1 - E)})


@given(a=st.integers(-3, 3), b=st.integers(-3, 3))
def test_exponential_and_logarithm_are_inverse(a, b):
    symbols = ReverseSymbols.for_reverse()
    exponent = (a + b * symbols["tau"] ** 2) * symbols.h
    assert symbols.logarithm(symbols.exponential(exponent)) == exponent
    with pytest.raises(TypeError, match="no exponential"):
        symbols.logarithm(1 - symbols["E"])


# -- derivations and constants ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUICK)
def test_printed_code_gives_the_weights_of_the_plan(name):
    derivation = dn.derive(name)
    namespace = {}
    exec(derivation.code("python"), namespace)
    formula = derivation.formula
    h, tau = 0.37, float(dn.method(name).noise.level)
    values = {"h": h, "tau": tau, "u_1": -0.8, "u_2": -2.1}
    found = namespace[formula.function](*(values[a] for a in formula.arguments))
    record = dn.method(name)
    place = top_placement(record)
    from diffnum.forms import ExponentialKernel
    from diffnum.tableau import Window

    past = tuple(values[f"u_{j}"] for j in range(1, place.past + 1))
    rate = -1 if record.form.prediction == "data" else 1
    step = record.rule(Window(h, past, ExponentialKernel(h, rate), place.known, place.depth), place.order)
    rows = {row: value for row, _, value in step.rows()}
    expected = [rows[row].get(source, 0.0) for row, source in formula.entries]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert all(abs(float(v)) > 0 for v in expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_derivation_is_typeset_with_its_noise_and_argument(name):
    derivation = dn.derive(name)
    assert "z_{1}" in derivation.latex()
    assert derivation.argument
    assert derivation.strong_constant is None or derivation.strong_constant > 0
    assert (derivation.strong_constant is None) == (name == "dpmpp_sde")
    if dn.method(name).noise.scheme == "reverse":
        assert "isometry" in derivation.argument[-1].text


@pytest.mark.parametrize(
    ("name", "constant"),
    [("sde_dpmpp_1", Fraction(1, 3)), ("ddpm", Fraction(1, 3)), ("edm_heun_churn", Fraction(1, 3)),
     ("sde_dpmpp_2m", Fraction(1, 12)), ("sde_trapezoid", Fraction(1, 12)), ("sa_solver_3_4", Fraction(1, 12)),
     ("seeds_2", Fraction(1, 12)), ("seeds_3", Fraction(1, 24))],
)  # fmt: skip
def test_strong_constants(name, constant):
    assert response_of(dn.method(name)).strong_constant == constant


def test_strong_errors_stand_as_the_roots_of_their_constants():
    # where the weights have order 2 the noise alone makes the strong error
    last = {}
    for name in ("seeds_2", "seeds_3", "sde_dpm_2m"):
        study = strong_study(name, grids=("uniform",), steps=(32, 64, 128, 256, 512))
        last[name] = float(np.sqrt(np.mean(study.series[0].estimate.errors[-1] ** 2)))
    assert last["seeds_2"] / last["seeds_3"] == pytest.approx(2**0.5, rel=0.02)
    assert last["seeds_2"] / last["sde_dpm_2m"] == pytest.approx(1.0, rel=0.02)


def test_a_path_in_sigma_doubles_the_strong_error():
    # dpmpp_sde answers the noise as the trapezoidal rule does, but its draws are increments in another clock
    last = {}
    for name in ("dpmpp_sde", "sde_trapezoid"):
        study = strong_study(name, grids=("uniform",), steps=(32, 64, 128, 256))
        last[name] = float(np.sqrt(np.mean(study.series[0].estimate.errors[-1] ** 2)))
    assert 1.8 < last["dpmpp_sde"] / last["sde_trapezoid"] < 2.1
