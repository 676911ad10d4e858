"""One step of a sampler on tokens, as data: leaps, exact bridges, remasking.

Every step is a few *stages*. A stage gives, for each position independently, the law of the next state; it may look
at all states of this step so far and at the model's marginals there. Sampling draws from these laws, exact laws push
all states through them: both run the lines below, so that what is measured exactly is what is sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np

from diffnum.discrete.checks import TokenArray, whole_number
from diffnum.discrete.processes import TokenProcess
from diffnum.types import FloatArray

__all__ = [
    "Bridge",
    "Jump",
    "Leap",
    "LeapStage",
    "Remask",
    "StepRule",
    "acting",
    "checked_temperature",
    "node_of",
    "tempered",
]

Jump: TypeAlias = Literal["exponential", "linear", "rejecting"]
"""How frozen rates r over a time h become probabilities. ``exponential``: the first jump decides, 1 - exp(-h sum r);
``linear``: h r, as Euler's rule; ``rejecting``: h r exp(-h sum r), since two Poisson events at a token cancel."""


class StepRule(Protocol):
    """A step from time t to s < t; one of several stages also says where they lie (:class:`Staged`)."""

    @property
    def stages(self) -> int:
        """Number of stages, which is the number of model evaluations."""

    def stage(
        self,
        i: int,
        process: TokenProcess,
        states: Sequence[TokenArray],
        posteriors: Sequence[FloatArray],
        t: float,
        s: float,
    ) -> FloatArray:
        """Law of state i + 1 given states 0 ... i and the model's marginals there, shape (n, L, states)."""


@runtime_checkable
class Staged(StepRule, Protocol):
    """A step whose later states lie at times of their own."""

    def node(self, i: int, process: TokenProcess, t: float, s: float) -> float:
        """Time at which the model is evaluated on state i."""


def node_of(rule: StepRule, i: int, process: TokenProcess, t: float, s: float) -> float:
    """Time at which the model is evaluated on state i; state 0 lies at t."""
    if i == 0:
        return t
    if not isinstance(rule, Staged):
        msg = f"{type(rule).__name__} has {rule.stages} stages and no node(i, process, t, s): say where they lie"
        raise TypeError(msg)
    return rule.node(i, process, t, s)


def checked_temperature(temperature: float) -> float:
    """A temperature, >= 0."""
    if not isinstance(temperature, Real):
        msg = f"temperature={temperature!r}: use a number >= 0; 1 leaves the model alone"
        raise TypeError(msg)
    if not 0.0 <= temperature < np.inf:
        msg = f"temperature={temperature}: use a number >= 0; 1 leaves the model alone"
        raise ValueError(msg)
    return temperature


def tempered(p: FloatArray, temperature: float) -> FloatArray:
    """Marginals raised to the power 1/temperature, normalised; temperature 0 shares the mass among the most likely."""
    if temperature == 1.0:
        return p
    top = p.max(axis=-1, keepdims=True)
    out = np.isclose(p, top, rtol=1e-12) * 1.0 if temperature == 0.0 else (p / top) ** (1.0 / temperature)
    return np.asarray(out / out.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class LeapStage:
    """A leap with frozen rates.

    Parameters
    ----------
    origin : int
        State from which it leaps.
    span : number
        Length as a part of the step.
    weights : tuple of numbers
        Weights of the rates at states 0, 1, ...; a negative sum of rates counts as zero.
    correct : bool
        Add the rates of the noising process: a leap that stays at its time and leaves the exact law alone, to first
        order.
    """

    origin: int
    span: Any
    weights: tuple[Any, ...]
    correct: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.span, Real) and not 0.0 < float(self.span) < np.inf:
            msg = f"span={self.span}: a leap takes a positive part of the step"
            raise ValueError(msg)
        if any(isinstance(w, Real) and not np.isfinite(float(w)) for w in self.weights):
            msg = f"weights={self.weights} are not all finite: pass numbers"
            raise ValueError(msg)


