"""Runs that samplers forget: few steps and the usual numbers of them, an end without noise, states like images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from diffnum.convergence.checks import SamplerError, called
from diffnum.convergence.oracle import Oracle
from diffnum.convergence.wrapped import in_shape
from diffnum.problems import Mixture1D, rotated_product
from diffnum.types import FloatArray, Sampler

__all__ = ["Edge", "edges"]

FEW = (1, 2, 3)
"""Numbers of steps that a history does not reach over."""

USUAL = (4, 5, 6, 8, 10, 15, 20, 25, 28, 30, 40, 50, 100)
"""Numbers of steps that users ask for: what is not finite at one of them is no sampler."""

BEFORE_ZERO = 4.0
"""Half-log-SNR before the step to no noise, where sigma is 0.018 in a process of constant variance."""

LONG_WAY = 96
"""Steps to it."""

_POINTS = Mixture1D(np.array([0.3, 0.5, 0.2]), np.array([-1.2, 0.4, 1.7]), np.full(3, 1e-6))
"""Data in three narrow peaks, where noise that is left is an error: along a flow to wide peaks it hardly matters."""

SHARE = 2.0
"""The end without noise may be this much further from the truth than the state before it and a step of order 1."""

SLACK = 1e-3
"""And by this share of the size of the states."""

IMAGE = (1, 2, 2)
"""Shape of a state: one channel, two by two pixels."""

STEPS = 8

SAME = 1e-9
"""Relative difference of two runs that are one, on flat states and on images."""


EdgePart: TypeAlias = Literal["few steps", "numbers of steps", "end at zero noise", "image shapes"]


@dataclass(frozen=True)
class Edge:
    """One run that did not go as it should.

    Parameters
    ----------
    part : {"few steps", "numbers of steps", "end at zero noise", "image shapes"}
        Which.
    text : str
        What happened.
    refused : bool
        Whether the sampler refuses the run with a ValueError or TypeError of its own, which is its right.
    """

    part: EdgePart
    text: str
    refused: bool = False


def edges(sampler: Sampler, oracle: Oracle, *, zero: bool = True, usual: bool = True) -> tuple[Edge, ...]:
    """Try the runs that samplers forget.

    Parameters
    ----------
    sampler : callable
        ``sampler(model, x, nodes) -> x``.
    oracle : Oracle
        Exact model.
    zero : bool
        Whether to try nodes that end at sigma = 0 (a half-log-SNR of infinity).
    usual : bool
        Whether to try the numbers of steps that users ask for, :data:`USUAL`.

    Returns
    -------
    tuple of Edge
        Empty where all runs end, with finite numbers, images are treated like flat states, and the end without noise
        is as near to the truth as that of a step of order 1.
    """
    several: list[Edge] = []
    groups: tuple[tuple[EdgePart, tuple[int, ...]], ...] = (("few steps", FEW), ("numbers of steps", USUAL))
    for part, counts in groups if usual else groups[:1]:
        found: dict[str, list[int]] = {}
        said: dict[str, tuple[str, bool]] = {}
        for n in counts:
            text, own = _tried(sampler, oracle, np.linspace(*oracle.interval, n + 1))
            if text:
                kind = text.partition(":")[0]
                found.setdefault(kind, []).append(n)
                said.setdefault(kind, (text, own))
        several += [Edge(part, f"on {_listed(n)} it {said[kind][0]}", said[kind][1]) for kind, n in found.items()]
    if zero:
        nodes = np.append(np.linspace(*oracle.interval, STEPS), np.inf)
        text, own = _tried(sampler, oracle, nodes)
        text, own = (text, own) if text else (_away_from_data(sampler, oracle), False)
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


def _away_from_data(sampler: Sampler, oracle: Oracle) -> str:
    """What is wrong with an end without noise that is finite, empty if nothing is.

    The last step is held against the exact state: it may not end much further from it than what is there before it,
    and a step of order 1 from the exact state, which is the data that the model predicts.
    """
    level = max(BEFORE_ZERO, oracle.interval[1] + 2.0)
    nodes = np.linspace(oracle.interval[0], level, LONG_WAY + 1)
    oracle = Oracle(_POINTS, oracle.schedule, oracle.interval)
    state = oracle.state(level)
    zero = float(oracle.schedule.time(np.inf))
    truth = np.asarray(oracle.problem.flow(state, oracle.schedule, oracle.time(level), zero))
    try:
        with np.errstate(all="ignore"):
            before = np.asarray(called(sampler, oracle, oracle.state(oracle.interval[0]), nodes))
            end = np.asarray(called(sampler, oracle, oracle.state(oracle.interval[0]), np.append(nodes, np.inf)))
    except (TypeError, ValueError) as error:
        return f"raises {error}"

    def size(x: FloatArray) -> float:
        return float(np.sqrt(np.mean(x**2)))

    usual = size(oracle.data(state, level) - truth)
    off, allowed = size(end - truth), SHARE * (size(before - state) + usual) + SLACK * size(truth)
    if off <= allowed:
        return ""
    return f"ends {off:.2g} away from the data, where the data predicted from the exact state is {usual:.2g} away"


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
