"""The families of diffusers schedulers: how to hand them continuous noise levels, and how to read theirs.

Nothing of the library is changed. ``lay`` writes the public attributes (``sigmas``, ``timesteps``, ``alphas_cumprod``)
that ``set_timesteps`` would have written, in float64 and without rounding times to integers; ``step`` is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import torch

from diffnum.foreign.pictures import FLOW, VE, VP, Picture
from diffnum.jobs.shown import short
from diffnum.types import FloatArray

__all__ = [
    "KINDS",
    "Family",
    "Kind",
    "SchedulerLayout",
    "family_of",
    "kind_of",
    "label_rho",
    "picture_of",
    "prediction_of",
    "stride_of",
]


Step: TypeAlias = Callable[[torch.Tensor, int, torch.Tensor], torch.Tensor]


def _plain_stepper(scheduler: Any, options: Mapping[str, Any]) -> Step:
    def step(output: torch.Tensor, k: int, x: torch.Tensor) -> torch.Tensor:
        return _sample(scheduler.step(output, scheduler.timesteps[k], x, **options))

    return step


def _sample(answer: Any) -> torch.Tensor:
    found: torch.Tensor = answer.prev_sample if hasattr(answer, "prev_sample") else answer[0]
    return found


@dataclass(frozen=True)
class SchedulerLayout:
    """A scheduler ready to run.

    Parameters
    ----------
    calls : ndarray, shape (evaluations,)
        rho = sigma / alpha at which the model is to be evaluated, call by call.
    """

    calls: FloatArray


@dataclass(frozen=True)
class Family:
    """Schedulers that keep their noise levels in the same way.

    Parameters
    ----------
    name : str
        For messages.
    lay : callable
        ``lay(scheduler, rho)`` with rho of shape (n + 1,), decreasing, puts the nodes in.
    read : callable
        ``read(scheduler)`` gives rho of all calls and of the end, shape (evaluations + 1,), after ``set_timesteps``.
    one_call_a_step : bool
        Whether labels that occur twice are a defect.
    stepper : callable
        ``stepper(scheduler, options)`` gives ``step(output, k, x)``, which calls the scheduler's ``step`` as its
        pipeline does at call ``k`` and returns the new state.
    strided : bool
        Whether a step ends T // n times after the label that it begins at, whatever the next label is.
    """

    name: str
    lay: Callable[[Any, FloatArray], SchedulerLayout]
    read: Callable[[Any], FloatArray]
    one_call_a_step: bool = True
    stepper: Callable[[Any, Mapping[str, Any]], Step] = _plain_stepper
    strided: bool = False


def known_name(scheduler: Any) -> str:
    """Name of the class of diffusers that a scheduler is or descends from; of its own class if there is none."""
    for base in type(scheduler).__mro__:
        if base.__module__.startswith("diffusers.schedulers.") and base.__name__.endswith("Scheduler"):
            return base.__name__
    return type(scheduler).__name__


def kind_of(scheduler: Any) -> Kind:
    """What is known of the class of diffusers that a scheduler is or descends from; the usual if there is none."""
    return next((KINDS[base.__name__] for base in type(scheduler).__mro__ if base.__name__ in KINDS), USUAL)


def picture_of(scheduler: Any) -> Picture:
    """Picture in which a scheduler keeps its state; where its class is not known, its initial noise tells."""
    kind = kind_of(scheduler)
    if getattr(scheduler.config, "use_flow_sigmas", False):
        return FLOW
    unknown = kind is USUAL and known_name(scheduler) == type(scheduler).__name__
    if unknown and float(getattr(scheduler, "init_noise_sigma", 1.0)) > 2.0:
        return VE
    return kind.picture


_PREDICTIONS = {
    "epsilon": "noise",
    "sample": "data",
    "v_prediction": "v",
    "flow_prediction": "velocity",
    "original_sample": "data",
}


def prediction_of(scheduler: Any) -> str:
    """What the scheduler wants its model to return."""
    predictions = kind_of(scheduler).predictions
    asked = getattr(scheduler.config, "prediction_type", "epsilon")
    if "" in predictions:
        return predictions[""]
    if asked not in predictions:
        name = known_name(scheduler)
        msg = f"prediction_type={asked!r} of {name} is not understood: use one of {', '.join(predictions)}"
        raise ValueError(msg)
    return predictions[asked]


def _tensor(values: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float64))


def _begin(scheduler: Any, sigmas: torch.Tensor, calls: int) -> None:
    """Put in levels and labels; labels fall, so that no look-up is ambiguous."""
    scheduler.sigmas = sigmas
    scheduler.timesteps = torch.arange(calls, 0, -1, dtype=torch.float64)
    if kind_of(scheduler).labels is _reversed_rho:  # computes with its labels
        scheduler.timesteps = 1.0 - sigmas[:-1]
    if hasattr(scheduler, "set_begin_index"):  # the others look their first label up
        scheduler.set_begin_index(0)


def _sigmas(scheduler: Any, rho: FloatArray) -> FloatArray:
    """Noise levels in the scheduler's own clock: rho, or the time of a flow."""
    return rho / (1.0 + rho) if picture_of(scheduler) is FLOW else rho


