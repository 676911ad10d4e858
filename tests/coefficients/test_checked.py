"""Coefficient functions refuse the same numbers whatever carries them, and lose no digits of the noise."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
import torch

from diffnum import coefficients as c
from diffnum.coefficients.adams import closing_moments
from diffnum.coefficients.splitting import length_down
from diffnum.forms import ExponentialKernel
from diffnum.phi import log1p

CARRIERS: dict[str, Callable[[float], Any]] = {
    "float": float,
    "array": lambda x: np.array([x, x]),
    "0-d array": np.array,
    "float32": np.float32,
    "float64": np.float64,
    "list": lambda x: [x, x],
    "tensor": lambda x: torch.tensor([x, x]),
    "float32 tensor": lambda x: torch.tensor(x, dtype=torch.float32),
    "mpmath": mpmath.mpf,
}

MISUSES: dict[str, tuple[Callable[[Callable[[float], Any]], Any], str]] = {
    "negative eta": (lambda of: c.ddim_eta(0.3, of(-1.0)), "eta="),
    "infinite eta": (lambda of: c.ddim_eta(0.3, of(np.inf)), "eta="),
    "too much noise": (lambda of: c.ddim_eta(of(0.3), 2), "more noise"),
    "negative tau": (lambda of: c.noise_variance(0.3, of(-1.0)), "tau="),
    "negative step of a stochastic method": (lambda of: c.sde_dpmpp_1(of(-0.3)), "h="),
    "NaN step": (lambda of: c.sde_dpm_1(of(np.nan)), "h="),
    "negative step": (lambda of: c.dpmpp_2m(of(-0.3), -1.0), "h="),
    "the paper's sign of r": (lambda of: c.dpmpp_2m(0.3, of(0.5)), "r1="),
    "no distance": (lambda of: c.dpmpp_2m(0.3, of(0.0)), "r1="),
    "nodes exchanged": (lambda of: c.dpmpp_3m(0.3, of(-2.0), of(-1.0)), "r2="),
    "nodes repeated": (lambda of: c.exponential_adams(0.3, (0.0, of(-1.0), of(-1.0))), "repeats"),
    "nodes of unip exchanged": (lambda of: c.unip(0.3, (of(-2.0), of(-1.0))), "newest first"),
    "nodes of unic_vary exchanged": (lambda of: c.unic_vary(0.3, (of(-2.0), of(-1.0))), "newest first"),
    "a node of unic_vary ahead": (lambda of: c.unic_vary(0.3, (of(0.5),)), "not negative"),
    "nodes of ghvb_variable exchanged": (lambda of: c.ghvb_variable(-0.3, (of(-2.0), of(-1.0)), 0.5), "newest first"),
    "no momentum left": (lambda of: c.ghvb_variable(-0.3, (-1.0,), of(0.0)), "beta="),
    "more than all of the slope": (lambda of: c.ghvb(2, of(1.5)), "beta="),
    "infinite step of ghvb_variable": (lambda of: c.ghvb_variable(of(np.inf), (-1.0,), 0.5), "h="),
    "noise beyond float64": (lambda of: c.sde_dpm_1(of(400.0)), "beyond float64"),
    "inner node outside": (lambda of: c.dpmpp_sde(0.3, of(2.0)), "r="),
    "inner node of DPM-Solver-2 outside": (lambda of: c.dpm_solver_2(0.3, of(2.0)), "r1="),
    "inner nodes of DPM-Solver-3 exchanged": (lambda of: c.dpm_solver_3(0.3, of(0.7), of(0.3)), "r2="),
    "inner node of RES outside": (lambda of: c.res_3s(0.3, 0.5, of(2.0)), "c3="),
    "inner node of EPD behind": (lambda of: c.epd(0.3, [of(-0.5)], [1.0]), "nodes.0.="),
    "shares of EPD that add up to less": (lambda of: c.epd(0.3, [0.5], [of(0.7)]), "divide them by their sum"),
    "inner node of RX-Euler at the start": (lambda of: c.rx_euler(-0.3, of(0.0)), "node="),
    "another half": (lambda of: c.etd_rk3(0.3, of(0.3)), "not one half"),
    "another half of order 4": (lambda of: c.krogstad_4(0.3, of(0.3)), "not one half"),
    "NaN step in sigma": (lambda of: c.heun(of(np.nan)), "h="),
    "NaN step of constant weights": (lambda of: c.plms(of(np.nan), 2), "h="),
    "infinite step of constant weights": (lambda of: c.abm(of(np.inf), 2), "h="),
    "infinite step of a tableau": (lambda of: c.runge_kutta_weights(of(np.inf), "heun"), "h="),
    "a node of iPNDM_v ahead": (lambda of: c.ipndm_v(-0.3, [of(0.5)]), "not negative"),
    "nodes of CAB exchanged": (lambda of: c.cab(-0.3, [of(-2.0), of(-1.0)], 0.1), "newest first"),
    "nodes of STORK exchanged": (lambda of: c.stork_2(-0.3, [of(-2.0), of(-1.0)]), "newest first"),
    "infinite node": (lambda of: c.exponential_adams(0.3, (0.0, of(-np.inf))), "use finite numbers"),
    "flow that runs to noise": (lambda of: c.flow_step(of(0.2), 0.5), "start="),
}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("misuse", MISUSES)
def test_a_misuse_is_refused_whatever_carries_the_number(misuse: str, carrier: str) -> None:
    call, message = MISUSES[misuse]
    with pytest.raises(ValueError, match=message):
        call(CARRIERS[carrier])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: c.unip(0.3, [-1, -2], "bh3"), "variant='bh3'"),
        (lambda: c.unic(0.3, [-1, -2], "bh3"), "variant='bh3'"),
        (lambda: c.heun(0.3, "data"), "prediction='data'"),
        (lambda: c.pseudo_corrector(0.3, "data"), "prediction='data'"),
        (lambda: c.churn([1.0, 0.5], 0.3, steps=-5), "steps=-5"),
        (lambda: c.churn([1.0, 0.5], 0.3, steps=0), "steps=0"),
        (lambda: c.churn([], 0.3), "0 levels"),
        (lambda: c.plms(0.3, 200), "order=200"),
        (lambda: c.res_3s(0.3, 2 / 3, 0.5), "c2="),
        (lambda: c.exponential_adams(0.3, ()), "empty"),
        (lambda: c.cab(-0.3, [], 0.1), "has 0 nodes: give two"),
        (lambda: c.stork_2(-0.3, [-1.0]), "has 1 nodes: give two"),
        (lambda: c.stork_2(-0.3, [-1.0, -2.0], 2.5), "stages=2.5"),
        (lambda: c.epd(0.3, [], []), "one node or more"),
        (lambda: c.churn([1.0, 2.0], 0.3), "fall from one interval"),
        (lambda: c.churn([[2.0, 1.0]], 0.3), "in one row"),
        (lambda: c.churn([2.0, -1.0], 0.3), "noise levels >= 0"),
        (lambda: c.churn([2.0, np.nan], 0.3), "fall from one interval"),
    ],
)
def test_other_misuses_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


STEPS: dict[str, Callable[[Any], Any]] = {
    "ddim": c.ddim,
    "dpmpp_3m": lambda h: c.dpmpp_3m(h, -1, -2),
    "unip": lambda h: c.unip(h, [-1]),
    "exponential_adams": lambda h: c.exponential_adams(h, [0, -1]),
    "res_3s": c.res_3s,
    "sde_dpmpp_1": c.sde_dpmpp_1,
    "ddim_eta": lambda h: c.ddim_eta(h, 0.5),
    "noise_variance": c.noise_variance,
    "heun": c.heun,
    "plms": lambda h: c.plms(h, 3),
    "abm": lambda h: c.abm(h, 3),
    "ipndm_v": lambda h: c.ipndm_v(h, [-1.0]),
    "ghvb_variable": lambda h: c.ghvb_variable(h, [-1.0], 0.8),
    "runge_kutta_weights": lambda h: c.runge_kutta_weights(h, "rk4"),
    "rx_euler": lambda h: c.rx_euler(h, 0.5),
    "cab": lambda h: c.cab(h, [-1, -2], 0.1),
    "stork_2": lambda h: c.stork_2(h, [-1, -2]),
}
WRONG: dict[str, Any] = {
    "text": "0.3", "nothing": None, "complex": 1j, "texts": np.array(["a"]), "truth": True, "truths": np.array([True]),
    "truth tensor": torch.tensor(True), "complex tensor": torch.tensor(0.3 + 0j), "long double": np.longdouble(0.3),
    "masked": np.ma.array([0.3, 0.4], mask=[0, 1]), "set": {0.3}, "dictionary": {}, "objects": np.array([0.3, None]),
}  # fmt: skip


@pytest.mark.parametrize("function", STEPS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_real_number_is_named(wrong: str, function: str) -> None:
    with pytest.raises(TypeError, match=r"(?s)h=.* has type"):
        STEPS[function](WRONG[wrong])


@pytest.mark.parametrize("function", STEPS)
@pytest.mark.parametrize("sign", [1, -1])
def test_whole_numbers_that_no_float_holds_are_named(sign: int, function: str) -> None:
    with pytest.raises(ValueError, match="h is a whole number of more than 308 digits"):
        STEPS[function](sign * 10**400)


def flat(weights: Any) -> list[Any]:
    return [w for part in weights for w in flat(part)] if isinstance(weights, tuple) else [weights]


@pytest.mark.parametrize("function", STEPS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, torch.uint8, torch.int8, torch.int64])
def test_whole_numbers_of_few_bits_neither_overflow_nor_lose_their_sign(function: str, dtype: Any) -> None:
    h = torch.tensor([20], dtype=dtype) if isinstance(dtype, torch.dtype) else np.array([20], dtype=dtype)
    for found, truth in zip(flat(STEPS[function](h)), flat(STEPS[function](20.0)), strict=True):
        assert np.ravel(found) == pytest.approx(float(truth), rel=1e-14, abs=1e-14)


@pytest.mark.parametrize("nodes", [0.0, None, "ab", {0.0, -1.0}, {0.0: 1}, np.array(0.0)], ids=repr)
def test_nodes_are_a_sequence(nodes: Any) -> None:
    for call in (c.exponential_adams, c.unip, c.ipndm_v, c.unic_vary, lambda h, past: c.ghvb_variable(h, past, 0.8)):
        with pytest.raises(TypeError, match="pass a sequence of numbers"):
            call(0.3, nodes)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_flow_that_starts_at_pure_noise_has_finite_weights_in_every_arithmetic(carrier: str) -> None:
    start, truth = CARRIERS[carrier](1.0), c.flow_step(1.0, 0.5)
    if carrier != "mpmath":
        found = c.flow_step(start, 0.5)
        for one, other in zip(found, truth, strict=True):
            assert np.allclose(np.asarray(one, dtype=float), other, rtol=1e-6)


def test_lists_are_taken_where_arrays_are_and_whole_numbers_of_numpy_where_int_is() -> None:
    for listed, array in (
        (c.exponential_adams([0.3, 0.4], (0, -1.0)), c.exponential_adams(np.array([0.3, 0.4]), (0, -1.0))),
        (c.dpmpp_2m([0.3, 0.4], [-1.0, -2.0]), c.dpmpp_2m(np.array([0.3, 0.4]), np.array([-1.0, -2.0]))),
        (c.unip(0.3, np.array([-1.0, -2.0])), c.unip(0.3, (-1.0, -2.0))),
        (c.unic(0.3, np.array([-1.0])), c.unic(0.3, (-1.0,))),
        (c.plms(0.3, np.int64(3)), c.plms(0.3, 3)),
    ):
        for a, b in zip(listed, array, strict=True):
            np.testing.assert_array_equal(a, b)


def test_symbols_gradients_and_traces_go_through_unseen() -> None:
    h, u = sympy.symbols("h u")
    assert sympy.simplify(c.dpmpp_2m(h, u)[1] - (1 - sympy.exp(-h)) / (2 * u)) == 0
    assert c.ddim_eta(h, sympy.Symbol("eta"))[2].has(sympy.exp)
    x = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(c.ddim_eta(x, 0.5)[1], x)
    assert float(slope) == pytest.approx((c.ddim_eta(0.3 + 1e-6, 0.5)[1] - c.ddim_eta(0.3 - 1e-6, 0.5)[1]) / 2e-6)
    mapped = torch.func.vmap(lambda s: c.ddim_eta(s, 0.5)[1])(torch.tensor([0.3, 0.4], dtype=torch.float64))
    assert float(mapped[1]) == pytest.approx(c.ddim_eta(0.4, 0.5)[1])


LENGTHS = (1e-12, 1e-9, 1e-6, 1e-3, 0.03, 0.4, 1.0, 3.0, 11.0, 40.0, 120.0)
ETAS = (1e-3, 0.1, 0.5, 0.9, 1 - 1e-8, 1.0)
EIGHT = 8 * 2.0**-52


def _near(found: Any, true: Any) -> bool:
    return abs(mpmath.mpf(float(found)) - true) <= EIGHT * abs(true)


@pytest.mark.parametrize("eta", ETAS)
def test_factors_of_ddim_eta_are_within_eight_units_of_fifty_digits(eta: float) -> None:
    with mpmath.workdps(200):  # 1 - v needs more than a hundred digits at h = 120
        for h in LENGTHS:
            long, e = mpmath.mpf(h), mpmath.mpf(eta)
            v = e**2 * -mpmath.expm1(-2 * long)
            d = mpmath.sqrt(1 - v)
            true = d, 1 - d * mpmath.exp(-long), v
            for found in (c.ddim_eta(h, eta), c.ddim_eta(np.full(40, h), eta), c.ddim_eta(h, np.float64(eta))):
                assert all(_near(np.ravel(f)[0], t) for f, t in zip(found, true, strict=True)), h
            assert _near(length_down(h, eta), long - mpmath.log(d)), h


@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0, 2.0])
def test_factors_of_the_reverse_equation_are_within_eight_units_of_fifty_digits(tau: float) -> None:
    with mpmath.workdps(80):
        for h in LENGTHS:
            long, square = mpmath.mpf(h), mpmath.mpf(tau) ** 2
            data = mpmath.exp(-square * long), -mpmath.expm1(-(1 + square) * long), -mpmath.expm1(-2 * square * long)
            noise = mpmath.mpf(1), (1 + square) * mpmath.expm1(long), square * mpmath.expm1(2 * long)
            assert all(_near(f, t) for f, t in zip(c.sde_dpmpp_1(h, tau)[1:], data[1:], strict=True)), h
            # the argument tau^2 h is rounded, which exp multiplies by its size
            assert abs(c.sde_dpmpp_1(h, tau)[0] - data[0]) <= (8 + tau**2 * h) * 2.0**-52 * data[0]
            assert all(_near(f, t) for f, t in zip(c.sde_dpm_1(h, tau), noise, strict=True)), h


@pytest.mark.parametrize("eta", ETAS)
def test_the_way_down_stays_finite_on_the_longest_steps(eta: float) -> None:
    for h in (355.0, 1e3, 1e5):
        with mpmath.workdps(50):
            e = mpmath.mpf(eta)
            true = h - mpmath.log((1 - e) * (1 + e) + e**2 * mpmath.exp(-2 * mpmath.mpf(h))) / 2
        assert _near(length_down(h, eta), true)
        assert _near(length_down(np.array([0.1, h]), eta)[1], true)
        assert length_down(np.array([0.1, h]), eta)[0] == length_down(0.1, eta)


@pytest.mark.parametrize("h", [60.0, 64.0, 65.0, 117.0, 240.0, 1e4])
@pytest.mark.parametrize("count", [1, 3, 6])
def test_moments_that_vanish_at_the_new_node_keep_their_digits_on_long_steps(h: float, count: int) -> None:
    with mpmath.workdps(60):
        truth = [
            mpmath.quad(lambda s, k=k: h * mpmath.exp(-h * (1 - s)) * s**k * (1 - s), mpmath.linspace(0, 1, 65))
            if h < 1e3
            else mpmath.quad(lambda t, k=k: mpmath.exp(-t) * (1 - t / h) ** k * t / h, [0, 10, 40, 160])
            for k in range(count)
        ]
        for step in (h, np.array([1.0, h])):
            found = closing_moments(ExponentialKernel(step, -1), count)
            assert all(_near(np.ravel(f)[-1], t) for f, t in zip(found, truth, strict=True))


def test_one_minus_the_product_as_it_is_written_in_papers_would_be_seen() -> None:
    d, w, _ = c.ddim_eta(1e-8, 0.5)
    naive = 1 - d * float(np.exp(-1e-8))
    assert abs(naive / w - 1) > EIGHT


def test_logarithms_keep_their_digits_in_every_arithmetic() -> None:
    for x in (1e-12, np.float64(1e-12), np.array([1e-12]), torch.tensor(1e-12, dtype=torch.float64), mpmath.mpf(1e-12)):
        assert float(np.ravel(log1p(x))[0]) == pytest.approx(1e-12 - 5e-25, rel=1e-15)
    z = sympy.Symbol("z")
    assert log1p(z) == sympy.log(1 + z)


EXPONENTIAL: dict[str, Callable[[Any], Any]] = {
    "ddim": c.ddim,
    "dpm_solver_2": c.dpm_solver_2,
    "dpmpp_2m": lambda h: c.dpmpp_2m(h, -1.0),
    "dpmpp_3m": lambda h: c.dpmpp_3m(h, -1.0, -2.0),
    "exponential_adams": lambda h: c.exponential_adams(h, (0.0, -1.0)),
    "unip": lambda h: c.unip(h, (-1.0,)),
    "unic_vary": lambda h: c.unic_vary(h, (-1.0,)),
    "etd_rk4": c.etd_rk4,
    "krogstad_4": c.krogstad_4,
    "res_3s": c.res_3s,
    "ddim_eta": c.ddim_eta,
    "dpmpp_sde": c.dpmpp_sde,
    "sde_dpm_1": c.sde_dpm_1,
    "noise_variance": c.noise_variance,
    "stochastic_adams": lambda h: c.stochastic_adams(h, (0.0, -1.0)),
}


@pytest.mark.parametrize("name", EXPONENTIAL)
def test_a_fraction_as_a_step_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(TypeError, match=r"^h=Fraction\(1, 2\).*use float\(h\)"):
        EXPONENTIAL[name](Fraction(1, 2))
    EXPONENTIAL[name](float(Fraction(1, 2)))  # the remedy works


def test_rational_weights_keep_fractions() -> None:
    weights = c.adams_bashforth(Fraction(1, 2), (Fraction(0), Fraction(-1)))
    assert list(weights) == [Fraction(3, 4), Fraction(-1, 4)]
    assert all(isinstance(weight, Fraction) for weight in weights)
