"""Runs that samplers forget: one, two and three steps, an end without noise, states in the shape of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from diffnum.convergence.checks import SamplerError, called
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.wrapped import in_shape
from diffnum.problems import rotated_product
from diffnum.types import FloatArray, Sampler

__all__ = ["Edge", "edges"]

FEW = (1, 2, 3)
"""Numbers of steps that a history does not reach over."""

IMAGE = (1, 2, 2)
"""Shape of a state: one channel, two by two pixels."""

STEPS = 8

SAME = 1e-9
"""Relative difference of two runs that are one, on flat states and on images."""


@dataclass(frozen=True)
class Edge:
    """One run that did not go as it should.

    Parameters
    ----------
    part : {"few steps", "end at zero noise", "image shapes"}
        Which.
    text : str
        What happened.
    refused : bool
        Whether the sampler refuses the run with a ValueError or TypeError of its own, which is its right.
    """

    part: Literal["few steps", "end at zero noise", "image shapes"]
    text: str
    refused: bool = False


def edges(sampler: Sampler, oracle: Oracle, *, zero: bool = True) -> tuple[Edge, ...]:
    """Try the runs that samplers forget.

    Parameters
    ----------
    sampler : callable
        ``sampler(model, x, nodes) -> x``.
    oracle : Oracle
        Exact model.
    zero : bool
        Whether to try nodes that end at sigma = 0 (a half-log-SNR of infinity).

    Returns
    -------
    tuple of Edge
        Empty where all runs end, with finite numbers, and images are treated like flat states.
    """
    found: dict[str, list[int]] = {}
    said: dict[str, tuple[str, bool]] = {}
    for n in FEW:
        text, own = _tried(sampler, oracle, np.linspace(*oracle.interval, n + 1))
        if text:
            kind = text.partition(":")[0]
            found.setdefault(kind, []).append(n)
            said.setdefault(kind, (text, own))
    several = [Edge("few steps", f"on {_listed(n)} it {said[kind][0]}", said[kind][1]) for kind, n in found.items()]
    if zero:
        nodes = np.append(np.linspace(*oracle.interval, STEPS), np.inf)
        text, own = _tried(sampler, oracle, nodes)
        several += [Edge("end at zero noise", f"on nodes that end at sigma = 0 it {text}", own)] if text else []
    text = _on_images(sampler, oracle)
    return (*several, *([Edge("image shapes", text)] if text else []))


def _tried(sampler: Sampler, oracle: Oracle, nodes: FloatArray) -> tuple[str, bool]:
    """What goes wrong in a run, empty if nothing does, and whether the sampler refuses it."""
    try:
        with np.errstate(all="ignore"):
            end = np.asarray(called(sampler, oracle, oracle.state(oracle.interval[0]), nodes))
    except SamplerError as error:
        cause = error.__cause__
        what = " ".join(f"{type(cause).__name__}: {cause}".split())
        return f"raises {what}", isinstance(cause, ValueError) and not isinstance(cause, ArithmeticError)
    except (TypeError, ValueError) as error:
        return f"raises {error}", True
    return ("" if np.isfinite(end).all() else "returns what is not finite"), False


def _on_images(sampler: Sampler, oracle: Oracle) -> str:
    """What is different on images."""
    wide = Oracle(rotated_product(dim=4, seed=1), oracle.schedule, oracle.interval, 3)
    nodes, x = np.linspace(*oracle.interval, STEPS + 1), wide.state(oracle.interval[0])
    named = "states of shape (b, c, h, w)"
    try:
        flat = np.asarray(called(sampler, wide, x.copy(), nodes.copy()))
        end = np.asarray(called(in_shape(sampler, IMAGE), wide, x.copy(), nodes.copy()))
    except SamplerError as error:
        return f"on {named} it raises {type(error.__cause__).__name__}: {error.__cause__}"
    except (TypeError, ValueError) as error:
        return f"on {named}: {error}"
    if not np.max(np.abs(end - flat)) <= SAME * np.max(np.abs(flat)):
        return f"on {named} it returns other numbers than on the same states of shape (points, d)"
    return ""


def _listed(counts: list[int]) -> str:
    """Numbers of steps with their word."""
    return ", ".join(map(str, counts)) + (" step" if counts == [1] else " steps")
