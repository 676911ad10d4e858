"""UniP alone, UniPC with vary_coeff, and the modes of predictor-corrector pairs."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.certificates.mutants import perturbed
from diffnum.coefficients import exponential_adams, unic_vary
from diffnum.coefficients.predictor_corrector import predict_correct
from diffnum.forms import ExponentialKernel
from diffnum.tableau import Window
from tests.coefficients.strategies import past, predictions, steps


@given(h=steps, prediction=predictions)
def test_of_order_one_the_shipped_vary_corrector_is_exact(h: float, prediction: str) -> None:
    assert unic_vary(h, (), prediction) == exponential_adams(h, (0, 1), prediction)


@given(h=st.floats(0.05, 2.0), u=past(st.integers(1, 3)), prediction=predictions)
def test_of_higher_order_it_keeps_constants_and_nothing_else(h: float, u: tuple[float, ...], prediction: str) -> None:
    kernel = ExponentialKernel(h, -1 if prediction == "data" else 1)
    weights, nodes = unic_vary(h, u, prediction), (0.0, *u, 1.0)
    size = max(abs(w * n) for w, n in zip(weights, nodes, strict=True))
    assert sum(weights) == pytest.approx(kernel.moment(0), rel=1e-9)
    slope = sum(w * n for w, n in zip(weights, nodes, strict=True))
    assert abs(slope - kernel.moment(1)) > 1e-6 * size


def test_exact_arithmetic_shows_what_the_stale_index_does() -> None:
    weights = unic_vary(ExponentialKernel(Fraction(1), 0), (Fraction(-1),))
    # Adams-Moulton has (8, -1, 5)/12; the old difference keeps I_1 [s] L_1, the new one I_2/2 [s] L_2
    assert weights == (Fraction(7, 6), Fraction(-1, 4), Fraction(1, 12))


@pytest.mark.parametrize(("name", "order"), [("unipc_1_vary", 2), ("unipc_2_vary", 1), ("unipc_2_vary_fixed_noise", 3)])
def test_the_orders_with_and_without_the_slip_are_proved(name: str, order: int) -> None:
    proof = dn.prove(name)
    assert proof.ok, str(proof)
    assert proof.order == order


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("unip_3_bh1", "predictor is eab_3"),
        ("unip_3_bh2_noise", "predictor is eab_3"),
        ("unip_2_bh2", "predictor is dpmpp_2m"),
        ("unipc_2_vary", "predictor is eab_2"),
        ("unipc_2_vary_fixed", "Adams-Moulton"),
        ("unipc_2_bh1_pece", "Adams-Moulton"),
        ("unipc_2_bh2_noise_last", "Adams-Moulton"),
    ],
)
def test_unip_is_bashforth_and_unic_is_moulton_by_theorem(name: str, claim: str) -> None:
    proof = dn.prove(name)
    assert proof.ok, str(proof)
    assert [i.ok for i in proof.identities if claim in i.claim] == [True]


def test_the_theorem_fails_for_the_shipped_vary_corrector() -> None:
    shipped = dn.prove("unipc_2_vary")
    assert not any("Adams-Moulton" in identity.claim for identity in shipped.identities)
    assert not dn.prove(perturbed(dn.method("unipc_2_vary_fixed"), "x", "k1")).ok


@pytest.mark.parametrize(
    ("name", "evaluations"),
    [("unipc_3_bh2", 10), ("unipc_3_bh2_last", 11), ("unipc_3_bh2_pece", 20), ("unip_3_bh2", 10), ("unipc_3_vary", 10)],
)
def test_evaluations_depend_on_the_mode(name: str, evaluations: int) -> None:
    assert dn.method(name).nfe(10) == evaluations


def test_an_unknown_mode_is_refused() -> None:
    window = Window(1.0, (), ExponentialKernel(1.0, -1))
    with pytest.raises(ValueError, match="mode='pecece'"):
        predict_correct(window, (1.0,), (0.5, 0.5), "pecece", correct_last=False)
