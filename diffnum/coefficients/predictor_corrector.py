r"""Predictor-corrector methods: UniPC, exponential Adams-Bashforth with an exponential Adams-Moulton corrector.

UniP of order p solves a Vandermonde system that makes it, for p = 1 and p >= 3, the exponential Adams-Bashforth
method on p nodes; UniC of order p >= 2 is the Adams-Moulton method on p + 1 nodes, whatever the function B(h). For
UniP-2 and UniC-1 the authors replace the solution of the 1 by 1 system by its limit 1/2: there, and only there,
B matters. The variant ``vary_coeff`` solves for derivatives instead of weights; its predictor is the exact Adams
method at every order, and so would be its corrector, but for a stale loop index.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from diffnum.coefficients.adams import as_kernel, combine, ddim, exponential_adams, multistep
from diffnum.coefficients.checked import past_nodes
from diffnum.forms import Kernel
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors
from diffnum.types import Scalar

__all__ = ["unic", "unic_vary", "unip", "unipc"]

VARIANTS = ("bh1", "bh2")
MODES = ("pec", "pece")


def _checked(past: Sequence[Scalar], variant: str, kernel: Kernel | None) -> tuple[Scalar, ...]:
    """Past nodes in their order, for a variant that there is at every order; with a kernel they come from a grid."""
    if variant not in VARIANTS:
        msg = f"variant={variant!r} is unknown: use one of {', '.join(VARIANTS)}"
        raise ValueError(msg)
    if kernel is not None:
        return tuple(past)
    return past_nodes(past)


def _b_function(h: Scalar, total: Scalar, variant: str) -> Scalar:
    """B(h), signed and scaled like a weight: h itself (bh1), or h phi_1 (bh2)."""
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
    Zhao et al., arXiv:2302.04867; wl-zhao/UniPC at cf9de85b, uni_pc.py, ``multistep_uni_pc_bh_update``.
    """
    past = _checked(past, variant, kernel)
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
    Zhao et al., arXiv:2302.04867, theorem 3.1; wl-zhao/UniPC at cf9de85b, ``multistep_uni_pc_bh_update``.
    """
    past = _checked(past, variant, kernel)
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


def unic_vary(h: Scalar | Kernel, past: Sequence[Scalar], prediction: str = "data") -> tuple[Scalar, ...]:
    r"""Weights of the corrector of UniPC ``vary_coeff`` as its authors ship it, with a stale loop index.

    With L_j the Lagrange basis on 0, u_1, ..., 1 and I_k the moments of the kernel, the Adams-Moulton weights are
    :math:`w_j = \sum_k I_k [s^k] L_j`. The code leaves the highest power out for the past nodes, and for the new
    node keeps one term only, :math:`\tfrac1q I_q [s^{q-1}] L_{new}`, q = ``len(past) + 1``.

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    past : sequence of scalars or arrays
        Past nodes u_1 > u_2 > ..., all negative, in steps.
    prediction : {"data", "noise"}
        What the model predicts.

    Returns
    -------
    tuple of scalars or arrays
        Weights at the nodes 0, u_1, u_2, ..., and last at the new node 1.

    Raises
    ------
    ValueError
        If the past nodes are not negative and in order, or ``prediction`` has no such kernel.

    Notes
    -----
    Exact for q = 1 (order 2). For q = 2, 3, ... the corrected method has order 1, and its predictor alone has
    order q. The fixed version is the Adams-Moulton method, ``exponential_adams(h, (0, *past, 1))``.

    References
    ----------
    wl-zhao/UniPC at cf9de85b, uni_pc.py, ``multistep_uni_pc_vary_update``.
    """
    kernel = as_kernel(h, prediction)
    if kernel is not h:  # who brings a kernel brings the nodes of a grid
        past = past_nodes(past)
    if not past:
        return exponential_adams(kernel, (0, 1))
    nodes, order = (0, *past, 1), len(past) + 1
    old = []
    for j in range(1, order):
        powers = _lagrange_basis(nodes, j)
        old.append(sum(kernel.moment(k) * powers[k] for k in range(1, order)))
    new = kernel.moment(order) * _lagrange_basis(nodes, order)[order - 1] / order
    return kernel.moment(0) - new - sum(old), *old, new


def _lagrange_basis(nodes: Sequence[Scalar], j: int) -> list[Scalar]:
    """Coefficients of the Lagrange polynomial of node j, lowest power first."""
    others = [u for i, u in enumerate(nodes) if i != j]
    powers: list[Scalar] = [1]
    for u in others:
        powers = [a - u * b for a, b in zip([0, *powers], [*powers, 0], strict=True)]
    scale = prod(nodes[j] - u for u in others)
    return [power / scale for power in powers]


# -- step rules --------------------------------------------------------------------------------------


def predict_correct(
    window: Window, predictor: Sequence[Scalar], corrector: Sequence[Scalar], mode: str, *, correct_last: bool
) -> Step:
    """Step of a predictor and a corrector.

    Parameters
    ----------
    window : Window
        Place on the grid.
    predictor : sequence of scalars
        Weights of the evaluations at the current node and at past ones, newest first.
    corrector : sequence of scalars
        The same for the corrector, and last the weight of the evaluation at the new node.
    mode : {"pec", "pece"}
        Whether the history keeps the evaluation at the predicted point (1 NFE per step) or the model is evaluated
        again at the corrected point (2 NFE).
    correct_last : bool
        Whether the last step is corrected, which costs an evaluation that serves nothing else.

    Raises
    ------
    ValueError
        If ``mode`` is unknown.
    """
    if mode not in MODES:
        msg = f"mode={mode!r} is unknown: use one of {', '.join(MODES)}"
        raise ValueError(msg)
    x, m0 = vectors("x m0")
    stages: list[Stage] = []
    if mode == "pece" or "m0" not in window.known:
        stages.append(Stage(0, x))
        m0 = vector("k1")
    history = [m0, *(vector(f"m{j}") for j in range(1, len(predictor)))]
    predicted = x + combine(predictor, history)
    memory = window.remember(m0) if mode == "pece" else {}
    if window.last and not correct_last:
        return Step(tuple(stages), predicted, memory)
    new = vector(f"k{len(stages) + 1}")
    stages.append(Stage(1, predicted))
    corrected = x + combine(corrector, [*history[: len(corrector) - 1], new])
    return Step(tuple(stages), corrected, memory if mode == "pece" else _shifted(window, m0, new))


def _shifted(window: Window, m0: Vector, new: Vector) -> dict[str, Vector]:
    """History after a step in PEC mode: the evaluation at the predicted point becomes the current one."""
    memory = {"m0": new, "m1": m0} if window.depth else {"m0": new}
    return memory | {f"m{j + 1}": vector(f"m{j}") for j in range(1, window.depth) if f"m{j}" in window.known}


def unip_step(window: Window, order: int, variant: str = "bh2") -> Step:
    """UniP: the predictor alone, evaluated at its own points."""
    return multistep(window, unip(window.step, window.past[: order - 1], variant, kernel=window.kernel))


def unipc_step(
    window: Window, order: int, variant: str = "bh2", mode: str = "pec", *, correct_last: bool = False
) -> Step:
    """UniPC; as shipped in PEC mode, with a last step that is not corrected."""
    past = window.past[: order - 1]
    predictor, corrector = (f(window.step, past, variant, kernel=window.kernel) for f in (unip, unic))
    return predict_correct(window, predictor, corrector, mode, correct_last=correct_last)


def unipc_vary_step(window: Window, order: int, *, fixed: bool = False) -> Step:
    """UniPC ``vary_coeff``, as shipped or with the loop index mended: the pair of exact Adams methods."""
    past = window.past[: order - 1]
    predictor = exponential_adams(window.kernel, (0, *past))
    corrector = exponential_adams(window.kernel, (0, *past, 1)) if fixed else unic_vary(window.kernel, past)
    return predict_correct(window, predictor, corrector, "pec", correct_last=False)
