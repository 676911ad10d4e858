"""Grid records: nodes and a terminal rule, with their checks."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from diffnum.types import FloatArray

PURE_NOISE = -40.0 * math.log(2.0)
"""Half-log-SNR that stands for minus infinity, a signal of 1e-12: weights have their limits to that accuracy."""


@dataclass(frozen=True)
class Terminal:
    """What happens at the end of a grid.

    Attributes
    ----------
    name : str
        Registered name.
    nfe : int
        Model evaluations that it adds.
    doc : str
        One sentence.
    """

    name: str
    nfe: int
    doc: str


TERMINALS: Mapping[str, Terminal] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            Terminal("stop", 0, "Stop at the last node."),
            Terminal("denoise", 1, "Replace the state at the last node by the data prediction there."),
            Terminal("lower_order", 0, "Lower the order over the last steps, down to 1 on the last one."),
            Terminal("lower_order_denoise", 1, "Lower the order down to 1 on the last step, then denoise the state."),
        )
    }
)
"""Terminal rules by name."""


@dataclass(frozen=True, eq=False, repr=False)
class Grid:
    """Nodes of a sampler, from noise to data.

    Parameters
    ----------
    t : array_like, shape (n + 1,)
        Times, finite and strictly decreasing; kept as a read-only float64 copy.
    lam : array_like, shape (n + 1,)
        Half-log-SNRs at those times, strictly increasing; finite, but for a last ``+inf`` (``sigma = 0``) and a first
        ``-inf`` (``alpha = 0``, pure noise), which is kept as :data:`PURE_NOISE`.
    terminal : Terminal or str
        What happens after the last step.
    name : str
        Name of the builder.

    Raises
    ------
    ValueError
        If a node is repeated, out of order or not finite (index and values are given), or there is no step.
    """

    t: FloatArray
    lam: FloatArray
    terminal: Terminal = TERMINALS["stop"]
    name: str = "times"

    def __post_init__(self) -> None:
        t, lam = checked_nodes("t", self.t), checked_nodes("lam", self.lam)
        if t.shape != lam.shape:
            msg = f"lam must have the shape of t, {t.shape}, got {lam.shape}; pass one value a node"
            raise ValueError(msg)
        check_monotone("t", t, "decrease")
        if lam[0] == -np.inf and lam.size > 1 and lam[1] > PURE_NOISE:
            lam = np.array([PURE_NOISE, *lam[1:]])
        check_monotone("lam", lam, "increase")
        if not np.all(np.isfinite(t)):
            msg = f"t must be finite, got {t!r}; pass times inside the schedule's domain"
            raise ValueError(msg)
        if lam[0] == -np.inf:
            msg = (
                f"lam[0] is -inf: there is no signal (alpha = 0) at t = {float(t[0])!r}, and next to none at "
                f"t = {float(t[1])!r}; take fewer steps there, or start at schedule.default_t_start"
            )
            raise ValueError(msg)
        object.__setattr__(self, "t", t)
        object.__setattr__(self, "lam", lam)
        object.__setattr__(self, "terminal", find_terminal(self.terminal))

    @property
    def n(self) -> int:
        """Number of steps, one less than the number of nodes."""
        return self.t.size - 1

    def __repr__(self) -> str:
        return (
            f"Grid({self.name}, n={self.n}, t={float(self.t[0]):.6g}..{float(self.t[-1]):.6g}, "
            f"lam={float(self.lam[0]):.6g}..{float(self.lam[-1]):.6g}, terminal={self.terminal.name!r})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return tuple(self.t.tolist()), tuple(self.lam.tolist()), self.terminal, self.name

    def with_terminal(self, name: str) -> Grid:
        """Return the same nodes with another terminal rule.

        Parameters
        ----------
        name : str
            One of :data:`TERMINALS`.
        """
        return replace(self, terminal=find_terminal(name))

    def split(self, step: int) -> tuple[Grid, Grid]:
        """Two grids that share node ``step``; the first stops there, the second keeps the terminal rule.

        Parameters
        ----------
        step : int
            Steps of the first part, ``1 <= step < n``.
        """
        if not 1 <= step < self.n:
            msg = f"step must be from 1 to {self.n - 1}, got {step!r}; both parts need a step"
            raise ValueError(msg)
        first = replace(self, t=self.t[: step + 1], lam=self.lam[: step + 1], terminal=TERMINALS["stop"])
        return first, replace(self, t=self.t[step:], lam=self.lam[step:])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record; an infinite half-log-SNR becomes ``"inf"``."""
        lam = [value if math.isfinite(value) else "inf" for value in self.lam.tolist()]
        return {"name": self.name, "terminal": self.terminal.name, "t": self.t.tolist(), "lam": lam}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Grid:
        """Grid from what :meth:`to_dict` gave, equal to the one that was recorded."""
        missing = sorted({"name", "terminal", "t", "lam"} - set(record))
        if missing:
            msg = f"record lacks {', '.join(missing)}; pass what Grid.to_dict() gave"
            raise ValueError(msg)
        lam = [float(value) for value in record["lam"]]
        return cls(np.array(record["t"]), np.array(lam), find_terminal(record["terminal"]), record["name"])


