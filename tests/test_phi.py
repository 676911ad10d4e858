"""phi is right to a few eps everywhere, for every kind of argument."""

from __future__ import annotations

import math
import subprocess
import sys

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import example, given
from hypothesis import strategies as st

from diffnum.phi import phi

EPS = 2.0**-52
TINY = sys.float_info.min
INDICES = range(7)

indices = st.integers(0, 6)
anywhere = st.floats(allow_nan=False, allow_infinity=False)
steps = st.floats(-40.0, 40.0)


def switches(k: int) -> list[float]:
    """Points on either side of every branch of the implementation, and of the ends of the float64 range."""
    points = [
        0.0,
        5e-324,
        TINY,
        1e-300,
        1e-16,
        1e-8,
        1e-3,
        0.1,
        0.5,
        709.0,
        709.78,
        709.79,
        1e3,
        1419.0,
        1e300,
    ]
    for edge in (1.0, 1.1 * k + 1.2):
        points += [math.nextafter(edge, 0.0), edge, math.nextafter(edge, 9e9)]
    return [sign * point for point in points for sign in (1.0, -1.0)]


def exact(k: int, z: float) -> mpmath.mpf:
    """``phi_k(z)`` to at least 60 digits: by its series within the unit disc, by its definition outside."""
    with mpmath.workdps(80 + 10 * k):
        if abs(z) < 1:
            return mpmath.fsum(mpmath.mpf(z) ** j / mpmath.factorial(j + k) for j in range(60))
        value = mpmath.exp(z)
        for j in range(k):
            value = (value - 1 / mpmath.factorial(j)) / z
        return value


def assert_close(value: float, truth: mpmath.mpf, eps: float = 4.0) -> None:
    if math.isinf(value):
        assert truth > mpmath.mpf(sys.float_info.max) * (1 - eps * EPS)
        return
    with mpmath.workdps(60):
        assert abs(mpmath.mpf(value) - truth) <= eps * EPS * max(truth, TINY)


@example(2, 1e-8)
@example(1, -2.2049435)
@example(6, -7.760784)
@given(indices, anywhere | steps | st.floats(-1e-3, 1e-3))
def test_float_is_within_four_eps_of_the_truth(k, z):
    assert_close(phi(k, z), exact(k, z))


@pytest.mark.parametrize("k", INDICES)
def test_float_is_within_four_eps_at_zero_at_subnormals_and_where_formulas_meet(k):
    for z in switches(k):
        assert_close(phi(k, z), exact(k, z))


@given(st.integers(7, 64), steps | st.floats(-200.0, 200.0))
def test_high_indices_are_accurate_too(k, z):
    assert_close(phi(k, z), exact(k, z), eps=4.0 if k <= 12 else 8.0)


@pytest.mark.parametrize("z", [1e-8, -1e-8])
def test_negative_control_the_naive_recurrence_fails_this_accuracy(z):
    naive = (math.expm1(z) / z - 1.0) / z
    with pytest.raises(AssertionError):
        assert_close(naive, exact(2, z))
    assert_close(phi(2, z), exact(2, z))


def test_negative_control_five_eps_are_rejected():
    truth = exact(3, -0.7)
    with pytest.raises(AssertionError):
        assert_close(float(truth) * (1 + 5 * EPS), truth)


@pytest.mark.parametrize("k", INDICES)
def test_overflow_happens_only_where_the_truth_overflows(k):
    edge = 700.0
    while mpmath.exp(edge) / mpmath.mpf(edge) ** k < sys.float_info.max:
        edge += 0.01
    assert math.isfinite(phi(k, edge - 0.02))
    assert math.isinf(phi(k, edge + 0.02))
    assert phi(k, math.inf) == math.inf
    assert phi(k, -math.inf) == 0.0
    assert math.isnan(phi(k, math.nan))
    np.testing.assert_array_equal(phi(k, np.repeat([-np.inf, np.inf, np.nan], 20))[::20], [0.0, np.inf, np.nan])


@pytest.mark.parametrize("k", [*INDICES, 30, 64])
def test_value_at_zero_is_the_inverse_factorial(k):
    for zero in (0.0, -0.0, 0):
        assert phi(k, zero) == 1 / math.factorial(k)


