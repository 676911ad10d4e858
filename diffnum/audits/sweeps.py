"""Options that change a formula, with all their values; the library decides which combinations it accepts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

__all__ = [
    "ALIASES", "CHURNED", "CLIPPING", "FLOWS", "K_SWEEPS", "LAST_STEPS", "NOISY_REST", "NOISY_SWEEPS", "REST", "SWEEPS",
    "UNSWEPT", "VARIANCES", "every_step",
]  # fmt: skip

Sweep: TypeAlias = Mapping[str, tuple[Any, ...]]
"""Values by option."""

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
            "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr",
            "snr_shift_scale", "timestep_spacing", "steps_offset", "use_karras_sigmas", "use_exponential_sigmas",
            "use_beta_sigmas", "use_lu_lambdas", "flow_shift", "use_dynamic_shifting", "time_shift_type", "sigma_min",
            "sigma_max", "rho", "lambda_min_clipped", "shift", "base_shift", "max_shift", "base_image_seq_len",
            "max_image_seq_len", "invert_sigmas", "shift_terminal", "original_inference_steps", "scaler", "s",
        ),
        _NODES,
    ),
    **dict.fromkeys(("dynamic_thresholding_ratio", "sample_max_value", "clip_sample_range"), _LIMIT),
    **dict.fromkeys(("generator", "variance_noise", "noise_sampler", "noise_sampler_seed"), _DRAWS),
    "sigma_data": "the scale of a network, by which its answer is read: the audit's network has the same",
    "use_flow_sigmas": "goes with prediction_type='flow_prediction', with which it is swept",
    "tau_func": "the amount of noise as a function of time: none and the class's own, which are noise off and on",
    "solver_p": "a pair of classes, of which another one predicts: each has rows of its own",
    "timestep_scaling": "of the boundary of consistency models; no step of the class reads it",
    "r_timestep": "where a step ends, if not at the next node",
    "per_token_timesteps": "a time for each token of a sequence; samples of the audit have one",
    "pred_original_sample": "takes the place of the network's answer",
    "return_dict": "the form of the answer",
}  # fmt: skip
"""Options of which not every value is run, with the reason: by name, or by class and name."""