def _rhos(scheduler: Any, sigmas: Any) -> FloatArray:
    """Inverse of :func:`_sigmas`; a time of 1 is an infinite rho."""
    values = np.asarray(sigmas, dtype=np.float64)
    if picture_of(scheduler) is not FLOW:
        return values
    with np.errstate(divide="ignore"):
        rho: FloatArray = values / (1.0 - values)
    return rho


def _lay_list(scheduler: Any, rho: FloatArray) -> SchedulerLayout:
    n = len(rho) - 1
    scheduler.set_timesteps(n)
    _begin(scheduler, _tensor(_sigmas(scheduler, rho)), n)
    _silence(scheduler)
    return SchedulerLayout(rho[:-1])


def _read_list(scheduler: Any) -> FloatArray:
    _silence(scheduler)
    return _rhos(scheduler, scheduler.sigmas)


def _silence(scheduler: Any) -> None:
    """Brownian trees are not drawn with torch: replace the public sampler of noise where there is one."""
    if hasattr(scheduler, "noise_sampler"):
        scheduler.noise_sampler = lambda *_: torch.zeros(1)


def _lay_heun(scheduler: Any, rho: FloatArray) -> SchedulerLayout:
    n = len(rho) - 1
    scheduler.set_timesteps(max(n, 2))
    index = np.concatenate([[0], np.repeat(np.arange(1, n + 1), 2)])
    _begin(scheduler, _tensor(_sigmas(scheduler, rho)[index]), 2 * n)
    return SchedulerLayout(rho[index[: 2 * n]])


def _read_heun(scheduler: Any) -> FloatArray:
    return _rhos(scheduler, scheduler.sigmas)


def _lay_midpoint(scheduler: Any, rho: FloatArray) -> SchedulerLayout:
    n = len(rho) - 1
    scheduler.set_timesteps(max(n, 2))
    index = np.concatenate([[0], np.repeat(np.arange(1, n + 1), 2)])
    between = np.concatenate([rho[:1], np.sqrt(rho[1:] * rho[:-1])])
    _begin(scheduler, _tensor(np.append(rho[index], rho[-1])), 2 * n)
    scheduler.sigmas_interpol = _tensor(np.append(between[index], between[-1]))
    return SchedulerLayout(np.stack([rho[:-1], between[1:]], axis=1).reshape(-1))


def _read_midpoint(scheduler: Any) -> FloatArray:
    sigmas = np.asarray(scheduler.sigmas, dtype=np.float64)
    between = np.asarray(scheduler.sigmas_interpol, dtype=np.float64)
    count = len(scheduler.timesteps)
    calls = [between[k] if k % 2 else sigmas[k] for k in range(count)]
    return np.array([*calls, sigmas[-1]])


def _table(scheduler: Any, rho: FloatArray) -> None:
    """Table of cumulative products whose index 0 is the last node."""
    scheduler.alphas_cumprod = _tensor(1.0 / (1.0 + rho[::-1] ** 2))


