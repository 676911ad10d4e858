"""Foreign samplers as ``sampler(model, x, nodes)``, the convention of the order study.

Understood: the study's own convention; ``sample(model, x, sigmas, ...)`` where ``model(x, sigma)`` returns the denoised
sample (k-diffusion); a scheduler object or class with ``set_timesteps`` and ``step`` (diffusers); and
``f(model, x, timesteps)`` in flow time, where ``model(x, t)`` returns the velocity ``eps - x_0``.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from diffnum.foreign.conventions import CONVENTIONS, Convention, convention_of
from diffnum.foreign.families import family_of, kind_of, picture_of
from diffnum.foreign.layout import heeds_nodes
from diffnum.foreign.pictures import FLOW, VE, Picture, study_model
from diffnum.foreign.pipeline import run_scheduler
from diffnum.foreign.precision import swapped
from diffnum.types import Array, FloatArray, Sampler

__all__ = [
    "CONVENTIONS",
    "Convention",
    "DiffusersSampler",
    "FlowSampler",
    "KDiffusionSampler",
    "adapt",
    "built",
    "convention_of",
]


def _scaled(model: Any, x: Array, lam: float, picture: Picture) -> tuple[FloatArray, float]:
    """State in another picture, and the factor that takes it there."""
    t = model.schedule.time(lam)
    factor = picture.alpha(float(np.exp(-lam))) / float(model.schedule.alpha(t))
    return np.asarray(x, dtype=np.float64) * factor, factor


def _returned(name: str, end: Any, factor: float, inputs: Mapping[str, tuple[Any, Any]]) -> Any:
    """Result in the picture of the study; its kind, shape and dtype stay as they are, for the check to judge.

    ``inputs`` are arrays as they were left and as they were given.
    """
    for what, (left, given) in inputs.items():
        if not np.array_equal(np.asarray(left), given):
            msg = f"{name} writes into its input {what}: let it work on a copy"
            raise ValueError(msg)
    if not (hasattr(end, "dtype") and hasattr(end, "shape")):
        return end
    if isinstance(end, torch.Tensor):
        end = end.detach()
        if end.dtype not in (torch.float32, torch.float64):
            msg = f"{name} returned dtype {str(end.dtype).removeprefix('torch.')}: x has float64"
            raise TypeError(msg)
    found = np.asarray(end)
    return np.asarray(found / factor, dtype=found.dtype)


def _level(value: Any) -> float:
    """A noise level or time that a sampler hands its model: a number, or one a sample, all equal."""
    return float(np.asarray(value.detach() if isinstance(value, torch.Tensor) else value).reshape(-1)[0])


@dataclass(frozen=True)
class DiffusersSampler:
    """A diffusers scheduler on continuous noise levels.

    Parameters
    ----------
    scheduler : object
        Instance; every run works on a copy.
    double : bool
        Answer its requests for float32 with float64.
    silent : bool
        Let it draw zeros instead of noise.
    options : mapping
        Keyword arguments of its ``step``.
    """

    scheduler: Any
    double: bool = True
    silent: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def __name__(self) -> str:
        """Name in reports."""
        return type(self.scheduler).__name__

    def __call__(self, model: Any, x: Array, nodes: FloatArray) -> FloatArray:
        """Run on half-log-SNRs ``nodes``, shape (n + 1,); see :data:`diffnum.types.Sampler`."""
        if kind_of(self.scheduler).brownian and not self.silent:
            msg = (
                f"{self.__name__} is stochastic: it draws its noise from a Brownian tree, and has no order on the "
                "probability flow; silent=True turns the noise off, which leaves the drift of the reverse SDE"
            )
            raise ValueError(msg)
        scheduler = copy.deepcopy(self.scheduler)
        picture, family = picture_of(scheduler), family_of(scheduler)
        start, _ = _scaled(model, x, float(nodes[0]), picture)
        evaluate = study_model(model)
        with warnings.catch_warnings(), swapped(double=self.double, silent=self.silent):
            warnings.simplefilter("ignore")
            calls = family.lay(scheduler, np.exp(-np.asarray(nodes, dtype=np.float64))).calls
            end = run_scheduler(scheduler, evaluate, start, calls, self.options)
        result: FloatArray = end / _scaled(model, 1.0, float(nodes[-1]), picture)[1]
        return result


@dataclass(frozen=True)
class KDiffusionSampler:
    """A function ``sample(model, x, sigmas, ...)`` in the convention of k-diffusion, on float64 tensors.

    Parameters
    ----------
    function : callable
        The sampler; ``model(x, sigma)`` returns the denoised sample, the state is ``x_0 + sigma eps``.
    options : mapping
        Its keyword arguments, such as ``eta=0.0``.
    silent : bool
        Let it draw zeros instead of noise.
    double : bool
        Answer its requests for float32 with float64.
    """

    function: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    silent: bool = False
    double: bool = False

    @property
    def __name__(self) -> str:
        """Name in reports."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def __call__(self, model: Any, x: Array, nodes: FloatArray) -> Any:
        """Run on half-log-SNRs ``nodes``, shape (n + 1,)."""
        lam = np.asarray(nodes, dtype=np.float64)
        start, _ = _scaled(model, x, float(lam[0]), VE)
        evaluate = study_model(model)

        def denoise(z: Any, sigma: Any, **_: Any) -> Any:
            if isinstance(z, torch.Tensor):
                state = z.detach().numpy().astype(np.float64)
                return torch.as_tensor(evaluate(state, (1.0, _level(sigma)))[0]).to(z.dtype)
            state = np.asarray(z)  # of a sampler that goes by numpy inside
            return evaluate(state.astype(np.float64), (1.0, _level(sigma)))[0].astype(state.dtype)

        accepted = inspect.signature(self.function).parameters
        options = {**({"disable": True} if "disable" in accepted else {}), **self.options}
        sigmas = np.exp(-lam)
        x, levels = torch.tensor(start), torch.tensor(sigmas)
        with warnings.catch_warnings(), swapped(double=self.double, silent=self.silent):
            warnings.simplefilter("ignore")
            end = self.function(denoise, x, levels, **options)
        factor = _scaled(model, 1.0, float(lam[-1]), VE)[1]
        return _returned(self.__name__, end, factor, {"x": (x, start), "sigmas": (levels, sigmas)})


