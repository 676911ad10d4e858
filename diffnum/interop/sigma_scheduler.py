"""Any method of the catalogue as a scheduler for networks of noise levels: EDM's, Stable Video Diffusion's, VE's.

Their pipelines keep the state ``x_0 + sigma eps``, scale what the network sees, and tell it a function of sigma:

=============  ==============  =================================================  ======================
kind           network sees    data prediction from its output ``F``              network is told
=============  ==============  =================================================  ======================
``edm``        ``c_in x``      ``c_skip x + c_out F`` (Karras et al. 2022)        ``log(sigma)/4``
``svd``        the same with sigma_data = 1 and v prediction                      ``log(sigma)/4``
``ve``         ``x``           ``x + sigma^2 F``, ``F`` the score                 sigma
=============  ==============  =================================================  ======================
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers.configuration_utils import register_to_config
from diffusers.utils.outputs import BaseOutput

from diffnum.coefficients.catalogue import method as find_method
from diffnum.grids import Grid
from diffnum.interop.levels import LEVELS
from diffnum.interop.run import evaluations_a_step
from diffnum.interop.scheduler import PlanScheduler
from diffnum.models.loading.understood import KINDS, class_of, in_force
from diffnum.schedules import EDM
from diffnum.types import FloatArray, Prediction

__all__ = ["PlanScheduler", "SigmaScheduler", "SigmaStepOutput"]

_KINDS = ("edm", "svd", "ve")
_SPACINGS = ("karras", "exponential")


class SigmaStepOutput(BaseOutput):  # type: ignore[misc]
    """State and its mean, as the pipeline of variance exploding networks asks for."""

    prev_sample: torch.Tensor
    prev_sample_mean: torch.Tensor


class SigmaScheduler(PlanScheduler):
    """A method of the catalogue behind the interface of ``EDMEulerScheduler`` and its kin.

    :meth:`PlanScheduler.from_config` makes one of the configuration of ``EDMEulerScheduler``,
    ``EDMDPMSolverMultistepScheduler``, ``ScoreSdeVeScheduler``, or of the ``EulerDiscreteScheduler`` of Stable Video
    Diffusion (continuous times, v prediction). The pipeline of variance exploding networks evaluates the network for a
    corrector as often as ``correct_steps`` says: it is 0 here, as a plan has none.

    Parameters
    ----------
    method : str
        Name in the catalogue.
    kind : {"edm", "svd", "ve"}
        What the network is, see the module.
    sigma_min, sigma_max : float
        Lowest and highest noise level.
    sigma_data : float
        Of EDM's preconditioning.
    sigma_schedule : {"karras", "exponential"}
        Spacing of the levels.
    prediction_type : {"epsilon", "v_prediction"}
        Sign of EDM's ``c_out``.
    final_sigmas_type : {"zero", "sigma_min"}
        Whether the run goes to clean data or to the lowest level.
    num_train_timesteps : int
        Kept for the way back; no label is counted with it.
    correct_steps : int
        0.
    start, terminal : str
        See :func:`diffnum.plan`.
    parameters : dict, optional
        Numbers per step that a method asks for.
    noise_level : float, optional
        Level at which runs begin, see :meth:`set_noise_level`; ``sigma_max`` where none is given.

    Raises
    ------
    ValueError
        If a word is unknown or a level out of range.
    """

    _slack = (1e-4, 0.01)

    @register_to_config  # type: ignore[untyped-decorator, unused-ignore]
    def __init__(
        self,
        method: str = "dpmpp_2m",
        kind: str = "edm",
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
        sigma_schedule: str = "karras",
        prediction_type: str = "epsilon",
        final_sigmas_type: str = "zero",
        num_train_timesteps: int = 1000,
        correct_steps: int = 0,
        start: str | None = None,
        terminal: str = "stop",
        parameters: dict[str, Any] | None = None,
        noise_level: float | None = None,
    ) -> None:
        for name, value, known in (
            ("kind", kind, _KINDS),
            ("sigma_schedule", sigma_schedule, _SPACINGS),
            ("prediction_type", prediction_type, ("epsilon", "v_prediction")),
            ("final_sigmas_type", final_sigmas_type, ("zero", "sigma_min")),
        ):
            if value not in known:
                msg = f"{name}={value!r} is unknown: use one of {', '.join(known)}"
                raise ValueError(msg)
        if not (0.0 < sigma_min < sigma_max < math.inf and 0.0 < sigma_data < math.inf) or correct_steps:
            msg = (
                f"sigma_min={sigma_min}, sigma_max={sigma_max}, sigma_data={sigma_data}, "
                f"correct_steps={correct_steps}: pass positive levels, the smaller one first, and no corrector"
            )
            raise ValueError(msg)
        self._method = find_method(method)
        self.schedule = EDM(0.5 * sigma_min, 2.0 * sigma_max)  # with room for methods that add noise at the start
        self.prediction: Prediction = "data"
        self._given = None
        self.init_noise_sigma = sigma_max if kind == "ve" else math.hypot(sigma_max, 1.0)
        self.plan = None
        self.num_inference_steps = None
        self.timesteps = torch.tensor(self._told(np.array([sigma_max, sigma_min])))
        self.sigmas = torch.tensor([sigma_max, sigma_min])
        self._begin_index = self._step_index = self._rows = None
        self._generator: Any = None
        self._run = None

    @staticmethod
    def parameters_of(config: Mapping[str, Any]) -> dict[str, Any] | None:
        """Parameters for the configuration of another scheduler; None where its network is told labels.

        Parameters
        ----------
        config : mapping
            ``pipe.scheduler.config``, or what a file holds.

        Raises
        ------
        ValueError
            If its levels are not understood.
        """
        return _of_levels(config)

    def _told(self, levels: FloatArray) -> FloatArray:
        """What the network is told of noise levels."""
        return levels if self.config["kind"] == "ve" else 0.25 * np.log(levels)

    def _highest(self) -> float:
        """Level at which runs begin.

        Raises
        ------
        ValueError
            If no run of this network begins there.
        """
        config: Any = self.config
        level = config.noise_level
        if level is None:
            return float(config.sigma_max)
        if not config.sigma_min < level <= config.sigma_max:
            msg = (
                f"noise_level={level}: the levels of this network are {config.sigma_min:g} to {config.sigma_max:g}, "
                "begin between them"
            )
            raise ValueError(msg)
        return float(level)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | torch.Tensor | None = None,
        mu: float | None = None,
    ) -> None:
        """Make the plan of the next runs.

        Parameters
        ----------
        num_inference_steps : int, optional
            Number of steps.
        device : str or torch.device, optional
            Where :attr:`timesteps` go.
        timesteps, mu
            Have no meaning here.
        sigmas : sequence of float, optional
            Noise levels, decreasing, in place of a number; a last 0 may be there.

        Raises
        ------
        ValueError
            If the levels are given in no way, or in two.
        """
        config: Any = self.config
        if timesteps is not None or mu is not None:
            msg = "timesteps and mu have no meaning for networks of noise levels: pass a number of steps, or sigmas"
            raise ValueError(msg)
        if (num_inference_steps is None) == (sigmas is None):
            msg = f"num_inference_steps={num_inference_steps}, sigmas={sigmas}: pass one of the two"
            raise ValueError(msg)
        if sigmas is None:
            n = num_inference_steps
            if isinstance(n, bool) or not isinstance(n, int) or n < 1:
                msg = f"num_inference_steps={n!r}: pass a positive whole number"
                raise ValueError(msg)
            levels = LEVELS[config.sigma_schedule](self._highest(), config.sigma_min, n)
        else:
            levels = np.asarray(sigmas, dtype=np.float64)
            levels = levels[levels > 0.0] if levels.ndim == 1 else levels
            if config.noise_level is not None:
                msg = f"noise_level={config.noise_level} and sigmas are both given: let sigmas begin there"
                raise ValueError(msg)
        low, high = 0.5 * config.sigma_min, 2.0 * config.sigma_max
        good = levels.ndim == 1 and levels.size and bool((np.diff(levels) < 0.0).all())
        if not good or levels[0] > high or levels[-1] < low:
            msg = f"sigmas={levels.tolist()}: pass a decreasing list of noise levels from {high:g} to {low:g}"
            raise ValueError(msg)
        if config.final_sigmas_type == "zero":
            levels = np.append(levels, 0.0)
        if len(levels) < 2:
            msg = "one level leaves no step where final_sigmas_type='sigma_min': take more steps, or 'zero'"
            raise ValueError(msg)
        with np.errstate(divide="ignore"):
            self._grid = Grid(levels, -np.log(levels), config.terminal)
        self._first = float(levels[0])
        self.plan = self._planned(self._grid)
        self._times = np.concatenate([step.stage_t for step in self.plan.steps])
        self._labels = torch.tensor(self._told(self._times), dtype=torch.float32)
        self.timesteps = self._labels.to(device)
        self.sigmas = torch.tensor(np.append(self._times, self.plan.steps[-1].t_to), dtype=torch.float32)
        self.num_inference_steps = self._grid.n
        self._order = evaluations_a_step(self._grid, self._times)
        self._begin_index = self._step_index = self._run = self._rows = None

    def set_sigmas(self, num_inference_steps: int, *_: Any) -> None:
        """Nothing: :meth:`set_timesteps` has made the levels."""

    def step_correct(self, model_output: torch.Tensor, sample: torch.Tensor, **_: Any) -> SigmaStepOutput:
        """The sample as it is: a plan has no corrector."""
        return SigmaStepOutput(prev_sample=sample, prev_sample_mean=sample)

    def step_pred(
        self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, generator: Any = None, **_: Any
    ) -> SigmaStepOutput:
        """:meth:`step` as the pipeline of variance exploding networks calls it."""
        result = self.step(model_output, timestep, sample, generator=generator, return_dict=False)[0]
        return SigmaStepOutput(prev_sample=result, prev_sample_mean=result)

    def _sigma(self, timestep: Any, like: torch.Tensor) -> torch.Tensor:
        """Noise level that the network is told as ``timestep``: that of the run where it is one of its own."""
        if self.plan is None:
            msg = "there are no timesteps yet: call set_timesteps first"
            raise ValueError(msg)
        index = self._run.index if self._run is not None and self._expects(self._run, timestep) else None
        index = self.index_for_timestep(timestep) if index is None else index
        return torch.tensor(float(self._times[index]), dtype=torch.float32, device=like.device)

    def scale_model_input(self, sample: torch.Tensor, timestep: Any = None) -> torch.Tensor:
        """What the network sees: ``x / sqrt(sigma^2 + sigma_data^2)``, of VE networks ``x`` itself."""
        if self.config["kind"] == "ve":
            return sample
        return sample * self._factors_of(self._sigma(timestep, sample))[0]

    def _factors_of(self, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(c_in, c_skip, c_out) of EDM's preconditioning."""
        config: Any = self.config
        data = 1.0 if config.kind == "svd" else config.sigma_data
        square = sigma**2 + data**2
        out = sigma * data / square**0.5
        return 1.0 / square**0.5, data**2 / square, -out if config.prediction_type == "v_prediction" else out

    def _value(self, output: torch.Tensor, event: Any, change: torch.Tensor | None) -> torch.Tensor:
        """Data prediction at the state that the network has seen."""
        data: torch.Tensor
        sigma = torch.tensor(float(event.t), dtype=torch.float32, device=output.device)
        state = event.x if change is None else event.x + change
        if self.config["kind"] == "ve":
            data = state + sigma**2 * output
        else:
            _, skip, out = self._factors_of(sigma)
            data = skip * state + out * output
        return data

    def add_noise(self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """``x_0 + sigma eps`` at one label a sample, shape (batch,)."""
        labels = torch.as_tensor(timesteps, dtype=torch.float32).reshape(-1)
        sigma = torch.stack([self._sigma(label, original_samples) for label in labels]).to(original_samples.dtype)
        return original_samples + sigma.reshape(-1, *[1] * (original_samples.ndim - 1)) * noise


def _of_levels(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Parameters of a SigmaScheduler; None where the network is told labels."""
    if (
        config.get("_class_name") == "SigmaScheduler" or config.get("kind") in _KINDS
    ):  # no class name before it is saved
        return {key: value for key, value in config.items() if not key.startswith("_")}
    if config.get("timestep_type") == "continuous" and config.get("prediction_type") == "v_prediction":
        if config.get("sigma_min") is None or config.get("sigma_max") is None or not config.get("use_karras_sigmas"):
            msg = "timestep_type='continuous' without sigma_min, sigma_max and use_karras_sigmas: give all of them"
            raise ValueError(msg)
        found: dict[str, Any] = {"kind": "svd", "prediction_type": "v_prediction", "sigma_schedule": "karras"}
        found.update({key: config[key] for key in ("sigma_min", "sigma_max")})
        return found | {"final_sigmas_type": config.get("final_sigmas_type", "zero")}
    kind = KINDS.get(class_of(config))
    if kind not in ("preconditioned", "exploding"):
        return None
    force = in_force(config)
    if kind == "exploding":
        return {"kind": "ve", "sigma_schedule": "exponential", **{k: force[k] for k in ("sigma_min", "sigma_max")}}
    if force["sigma_schedule"] == "karras" and force["rho"] != 7.0:
        msg = (
            f"rho={force['rho']}: levels are spaced with rho=7; pass set_timesteps(sigmas=...) to space them otherwise"
        )
        raise ValueError(msg)
    names = ("sigma_min", "sigma_max", "sigma_data", "sigma_schedule", "prediction_type", "final_sigmas_type")
    return {"kind": "edm", "num_train_timesteps": force["num_train_timesteps"], **{k: force[k] for k in names}}