def _lay_table(scheduler: Any, rho: FloatArray) -> SchedulerLayout:
    n = len(rho) - 1
    scheduler.register_to_config(num_train_timesteps=n)  # one label a step
    scheduler.num_inference_steps = n
    scheduler.timesteps = torch.arange(n, 0, -1)
    _table(scheduler, rho)
    if hasattr(scheduler, "previous_timestep"):  # DDPM looks for the label after the last one
        scheduler.timesteps = torch.arange(n, -1, -1)
        scheduler.custom_timesteps = True
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    return SchedulerLayout(rho[:-1])


def _read_table(scheduler: Any) -> FloatArray:
    """Levels of all labels, and of the time that is T // n before the last."""
    labels = [int(t) for t in scheduler.timesteps]
    return _from_table(scheduler, labels[-1] - stride_of(scheduler))


def _read_table_to_first(scheduler: Any) -> FloatArray:
    """Levels of all labels, and of time 0."""
    return _from_table(scheduler, 0)


def _read_table_to_end(scheduler: Any) -> FloatArray:
    """Levels of all labels, and of the data."""
    return _from_table(scheduler, -1)


def _from_table(scheduler: Any, last: int) -> FloatArray:
    products = np.asarray(scheduler.alphas_cumprod, dtype=np.float64)
    labels = [int(t) for t in scheduler.timesteps]
    end = products[last] if last >= 0 else float(getattr(scheduler, "final_alpha_cumprod", 1.0))
    return np.sqrt(1.0 / np.array([*products[labels], end]) - 1.0)


