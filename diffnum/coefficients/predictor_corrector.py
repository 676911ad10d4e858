r"""Predictor-corrector methods: UniPC, exponential Adams-Bashforth with an exponential Adams-Moulton corrector.

UniP of order p solves a Vandermonde system that makes it, for p = 1 and p >= 3, the exponential Adams-Bashforth
method on p nodes; UniC of order p >= 2 is the Adams-Moulton method on p + 1 nodes, whatever the function B(h). For
UniP-2 and UniC-1 the authors replace the solution of the 1 by 1 system by its limit 1/2: there, and only there,
B matters.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffnum.coefficients.adams import as_kernel, combine, ddim, exponential_adams
from diffnum.forms import Kernel
from diffnum.tableau import Stage, Step, Window, vector, vectors
from diffnum.types import Scalar

__all__ = ["unic", "unip", "unipc"]

VARIANTS = ("bh1", "bh2")


def _b_function(h: Scalar, total: Scalar, variant: str) -> Scalar:
    """B(h), signed and scaled like a weight: h itself (bh1), or h phi_1 (bh2)."""
    if variant not in VARIANTS:
        raise ValueError(f"variant={variant!r} is unknown: use one of {', '.join(VARIANTS)}")
    return h if variant == "bh1" else total


def unip(
    h: Scalar,
    past: Sequence[Scalar],
    variant: str = "bh2",
    prediction: str = "data",
    *,
    kernel: Kernel | None = None,
) -> tuple[Scalar, ...]:
    """Weights of UniP of order ``len(past) + 1``, as shipped with its shortcut at order 2.

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    past : sequence of scalars or arrays
        Past nodes u_1 > u_2 > ..., all negative, in steps.
    variant : {"bh1", "bh2"}
        The function B(h): h or e^h - 1; matters at order 2 only.
    prediction : {"data", "noise"}
        What the model predicts.
    kernel : Kernel, optional
        Kernel of the step, where the caller has one.

    Returns
    -------
    tuple of scalars or arrays
        Weights of the evaluations at the nodes 0, u_1, u_2, ...

    Notes
    -----
    Order ``len(past) + 1``, no evaluation beyond those it combines. bh2 at order 2 is ``dpmpp_2m``.

    References
    ----------
    Zhao et al., arXiv:2302.04867, algorithm 2; wl-zhao/UniPC at cf9de85b for the weight 1/2.
    """
    kernel = as_kernel(h, prediction) if kernel is None else kernel
    if len(past) == 1:
        w1 = _b_function(h, kernel.moment(0), variant) / (2 * past[0])
        return kernel.moment(0) - w1, w1
    return exponential_adams(kernel, (0, *past)) if past else ddim(kernel)


def unic(
    h: Scalar,
    past: Sequence[Scalar],
    variant: str = "bh2",
    prediction: str = "data",
    *,
    kernel: Kernel | None = None,
) -> tuple[Scalar, ...]:
    """Weights of UniC of order ``len(past) + 1``, as shipped with its shortcut at order 1.

    Parameters
    ----------
    h, past, variant, prediction, kernel
        As in :func:`unip`.

    Returns
    -------
    tuple of scalars or arrays
        Weights at the nodes 0, u_1, u_2, ..., and last at the new node 1.

    Notes
    -----
    Raises the order of a predictor of order p by one. Uses the evaluation at the predicted point; without
    re-evaluation (PEC) it costs nothing, because the next predictor uses the same evaluation.

    References
    ----------
    Zhao et al., arXiv:2302.04867, algorithm 1.
    """
    kernel = as_kernel(h, prediction) if kernel is None else kernel
    if not past:
        half = _b_function(h, kernel.moment(0), variant) / 2
        return kernel.moment(0) - half, half
    return exponential_adams(kernel, (0, *past, 1))


def unipc(
    h: Scalar, past: Sequence[Scalar], variant: str = "bh2", prediction: str = "data"
) -> tuple[tuple[Scalar, ...], tuple[Scalar, ...]]:
    """Weights of UniPC: the pair (:func:`unip`, :func:`unic`) of the same order.

    Parameters
    ----------
    h, past, variant, prediction
        As in :func:`unip`.

    Returns
    -------
    predictor, corrector : tuples of scalars or arrays
        Weights at (0, u_1, ...) and at (0, u_1, ..., 1).
    """
    return unip(h, past, variant, prediction), unic(h, past, variant, prediction)


# -- step rules --------------------------------------------------------------------------------------


def unipc_step(window: Window, order: int, variant: str = "bh2") -> Step:
    """UniPC in PEC mode: predict, evaluate at the predicted point, correct; history keeps that evaluation.

    The last step is not corrected, as its evaluation would serve nothing else.
    """
    x, m0 = vectors("x m0")
    stages: list[Stage] = []
    if "m0" not in window.known:
        stages.append(Stage(0, x))
        m0 = vector("k1")
    new = vector(f"k{len(stages) + 1}")
    past = window.past[: order - 1]
    history = [m0, *(vector(f"m{j}") for j in range(1, order))]
    predicted = x + combine(unip(window.step, past, variant, kernel=window.kernel), history)
    if window.last:
        return Step(tuple(stages), predicted)
    stages.append(Stage(1, predicted))
    corrected = x + combine(unic(window.step, past, variant, kernel=window.kernel), [*history, new])
    memory = {"m0": new, "m1": m0} if window.depth else {"m0": new}
    memory |= {f"m{j + 1}": vector(f"m{j}") for j in range(1, window.depth) if f"m{j}" in window.known}
    return Step(tuple(stages), corrected, memory)