@given(indices, steps)
def test_recurrence_holds_downward(k, z):
    # Written as phi_k = z phi_{k+1} + 1/k!, it holds to the rounding of its two terms.
    right, left = z * phi(k + 1, z) + 1 / math.factorial(k), phi(k, z)
    scale = abs(z) * phi(k + 1, z) + 1 / math.factorial(k)
    assert abs(left - right) <= 8 * EPS * scale


@given(st.integers(0, 4), st.floats(1e-6, 5.0))
def test_moments_of_the_exponential_kernel_are_phi_functions(k, h):
    nodes, weights = np.polynomial.legendre.leggauss(24)
    s = (nodes + 1) / 2
    moment = np.sum(weights / 2 * np.exp(-h * (1 - s)) * s**k)
    assert moment == pytest.approx(math.factorial(k) * phi(k + 1, -h), rel=1e-13)


@pytest.mark.parametrize("k", INDICES)
def test_functions_increase_and_stay_positive(k):
    values = phi(k, np.linspace(-700.0, 700.0, 20001))
    assert np.all(values > 0)
    assert np.all(np.diff(values) > 0)


@given(indices, st.lists(anywhere | steps, min_size=1, max_size=12))
def test_small_array_equals_scalars_exactly(k, column):
    np.testing.assert_array_equal(phi(k, np.array(column)), [phi(k, z) for z in column])


@pytest.mark.parametrize("k", [*INDICES, 12, 30])
def test_large_array_is_as_accurate_as_scalars(k):
    rng = np.random.default_rng(k)
    z = np.concatenate([switches(k), rng.uniform(-30, 30, 400), rng.uniform(-2, 2, 200)])
    values = phi(k, z)
    for value, scalar in zip(values.tolist(), z.tolist(), strict=True):
        assert_close(value, exact(k, scalar), eps=4.0 if k <= 12 else 8.0)


@pytest.mark.parametrize("size", [1, 6, 60])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.int8])
def test_arrays_keep_shape_and_floating_dtype(size, dtype):
    z = np.linspace(-8, 8, size).astype(dtype).reshape(1, size, 1)
    values = phi(2, z)
    assert values.shape == z.shape
    assert values.dtype == (dtype if np.issubdtype(dtype, np.floating) else np.float64)
    np.testing.assert_array_equal(values, phi(2, z.astype(np.float64)).astype(values.dtype))


def test_numpy_scalars_zero_dimensional_and_empty_arrays():
    assert type(phi(1, np.float64(-0.5))) is np.float64
    assert type(phi(1, np.float32(-0.5))) is np.float32
    assert phi(1, np.int64(1)) == phi(1, 1) == phi(1, 1.0)
    assert phi(np.int64(1), -0.5) == phi(1, -0.5)
    assert phi(1, np.array(-0.5)).shape == ()
    assert phi(1, np.empty((0, 3))).shape == (0, 3)


def test_float32_overflow_is_silent_infinity():
    assert phi(1, np.float32(100.0)) == np.inf
    assert np.all(phi(1, np.full(50, 1e4)) == np.inf)


def test_the_argument_array_is_left_alone():
    for size in (5, 500):
        z = np.linspace(-3, 3, size)
        before = z.copy()
        phi(3, z)
        np.testing.assert_array_equal(z, before)


# ---------------------------------------------------------------------------------------- torch


@pytest.mark.parametrize("k", INDICES)
def test_torch_agrees_with_numpy_and_keeps_dtype(k):
    torch = pytest.importorskip("torch")
    z = torch.cat([torch.tensor(switches(k), dtype=torch.float64), torch.linspace(-30, 30, 301).double()])
    np.testing.assert_allclose(phi(k, z).numpy(), phi(k, z.numpy()), rtol=4 * EPS, atol=TINY)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        low = torch.tensor([-3.0, 0.0, 2.0], dtype=dtype)
        assert phi(k, low).dtype == dtype
        assert torch.equal(phi(k, low), phi(k, low.double()).to(dtype))
    assert phi(k, torch.tensor([1, 2])).dtype == torch.float64


@pytest.mark.parametrize("k", INDICES)
def test_torch_gradient_is_exact_and_finite_on_both_branches(k):
    torch = pytest.importorskip("torch")
    z = torch.tensor([-600.0, -9.0, -1.0, -1e-9, 0.0, 1e-9, 1.0, 9.0, 600.0], dtype=torch.float64)
    z.requires_grad_()
    phi(k, z).sum().backward()
    expected = phi(k, z.detach()) - k * phi(k + 1, z.detach())  # d phi_k / dz
    np.testing.assert_allclose(z.grad.numpy(), expected.numpy(), rtol=1e-12)


