"""The record of a posterior sampler."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from diffnum.inverse.operators import Linear
from diffnum.inverse.problem import Conditioned, Inverse, Reading, hosted
from diffnum.jobs.checked import check_count, check_number
from diffnum.jobs.shown import facts_html, short
from diffnum.plans import Plan
from diffnum.solver import Noise
from diffnum.types import Array, Denoiser

__all__ = ["Guess", "Launch", "PosteriorSampler", "Takes"]

Options: TypeAlias = Mapping[str, Any]

Guess: TypeAlias = Callable[[Reading, Inverse, Options], Array]
"""``guess(look, problem, options)``: predicted data once the measurement is known."""

Launch: TypeAlias = Callable[[Inverse, Plan, Array, Noise, Options], Array]
"""``launch(problem, plan, x, noise, options)``: samples, from states at the first node."""

Takes: TypeAlias = Literal["any plan", "steps of one evaluation", "single steps", "nodes"]
"""What a sampler uses of a plan: any; steps that evaluate once; such that remember nothing besides; or its nodes."""

RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "eta": (0.0, 1.0), "eta_b": (0.0, 1.0), "zeta": (0.0, 1.0), "threshold": (0.0, 1.0),
        "scale": (0.0, math.inf), "variance": (0.0, math.inf), "gamma": (0.0, math.inf), "obs_weight": (0.0, math.inf),
        "iterations": (0, math.inf), "flow": (1, math.inf), "langevin": (1, math.inf), "particles": (2, math.inf),
        "jump_length": (1, math.inf), "jump_samples": (1, math.inf),
    }
)  # fmt: skip
"""Least and largest value of an option, wherever it occurs; numbers that are not here are positive."""


def _check_option(name: str, value: Any, usual: Any) -> None:
    """Refuse a value that is not of the default's kind, or outside its range."""
    if isinstance(usual, bool):
        if not isinstance(value, bool):
            msg = f"{name}={value!r}: give True or False"
            raise TypeError(msg)
    elif isinstance(usual, int):
        check_count(name, value, int(RANGES.get(name, (1, math.inf))[0]))
    elif isinstance(usual, float):
        if name in RANGES:
            check_number(name, value, *RANGES[name])
        else:
            check_number(name, value, 0.0, closed=False)


