"""Options that change a formula, with all their values; the library decides which combinations it accepts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = [
    "ALIASES", "CHURNED", "CLIPPING", "CROSSED", "FLOWS", "GRIDS", "K_SWEEPS", "LAST_STEPS", "NOISY_GRIDS",
    "NOISY_REST", "NOISY_SWEEPS", "PREDICTORS", "REST", "SPACINGS", "SWEEPS", "UNSWEPT", "VARIANCES", "Made",
    "every_step",
]  # fmt: skip

Sweep: TypeAlias = Mapping[str, tuple[Any, ...]]
"""Values by option."""


@dataclass(frozen=True)
class Made:
    """A scheduler as the value of an option, made when it is handed over.

    Parameters
    ----------
    name : str
        Its class.
    config : tuple of (str, value)
        Arguments of its constructor.
    """

    name: str
    config: tuple[tuple[str, Any], ...] = ()

    def __repr__(self) -> str:
        """The call that makes it."""
        return f"{self.name}({', '.join(f'{word}={value!r}' for word, value in self.config)})"

    def build(self, installed: Mapping[str, type[Any]]) -> Any:
        """The scheduler, of the classes that are installed."""
        return installed[self.name](**dict(self.config))


every_step = list(range(1000))
"""Steps after which UniPC makes no correction: all."""

_ASKED: Sweep = {"prediction_type": ("epsilon", "sample", "v_prediction")}
_VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range")
_CLIPPED: Sweep = {"clip_sample": (False, True)}
_BOUNDED: Sweep = {"thresholding": (False, True)}
_FIRST_ALPHA: Sweep = {"set_alpha_to_one": (True, False)}
_ORDERS: Sweep = {"solver_order": (1, 2, 3)}
_SCHEDULES: Sweep = {"sigma_schedule": ("karras", "exponential")}
_FINAL: Sweep = {"final_sigmas_type": ("zero", "sigma_min")}
_LOWER: Sweep = {"lower_order_final": (True, False)}
_ENDS: Sweep = {**_LOWER, "euler_at_final": (False, True)}

SWEEPS: Mapping[str, Sweep] = {
    "DPMSolverMultistepScheduler": {
        "algorithm_type": ("dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver"),
        "solver_order": (1, 2, 3),
        "solver_type": ("midpoint", "heun"),
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "final_sigmas_type": ("zero", "sigma_min"),
    },
    "DPMSolverSinglestepScheduler": {
        "algorithm_type": ("dpmsolver++", "dpmsolver", "sde-dpmsolver++"),
        "solver_order": (1, 2, 3),
        "solver_type": ("midpoint", "heun"),
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "final_sigmas_type": ("zero", "sigma_min"),
    },
    "EDMDPMSolverMultistepScheduler": {
        "algorithm_type": ("dpmsolver++", "sde-dpmsolver++"),
        "solver_order": (1, 2, 3),
        "solver_type": ("midpoint", "heun"),
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "final_sigmas_type": ("zero", "sigma_min"),
    },
    "DEISMultistepScheduler": {
        "solver_order": (1, 2, 3),
        "prediction_type": ("epsilon", "sample", "v_prediction"),
    },
    "UniPCMultistepScheduler": {
        "solver_order": (1, 2, 3, 4),
        "solver_type": ("bh1", "bh2"),
        "predict_x0": (True, False),
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "final_sigmas_type": ("zero", "sigma_min"),
    },
    "SASolverScheduler": {
        "predictor_order": (1, 2, 3),
        "corrector_order": (1, 2, 3, 4),
        "algorithm_type": ("data_prediction", "noise_prediction"),
        "prediction_type": ("epsilon", "sample", "v_prediction"),
    },
    "DPMSolverMultistepInverseScheduler": {
        "algorithm_type": ("dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver"),
        "solver_order": (1, 2, 3),
        "solver_type": ("midpoint", "heun"),
        "prediction_type": ("epsilon", "sample", "v_prediction"),
    },
    "DDIMScheduler": {"set_alpha_to_one": (True, False), **_ASKED},
    "DDIMParallelScheduler": {"set_alpha_to_one": (True, False), **_ASKED},
    "CogVideoXDDIMScheduler": {"set_alpha_to_one": (True, False), **_ASKED},
    "DDIMInverseScheduler": _ASKED,
    "TCDScheduler": _ASKED,
    "PNDMScheduler": {"skip_prk_steps": (True, False), "prediction_type": ("epsilon", "v_prediction")},
    "EulerDiscreteScheduler": {
        "final_sigmas_type": ("zero", "sigma_min"),
        "interpolation_type": ("linear", "log_linear"),
        **_ASKED,
    },
    "EDMEulerScheduler": {
        "final_sigmas_type": ("zero", "sigma_min"),
        "prediction_type": ("epsilon", "v_prediction"),
    },
    "HeunDiscreteScheduler": _ASKED,
    "KDPM2DiscreteScheduler": _ASKED,
    "LMSDiscreteScheduler": _ASKED,
    "FlowMatchEulerDiscreteScheduler": {"stochastic_sampling": (False, True)},
    "LTXEulerAncestralRFScheduler": {"eta": (0.0, 0.5, 1.0)},
}
"""Classes of diffusers that follow a flow, or have a switch for their noise."""


def _formula(name: str) -> Sweep:
    """Options of a class that change its formula, however its model is asked."""
    return {option: values for option, values in SWEEPS[name].items() if option not in _ASKED}


LAST_STEPS: Mapping[str, Sweep] = {
    name: {**_formula(name), **ends}
    for name, ends in {
        "DPMSolverMultistepScheduler": _ENDS,
        "DPMSolverSinglestepScheduler": _LOWER,
        "EDMDPMSolverMultistepScheduler": _ENDS,
        "DEISMultistepScheduler": _LOWER,
        "UniPCMultistepScheduler": _LOWER,
        "SASolverScheduler": _LOWER,
        "DPMSolverMultistepInverseScheduler": _ENDS,
    }.items()
}
"""The same with every way to make the last steps; apart, for how the model is asked would only multiply the runs."""

FLOWS: Mapping[str, Sweep] = {
    name: {**_formula(name), **_LOWER, "use_flow_sigmas": (True,), "prediction_type": ("flow_prediction",)}
    for name in (
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "DEISMultistepScheduler",
        "UniPCMultistepScheduler",
        "SASolverScheduler",
        "DPMSolverMultistepInverseScheduler",
    )
}
"""The same for models of a straight flow; it is asked for and followed by two options together."""

NOISY_SWEEPS: Mapping[str, Sweep] = {
    "CosineDPMSolverMultistepScheduler": {
        "solver_order": (1, 2, 3),
        "solver_type": ("midpoint", "heun"),
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "final_sigmas_type": ("zero", "sigma_min"),
        **_ENDS,
    },
    "DDPMScheduler": {"variance_type": _VARIANCES, **_ASKED},
    "DDPMParallelScheduler": {"variance_type": _VARIANCES, **_ASKED},
    "UnCLIPScheduler": {
        "variance_type": ("fixed_small_log", "learned_range"),
        "prediction_type": ("epsilon", "sample"),
        "beta_schedule": ("squaredcos_cap_v2",),
    },
    "EulerAncestralDiscreteScheduler": _ASKED,
    "KDPM2AncestralDiscreteScheduler": _ASKED,
    "DPMSolverSDEScheduler": _ASKED,
    "CogVideoXDPMScheduler": _ASKED,
}
"""Classes of diffusers that always draw noise: it is left out, and then drawn."""

_DPM: Sweep = {"algorithm_type": SWEEPS["DPMSolverMultistepScheduler"]["algorithm_type"], **_ORDERS, **_BOUNDED}
_DDIM: Sweep = {"eta": (0.0, 0.5, 1.0), "use_clipped_model_output": (False, True), **_CLIPPED}

REST: Mapping[str, Sweep] = {
    "DPMSolverMultistepScheduler": {**_DPM, **_FINAL},
    "DPMSolverMultistepInverseScheduler": _DPM,
    "DPMSolverSinglestepScheduler": {
        **_DPM,
        "algorithm_type": SWEEPS["DPMSolverSinglestepScheduler"]["algorithm_type"],
        **_FINAL,
    },
    "EDMDPMSolverMultistepScheduler": {
        "algorithm_type": ("dpmsolver++", "sde-dpmsolver++"),
        **_ORDERS,
        **_SCHEDULES,
        **_BOUNDED,
    },
    "DEISMultistepScheduler": {"algorithm_type": ("deis",), "solver_type": ("logrho",), **_ORDERS, **_BOUNDED},
    "UniPCMultistepScheduler": {
        **_ORDERS,
        "predict_x0": (True, False),
        "disable_corrector": ([], [0], every_step),
        **_BOUNDED,
    },
    "SASolverScheduler": {"algorithm_type": ("data_prediction", "noise_prediction"), **_BOUNDED},
    "DDIMScheduler": {**_DDIM, **_BOUNDED},
    "DDIMParallelScheduler": {**_DDIM, **_BOUNDED},
    "CogVideoXDDIMScheduler": _DDIM,
    "DDIMInverseScheduler": {**_CLIPPED, **_FIRST_ALPHA},
    "TCDScheduler": {"eta": (0.0, 0.3, 1.0), **_CLIPPED, **_BOUNDED, **_FIRST_ALPHA},
    "PNDMScheduler": {"skip_prk_steps": (True, False), **_FIRST_ALPHA},
    "EulerDiscreteScheduler": {
        "timestep_type": ("discrete", "continuous"),
        "prediction_type": ("epsilon", "sample", "v_prediction", "original_sample"),
    },
    "EDMEulerScheduler": {**_SCHEDULES, "prediction_type": ("epsilon", "v_prediction")},
    "HeunDiscreteScheduler": _CLIPPED,
    "LMSDiscreteScheduler": {"order": (1, 2, 3, 4)},
    "LTXEulerAncestralRFScheduler": {"eta": (0.0, 0.5, 1.0), "s_noise": (1.0, 0.5)},
}
"""What else changes a formula; apart, for it would only multiply the runs. Some are arguments of ``step``."""

NOISY_REST: Mapping[str, Sweep] = {
    "CosineDPMSolverMultistepScheduler": {**_ORDERS, **_SCHEDULES},
    "CogVideoXDPMScheduler": {
        "eta": (0.0, 1.0),
        "use_clipped_model_output": (False, True),
        **_CLIPPED,
        **_FIRST_ALPHA,
    },
    "DDPMScheduler": {**_CLIPPED, **_BOUNDED},
    "DDPMParallelScheduler": {**_CLIPPED, **_BOUNDED},
    "UnCLIPScheduler": _CLIPPED,
    "DPMSolverSDEScheduler": {"s_noise": (1.0, 0.5)},
}
"""The same for classes that always draw noise."""

VARIANCES: Mapping[str, Sweep] = {
    name: {
        "algorithm_type": SWEEPS[name]["algorithm_type"],
        "variance_type": (None, "learned", "learned_range"),
        **_ASKED,
        **_FINAL,
    }
    for name in ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler")
} | {
    name: {
        "algorithm_type": SWEEPS[name]["algorithm_type"],
        "variance_type": (None, "learned", "learned_range"),
        **_ASKED,
    }
    for name in ("DPMSolverMultistepInverseScheduler", "SASolverScheduler")
}
"""Classes that take a network with a learned variance, and leave the variance out."""

_CHURN: Sweep = {
    "s_churn": (0.0, 10.0),
    "s_tmin": (0.0, 0.1),
    "s_tmax": (math.inf, 5.0),
    "s_noise": (1.0, 1.007),
}
CHURNED: Mapping[str, Sweep] = dict.fromkeys(
    (
        "EulerDiscreteScheduler",
        "EDMEulerScheduler",
        "FlowMatchEulerDiscreteScheduler",
        "FlowMatchHeunDiscreteScheduler",
    ),
    _CHURN,
)
"""Classes whose ``step`` may add noise before it steps, between two levels."""

_TABLES: Sweep = {"beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2")}
_LABELS: Sweep = {"timestep_spacing": ("linspace", "leading", "trailing"), "steps_offset": (0, 1)}
_TERMINAL: Sweep = {"rescale_betas_zero_snr": (False, True), "prediction_type": ("epsilon", "v_prediction")}
_LEVELS: Sweep = {f"use_{kind}_sigmas": (False, True) for kind in ("karras", "exponential", "beta")}
_DDPM_TABLES: Sweep = {"beta_schedule": (*_TABLES["beta_schedule"], "sigmoid", "laplace")}


def _some(name: str, *options: str) -> Sweep:
    """Options of a class that change its formula, with the values of its sweep."""
    return {option: SWEEPS[name][option] for option in options}


GRIDS: Mapping[str, Sweep] = {
    "DPMSolverMultistepScheduler": {
        **_some("DPMSolverMultistepScheduler", "algorithm_type", "solver_order", "final_sigmas_type"),
        **_TABLES,
        **_LABELS,
        "rescale_betas_zero_snr": (False, True),
    },
    "DPMSolverSinglestepScheduler": {
        **_some("DPMSolverSinglestepScheduler", "algorithm_type", "solver_order", "final_sigmas_type"),
        **_TABLES,
    },
    "DEISMultistepScheduler": {**_ORDERS, **_TABLES, **_LABELS},
    "UniPCMultistepScheduler": {
        **_some("UniPCMultistepScheduler", "solver_order", "predict_x0", "final_sigmas_type"),
        **_TABLES,
        **_LABELS,
        "rescale_betas_zero_snr": (False, True),
    },
    "SASolverScheduler": {**_some("SASolverScheduler", "algorithm_type", "predictor_order"), **_TABLES, **_LABELS},
    "DPMSolverMultistepInverseScheduler": {
        "algorithm_type": ("dpmsolver++", "dpmsolver"),
        **_ORDERS,
        **_TABLES,
        **_LABELS,
    },
    **{
        f"{name}Scheduler": {"eta": (0.0, 1.0), **_TABLES, **_LABELS, **_TERMINAL}
        for name in ("DDIM", "DDIMParallel", "CogVideoXDDIM")
    },
    "DDIMInverseScheduler": {**_TABLES, **_LABELS, "timestep_spacing": ("leading", "trailing"), **_TERMINAL},
    "TCDScheduler": {"eta": (0.0, 1.0), **_TABLES, **_LABELS, **_TERMINAL},
    "PNDMScheduler": {"skip_prk_steps": (True, False), **_TABLES, **_LABELS},
    "EulerDiscreteScheduler": {
        "final_sigmas_type": ("zero", "sigma_min"),
        **_TABLES,
        **_LABELS,
        **_TERMINAL,
    },
    "HeunDiscreteScheduler": {"beta_schedule": (*_TABLES["beta_schedule"], "exp"), **_LABELS},
    "KDPM2DiscreteScheduler": {**_TABLES, **_LABELS},
    "LMSDiscreteScheduler": {**_TABLES, **_LABELS},
}
"""Where the nodes are, by the table of noise levels and the labels that are taken from it."""

NOISY_GRIDS: Mapping[str, Sweep] = {
    "DDPMScheduler": {**_DDPM_TABLES, **_LABELS, **_TERMINAL},
    "DDPMParallelScheduler": {**_DDPM_TABLES, **_LABELS, **_TERMINAL},
    "EulerAncestralDiscreteScheduler": {**_TABLES, **_LABELS, **_TERMINAL},
    "KDPM2AncestralDiscreteScheduler": {**_TABLES, **_LABELS, **_LEVELS},
    "DPMSolverSDEScheduler": {**_TABLES, **_LABELS, **_LEVELS},
    "CogVideoXDPMScheduler": {**_TABLES, **_LABELS, **_TERMINAL},
}
"""The same for classes that always draw noise; two of them by a formula for the levels too."""

SPACINGS: Mapping[str, Sweep] = {
    "DPMSolverMultistepScheduler": {
        **_formula("DPMSolverMultistepScheduler"),
        **_LEVELS,
        "use_lu_lambdas": (False, True),
    },
    **{
        f"{name}Scheduler": {**_formula(f"{name}Scheduler"), **_LEVELS}
        for name in ("DPMSolverSinglestep", "DEISMultistep", "UniPCMultistep", "SASolver", "DPMSolverMultistepInverse")
    },
    "EulerDiscreteScheduler": {**_formula("EulerDiscreteScheduler"), **_LEVELS},
    "HeunDiscreteScheduler": _LEVELS,
    "KDPM2DiscreteScheduler": _LEVELS,
    "LMSDiscreteScheduler": {"order": (1, 2, 3, 4), **_LEVELS},
    "FlowMatchEulerDiscreteScheduler": {
        "stochastic_sampling": (False, True),
        "shift": (1.0, 3.0),
        "shift_terminal": (None, 0.1),
        **_LEVELS,
    },
    "FlowMatchHeunDiscreteScheduler": {"shift": (1.0, 3.0)},
    "FlowMapEulerDiscreteScheduler": {"shift": (1.0, 3.0)},
    "MiniMaxH3Scheduler": {"shift": (1.0, 12.0)},
}
"""Where the nodes are, by a formula for the levels."""

CROSSED: Mapping[str, Sweep] = {
    f"{name}Scheduler": {
        "beta_schedule": ("squaredcos_cap_v2",),
        **_LEVELS,
        **({"use_lu_lambdas": (False, True)} if name == "DPMSolverMultistep" else {}),
    }
    for name in (
        "DPMSolverMultistep", "DPMSolverSinglestep", "DEISMultistep", "UniPCMultistep", "SASolver",
        "DPMSolverMultistepInverse", "EulerDiscrete", "HeunDiscrete", "KDPM2Discrete", "LMSDiscrete",
    )
}  # fmt: skip
"""The formulas for the levels on the widest table; on the others they are swept alone."""

PREDICTORS: Mapping[str, Sweep] = {
    "UniPCMultistepScheduler": {
        **_some("UniPCMultistepScheduler", "solver_order"),
        "disable_corrector": ([], every_step),
        "solver_p": (
            None,
            Made("DDIMScheduler", (("clip_sample", False),)),
            Made("DPMSolverMultistepScheduler"),
            Made("EulerDiscreteScheduler"),
        ),
    }
}
"""A class of which another one makes the predictions: by its labels, by its levels, and in units of the data."""

CLIPPING = frozenset({"DDIM", "DDIMParallel", "CogVideoXDDIM", "DDIMInverse", "DDPM", "DDPMParallel", "UnCLIP"})
"""Classes that clip the data that a model predicts unless they are told not to."""

_NOISE: Sweep = {"eta": (0.0, 0.5, 1.0), "s_noise": (1.0, 0.5)}
K_SWEEPS: Mapping[str, Sweep] = {
    "sample_lms": {"order": (1, 2, 3, 4)},
    "sample_euler": _CHURN,
    "sample_heun": _CHURN,
    "sample_dpm_2": _CHURN,
    "sample_euler_ancestral": _NOISE,
    "sample_dpm_2_ancestral": _NOISE,
    "sample_dpmpp_2s_ancestral": _NOISE,
    "sample_dpmpp_sde": {**_NOISE, "r": (0.5, 1 / 3, 1.0)},
    "sample_dpmpp_2m_sde": {**_NOISE, "solver_type": ("midpoint", "heun")},
    "sample_dpmpp_3m_sde": _NOISE,
}
"""Functions of k-diffusion; of numbers, both ends and one between."""

ALIASES: Mapping[str, Mapping[str, str]] = {
    "algorithm_type": {"deis": "dpmsolver++", "dpmsolver": "deis", "dpmsolver++": "deis"},
    "solver_type": {
        **dict.fromkeys(("logrho", "bh1", "bh2"), "midpoint"),
        **dict.fromkeys(("midpoint", "heun"), "logrho"),
    },
}
"""Values of other classes, which a constructor takes and replaces by one of its own."""

_NODES = "says where the nodes are, not what a step between two of them does"
_LIMIT = "a bound of clip_sample or thresholding, which are swept"
_DRAWS = "says which noise is drawn, not what is done with it"
UNSWEPT: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "beta_start", "beta_end", "trained_betas", "snr_shift_scale", "flow_shift",
            "use_dynamic_shifting", "time_shift_type", "sigma_min", "sigma_max", "rho", "lambda_min_clipped",
            "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len", "invert_sigmas", "shift_terminal",
            "original_inference_steps",
        ),
        _NODES,
    ),
    **dict.fromkeys(("dynamic_thresholding_ratio", "sample_max_value", "clip_sample_range"), _LIMIT),
    **dict.fromkeys(("generator", "variance_noise", "noise_sampler", "noise_sampler_seed"), _DRAWS),
    "num_train_timesteps": "the number of labels, by which some classes count the length of a step",
    **dict.fromkeys(("s", "scaler"), "of the one schedule that the class has, which its step reads"),
    **dict.fromkeys(
        ("CosineDPMSolverMultistepScheduler.sigma_min", "CosineDPMSolverMultistepScheduler.sigma_max"),
        "where the nodes are, and the range of the noise that is drawn",
    ),
    "sigma_data": "the scale of a network, by which its answer is read: the audit's network has the same",
    "use_flow_sigmas": "goes with prediction_type='flow_prediction', with which it is swept",
    "tau_func": "the amount of noise as a function of time: none and the class's own, which are noise off and on",
    "timestep_scaling": "of the boundary of consistency models: no code of the class reads it",
    "r_timestep": "where a step ends, if not at the next node",
    "per_token_timesteps": "a time for each token of a sequence; samples of the audit have one",
    "pred_original_sample": "takes the place of the network's answer",
    "return_dict": "the form of the answer",
}  # fmt: skip
"""Options of which not every value is run, with the reason: by name, or by class and name."""