# ------------------------------------------------------------------------------ mpmath and sympy


@pytest.mark.parametrize("digits", [15, 50, 200])
@pytest.mark.parametrize("z", ["0", "1e-300", "-1e-8", "0.3", "-7.5", "40", "-1e4", "1e4"])
def test_mpmath_is_computed_to_working_precision(digits, z):
    for k in INDICES:
        with mpmath.workdps(digits):
            z_mp = mpmath.mpf(z)
            value = phi(k, z_mp)
            assert isinstance(value, mpmath.mpf)
        with mpmath.workdps(digits + 400 + 300 * k):
            truth = mpmath.exp(z_mp)
            for j in range(k):
                truth = (truth - 1 / mpmath.factorial(j)) / z_mp if z_mp else 1 / mpmath.factorial(j + 1)
            assert abs(value / truth - 1) <= mpmath.mpf(10) ** (1 - digits)


def test_mpmath_accepts_complex_numbers_and_any_index():
    z = mpmath.mpc(0.3, -2.0)
    assert mpmath.almosteq(phi(1, z), (mpmath.exp(z) - 1) / z)
    assert phi(200, mpmath.mpf(0)) == 1 / mpmath.factorial(200)


@pytest.mark.parametrize("k", INDICES)
def test_sympy_gives_the_closed_form(k):
    h = sympy.Symbol("h", positive=True)
    e = sympy.Symbol("E")
    assert sympy.expand(phi(k, -h)).has(sympy.exp(-h))
    assert sympy.limit(phi(k, h), h, 0) == sympy.Rational(1, math.factorial(k))
    assert phi(k, sympy.Integer(0)) == sympy.Rational(1, math.factorial(k))
    residual = phi(k + 1, -h) - (phi(k, -h) - sympy.Rational(1, math.factorial(k))) / (-h)
    assert sympy.cancel(residual.subs(sympy.exp(-h), e)) == 0


def test_sympy_float_is_a_number_without_cancellation():
    value = phi(3, sympy.Float("-1e-8", 30))
    assert value.is_Float
    assert abs(value - sympy.N(phi(3, sympy.Rational(-1, 10**8)), 40)) < 1e-28
    assert phi(2, sympy.Float(0.0)) == sympy.Rational(1, 2)


# ------------------------------------------------------------------------------ protocol, errors, imports


def test_objects_with_the_phi_method_answer_for_themselves():
    class Series:
        def _phi_(self, k):
            return ("series", k)

    assert phi(3, Series()) == ("series", 3)
    with pytest.raises(ValueError, match="k=-1"):
        phi(-1, Series())


@pytest.mark.parametrize("k", [1.0, "1", None, 2.5])
def test_index_that_is_no_integer_is_a_type_error(k):
    with pytest.raises(TypeError, match=r"k=.*int >= 0"):
        phi(k, 0.5)


def test_index_out_of_range_is_a_value_error():
    with pytest.raises(ValueError, match=r"k=-1 is negative"):
        phi(-1, 0.5)
    with pytest.raises(ValueError, match=r"k=65 .*mpmath"):
        phi(65, 0.5)


@pytest.mark.parametrize(
    "z",
    [
        1j,
        "0.5",
        None,
        [0.5],
        np.array([1j]),
        np.array(["a"]),
        np.array([None]),
        np.longdouble(1),
        sympy.eye(2),
    ],
    ids=str,
)
def test_unsupported_arguments_are_type_errors_with_a_remedy(z):
    with pytest.raises(TypeError, match=r"(?s)z(=| has dtype).*(mpmath|asarray)"):
        phi(1, z)


def test_complex_tensor_is_a_type_error():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="z has dtype"):
        phi(1, torch.tensor([1j]))


def test_import_brings_in_no_heavy_library():
    code = (
        "import sys, numpy; from diffnum.phi import phi; phi(2, 0.1); phi(2, numpy.ones(99));"
        "sys.exit(bool({'sympy', 'mpmath', 'torch', 'scipy', 'array_api_compat'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