@dataclass(frozen=True)
class PosteriorSampler:
    """A published way to sample from a posterior.

    Parameters
    ----------
    name : str
        Key in :data:`diffnum.inverse.METHODS`.
    title : str
        What it does, in a few words.
    source : str
        Paper, with equation or algorithm.
    cite : str
        Key in the bibliography.
    guess : callable, optional
        See :data:`Guess`: for samplers that are a model of the posterior, run by any plan.
    launch : callable, optional
        See :data:`Launch`: for the others.
    method : str
        Method of the catalogue that runs it by default.
    takes : str
        What it uses of a plan.
    affine : bool
        Whether a Gaussian prior makes it an affine map of the measurement and of all noise, so that its law is exact.
    needs : frozenset of str
        Among "gradient" (derivatives of the model), "noise" (a noise_std > 0), "modes" (singular values), "mask", and
        "posterior model" (a model of the data given the measurement, on a process that ends around it).
    options : mapping
        Its parameters and their defaults.
    code : str
        Official code as ``owner/repo at commit, file, function``, where it was read; else empty.
    deviations : tuple of str
        Where that code, or this record, departs from the paper.
    consistent : bool
        Whether its law tends to the posterior as steps (and particles) grow, for any prior.
    returns : {"state", "data"}
        What it returns: a state at the last node, which holds that node's noise, or data.
    """

    name: str
    title: str
    source: str
    cite: str
    guess: Guess | None = None
    launch: Launch | None = None
    method: str = "ddim"
    takes: Takes = "any plan"
    affine: bool = True
    needs: frozenset[str] = frozenset()
    options: Options = field(default_factory=dict)  # a mapping proxy cannot be pickled
    code: str = ""
    deviations: tuple[str, ...] = ()
    consistent: bool = False
    returns: Literal["state", "data"] = "state"

    def __repr__(self) -> str:
        """Short form."""
        return short("PosteriorSampler", self.name, title=self.title, method=self.method, cite=self.cite)

    def _repr_html_(self) -> str:
        facts = {"title": self.title, "source": self.source, "takes": self.takes, "method": self.method}
        more = {"needs": ", ".join(sorted(self.needs)) or None, "code": self.code or None}
        return facts_html({**facts, **more, **self.options}, self.name)

    def chosen(self, given: Options) -> dict[str, Any]:
        """Defaults with what is given in their place.

        Raises
        ------
        TypeError
            If an option is unknown or of the wrong kind.
        ValueError
            If one is out of range.
        """
        if unknown := sorted(given.keys() - self.options.keys()):
            known = ", ".join(self.options) or "none"
            msg = f"{unknown[0]}={given[unknown[0]]!r} is no option of {self.name!r}: its options are {known}"
            raise TypeError(msg)
        for name, value in given.items():
            _check_option(name, value, self.options[name])
        return {**self.options, **given}

    def check(self, problem: Inverse) -> None:
        """Refuse a problem that lacks what the sampler needs.

        Raises
        ------
        ValueError
            With what it needs.
        """
        if "noise" in self.needs and problem.noise_std == 0.0:
            msg = f"noise_std=0: {self.name!r} divides by the variance of the noise; give a standard deviation > 0"
            raise ValueError(msg)
        if "modes" in self.needs and problem.op.modes is None:
            msg = (
                f"op: {self.name!r} needs singular values, which the operator {problem.op.name!r} has not; use "
                "Linear(A) with its matrix"
            )
            raise ValueError(msg)
        if "posterior model" in self.needs and isinstance(problem.schedule.mean, float | int):
            msg = (
                f"model has the schedule {problem.schedule!r}: {self.name!r} takes a model of the data given the "
                "measurement, on diffnum.schedules.MeanReverting(mean=...) with the lifted measurement"
            )
            raise ValueError(msg)
        mean = problem.schedule.mean
        if self.launch is not None and not (isinstance(mean, float | int) and mean == 0):
            msg = (
                f"model has the schedule {problem.schedule!r}: {self.name!r} takes a process that reverts to zero; use "
                "a model of the posterior such as 'pigdm' or 'mean_reverting'"
            )
            raise ValueError(msg)
        if "mask" in self.needs and problem.op.name != "mask":
            msg = f"op: {self.name!r} pastes measured entries: give it a mask(...), not {problem.op.name!r}"
            raise ValueError(msg)

    def __call__(self, model: Denoiser, op: Linear, y: Array, noise_std: float, **options: Any) -> Conditioned:
        """Model of the posterior, for samplers that are one.

        Parameters
        ----------
        model, op, y, noise_std
            As for :func:`diffnum.inverse.sample`.
        **options
            Parameters of the sampler.

        Raises
        ------
        ValueError
            If the sampler is no model but alters states between the steps.
        """
        if self.guess is None:
            msg = (
                f"{self.name!r} is no model of the posterior: it alters states between the steps; run it by "
                f"diffnum.inverse.sample(..., method={self.name!r})"
            )
            raise ValueError(msg)
        return self._conditioned(Inverse(model, op, y, noise_std), self.chosen(options))

    def _conditioned(self, problem: Inverse, options: Options) -> Conditioned:
        self.check(problem)
        guess: Any = self.guess
        return Conditioned(problem, lambda look, p: guess(look, p, options), "gradient" in self.needs)

    def _check_steps(self, plan: Plan) -> None:
        if self.takes in ("steps of one evaluation", "single steps") and any(step.nfe != 1 for step in plan.steps):
            msg = (
                f"plan: {plan.method!r} has steps of several evaluations; {self.name!r} corrects each step by one, use "
                f"{self.method!r} and the like"
            )
            raise ValueError(msg)
        if self.takes == "single steps" and any(set(step.inputs) - {"x"} for step in plan.steps):
            msg = (
                f"plan: {plan.method!r} remembers past evaluations, which {self.name!r} would mix up as it repeats "
                f"steps or chooses among states; use {self.method!r} and the like"
            )
            raise ValueError(msg)

    def run(self, problem: Inverse, plan: Plan, x: Array, noise: Noise, options: Options) -> Array:
        """Samples from states at the first node; :func:`diffnum.inverse.sample` is the usual way in."""
        self.check(problem)
        self._check_steps(plan)
        chosen = self.chosen(options)
        if self.launch is not None:
            return self.launch(problem, plan, x, noise, chosen)
        guess: Any = self.guess
        return hosted(
            problem, plan, x, noise, lambda look: guess(look, problem, chosen), derivative="gradient" in self.needs
        )
