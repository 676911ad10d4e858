r"""A nonlinear invertible map of normals: couplings of one half of the entries by the other, then an affine map.

A coupling leaves the entries a as they are and moves each of the others, b, by an increasing function whose five
numbers a small network makes of a:

.. math:: y_b = u + \tfrac{e^p - 1}{e^r} \tanh(e^r u + c), \qquad u = e^s x_b + t .

Its slope :math:`e^s (1 + (e^p - 1) \operatorname{sech}^2)` is positive whatever the numbers are, and with all of them
zero it is the identity: the family holds every affine map. With one entry there is nothing to couple and the numbers
are constants; the increasing functions alone can then make two modes of one.

The derivatives are written out. The score :math:`\nabla \log q` of the law at the images comes along with them, so that
a divergence can be lowered by a gradient that is zero for *every* sample at the optimum, not on average only (Roeder,
Wu and Duvenaud 2017, arXiv:1703.09194).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from diffnum.types import FloatArray

__all__ = ["CouplingMap", "Mapped"]

LIMIT = 3.0
"""Largest logarithm of a slope or a steepness that a coupling may have."""

NUMBERS = 5
"""Numbers s, t, p, r, c of each entry that is moved."""

LIMITED = np.array([True, False, True, True, False])[:, None]
"""Those of them that are logarithms."""


class _Moved(NamedTuple):
    """What a coupling did, for the way back over it."""

    x: FloatArray
    hidden: FloatArray
    numbers: FloatArray
    inner: FloatArray
    bent: FloatArray
    slope: FloatArray


class Mapped(NamedTuple):
    """Images of normals.

    Parameters
    ----------
    z : ndarray, shape (k, d)
        The images.
    log_density : ndarray, shape (k,)
        Of the law of the images, at them.
    score : ndarray, shape (k, d)
        Its gradient there.
    """

    z: FloatArray
    log_density: FloatArray
    score: FloatArray


@dataclass(frozen=True, eq=False)
class CouplingMap:
    """Couplings, and an affine map after them, as functions of one vector of parameters.

    Parameters
    ----------
    dimension : int
        Entries d of a sample.
    couplings : int
        How many; each moves one half of the entries by the other, in turns.
    hidden : int
        Units of the network of each.
    independent : bool
        Whether the affine map is diagonal, in place of lower triangular.
    seed : int
        Of which entries are halved together (with more than two), and of the networks' first layers.
    """

    dimension: int
    couplings: int
    hidden: int
    independent: bool = False
    seed: int = 0
    halves: tuple[tuple[FloatArray, FloatArray], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        d, generator = self.dimension, np.random.default_rng(self.seed)
        halves = []
        for number in range(self.couplings):
            if number % 2 == 0:
                order = generator.permutation(d) if d > 2 else np.arange(d)
                pair = np.sort(order[: d // 2]), np.sort(order[d // 2 :])
            halves.append(pair if number % 2 == 0 or d == 1 else pair[::-1])
        object.__setattr__(self, "halves", tuple(halves))

    # -- parameters ------------------------------------------------------------------------------------

    @property
    def below(self) -> tuple[Any, Any]:
        """Places of the affine map's entries."""
        rows, columns = np.diag_indices(self.dimension) if self.independent else np.tril_indices(self.dimension)
        return rows, columns

    def first(self, mean: FloatArray) -> FloatArray:
        """Parameters of the identity moved by ``mean``: the networks' last layers are zero, their first ones drawn."""
        generator, parts = np.random.default_rng((self.seed, 1)), []
        for a, b in self.halves:
            scale = 1.0 / np.sqrt(max(len(a), 1))
            parts += [
                scale * generator.standard_normal(len(a) * self.hidden),
                generator.standard_normal(self.hidden),
                np.zeros((self.hidden + 1) * NUMBERS * len(b)),
            ]
        return np.concatenate([*parts, mean, np.zeros(len(self.below[0]))])

    def _parts(self, parameters: FloatArray) -> tuple[list[list[FloatArray]], FloatArray, FloatArray]:
        """Weights of each coupling, the mean and the factor of the affine map; views where they can be."""
        at, layers = 0, []
        for a, b in self.halves:
            shapes = (len(a), self.hidden), (self.hidden,), (self.hidden, NUMBERS * len(b)), (NUMBERS * len(b),)
            layer = []
            for shape in shapes:
                size = int(np.prod(shape))
                layer.append(parameters[at : at + size].reshape(shape))
                at += size
            layers.append(layer)
        mean, entries, below = parameters[at : at + self.dimension], parameters[at + self.dimension :], self.below
        on, factor = below[0] == below[1], np.zeros((self.dimension, self.dimension))
        factor[below] = np.where(on, np.exp(np.where(on, entries, 0.0)), entries)
        return layers, mean, factor

    # -- there and back --------------------------------------------------------------------------------

    def map(self, parameters: FloatArray, u: FloatArray) -> Mapped:
        """Images of normals, with density and score.

        Parameters
        ----------
        parameters : ndarray, shape (p,)
            See :meth:`first`.
        u : ndarray, shape (k, d)
            Normals.
        """
        return self._forward(parameters, u)[0]

    def gradient(self, parameters: FloatArray, u: FloatArray, pull: Any) -> tuple[Mapped, FloatArray]:
        """Images, and the derivative of a sum over them by the parameters.

        Parameters
        ----------
        parameters : ndarray, shape (p,)
            Parameters.
        u : ndarray, shape (k, d)
            Normals.
        pull : callable
            ``pull(mapped)`` gives the derivative of the sum by the images, shape (k, d).
        """
        mapped, made, v = self._forward(parameters, u)
        layers, _, factor = self._parts(parameters)
        cotangent = np.asarray(pull(mapped))
        below = self.below
        on = below[0] == below[1]
        by_factor = (cotangent.T @ v)[below] * np.where(on, factor[below], 1.0)
        found = [np.concatenate([cotangent.sum(axis=0), by_factor])]
        cotangent = cotangent @ factor
        for (a, b), layer, moved in zip(self.halves[::-1], layers[::-1], made[::-1], strict=True):
            at_a, at_b, named = _back(layer, moved, cotangent[:, b], 0.0)
            found.append(np.concatenate([part.ravel() for part in named]))
            cotangent = cotangent.copy()
            cotangent[:, a] += at_a
            cotangent[:, b] = at_b
        return mapped, np.concatenate(found[::-1])

    def _forward(self, parameters: FloatArray, u: FloatArray) -> tuple[Mapped, list[_Moved], FloatArray]:
        layers, mean, factor = self._parts(parameters)
        x, score, made = u, -u, []
        log_density = -0.5 * np.sum(u * u, axis=1) - 0.5 * self.dimension * np.log(2.0 * np.pi)
        for (a, b), layer in zip(self.halves, layers, strict=True):
            after, moved = _moved(layer, x[:, a], x[:, b])
            log_density = log_density - np.sum(np.log(moved.slope) + moved.numbers[:, 0], axis=1)
            # the density of the images is that of the normals over the slope; its gradient goes back by the inverse
            at_a, at_b, _ = _back(layer, moved, np.zeros_like(after), 1.0)
            score = score.copy()
            score[:, a] -= at_a
            score[:, b] = (score[:, b] - at_b) / (moved.slope * np.exp(moved.numbers[:, 0]))
            score[:, a] -= _back(layer, moved, score[:, b], 0.0)[0]
            x = x.copy()
            x[:, b] = after
            made.append(moved)
        log_density = log_density - np.sum(np.log(np.diag(factor)))
        carried = np.asarray(np.linalg.solve(factor.T, score.T).T, dtype=np.float64)
        return Mapped(mean + x @ factor.T, log_density, carried), made, x


