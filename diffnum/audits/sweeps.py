"""Options that change a formula, with all their values; the library decides which combinations it accepts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

__all__ = ["CLIPPING", "FLOWS", "K_SWEEPS", "LAST_STEPS", "NOISY_SWEEPS", "SWEEPS"]

Sweep: TypeAlias = Mapping[str, tuple[Any, ...]]
"""Values by option."""

_ASKED: Sweep = {"prediction_type": ("epsilon", "sample", "v_prediction")}
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
        "prediction_type": ("epsilon", "v_prediction"),
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
        "algorithm_type": ("dpmsolver++", "dpmsolver"),
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
        "prediction_type": ("epsilon", "v_prediction"),
        "final_sigmas_type": ("zero", "sigma_min"),
        **_ENDS,
    },
    "DDPMScheduler": {"variance_type": ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"), **_ASKED},
    "DDPMParallelScheduler": {
        "variance_type": ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
        **_ASKED,
    },
    "UnCLIPScheduler": {"prediction_type": ("epsilon", "sample")},
    "EulerAncestralDiscreteScheduler": _ASKED,
    "KDPM2AncestralDiscreteScheduler": _ASKED,
    "DPMSolverSDEScheduler": _ASKED,
    "CogVideoXDPMScheduler": _ASKED,
}
"""Classes of diffusers that always draw noise: it is left out, and then drawn."""

CLIPPING = frozenset({"DDIM", "DDIMParallel", "CogVideoXDDIM", "DDIMInverse", "DDPM", "DDPMParallel", "UnCLIP"})
"""Classes that clip the data that a model predicts unless they are told not to."""

K_SWEEPS: Mapping[str, Sweep] = {
    "sample_lms": {"order": (1, 2, 3, 4)},
    "sample_euler": {"s_churn": (0.0, 10.0)},
    "sample_heun": {"s_churn": (0.0, 10.0)},
    "sample_dpm_2": {"s_churn": (0.0, 10.0)},
    "sample_euler_ancestral": {"eta": (0.0, 0.5, 1.0)},
    "sample_dpm_2_ancestral": {"eta": (0.0, 0.5, 1.0)},
    "sample_dpmpp_2s_ancestral": {"eta": (0.0, 0.5, 1.0)},
    "sample_dpmpp_sde": {"eta": (0.0, 0.5, 1.0), "r": (0.5, 1 / 3)},
    "sample_dpmpp_2m_sde": {"eta": (0.0, 0.5, 1.0), "solver_type": ("midpoint", "heun")},
    "sample_dpmpp_3m_sde": {"eta": (0.0, 0.5, 1.0)},
}
"""Functions of k-diffusion; of numbers, both ends and one between."""
