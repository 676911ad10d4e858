"""Laws of UniP and UniC."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffnum.coefficients import ddim, dpmpp_2m, exponential_adams, unic, unip, unipc
from tests.coefficients.strategies import past, predictions, steps

variants = st.sampled_from(["bh1", "bh2"])


@given(h=steps, u=past(st.integers(2, 4)), variant=variants, prediction=predictions)
def test_unip_of_order_three_and_above_is_exponential_adams_whatever_b(h, u, variant, prediction):
    assert unip(h, u, variant, prediction) == exponential_adams(h, (0, *u), prediction)


@given(h=steps, u=past(st.integers(1, 4)), variant=variants, prediction=predictions)
def test_unic_of_order_two_and_above_is_the_implicit_method_whatever_b(h, u, variant, prediction):
    assert unic(h, u, variant, prediction) == exponential_adams(h, (0, *u, 1), prediction)


@given(h=steps, u=past(1), prediction=predictions)
def test_b_matters_at_order_two_only_where_bh2_is_2m(h, u, prediction):
    assert unip(h, u, "bh2", prediction) == dpmpp_2m(h, u[0], prediction)
    bh1 = unip(h, u, "bh1", prediction)
    assert bh1[1] == pytest.approx(h / (2 * u[0]), rel=1e-14)
    assert unip(h, (), "bh1", prediction) == unip(h, (), "bh2", prediction) == ddim(h, prediction)


@given(h=st.floats(0.05, 8.0), u=past(1), prediction=predictions)
def test_the_shortcut_is_not_the_exact_method(h, u, prediction):
    exact = exponential_adams(h, (0, *u), prediction)
    assert abs(unip(h, u, "bh2", prediction)[1] - exact[1]) > 1e-4 * abs(exact[1])


@given(h=steps, u=past(st.integers(0, 3)), variant=variants, prediction=predictions)
def test_predictor_and_corrector_keep_constants(h, u, variant, prediction):
    (total,) = ddim(h, prediction)
    for weights in unipc(h, u, variant, prediction):
        assert math.fsum(weights) == pytest.approx(total, abs=1e-13 * max(map(abs, weights)))


def test_small_steps_give_the_trapezoidal_rule():
    assert [w / 1e-8 for w in unic(1e-8, ())] == pytest.approx([0.5, 0.5], rel=1e-7)
    assert [w / 1e-8 for w in unic(1e-8, (-1.0,))] == pytest.approx([8 / 12, -1 / 12, 5 / 12], rel=1e-7)


@given(h=steps, u=past(2), variant=variants)
def test_arrays_are_the_numbers_one_by_one(h, u, variant):
    arrays = unic(np.array([h, 0.3]), [np.array([v, -1.0 - j]) for j, v in enumerate(u)], variant)
    expected = unic(h, u, variant)
    assert [w[0] for w in arrays] == pytest.approx(expected, rel=0, abs=1e-13 * max(map(abs, expected)))


@pytest.mark.parametrize("function", [unip, unic, unipc])
def test_an_unknown_variant_or_prediction_is_named(function):
    past_nodes = (-1.0,) if function is unip else ()
    with pytest.raises(ValueError, match="variant='bh3' is unknown"):
        function(0.1, past_nodes, "bh3") if function is not unipc else unipc(0.1, (), "bh3")
    with pytest.raises(ValueError, match="prediction='score'"):
        function(0.1, past_nodes, "bh2", "score")
