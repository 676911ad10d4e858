"""Densities on a uniform grid of one or two axes, and the scores of what noise makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product as pairs

import numpy as np

from diffnum.types import FloatArray

__all__ = ["SmoothedGrid", "drawn_from_rows"]

LOG_FLOOR = -44.0
"""Logarithm of the share of the maximum below which a density is left out."""

NARROW = 1.5
"""Noise sigma/alpha, in grid spacings, below which the sum is taken around the state."""

HERMITE = 24
"""Nodes an axis of the sum around the state."""

SMALLEST = 1e-200
"""Sums of products below it are taken again in logarithms."""

Function = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, eq=False)
class SmoothedGrid:
    """A density by its values at the nodes of a grid.

    Attributes
    ----------
    axes : tuple of ndarray
        Nodes of each axis, uniform.
    log_values : ndarray, shape (nodes of axis 1, nodes of axis 2 or 1)
        Logarithms of the density, not normalised.
    """

    axes: tuple[FloatArray, ...]
    log_values: FloatArray

    @classmethod
    def around(cls, log_density: Function, box: FloatArray, spacing: float, most: int) -> SmoothedGrid:
        """Grid over all that matters, found from a first box of shape (d, 2).

        Raises
        ------
        ValueError
            If the density does not fall off within a thousand times the box, or the grid would be too large.
        """
        coarse = 400 if len(box) == 1 else 160
        for _ in range(12):
            axes = tuple(np.linspace(low, high, coarse) for low, high in box)
            values = _on_grid(log_density, axes)
            inside = values > np.max(values) + LOG_FLOOR
            edges = [np.flatnonzero(inside.any(axis=1 - axis)) for axis in range(len(axes))]
            if all(found[0] > 0 and found[-1] < coarse - 1 for found in edges):
                break
            width = box[:, 1] - box[:, 0]
            box = np.stack([box[:, 0] - 0.5 * width, box[:, 1] + 0.5 * width], axis=1)
        else:
            msg = "exponents: the density does not fall off within any reasonable box; give it lighter tails"
            raise ValueError(msg)
        fine = []
        for axis, found in zip(axes, edges, strict=True):
            low, high = axis[found[0] - 1], axis[found[-1] + 1]
            count = int(np.ceil((high - low) / spacing)) + 1
            if count > most:
                msg = (
                    f"problems: a feature of width {spacing * 12:.3g} in a range of {high - low:.3g} asks for {count} "
                    f"nodes an axis, more than {most}; scale the problem, or use integer exponents"
                )
                raise ValueError(msg)
            fine.append(low + spacing * np.arange(count))
        return cls(tuple(fine), _on_grid(log_density, tuple(fine)))

    @property
    def spacing(self) -> float:
        """Distance of neighbouring nodes."""
        return float(self.axes[0][1] - self.axes[0][0])

    @cached_property
    def values(self) -> FloatArray:
        """Shares of the mass at the nodes; they sum to 1."""
        shares = np.exp(self.log_values - np.max(self.log_values))
        return np.asarray(shares / np.sum(shares))

    @cached_property
    def log_mass(self) -> float:
        """Logarithm of the integral."""
        largest = float(np.max(self.log_values))
        total = float(np.sum(np.exp(self.log_values - largest)))
        return largest + float(np.log(total)) + len(self.axes) * float(np.log(self.spacing))

    def points(self) -> tuple[FloatArray, FloatArray]:
        """All nodes, shape (n, d), and their shares of the mass, shape (n,)."""
        grids = np.meshgrid(*self.axes, indexing="ij")
        return np.stack([g.ravel() for g in grids], axis=1), self.values.ravel()

    def moments(self) -> tuple[FloatArray, FloatArray]:
        """Mean, shape (d,), and covariance, shape (d, d)."""
        return self._moments

    @cached_property
    def _moments(self) -> tuple[FloatArray, FloatArray]:
        points, shares = self.points()
        mean = shares @ points
        apart = points - mean
        return mean, np.asarray((apart * shares[:, None]).T @ apart)

    def score(
        self, z: FloatArray, alpha: FloatArray, sigma: FloatArray, log_density: Function, slope: Function
    ) -> FloatArray:
        """Score of the law of ``alpha x_0 + sigma eps`` at ``z``, shape (n, d); alpha and sigma have shape (n, 1).

        Parameters
        ----------
        z, alpha, sigma : ndarray
            States and noise levels.
        log_density, slope : callable
            The density's logarithm and its gradient, for sums around a state.
        """
        narrow = (sigma < NARROW * self.spacing * alpha)[:, 0]
        out = np.empty_like(z)
        if narrow.any():
            out[narrow] = self._near(z[narrow], alpha[narrow], sigma[narrow], log_density, slope)
        wide = ~narrow
        if wide.any():
            mean = self._mean(z[wide], alpha[wide], sigma[wide])
            out[wide] = (alpha[wide] * mean - z[wide]) / sigma[wide] ** 2
        return out

    def _mean(self, z: FloatArray, alpha: FloatArray, sigma: FloatArray) -> FloatArray:
        """Mean of x_0 given states, by sums over the grid."""
        if len(self.axes) == 1:
            return self._mean_by_logarithms(z, alpha, sigma)
        out = np.empty_like(z)
        rows = max(1, (1 << 22) // max(len(axis) for axis in self.axes))
        for start in range(0, len(z), rows):
            run = slice(start, start + rows)
            first, second = (
                _peaked(-0.5 * ((z[run, k : k + 1] - alpha[run] * axis) / sigma[run]) ** 2)
                for k, axis in enumerate(self.axes)
            )
            along = first @ self.values
            total = np.sum(along * second, axis=1)
            bad = total < SMALLEST
            total = np.where(bad, 1.0, total)
            moved = (first * self.axes[0]) @ self.values
            found = np.stack([np.sum(moved * second, axis=1), (along * second) @ self.axes[1]], axis=1)
            found = found / total[:, None]
            if bad.any():
                found[bad] = self._mean_by_logarithms(z[run][bad], alpha[run][bad], sigma[run][bad])
            out[run] = found
        return out

    def _mean_by_logarithms(self, z: FloatArray, alpha: FloatArray, sigma: FloatArray) -> FloatArray:
        points, _ = self.points()
        logs = self.log_values.ravel()
        use = logs > np.max(logs) + 4.0 * LOG_FLOOR
        points, logs = points[use], logs[use]
        out = np.empty_like(z)
        rows = max(1, (1 << 21) // len(points))
        for start in range(0, len(z), rows):
            run = slice(start, start + rows)
            squares = sum(
                ((z[run, k : k + 1] - alpha[run] * points[:, k]) / sigma[run]) ** 2 for k in range(z.shape[1])
            )
            shares = _peaked(logs - 0.5 * np.asarray(squares))
            out[run] = (shares @ points) / np.sum(shares, axis=1, keepdims=True)
        return out

    def _near(
        self, z: FloatArray, alpha: FloatArray, sigma: FloatArray, log_density: Function, slope: Function
    ) -> FloatArray:
        """Score by a Gauss-Hermite sum over the data that noise may have moved to the state."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(HERMITE)
        dim = z.shape[1]
        offsets = np.array(list(pairs(*[nodes.tolist()] * dim)))
        log_weights = np.sum(np.log(np.array(list(pairs(*[weights.tolist()] * dim)))), axis=1)
        at = (z[:, None, :] - sigma[:, :, None] * offsets) / alpha[:, :, None]
        flat = at.reshape(-1, dim)
        shares = _peaked(log_density(flat).reshape(at.shape[:2]) + log_weights)
        shares = shares / np.sum(shares, axis=1, keepdims=True)
        return np.asarray(np.einsum("nk,nkd->nd", shares, slope(flat).reshape(at.shape)) / alpha)


