r"""What k steps of an inexact flow map do: where the error of the last state comes from.

With exact map ``X``, approximate map ``G``, times ``t_0, ..., t_k`` and states ``y_{j+1} = G(y_j, t_j, t_{j+1})``, the
error of the last state telescopes (Lady Windermere's fan; Hairer, Norsett and Wanner, section II.3):

``y_k - X(y_0, t_0, t_k) = sum_j [X(y_{j+1}, t_{j+1}, t_k) - X(X(y_j, t_j, t_{j+1}), t_{j+1}, t_k)]``.

Each bracket is one map error carried on by an exact map: at most its size times the Lipschitz constant of what is left.
The last is carried nowhere, so that of ``k`` errors ``k - 1`` are multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from diffnum.distillation.maps import FlowMap
from diffnum.types import FloatArray

__all__ = ["Composition", "composition_error"]


@dataclass(frozen=True, eq=False)
class Composition:
    """Error of k steps of an approximate flow map, taken apart.

    Parameters
    ----------
    error : ndarray, shape (n, d)
        Error of the last state.
    parts : ndarray, shape (k, n, d)
        Map errors carried to the end by the exact map; they sum to :attr:`error`.
    linear : ndarray, shape (k, n, d)
        Map errors times the Jacobians of what is left: :attr:`parts` to first order.
    map_errors : ndarray, shape (k,)
        Largest Euclidean norm of each map error.
    lipschitz : ndarray, shape (k,)
        Lipschitz constants of the exact map from each ``t_{j+1}`` to ``t_k``; the last is 1.
    """

    error: FloatArray
    parts: FloatArray
    linear: FloatArray
    map_errors: FloatArray
    lipschitz: FloatArray

    @property
    def bound(self) -> float:
        """``sum_j L_j delta_j``: no error is larger."""
        return float(self.map_errors @ self.lipschitz)


def composition_error(
    exact: FlowMap, approximate: Callable[[FloatArray, float, float], FloatArray], x: FloatArray, times: Sequence[float]
) -> Composition:
    """Run an approximate flow map over several times and take its error apart.

    Parameters
    ----------
    exact : FlowMap
        The exact map.
    approximate : callable
        ``G(x, t, s)``, states of shape (n, d).
    x : ndarray, shape (n, d)
        States at ``times[0]``.
    times : sequence of float, length k + 1
        Times of the run, monotone.

    Returns
    -------
    Composition

    Raises
    ------
    ValueError
        If there are fewer than two times, or they are out of order.
    """
    nodes = np.asarray(times, dtype=np.float64)
    if nodes.ndim != 1 or len(nodes) < 2:
        msg = f"times={times!r}: a run needs a start and an end: use at least two times"
        raise ValueError(msg)
    gaps = np.diff(nodes)
    if not (np.all(gaps < 0.0) or np.all(gaps > 0.0)):
        msg = f"times={times!r} are out of order: use strictly decreasing times to sample, increasing ones to invert"
        raise ValueError(msg)
    state, parts, linear, sizes, constants = np.asarray(x, dtype=np.float64), [], [], [], []
    end = float(nodes[-1])
    for t, s in zip(nodes[:-1].tolist(), nodes[1:].tolist(), strict=True):
        ideal, moved = exact(state, t, s), np.asarray(approximate(state, t, s))
        defect = moved - ideal
        parts.append(exact(moved, s, end) - exact(ideal, s, end))
        linear.append(exact.jvp(ideal, s, end, defect))
        sizes.append(float(np.max(np.linalg.norm(defect, axis=1))))
        constants.append(exact.lipschitz(s, end))
        state = moved
    error = state - exact(np.asarray(x, dtype=np.float64), float(nodes[0]), end)
    return Composition(error, np.stack(parts), np.stack(linear), np.array(sizes), np.array(constants))