@dataclass(frozen=True)
class FlowSampler:
    """A function ``f(model, x, timesteps)`` in flow time: ``x_t = (1 - t) x_0 + t eps``, ``model(x, t) = eps - x_0``.

    Parameters
    ----------
    function : callable
        The sampler; ``timesteps`` fall towards the data, shape (n + 1,), float64 numpy or torch as ``backend`` says.
    backend : {"torch", "numpy"}
        Arrays that it wants.
    options : mapping
        Its keyword arguments.
    silent, double : bool
        As in :class:`KDiffusionSampler`.
    """

    function: Callable[..., Any]
    backend: Literal["torch", "numpy"] = "torch"
    options: Mapping[str, Any] = field(default_factory=dict)
    silent: bool = False
    double: bool = False

    @property
    def __name__(self) -> str:
        """Name in reports."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def __call__(self, model: Any, x: Array, nodes: FloatArray) -> Any:
        """Run on half-log-SNRs ``nodes``, shape (n + 1,)."""
        lam = np.asarray(nodes, dtype=np.float64)
        start, _ = _scaled(model, x, float(lam[0]), FLOW)
        evaluate = study_model(model)
        convert = torch.tensor if self.backend == "torch" else np.array

        def velocity(z: Any, t: Any, **_: Any) -> Any:
            time = _level(t)
            state = np.asarray(z.detach() if isinstance(z, torch.Tensor) else z)
            x0, eps = evaluate(state.astype(np.float64), (1.0 - time, time))
            return convert((eps - x0).astype(state.dtype))

        given = 1.0 / (1.0 + np.exp(lam))
        x, times = convert(start), convert(given)
        with warnings.catch_warnings(), swapped(double=self.double, silent=self.silent):
            warnings.simplefilter("ignore")
            end = self.function(velocity, x, times, **self.options)
        factor = _scaled(model, 1.0, float(lam[-1]), FLOW)[1]
        return _returned(self.__name__, end, factor, {"x": (x, start), "timesteps": (times, given)})


def adapt(
    sampler: Any,
    convention: Convention | None = None,
    *,
    silent: bool = False,
    double: bool | None = None,
    backend: Literal["torch", "numpy"] = "torch",
    **options: Any,
) -> Sampler:
    """Make a foreign sampler callable as ``sampler(model, x, nodes)``.

    Parameters
    ----------
    sampler : callable, or diffusers scheduler object or class
        What to adapt; classes are built with their defaults.
    convention : {"nodes", "k-diffusion", "diffusers", "flow"}, optional
        How it is called; by default guessed from its parameters, see :func:`convention_of`.
    silent : bool
        Give it zeros where it draws normal noise with torch, for stochastic samplers that have no switch.
    double : bool, optional
        Answer its requests for float32 with float64. By default for schedulers, which ask for float32 on purpose, and
        not for functions.
    backend : {"torch", "numpy"}
        Arrays that a function in flow time wants.
    **options
        Further keyword arguments of each of its calls (of ``step``, for schedulers), such as ``eta=0.0``.

    Returns
    -------
    callable

    Raises
    ------
    TypeError, ValueError
        If the convention is unknown or cannot be told, a scheduler class needs arguments, or a scheduler cannot be laid
        out on given levels.
    """
    found = convention_of(sampler) if convention is None else convention
    if found == "diffusers":
        instance = built(sampler) if isinstance(sampler, type) else sampler
        family_of(instance)
        heeds_nodes(instance, options)
        return DiffusersSampler(instance, double is not False, silent, options)
    if found == "k-diffusion":
        return KDiffusionSampler(sampler, options, silent, bool(double))
    if found == "flow":
        return FlowSampler(sampler, backend, options, silent, bool(double))
    if found == "nodes":
        return sampler  # type: ignore[no-any-return]
    msg = f"convention={convention!r} is unknown: use one of {', '.join(CONVENTIONS)}"
    raise ValueError(msg)


def built(scheduler: type[Any]) -> Any:
    """Scheduler with its defaults.

    Raises
    ------
    TypeError
        If it needs arguments.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations concern the library's users, not its numbers
            return scheduler()
    except TypeError as error:
        msg = f"{scheduler.__name__} cannot be built without arguments ({error}): pass an object"
        raise TypeError(msg) from None
