"""Operators: equal to their matrices in every form, on numpy and torch, and refused where they are wrong."""

from __future__ import annotations

import numpy as np
import pytest

from diffnum.inverse import Linear, blur, conjugate_gradients, downsample, mask, projections
from tests.optional import optional

torch = optional("torch")
RNG = np.random.default_rng(1)
OPERATORS = {
    "wide": Linear(RNG.standard_normal((3, 5))),
    "tall": Linear(RNG.standard_normal((7, 5))),
    "rank 1": Linear(np.outer([1.0, 2.0, 0.5], [1.0, -1.0, 2.0])),
    "diagonal": Linear([1.0, 0.0, 2.0]),
    "picture": Linear(RNG.standard_normal((4, 6)), shape=(2, 3)),
    "mask": mask(RNG.random((4, 4)) < 0.5),
    "blur": blur(np.outer([1, 2, 1.5], [1, 3, 1.0]) / 10, (6, 8)),
    "channels": blur(np.array([[0.25, 0.5], [0.25, 0.0]]), (2, 4, 4)),
    "blocks": downsample((1, 8, 8), 2),
    "signal": downsample((8,), 4),
    "sums": projections(lambda x: x.cumsum(1), lambda y: y[:, ::-1].cumsum(1)[:, ::-1], (5,)),
}
NAMES = list(OPERATORS)
WITH_MODES = [name for name, op in OPERATORS.items() if op.modes is not None]


def drawn(op):
    return RNG.standard_normal((2, *op.shape)), RNG.standard_normal((2, *op.measured))


@pytest.mark.parametrize("name", NAMES)
def test_operator_and_adjoint_are_a_matrix_and_its_transpose(name):
    op = OPERATORS[name]
    x, y = drawn(op)
    np.testing.assert_allclose(op(x).reshape(2, -1), x.reshape(2, -1) @ op.matrix.T, atol=1e-13)
    np.testing.assert_allclose(op.adjoint(y).reshape(2, -1), y.reshape(2, -1) @ op.matrix, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_solved_solves_the_dense_system(name):
    op = OPERATORS[name]
    A, (x, y) = op.matrix, drawn(op)
    proximal = np.linalg.solve(np.eye(A.shape[1]) + 3.0 * A.T @ A, x.reshape(2, -1).T).T
    np.testing.assert_allclose(op.solve(x, 3.0).reshape(2, -1), proximal, atol=1e-10)
    np.testing.assert_allclose(op.solve(x, 3.0, iterations=A.shape[1]).reshape(2, -1), proximal, atol=1e-8)
    outer = np.linalg.solve(2.0 * A @ A.T + 0.3 * np.eye(len(A)), y.reshape(2, -1).T).T
    np.testing.assert_allclose(op.solve_measured(y, 2.0, 0.3).reshape(2, -1), outer, atol=1e-10)


@pytest.mark.parametrize("name", WITH_MODES)
def test_modes_are_the_singular_value_decomposition(name):
    op = OPERATORS[name]
    x, y = drawn(op)
    values = np.linalg.svd(op.matrix, compute_uv=False)
    np.testing.assert_allclose(op.singular_values, values[: len(op.singular_values)], atol=1e-12)
    factor = op.modes.factors(lambda s: s, op.modes.rows(x))
    np.testing.assert_allclose(op.modes.shown(factor * op.modes.rows(x)), op(x), atol=1e-12)
    inverse = np.linalg.pinv(op.matrix)
    np.testing.assert_allclose(op.pseudo_inverse(y).reshape(2, -1), y.reshape(2, -1) @ inverse.T, atol=1e-11)
    np.testing.assert_allclose(op.solve_measured(op(x), 2.0, 0.0), op.solve_measured(op(x), 1.0, 0.0) / 2.0, atol=1e-12)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "sums"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tensors_keep_their_dtype_and_agree_with_arrays(name, dtype):
    op = OPERATORS[name]
    x, y = drawn(op)
    tensors = [torch.tensor(v, dtype=getattr(torch, dtype)) for v in (x, y)]
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    answers = [
        (op(tensors[0]), op(x)),
        (op.adjoint(tensors[1]), op.adjoint(y)),
        (op.solve(tensors[0], 3.0), op.solve(x, 3.0)),
        (op.solve_measured(tensors[1], 2.0, 0.3), op.solve_measured(y, 2.0, 0.3)),
    ]
    for tensor, array in answers:
        assert tensor.dtype == getattr(torch, dtype)
        np.testing.assert_allclose(tensor.numpy(), array, atol=tolerance, rtol=tolerance)


def test_conjugate_gradients_end_after_as_many_steps_as_there_are_eigenvalues():
    matrix = np.diag([1.0, 1.0, 4.0, 4.0, 4.0])
    b = RNG.standard_normal((3, 5))
    exact = b / np.diag(matrix)
    two, one = (conjugate_gradients(lambda x: x @ matrix, b, 0.0 * b, k) for k in (2, 1))
    np.testing.assert_allclose(two, exact, atol=1e-14)
    assert np.abs(one - exact).max() > 0.01
    np.testing.assert_allclose(conjugate_gradients(lambda x: x @ matrix, 0.0 * b, 0.0 * b), 0.0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Linear(np.zeros((2, 3))), ValueError, "A is zero everywhere"),
        (lambda: Linear(np.eye(3), shape=(2, 2)), ValueError, r"shape=\(2, 2\) has 4 entries: A of shape \(3, 3\)"),
        (lambda: mask([0, 1, 1]), TypeError, "kept has dtype int64"),
        (lambda: mask([False, False]), ValueError, "kept is False everywhere"),
        (lambda: blur(np.ones((5, 5)), (4, 4)), ValueError, r"kernel has shape \(5, 5\)"),
        (lambda: blur(np.zeros(3), (4,)), ValueError, "kernel is zero everywhere"),
        (lambda: blur(np.ones(3), 8), TypeError, "shape=8 is a int: pass a tuple"),
        (lambda: projections(lambda x: x, lambda y: y, 3), TypeError, "shape=3 is a int: pass a tuple"),
        (lambda: downsample((6, 6), 4), ValueError, "not divisible by factor=4"),
        (lambda: downsample((6, 6), 1), ValueError, "factor=1: give the side of a block"),
        (
            lambda: projections(lambda x: x, lambda y: 2 * y, (3,)),
            ValueError,
            "adjoint is not the transpose of forward",
        ),
        (lambda: projections(lambda x: x[:, :2], lambda y: y, (3,)), ValueError, "forward returned shape"),
        (lambda: projections(lambda x: 3.0, lambda y: y, (3,)), ValueError, "forward returned float"),
        (lambda: OPERATORS["wide"](np.zeros((1, 4))), ValueError, r"x has shape \(1, 4\)"),
        (lambda: OPERATORS["wide"].adjoint(np.zeros((1, 4))), ValueError, r"y has shape \(1, 4\)"),
        (lambda: OPERATORS["wide"]([[1.0]]), TypeError, "x is a list"),
        (lambda: OPERATORS["sums"].singular_values, ValueError, "singular values of the operator 'projections'"),
        (lambda: OPERATORS["sums"].solve_measured(np.zeros((1, 5)), 1.0, 0.0), ValueError, "solve_measured with b = 0"),
    ],
)
def test_operators_that_are_wrong_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