@dataclass(frozen=True)
class Leap:
    """A step made of leaps with frozen rates: a Runge-Kutta tableau for jump processes.

    Parameters
    ----------
    path : tuple of LeapStage
        The stages in order; the last one ends at s.
    jump : {"exponential", "linear", "rejecting"}
        How rates become probabilities.
    clock : {"time", "noise"}
        What is cut into steps of constant rates: the time, or the process's own clock, in which the schedule drops out.
    """

    path: tuple[LeapStage, ...]
    jump: Jump = "exponential"
    clock: Literal["time", "noise"] = "time"

    def __post_init__(self) -> None:
        for name, value, known in (("jump", self.jump, get_args(Jump)), ("clock", self.clock, ("time", "noise"))):
            if value not in known:
                msg = f"{name}={value!r} is unknown: use one of {', '.join(known)}"
                raise ValueError(msg)
        object.__setattr__(self, "path", tuple(self.path))
        if not self.path:
            msg = "path is empty: a step has at least one leap"
            raise ValueError(msg)
        for i, stage in enumerate(self.path):
            if not 0 <= stage.origin <= i or not 1 <= len(stage.weights) <= i + 1:
                msg = (
                    f"stage {i + 1} leaps from state {stage.origin} with {len(stage.weights)} weights: "
                    f"states 0 ... {i} are known there"
                )
                raise ValueError(msg)

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.path)

    @property
    def nodes(self) -> tuple[Any, ...]:
        """Where state 0, 1, ... lies, as a part of the step."""
        nodes: list[Any] = [0]
        for stage in self.path:
            nodes.append(nodes[stage.origin] + (0 if stage.correct else stage.span))
        return tuple(nodes)

    def node(self, i: int, process: TokenProcess, t: float, s: float) -> float:
        """Time of state i."""
        part = float(self.nodes[i])
        if part in (0.0, 1.0):
            return s if part else t
        if self.clock == "time":
            return t + part * (s - t)
        u, v = process.clock(t), process.clock(s)
        return float(process.time(u + part * (v - u)))

    def stage(
        self,
        i: int,
        process: TokenProcess,
        states: Sequence[TokenArray],
        posteriors: Sequence[FloatArray],
        t: float,
        s: float,
    ) -> FloatArray:
        """Leap of stage i."""
        stage = self.path[i]
        total: Any = 0.0
        for part in self.parts(i, process, states, posteriors, t, s).values():
            total = total + part
        return leapt(total, states[stage.origin], self.length(i, process, t, s), self.jump)

    def looks_at(self, i: int) -> set[int]:
        """States that stage i looks at: the origin of its leap, and where it takes its rates."""
        return {self.path[i].origin, *(j for j, weight in enumerate(self.path[i].weights) if weight != 0)}

    def length(self, i: int, process: TokenProcess, t: float, s: float) -> float:
        """Time, in the clock of the leaps, for which the rates of stage i act."""
        whole = t - s if self.clock == "time" else process.clock(s) - process.clock(t)
        return float(self.path[i].span) * float(whole)

    def parts(
        self,
        i: int,
        process: TokenProcess,
        states: Sequence[TokenArray],
        posteriors: Sequence[FloatArray],
        t: float,
        s: float,
    ) -> dict[int, FloatArray]:
        """What each state adds to the rates of stage i, by its number, of shape (n, L, states)."""
        stage = self.path[i]
        found: dict[int, FloatArray] = {}
        for j, weight in enumerate(stage.weights):
            if weight != 0:
                rates = self._rates(process, posteriors[j], states[j], node_of(self, j, process, t, s))
                found[j] = float(weight) * rates
        if stage.correct:
            at, own = node_of(self, stage.origin, process, t, s), stage.origin
            forward = process.forward_rates(states[own], posteriors[own].shape[-1], at)
            forward = forward / process.clock_rate(at) if self.clock == "noise" else forward
            found[own] = found.get(own, 0.0) + forward
        return found

    def _rates(self, process: TokenProcess, p: FloatArray, x: TokenArray, t: float) -> FloatArray:
        rates = process.rates(p, x, t)
        return rates / process.clock_rate(t) if self.clock == "noise" else rates


