"""Hypothesis strategies: data distributions, schedules and grids that are well posed."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from diffnum.grids import Grid, from_half_log_snr
from diffnum.problems import GaussianMixture
from diffnum.schedules import EDM, VE, FlowMatching, SubVP, VPCosine, VPLinear
from diffnum.types import Schedule

__all__ = ["grids", "mixtures", "schedules"]


@st.composite
def mixtures(  # noqa: D417 (hypothesis passes `draw`)
    draw: st.DrawFn, *, dim: st.SearchStrategy[int] | None = None, components: st.SearchStrategy[int] | None = None
) -> GaussianMixture:
    """Gaussian mixtures with diagonal covariances, means within 2 and variances from 0.05 to 1.

    Parameters
    ----------
    dim : strategy of int, optional
        Dimension; 1 to 4 by default.
    components : strategy of int, optional
        Number of components; 1 to 4 by default.

    Returns
    -------
    strategy of GaussianMixture
    """
    d = draw(st.integers(1, 4) if dim is None else dim)
    count = draw(st.integers(1, 4) if components is None else components)
    weights = np.array(draw(st.lists(st.floats(0.1, 1.0), min_size=count, max_size=count)))
    means = np.array(draw(st.lists(st.floats(-2.0, 2.0), min_size=count * d, max_size=count * d)))
    variances = np.array(draw(st.lists(st.floats(0.05, 1.0), min_size=count * d, max_size=count * d)))
    return GaussianMixture(weights / weights.sum(), means.reshape(count, d), variances.reshape(count, d))


def schedules() -> st.SearchStrategy[Schedule]:
    """Noising processes of all kinds whose state is ``alpha x_0 + sigma eps`` with closed forms.

    Returns
    -------
    strategy of Schedule
    """
    linear = st.builds(VPLinear, beta_min=st.floats(0.05, 0.5), beta_max=st.floats(5.0, 30.0))
    flow = st.builds(FlowMatching, shift=st.floats(0.5, 5.0))
    fixed: list[Any] = [VPCosine(), SubVP(), VE(), EDM()]
    return st.one_of(linear, flow, st.sampled_from(fixed))


@st.composite
def grids(  # noqa: D417 (hypothesis passes `draw`)
    draw: st.DrawFn,
    *,
    schedule: Schedule | None = None,
    steps: st.SearchStrategy[int] | None = None,
    ratio: float = 3.0,
) -> Grid:
    """Strictly monotone grids with steps of uneven length inside the domain of a schedule.

    Parameters
    ----------
    schedule : Schedule, optional
        Noising process; VP-linear by default.
    steps : strategy of int, optional
        Number of steps; 1 to 12 by default.
    ratio : float
        Largest ratio of two steps, at least 1.

    Returns
    -------
    strategy of Grid
    """
    if ratio < 1.0:
        msg = f"ratio={ratio} is below 1: give the largest ratio of two steps"
        raise ValueError(msg)
    noising = VPLinear() if schedule is None else schedule
    n = draw(st.integers(1, 12) if steps is None else steps)
    low = max(-3.0, float(noising.half_log_snr(noising.t_max)))
    start = draw(st.floats(low, low + 1.0))
    length = draw(st.floats(0.5, 3.0))
    parts = np.array(draw(st.lists(st.floats(1.0, ratio), min_size=n, max_size=n)))
    lam = start + length * np.concatenate([[0.0], np.cumsum(parts) / parts.sum()])
    return from_half_log_snr(noising, lam)
