"""Thresholding: wrappers that keep the data prediction of any model in a box.

A clipped prediction is another model, with kinks where the clipping sets in. A sampler then converges to the flow of
the clipped model, not to that of the data, and across the kinks at second order at most. Where no entry is clipped,
nothing changes. Only data-prediction methods see a smooth limit near sigma = 0, so that is what the wrappers predict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from diffnum.forms import predict
from diffnum.jobs.checked import check_model
from diffnum.types import Array, Denoiser, Prediction, Schedule

__all__ = ["DynamicThreshold", "StaticThreshold", "sample_quantile"]


@dataclass(frozen=True)
class StaticThreshold:
    """Data prediction clipped to [-bound, bound].

    Parameters
    ----------
    model : Denoiser
        Model of any prediction.
    bound : float
        Largest magnitude, > 0; 1 for images scaled to [-1, 1].

    Raises
    ------
    ValueError
        If ``bound`` is not positive.
    """

    model: Denoiser
    bound: float = 1.0

    def __post_init__(self) -> None:
        check_model(self.model)
        if not self.bound > 0:
            msg = f"bound={self.bound} is not positive: use the largest magnitude of the data, such as 1"
            raise ValueError(msg)

    @property
    def prediction(self) -> Prediction:
        """What the wrapper returns: data."""
        return "data"

    @property
    def schedule(self) -> Schedule:
        """The model's schedule."""
        return self.model.schedule

    def __call__(self, x: Array, t: Any) -> Array:
        """Clip the data prediction at ``x``, shape (batch, ...), and ``t``."""
        return array_namespace(x).clip(predict(self.model, x, t, "data"), min=-self.bound, max=self.bound)


@dataclass(frozen=True)
class DynamicThreshold:
    """Data prediction clipped, sample by sample, to a quantile of its magnitudes, and divided by it.

    With q the quantile of a sample and ``m = max(q, floor)``: ``clip(x_0, -m, m) ceiling / m``.

    Parameters
    ----------
    model : Denoiser
        Model of any prediction.
    quantile : float
        In (0, 1]; 0.995 in the papers.
    floor : float
        Least threshold, > 0.
    ceiling : float
        Magnitude that the threshold is mapped to. Images scaled to [-1, 1] have floor = ceiling = 1, and nothing is
        changed below it; the DPM-Solver code divides by the threshold (ceiling = 1) whatever the floor is.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Saharia et al., arXiv:2205.11487, section 2.3; LuChengTHU/dpm-solver at 52bc3fbc, ``dynamic_thresholding_fn``.
    """

    model: Denoiser
    quantile: float = 0.995
    floor: float = 1.0
    ceiling: float = 1.0

    def __post_init__(self) -> None:
        check_model(self.model)
        if not 0.0 < self.quantile <= 1.0:
            msg = f"quantile={self.quantile} is not in (0, 1]: 0.995 is usual"
            raise ValueError(msg)
        for name, value in (("floor", self.floor), ("ceiling", self.ceiling)):
            if not value > 0:
                msg = f"{name}={value} is not positive: use the largest magnitude of the data, such as 1"
                raise ValueError(msg)

    @property
    def prediction(self) -> Prediction:
        """What the wrapper returns: data."""
        return "data"

    @property
    def schedule(self) -> Schedule:
        """The model's schedule."""
        return self.model.schedule

    def __call__(self, x: Array, t: Any) -> Array:
        """Threshold the data prediction at ``x``, shape (batch, ...), and ``t``."""
        xp = array_namespace(x)
        data = predict(self.model, x, t, "data")
        size = xp.clip(sample_quantile(xp.abs(data), self.quantile), min=self.floor)
        size = xp.reshape(size, (-1,) + (1,) * (data.ndim - 1))
        return xp.minimum(xp.maximum(data, -size), size) * (self.ceiling / size)


def sample_quantile(values: Array, quantile: float) -> Array:
    """Quantile of each sample, linearly interpolated between order statistics.

    Parameters
    ----------
    values : array, shape (batch, ...)
        At least one entry a sample.
    quantile : float
        In [0, 1].

    Returns
    -------
    array, shape (batch,)
    """
    xp = array_namespace(values)
    ordered = xp.sort(xp.reshape(values, (values.shape[0], -1)), axis=1)
    position = quantile * (ordered.shape[1] - 1)
    below = min(int(position), ordered.shape[1] - 1)
    above = min(below + 1, ordered.shape[1] - 1)
    return ordered[:, below] + (position - below) * (ordered[:, above] - ordered[:, below])
