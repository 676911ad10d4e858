"""Whether a scheduler steps along the noise levels that are put into it, or along a table of its own."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffnum.foreign.families import family_of, picture_of
from diffnum.foreign.pipeline import run_scheduler
from diffnum.foreign.precision import swapped
from diffnum.types import FloatArray

__all__ = ["heeds_nodes"]

STEPS = 8

NODES = np.geomspace(5.0, 0.2, STEPS + 1)
"""sigma / alpha of the levels that are put in: other ends than those of any scheduler."""

POINT = 0.3
"""Where all data are: a model of one point asks for the same noise all along, and any consistent step is exact."""

EXACT = 1e-3
"""Error of a run on it that float32 tables may make."""


def heeds_nodes(scheduler: Any, options: Mapping[str, Any]) -> None:
    """Refuse a scheduler that is right on its own levels and not on those that are put into it.

    Parameters
    ----------
    scheduler : object
        Instance; copies of it are run on data in a single point.
    options : mapping
        Keyword arguments of its ``step``.

    Raises
    ------
    ValueError
        If it cannot be laid out: it raises an exception there, or keeps to levels of its own. What is wrong on its own
        levels too is not refused: that is for a judgement.
    """
    own, failure = _off(scheduler, None, options)
    if failure or not own <= EXACT:
        return
    laid, failure = _off(scheduler, NODES, options)
    if not failure and laid <= EXACT:
        return
    what = f"raises {failure}" if failure else f"is {laid:.2g} off where all data are in one point"
    msg = (
        f"{type(scheduler).__name__} cannot be laid out on given noise levels: it is exact on its own, and on others "
        f"it {what}; it seems to keep levels elsewhere than in sigmas, timesteps and alphas_cumprod: write a function "
        "sampler(model, x, nodes) around it, or give it a table that step reads"
    )
    raise ValueError(msg)


def _off(scheduler: Any, nodes: FloatArray | None, options: Mapping[str, Any]) -> tuple[float, str]:
    """Error on data in one point, at all calls and the end, on own or given levels; or what it raises."""
    noise, worst = np.linspace(-1.0, 1.0, 4)[:, None], [0.0]

    def evaluate(z: FloatArray, levels: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
        alpha, sigma = levels
        worst.append(float(np.max(np.abs(z - (alpha * POINT + sigma * noise)))))
        return np.full_like(z, POINT), (z - alpha * POINT) / sigma if sigma else np.zeros_like(z)

    work = copy.deepcopy(scheduler)
    with warnings.catch_warnings(), np.errstate(all="ignore"), swapped(double=True, silent=True):
        warnings.simplefilter("ignore")
        try:
            family, picture = family_of(work), picture_of(work)
            if nodes is None:
                work.set_timesteps(STEPS)
                rho = family.read(work)
                calls = rho[:-1]
            else:
                rho, calls = nodes, family.lay(work, nodes).calls
            (a0, s0), (a1, s1) = picture.levels(float(rho[0])), picture.levels(float(rho[-1]))
            end = run_scheduler(work, evaluate, a0 * POINT + s0 * noise, calls, options)
        except Exception as error:
            return np.inf, " ".join(f"{type(error).__name__}: {error}".split())[:200]
    off = max(*worst, float(np.max(np.abs(end - (a1 * POINT + s1 * noise)))))
    return (off if np.isfinite(off) else np.inf), ""