def leapt(rates: FloatArray, x: TokenArray, length: float, jump: Jump) -> FloatArray:
    """Law of each token after frozen rates acted on it for some time."""
    rates = np.maximum(rates, 0.0)
    np.put_along_axis(rates, x[..., None], 0.0, axis=-1)
    share, stay = acting(rates.sum(axis=-1, keepdims=True), length, jump)
    out = share * rates
    np.put_along_axis(out, x[..., None], stay, axis=-1)
    return np.asarray(out)


def acting(total: FloatArray, length: float, jump: Jump) -> tuple[FloatArray, FloatArray]:
    """What frozen rates become that add up to ``total``: probability over rate of each jump, probability to stay."""
    reach = np.where(total > 0, total * length, 0.0)
    if jump == "rejecting":
        share = length * np.exp(-reach)
        return share, 1.0 - share * total
    moved = -np.expm1(-reach) if jump == "exponential" else np.minimum(reach, 1.0)
    return moved / np.where(total > 0, total, 1.0), 1.0 - moved


@dataclass(frozen=True)
class Bridge:
    """The exact law of each token alone at time s: the best step that treats tokens independently.

    Parameters
    ----------
    temperature : float
        Temperature of the model's marginals; 1 leaves them alone.
    stages : int
        Evaluations of a step, 1.
    """

    temperature: float = 1.0

    stages: int = 1

    def __post_init__(self) -> None:
        checked_temperature(self.temperature)
        whole_number("stages", self.stages)

    def stage(
        self,
        i: int,  # noqa: ARG002
        process: TokenProcess,
        states: Sequence[TokenArray],
        posteriors: Sequence[FloatArray],
        t: float,
        s: float,
    ) -> FloatArray:
        """The bridge."""
        return process.posterior(tempered(posteriors[0], self.temperature), states[0], t, s)


@dataclass(frozen=True)
class Remask:
    """A bridge that also masks shown tokens again; from the exact law, each token alone keeps its law.

    Parameters
    ----------
    share : callable
        ``share(alpha_t, alpha_s)``: probability that a shown token is masked again. More than ``(1 - alpha_s)/alpha_t``
        would need negative probabilities.
    capped : bool
        Whether that bound is kept. Without it negative probabilities count as zero, as a categorical draw treats them.
    stages : int
        Evaluations of a step, 1.
    """

    share: Callable[[float, float], float]
    capped: bool = True

    stages: int = 1

    def __post_init__(self) -> None:
        if not callable(self.share):
            msg = f"share={self.share!r}: pass a function share(alpha_t, alpha_s)"
            raise TypeError(msg)

    def stage(
        self,
        i: int,  # noqa: ARG002
        process: TokenProcess,
        states: Sequence[TokenArray],
        posteriors: Sequence[FloatArray],
        t: float,
        s: float,
    ) -> FloatArray:
        """The bridge with remasking."""
        x, p = states[0], posteriors[0]
        size = p.shape[-1]
        alpha_t, alpha_s = float(process.survival.alpha(t)), float(process.survival.alpha(s))
        again = float(self.share(alpha_t, alpha_s)) if alpha_t > 0 else 0.0
        if not 0.0 <= again < np.inf:
            msg = f"share({alpha_t:g}, {alpha_s:g})={again}: masking again has a probability, >= 0"
            raise ValueError(msg)
        if self.capped and alpha_t > 0:
            again = min(again, (1.0 - alpha_s) / alpha_t)
        shown = (alpha_s - (1.0 - again) * alpha_t) / (1.0 - alpha_t)
        hidden = (1.0 - alpha_s - again * alpha_t) / (1.0 - alpha_t)
        if hidden < 0.0:
            shown, hidden = 1.0, 0.0
        lost = min(again, 1.0)
        out = np.zeros((*x.shape, size + 1))
        masked = (x == size)[..., None]
        out[..., :size] = np.where(masked, shown * p, (1.0 - lost) * np.eye(size + 1)[x][..., :size])
        out[..., size] = np.where(x == size, hidden, lost)
        return out