# ---------------------------------------------------------------- checks


def checked_nodes(name: str, values: Any) -> FloatArray:
    """Nodes as a vector of floats that may be kept; refuses fewer than two, and what is not finite or no vector."""
    try:
        nodes = np.asarray(values, dtype=np.float64).copy()
    except (TypeError, ValueError) as error:
        msg = f"{name} must be a vector of numbers, got {values!r}; pass a list or an array"
        raise TypeError(msg) from error
    if nodes.ndim != 1 or nodes.size < 2:
        msg = f"{name} must be a vector of at least 2 nodes, got shape {nodes.shape}; pass shape (n + 1,)"
        raise ValueError(msg)
    missing = np.isnan(nodes)
    if np.any(missing):
        msg = f"{name}[{int(np.argmax(missing))}] is NaN; pass numbers"
        raise ValueError(msg)
    nodes.setflags(write=False)
    return nodes


def check_monotone(name: str, nodes: FloatArray, verb: str) -> None:
    """Refuse nodes that do not ``verb`` ("decrease" or "increase") strictly."""
    ordered = nodes[1:] < nodes[:-1] if verb == "decrease" else nodes[1:] > nodes[:-1]
    if np.all(ordered):
        return
    i = int(np.argmin(ordered))
    first, second = float(nodes[i]), float(nodes[i + 1])
    if first == second:
        msg = f"{name}[{i}] = {name}[{i + 1}] = {first!r} is a repeated node; remove one, or take fewer steps"
        raise ValueError(msg)
    msg = (
        f"{name} must {verb} strictly, but {name}[{i}] = {first!r} and {name}[{i + 1}] = {second!r}; sort "
        "the nodes from noise to data"
    )
    raise ValueError(msg)


def find_terminal(rule: Terminal | str) -> Terminal:
    """Terminal rule by name, or itself."""
    if isinstance(rule, Terminal):
        return rule
    if rule not in TERMINALS:
        msg = f"terminal = {rule!r} is not a rule; choose one of {', '.join(TERMINALS)}"
        raise ValueError(msg)
    return TERMINALS[rule]


def checked_steps(n: int) -> int:
    """Number of steps as an int; refuses what is not a positive whole number."""
    if isinstance(n, (bool, np.bool_)):
        msg = f"n must be an integer, got {n!r}; pass a number of steps"
        raise TypeError(msg)
    try:
        count = operator.index(n)
    except TypeError as error:
        msg = f"n must be an integer, got {n!r}; pass a whole number of steps, such as 20"
        raise TypeError(msg) from error
    if count < 1:
        msg = f"n must be at least 1, got {count}; a grid needs a step"
        raise ValueError(msg)
    return count