def stride_of(scheduler: Any) -> int:
    """Times from the beginning of a step to its end, of schedulers that do not look at the next label."""
    return int(scheduler.config.num_train_timesteps // scheduler.num_inference_steps)


def _lay_pndm(scheduler: Any, rho: FloatArray) -> SchedulerLayout:
    n = len(rho) - 1
    if scheduler.config.skip_prk_steps:
        scheduler.register_to_config(num_train_timesteps=n, steps_offset=1, timestep_spacing="leading")
        table = rho
    else:  # Runge-Kutta steps need half-way levels: every other label
        scheduler.register_to_config(num_train_timesteps=2 * n, steps_offset=2, timestep_spacing="leading")
        table = np.empty(2 * n + 1)
        table[::2], table[1::2] = rho, np.sqrt(rho[1:] * rho[:-1])
    scheduler.set_timesteps(n)
    _table(scheduler, table)
    return SchedulerLayout(table[::-1][np.asarray(scheduler.timesteps)])


def _lay_ipndm(scheduler: Any, rho: FloatArray) -> SchedulerLayout:
    n = len(rho) - 1
    scheduler.set_timesteps(n)
    angle = np.arctan(rho)
    scheduler.betas, scheduler.alphas = _tensor(np.sin(angle)), _tensor(np.cos(angle))
    scheduler.timesteps = torch.arange(n, 0, -1, dtype=torch.float64)
    scheduler.set_begin_index(0)
    return SchedulerLayout(rho[:-1])


def _read_ipndm(scheduler: Any) -> FloatArray:
    sigma, alpha = (np.asarray(v, dtype=np.float64) for v in (scheduler.betas, scheduler.alphas))
    with np.errstate(divide="ignore"):
        rho: FloatArray = sigma / alpha
    return rho


def _lay_ancestral(scheduler: Any, rho: FloatArray) -> SchedulerLayout:
    n = len(rho) - 1
    scheduler.set_timesteps(max(n, 2))
    up = rho[1:] * np.sqrt(rho[:-1] ** 2 - rho[1:] ** 2) / rho[:-1]
    down = np.sqrt(rho[1:] ** 2 - up**2)
    between = np.sqrt(rho[:-1] * down)
    index = np.concatenate([[0], np.repeat(np.arange(1, n + 1), 2)])
    _begin(scheduler, _tensor(rho[index]), 2 * n)
    for name, values in (("sigmas_interpol", between), ("sigmas_up", up), ("sigmas_down", down)):
        setattr(scheduler, name, _tensor(np.append(values, values[-1])[index]))
    return SchedulerLayout(np.stack([rho[:-1], between], axis=1).reshape(-1))


def _lay_two_calls(scheduler: Any, rho: FloatArray) -> SchedulerLayout:
    n = len(rho) - 1
    scheduler.set_timesteps(max(n, 2))
    index = np.concatenate([[0], np.repeat(np.arange(1, n), 2), [n]])
    _begin(scheduler, _tensor(rho[index]), 2 * n)
    _silence(scheduler)
    return SchedulerLayout(np.stack([rho[:-1], np.sqrt(rho[:-1] * rho[1:])], axis=1).reshape(-1))


def _read_two_calls(scheduler: Any) -> FloatArray:
    _silence(scheduler)
    sigmas = np.asarray(scheduler.sigmas, dtype=np.float64)
    count = len(scheduler.timesteps)
    calls = [math.sqrt(sigmas[k - 1] * sigmas[k]) if k % 2 else sigmas[k] for k in range(count)]
    return np.array([*calls, sigmas[-1]])


def _last_stepper(scheduler: Any, options: Mapping[str, Any]) -> Step:
    """Steps that are handed the data predicted by the step before, and its label."""
    before: list[Any] = [None]

    def step(output: torch.Tensor, k: int, x: torch.Tensor) -> torch.Tensor:
        back = scheduler.timesteps[k - 1] if k else None
        state, before[0] = scheduler.step(output, before[0], scheduler.timesteps[k], back, x, **options)
        found: torch.Tensor = state
        return found

    return step


def _next_stepper(scheduler: Any, options: Mapping[str, Any]) -> Step:
    """Steps that are handed the label of the step after."""

    def step(output: torch.Tensor, k: int, x: torch.Tensor) -> torch.Tensor:
        after = scheduler.timesteps[k + 1] if k + 1 < len(scheduler.timesteps) else None
        return _sample(scheduler.step(output, scheduler.timesteps[k], x, prev_timestep=after, **options))

    return step


def _lay_unclip(scheduler: Any, rho: FloatArray) -> SchedulerLayout:
    n = len(rho) - 1
    _table(scheduler, rho)
    scheduler.num_inference_steps = n
    scheduler.timesteps = torch.arange(n, 0, -1)
    ratio = scheduler.alphas_cumprod[1:] / scheduler.alphas_cumprod[:-1]
    scheduler.alphas = torch.cat([scheduler.alphas_cumprod[:1], ratio])
    scheduler.betas = 1.0 - scheduler.alphas
    return SchedulerLayout(rho[:-1])


def _lay_cosine(scheduler: Any, rho: FloatArray) -> SchedulerLayout:
    """Put in the times of the scheduler's own cosine schedule, with its time-scale at 1."""
    s = float(np.asarray(scheduler.s).reshape(-1)[0])
    start = math.cos(s / (1 + s) * math.pi / 2)
    angle = np.arccos(start / np.sqrt(1.0 + rho**2))
    scheduler.set_timesteps(timesteps=_tensor(angle * 2 / math.pi * (1 + s) - s))
    return SchedulerLayout(rho[:-1])


def _read_cosine(scheduler: Any) -> FloatArray:
    products = scheduler._alpha_cumprod(scheduler.timesteps, torch.device("cpu"))
    return np.sqrt(1.0 / np.asarray(products, dtype=np.float64) - 1.0)


def _batch_stepper(scheduler: Any, options: Mapping[str, Any]) -> Step:
    """Steps that are handed one label a sample."""

    def step(output: torch.Tensor, k: int, x: torch.Tensor) -> torch.Tensor:
        return _sample(scheduler.step(output, scheduler.timesteps[k].expand(len(x)), x, **options))

    return step


def _lay_inverse_table(scheduler: Any, rho: FloatArray) -> SchedulerLayout:
    n = len(rho) - 1
    scheduler.register_to_config(num_train_timesteps=n)
    scheduler.num_inference_steps = n
    scheduler.timesteps = torch.arange(1, n + 1)
    scheduler.alphas_cumprod = _tensor(1.0 / (1.0 + rho**2))
    return SchedulerLayout(rho[:-1])


def _read_inverse_table(scheduler: Any) -> FloatArray:
    products = np.asarray(scheduler.alphas_cumprod, dtype=np.float64)
    labels = np.array([int(t) for t in scheduler.timesteps])
    before = labels - stride_of(scheduler)
    start = float(scheduler.initial_alpha_cumprod)
    here = np.where(before >= 0, products[np.clip(before, 0, len(products) - 1)], start)
    return np.sqrt(1.0 / np.append(here, products[labels[-1]]) - 1.0)


LIST = Family("list of noise levels", _lay_list, _read_list)
HEUN = Family("noise levels, inner ones repeated", _lay_heun, _read_heun, one_call_a_step=False)
MIDPOINT = Family("noise levels and levels half-way", _lay_midpoint, _read_midpoint, one_call_a_step=False)
ANCESTRAL = Family("noise levels, half-way ones, up and down", _lay_ancestral, _read_midpoint, one_call_a_step=False)
TWO_CALLS = Family("noise levels, two calls a step", _lay_two_calls, _read_two_calls, one_call_a_step=False)
TABLE = Family("table indexed by integer time", _lay_table, _read_table, strided=True)
TO_FIRST = Family("table indexed by integer time, down to the first", _lay_table, _read_table_to_first)
TO_END = Family("table indexed by integer time, down to the data", _lay_table, _read_table_to_end)
LAST = Family(
    "table indexed by integer time, last prediction handed on", _lay_table, _read_table, True, _last_stepper, True
)
UNCLIP = Family(
    "table indexed by integer time, next time handed over", _lay_unclip, _read_table_to_end, True, _next_stepper
)
INVERSE = Family("table indexed by integer time, upwards", _lay_inverse_table, _read_inverse_table)
PNDM = Family("table indexed by integer time, with its own start", _lay_pndm, _read_table, False, strided=True)
IPNDM = Family("angles", _lay_ipndm, _read_ipndm)
COSINE = Family("continuous times", _lay_cosine, _read_cosine, True, _batch_stepper)


def _flow_rho(t: float) -> float:
    return math.inf if t >= 1.0 else t / (1.0 - t)


def _table_rho(scheduler: Any, label: float) -> float:
    """Times of the table of products, interpolated between its rows."""
    products = np.asarray(scheduler.alphas_cumprod, dtype=np.float64)
    exponent = -np.log(products)
    return math.sqrt(math.expm1(float(np.interp(label, np.arange(len(products)), exponent))))


def _flow_label_rho(scheduler: Any, label: float) -> float:
    return _flow_rho(label / scheduler.config.num_train_timesteps)


def _reversed_rho(scheduler: Any, label: float) -> float:  # noqa: ARG001
    return _flow_rho(1.0 - label)


def _edm_rho(scheduler: Any, label: float) -> float:  # noqa: ARG001
    return math.exp(4.0 * label)


def _euler_rho(scheduler: Any, label: float) -> float:
    """Times of the table, or logarithms of levels."""
    config = scheduler.config
    return (
        _edm_rho if (config.timestep_type, config.prediction_type) == ("continuous", "v_prediction") else _table_rho
    )(scheduler, label)


def _angle_rho(scheduler: Any, label: float) -> float:  # noqa: ARG001
    return math.tan(label * math.pi / 2) if label < 1.0 else math.inf


def _cosine_rho(scheduler: Any, label: float) -> float:
    product = scheduler._alpha_cumprod(torch.tensor([label]), torch.device("cpu"))
    return math.sqrt(1.0 / float(product) - 1.0)


@dataclass(frozen=True)
class Kind:
    """What has to be known of a class of schedulers to run it.

    Parameters
    ----------
    family : Family
        How it keeps its levels.
    picture : Picture
        In which its states are.
    predictions : mapping of str to str
        What the model returns, by prediction_type; under "" where the class takes one thing only.
    labels : callable
        ``labels(scheduler, label)``: the rho that a network reads out of a time label.
    brownian : bool
        Whether it draws noise from a Brownian tree, which torch's own generators know nothing of.
    """

    family: Family = LIST
    picture: Picture = VP
    predictions: Mapping[str, str] = field(default_factory=lambda: _PREDICTIONS)
    labels: Callable[[Any, float], float] = _table_rho
    brownian: bool = False

    def __repr__(self) -> str:
        """Short form."""
        return short("Kind", self.family.name, picture=self.picture.name, brownian=self.brownian)


USUAL = Kind()
_EDM = {"epsilon": "edm", "v_prediction": "edm v", "sample": "edm data"}
_FLOW = Kind(LIST, FLOW, {"": "velocity"}, _flow_label_rho)

KINDS: dict[str, Kind] = {
    "HeunDiscreteScheduler": Kind(HEUN, VE),
    "FlowMatchHeunDiscreteScheduler": replace(_FLOW, family=HEUN),
    **dict.fromkeys(
        ("FlowMatchEulerDiscreteScheduler", "FlowMapEulerDiscreteScheduler", "LTXEulerAncestralRFScheduler"), _FLOW
    ),
    "MiniMaxH3Scheduler": Kind(LIST, FLOW, {"": "reversed velocity"}, _reversed_rho),
    "EulerDiscreteScheduler": Kind(LIST, VE, labels=_euler_rho),
    **dict.fromkeys(("EulerAncestralDiscreteScheduler", "LMSDiscreteScheduler"), Kind(LIST, VE)),
    "KDPM2DiscreteScheduler": Kind(MIDPOINT, VE),
    "KDPM2AncestralDiscreteScheduler": Kind(ANCESTRAL, VE),
    "DPMSolverSDEScheduler": Kind(TWO_CALLS, VE, brownian=True),
    **dict.fromkeys(("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"), Kind(LIST, VE, _EDM, _edm_rho)),
    "CosineDPMSolverMultistepScheduler": Kind(LIST, VE, _EDM, _angle_rho, brownian=True),
    "DDIMScheduler": Kind(TABLE),
    "DDIMParallelScheduler": Kind(TABLE),
    "DDIMInverseScheduler": Kind(INVERSE),
    "CogVideoXDDIMScheduler": Kind(TABLE),
    "CogVideoXDPMScheduler": Kind(LAST),
    "DDPMScheduler": Kind(TO_END),
    "DDPMParallelScheduler": Kind(TO_END),
    "DDPMWuerstchenScheduler": Kind(COSINE, labels=_cosine_rho),
    "UnCLIPScheduler": Kind(UNCLIP),
    "TCDScheduler": Kind(TO_FIRST),
    "PNDMScheduler": Kind(PNDM),
    "IPNDMScheduler": Kind(IPNDM, predictions={"": "v"}, labels=_angle_rho),
}
"""Classes of diffusers; the others keep a list of noise levels, states of constant variance, and say what they want."""


def family_of(scheduler: Any) -> Family:
    """Family of a scheduler object, by the class it descends from; a list of noise levels where nothing else fits.

    Raises
    ------
    ValueError
        If it keeps no list of noise levels either.
    """
    kind = kind_of(scheduler)
    if kind is not USUAL:
        return kind.family
    missing = [name for name in ("config", "sigmas") if not hasattr(scheduler, name)]
    if missing:
        msg = (
            f"{type(scheduler).__name__} is no scheduler as diffusers makes them (it lacks {', '.join(missing)}): "
            "write a function sampler(model, x, nodes) around it"
        )
        raise ValueError(msg)
    return LIST


def label_rho(scheduler: Any, label: float) -> float:
    """Rho that a network reads out of a time label, by the convention that the scheduler was trained with."""
    kind = kind_of(scheduler)
    labels = _flow_label_rho if kind is USUAL and picture_of(scheduler) is FLOW else kind.labels
    return labels(scheduler, label)
