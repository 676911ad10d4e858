"""Flow matching: the pseudo-corrector, a trapezoidal rule that pays for one evaluation per step."""

from __future__ import annotations

from diffnum.coefficients.adams import CLOCKS, as_kernel
from diffnum.forms import Kernel
from diffnum.tableau import Stage, Step, Window, vector, vectors
from diffnum.types import Scalar

__all__ = ["pseudo_corrector"]


def pseudo_corrector(h: Scalar | Kernel, prediction: str = "velocity") -> tuple[Scalar, tuple[Scalar, Scalar]]:
    """Weights of FlowTurbo's pseudo-corrector: Euler's predictor, the trapezoidal corrector.

    Parameters
    ----------
    h : scalar or array
        Step in sigma/(alpha + sigma) (in time, for rectified flow), < 0 while sampling.
    prediction : {"velocity", "rho"}
        Clock; both have the plain kernel.

    Returns
    -------
    predictor : scalar or array
        Weight of the velocity at the start.
    (b0, b1) : scalars or arrays
        Weights of the velocities at the start and at the predicted end.

    Raises
    ------
    ValueError
        If there is no such rule for the prediction.

    Notes
    -----
    Order 2, 1 NFE per step after the first: the velocity at the start is the one that the step before has evaluated
    at *its* predicted point. On constant steps the predicted points are those of the Adams-Bashforth method of order 2
    started by Euler, so its stability is theirs, not Heun's. The same weights are UniC-1 in this clock.

    References
    ----------
    Zhao et al., FlowTurbo (NeurIPS 2024); shiml20/FlowTurbo at 361b16ba, transport/integrators.py.
    """
    if prediction not in CLOCKS:
        msg = f"prediction={prediction!r}: the trapezoidal rule is for {' and '.join(CLOCKS)}, use one of them"
        raise ValueError(msg)
    total = as_kernel(h, prediction).moment(0)
    return total, (total / 2, total / 2)


def pseudo_corrector_step(window: Window, order: int) -> Step:
    """Predict by Euler, evaluate, correct; at order 1 the prediction alone."""
    x, m0 = vectors("x m0")
    start: tuple[Stage, ...] = ()
    if "m0" not in window.known:
        start, m0 = (Stage(0, x),), vector("k1")
    predictor, (b0, b1) = pseudo_corrector(window.kernel)
    predicted = x + predictor * m0
    if order == 1:
        return Step(start, predicted)
    new = vector(f"k{len(start) + 1}")
    return Step((*start, Stage(1, predicted)), x + b0 * m0 + b1 * new, {"m0": new})
