"""Coefficient functions refuse the same numbers whatever carries them, and lose no digits of the noise."""

from __future__ import annotations

from collections.abc import Callable
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
    ],
)
def test_other_misuses_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("wrong", ["0.3", None, 1j, np.array(["a"]), np.array([True])])
def test_what_is_no_real_number_is_named(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"h=.* has type"):
        c.ddim(wrong)


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