def _moved(layer: list[FloatArray], a: FloatArray, b: FloatArray) -> tuple[FloatArray, _Moved]:
    """Entries b after a coupling by the entries a."""
    w1, b1, w2, b0 = layer
    hidden = np.tanh(a @ w1 + b1)
    numbers = (hidden @ w2 * bool(a.shape[1]) + b0).reshape(len(b), NUMBERS, -1)
    numbers = np.where(LIMITED, LIMIT * np.tanh(numbers / LIMIT), numbers)
    s, t, p, r, c = np.moveaxis(numbers, 1, 0)
    inner = b * np.exp(s) + t
    bent = np.tanh(np.exp(r) * inner + c)
    after = inner + np.expm1(p) * np.exp(-r) * bent
    return after, _Moved(
        np.concatenate([a, b], axis=1), hidden, numbers, inner, bent, 1.0 + np.expm1(p) * (1 - bent**2)
    )


def _back(
    layer: list[FloatArray], moved: _Moved, cotangent: FloatArray, weight: float
) -> tuple[FloatArray, FloatArray, list[FloatArray]]:
    """Derivatives of ``cotangent . y_b + weight log|dy_b/dx_b|`` by a, by b and by the weights of the network."""
    w1, _, w2, _ = layer
    s, _, p, r, _ = np.moveaxis(moved.numbers, 1, 0)
    count = len(w1)
    a, b = moved.x[:, :count], moved.x[:, count:]
    inner, bent, slope, steep = moved.inner, moved.bent, moved.slope, np.exp(r)
    rest = 1.0 - bent**2
    jump = np.expm1(p)
    # of the logarithm of the slope by the argument of the tanh
    turn = weight * jump / slope * (-2.0 * bent * rest)
    by_inner = cotangent * slope + turn * steep
    by_numbers = np.stack(
        [
            by_inner * b * np.exp(s) + weight,
            by_inner,
            (cotangent * bent / steep + weight * rest / slope) * (jump + 1.0),
            cotangent * jump / steep * (rest * steep * inner - bent) + turn * steep * inner,
            cotangent * jump / steep * rest + turn,
        ],
        axis=1,
    )
    by_numbers = by_numbers * np.where(LIMITED, 1.0 - (moved.numbers / LIMIT) ** 2, 1.0)
    flat = by_numbers.reshape(len(b), -1)
    by_hidden = flat @ w2.T * (1.0 - moved.hidden**2) * bool(count)
    named = [a.T @ by_hidden, by_hidden.sum(axis=0), moved.hidden.T @ flat * bool(count), flat.sum(axis=0)]
    return by_hidden @ w1.T, by_inner * np.exp(s), named