def _on_grid(log_density: Function, axes: tuple[FloatArray, ...]) -> FloatArray:
    grids = np.meshgrid(*axes, indexing="ij")
    points = np.stack([g.ravel() for g in grids], axis=1)
    return log_density(points).reshape(len(axes[0]), -1)


def _peaked(logs: FloatArray) -> FloatArray:
    """Exponentials with the largest of each row at 1."""
    return np.asarray(np.exp(logs - np.max(logs, axis=1, keepdims=True)))


def drawn_from_rows(axis: FloatArray, density: FloatArray, draws: FloatArray) -> FloatArray:
    """Points where the distribution functions of piecewise linear densities take the values ``draws``.

    Parameters
    ----------
    axis : ndarray, shape (m,)
        Nodes, uniform.
    density : ndarray, shape (n, m) or (1, m)
        Values at the nodes, not normalised.
    draws : ndarray, shape (n,)
        Probabilities, in [0, 1).

    Returns
    -------
    ndarray, shape (n,)
    """
    cells = 0.5 * (density[:, 1:] + density[:, :-1])
    total = np.cumsum(cells, axis=1)
    wanted = draws * total[:, -1]
    if len(density) == 1:
        index, row = np.searchsorted(total[0], wanted, side="right"), np.zeros(len(draws), dtype=int)
    else:
        index, row = np.sum(total <= wanted[:, None], axis=1), np.arange(len(draws))
    index = np.minimum(index, cells.shape[1] - 1)
    left, right = density[row, index], density[row, index + 1]
    rest = np.clip(wanted - (total[row, index] - cells[row, index]), 0.0, None)
    # rest = left u + (right - left) u^2 / 2, solved without cancellation
    root = np.sqrt(np.maximum(left * left + 2.0 * (right - left) * rest, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(left + root > 0.0, 2.0 * rest / (left + root), 0.0)
    return np.asarray(axis[index] + np.clip(share, 0.0, 1.0) * (axis[1] - axis[0]))
