"""Which configurations of diffusers' schedulers are understood, key by key, and which are refused.

A configuration of a diffusers scheduler says four things: the noising process, what the network predicts, where the
nodes are, and which method is used (which a plan replaces). A key that nobody reads can change any of them, so the
classes that are understood are listed here with all of their keys and the values in force where a file leaves them
out; tests hold the list against the installed version. Whatever is not listed is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, Final, Literal

__all__ = ["DEFAULTS", "FOREIGN", "KINDS", "OWN", "Kind", "alike", "check_values", "class_of", "in_force"]

Kind = Literal["table", "flow", "exploding", "preconditioned"]

_TABLE: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
    "trained_betas": None, "prediction_type": "epsilon",
}  # fmt: skip
_LATENT: dict[str, Any] = {**_TABLE, "beta_start": 0.00085, "beta_end": 0.012}
_THRESHOLD: dict[str, Any] = {"thresholding": False, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0}
_CLIP: dict[str, Any] = {"clip_sample": True, "clip_sample_range": 1.0}
_LEADING: dict[str, Any] = {"timestep_spacing": "leading", "steps_offset": 0}
_LINSPACE: dict[str, Any] = {"timestep_spacing": "linspace", "steps_offset": 0}
_RESCALE: dict[str, Any] = {"rescale_betas_zero_snr": False}
_LEVELS: dict[str, Any] = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
_FLOW_SIGMAS: dict[str, Any] = {"use_flow_sigmas": False, "flow_shift": 1.0}
_DYNAMIC: dict[str, Any] = {"use_dynamic_shifting": False, "time_shift_type": "exponential"}
_DDIM: dict[str, Any] = {**_TABLE, **_CLIP, **_THRESHOLD, **_LEADING, **_RESCALE, "set_alpha_to_one": True}
_DDPM: dict[str, Any] = {**_TABLE, **_CLIP, **_THRESHOLD, **_LEADING, **_RESCALE, "variance_type": "fixed_small"}
_COGVIDEO: dict[str, Any] = {
    **_LATENT, **_CLIP, **_LEADING, **_RESCALE, "beta_schedule": "scaled_linear", "set_alpha_to_one": True,
    "sample_max_value": 1.0, "snr_shift_scale": 3.0,
}  # fmt: skip
_SOLVER: dict[str, Any] = {
    **_TABLE, **_THRESHOLD, **_LEVELS, **_FLOW_SIGMAS, "solver_order": 2, "lower_order_final": True,
}  # fmt: skip
_DPM: dict[str, Any] = {
    **_SOLVER, **_DYNAMIC, "algorithm_type": "dpmsolver++", "solver_type": "midpoint", "final_sigmas_type": "zero",
    "lambda_min_clipped": float("-inf"), "variance_type": None,
}  # fmt: skip
_K: dict[str, Any] = {**_LATENT, **_LEVELS, **_LINSPACE}
_DISTILLED: dict[str, Any] = {
    **_LATENT, **_CLIP, **_THRESHOLD, **_LEADING, **_RESCALE, "beta_schedule": "scaled_linear", "clip_sample": False,
    "original_inference_steps": 50, "set_alpha_to_one": True, "timestep_scaling": 10.0,
}  # fmt: skip
_FLOW: dict[str, Any] = {"num_train_timesteps": 1000, "shift": 1.0}
_FLOW_EULER: dict[str, Any] = {
    **_FLOW, **_DYNAMIC, **_LEVELS, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
    "max_image_seq_len": 4096, "invert_sigmas": False, "shift_terminal": None,
}  # fmt: skip
_EDM: dict[str, Any] = {
    "sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "sigma_schedule": "karras", "num_train_timesteps": 1000,
    "prediction_type": "epsilon", "rho": 7.0, "final_sigmas_type": "zero",
}  # fmt: skip
_EDM_DPM: dict[str, Any] = {
    **_EDM, **_THRESHOLD, "solver_order": 2, "algorithm_type": "dpmsolver++", "solver_type": "midpoint",
    "lower_order_final": True, "euler_at_final": False,
}  # fmt: skip
_COSINE: dict[str, Any] = {
    "sigma_min": 0.3, "sigma_max": 500, "sigma_data": 1.0, "sigma_schedule": "exponential", "num_train_timesteps": 1000,
    "solver_order": 2, "prediction_type": "v_prediction", "rho": 7.0, "solver_type": "midpoint",
    "lower_order_final": True, "euler_at_final": False, "final_sigmas_type": "zero",
}  # fmt: skip

_TABLES: dict[str, dict[str, Any]] = {
    "DDIM": _DDIM,
    "DDIMParallel": _DDIM,
    "CogVideoXDDIM": _COGVIDEO,
    "CogVideoXDPM": _COGVIDEO,
    "DDPM": _DDPM,
    "DDPMParallel": _DDPM,
    "PNDM": {**_TABLE, **_LEADING, "skip_prk_steps": False, "set_alpha_to_one": False},
    "UnCLIP": {
        **_CLIP, "num_train_timesteps": 1000, "variance_type": "fixed_small_log", "prediction_type": "epsilon",
        "beta_schedule": "squaredcos_cap_v2",
    },
    "EulerDiscrete": {
        **_TABLE, **_LEVELS, **_LINSPACE, **_RESCALE, "interpolation_type": "linear", "sigma_min": None,
        "sigma_max": None, "timestep_type": "discrete", "final_sigmas_type": "zero",
    },
    "EulerAncestralDiscrete": {**_TABLE, **_LINSPACE, **_RESCALE},
    "LMSDiscrete": {**_TABLE, **_LEVELS, **_LINSPACE},
    "HeunDiscrete": {**_K, **_CLIP, "clip_sample": False},
    "KDPM2Discrete": _K,
    "KDPM2AncestralDiscrete": _K,
    "DPMSolverSDE": {**_K, "noise_sampler_seed": None},
    "DPMSolverMultistep": {**_DPM, **_LINSPACE, **_RESCALE, "euler_at_final": False, "use_lu_lambdas": False},
    "DPMSolverSinglestep": {**_DPM, "lower_order_final": False},
    "UniPCMultistep": {
        **_SOLVER, **_DYNAMIC, **_LINSPACE, **_RESCALE, "predict_x0": True, "solver_type": "bh2",
        "disable_corrector": [], "solver_p": None, "final_sigmas_type": "zero", "sigma_min": None, "sigma_max": None,
        "shift_terminal": None,
    },
    "DEISMultistep": {**_SOLVER, **_DYNAMIC, **_LINSPACE, "algorithm_type": "deis", "solver_type": "logrho"},
    "SASolver": {
        **_TABLE, **_THRESHOLD, **_LEVELS, **_FLOW_SIGMAS, **_LINSPACE, "predictor_order": 2, "corrector_order": 2,
        "tau_func": None, "algorithm_type": "data_prediction", "lower_order_final": True,
        "lambda_min_clipped": float("-inf"), "variance_type": None,
    },
    "LCM": _DISTILLED,
    "TCD": _DISTILLED,
}  # fmt: skip
_FLOWS: dict[str, dict[str, Any]] = {
    "FlowMatchEulerDiscrete": {**_FLOW_EULER, "stochastic_sampling": False},
    "FlowMatchHeunDiscrete": _FLOW,
    "FlowMatchLCM": {**_FLOW_EULER, "scale_factors": None, "upscale_mode": "bicubic"},
}
_OTHERS: dict[str, tuple[Kind, dict[str, Any]]] = {
    "ScoreSdeVe": (
        "exploding",
        {"num_train_timesteps": 2000, "snr": 0.15, "sigma_min": 0.01, "sigma_max": 1348.0, "sampling_eps": 1e-5,
         "correct_steps": 1},
    ),
    "EDMEuler": ("preconditioned", _EDM),
    "EDMDPMSolverMultistep": ("preconditioned", _EDM_DPM),
}  # fmt: skip

_LISTED: dict[str, tuple[Kind, dict[str, Any]]] = {
    **{name: ("table", keys) for name, keys in _TABLES.items()},
    **{name: ("flow", keys) for name, keys in _FLOWS.items()},
    **_OTHERS,
}

KINDS: Final[Mapping[str, Kind]] = MappingProxyType({f"{name}Scheduler": kind for name, (kind, _) in _LISTED.items()})
"""Classes that are understood, and the kind of process of each."""

DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {f"{name}Scheduler": MappingProxyType(keys) for name, (_, keys) in _LISTED.items()}
)
"""Keys of each class that is understood, with the values in force where a configuration leaves them out."""

FOREIGN: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        f"{name}Scheduler": frozenset(keys.split())
        for name, keys in {
            "Amused": "mask_token_id masking_schedule",
            "BlockRefinement": "block_length num_inference_steps threshold editing_threshold minimal_topk",
            "CMStochasticIterative": "num_train_timesteps sigma_min sigma_max sigma_data s_noise rho clip_denoised",
            "ConsistencyDecoder": "num_train_timesteps sigma_data",
            "CosineDPMSolverMultistep": " ".join(_COSINE),
            "DDIMInverse": "num_train_timesteps beta_start beta_end beta_schedule trained_betas clip_sample "
            "set_alpha_to_one steps_offset prediction_type clip_sample_range timestep_spacing rescale_betas_zero_snr",
            "DDPMWuerstchen": "scaler s",
            "DPMSolverMultistepInverse": " ".join(
                {**_SOLVER, **_LINSPACE, "algorithm_type": 0, "solver_type": 0, "euler_at_final": 0}
                | {"lambda_min_clipped": 0, "variance_type": 0}
            ),
            "DiscreteDDIM": "num_inference_steps corrector_steps corrector_k corrector_selection "
            "corrector_selection_tau",
            "EntropyBound": "entropy_bound t_max t_min num_inference_steps",
            "FlowMapEulerDiscrete": "num_train_timesteps shift",
            "HeliosDMD": "num_train_timesteps shift stages stage_range gamma prediction_type use_flow_sigmas "
            "use_dynamic_shifting time_shift_type",
            "Helios": "num_train_timesteps shift stages stage_range gamma thresholding prediction_type solver_order "
            "predict_x0 solver_type lower_order_final disable_corrector solver_p use_flow_sigmas scheduler_type "
            "use_dynamic_shifting time_shift_type",
            "IPNDM": "num_train_timesteps trained_betas",
            "KarrasVe": "sigma_min sigma_max s_noise s_churn s_min s_max",
            "LTXEulerAncestralRF": "num_train_timesteps eta s_noise",
            "MiniMaxH3": "shift",
            "Piflow": "num_train_timesteps shift n_grid eps final_step_size_scale num_policy_substeps",
            "RFD4Proteina": "schedule_mode noise_mode tsr_k tsr_sigma tail_steps tail_step_multiplier t_lim_ode "
            "t_lim_ode_below",
            "RePaint": "num_train_timesteps beta_start beta_end beta_schedule eta trained_betas clip_sample",
            "SCM": "num_train_timesteps prediction_type sigma_data",
            "ScoreSdeVp": "num_train_timesteps beta_min beta_max sampling_eps",
            "VQDiffusion": "num_vec_classes num_train_timesteps alpha_cum_start alpha_cum_end gamma_cum_start "
            "gamma_cum_end",
        }.items()
    }
)
"""Keys of the classes that are refused, by which a configuration without a name is known for one of them."""

OWN: Final = "PlanScheduler"

_PAST = frozenset({"tensor_format", "predict_epsilon", "skip_prk_steps", "solver_type", "use_flow_sigmas"})
"""Keys of older versions, which today's classes do not read."""

_OWN_KEYS = frozenset({"method", "spacing_as", "start", "terminal", "parameters", "plan"})
_KNOWN: Final[frozenset[str]] = frozenset().union(*DEFAULTS.values(), *FOREIGN.values(), _PAST, _OWN_KEYS)

_UNUSUAL: Final[Mapping[str, tuple[Any, str]]] = MappingProxyType(
    {
        "invert_sigmas": (False, "times that run backwards are not understood, keep the pipeline's own scheduler"),
        "scale_factors": (None, "sizes that change on the way are not understood, keep the pipeline's own scheduler"),
        "interpolation_type": ("linear", "its noise levels are not those of its timesteps; use 'linear'"),
    }
)
"""Keys with the one value that is understood, and what to say of others."""


def _keys(config: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(key for key in config if not key.startswith("_"))


def class_of(config: Mapping[str, Any]) -> str:
    """Class that wrote a configuration; where it is from memory, and not named, the one with these keys.

    Parameters
    ----------
    config : mapping
        Configuration of a diffusers scheduler.

    Returns
    -------
    str
        Name of the class; ``""`` where no class has these keys. Of classes with the same keys, the first that is
        understood (a FlowMapEulerDiscreteScheduler without its name is taken for a FlowMatchHeunDiscreteScheduler).

    Raises
    ------
    ValueError
        If the configuration holds all keys of several classes, one made from another.
    """
    if config.get("_class_name"):
        return str(config["_class_name"])
    found = _keys(config)
    if "method" in found:
        return OWN
    known = {name: frozenset(keys) for name, keys in DEFAULTS.items()} | dict(FOREIGN)
    exact = [name for name, keys in known.items() if keys == found]
    if exact:
        return exact[0]
    # small sets are found in every other class
    within = {name: keys for name, keys in known.items() if keys <= found and len(keys) > len(_TABLE)}
    most = [name for name, keys in within.items() if not any(keys < other for other in within.values())]
    if len({within[name] for name in most}) > 1:
        msg = f"config has the keys of {' and of '.join(most)}: add '_class_name', the one that is in use"
        raise ValueError(msg)
    return most[0] if most else ""


def alike(name: str) -> str:
    """What to call a class in a message: with those whose configurations in memory are the same.

    Parameters
    ----------
    name : str
        Class, as :func:`class_of` found it.

    Returns
    -------
    str
        The name, and the others in brackets.
    """
    keys = _keys(DEFAULTS.get(name, {}))
    others = [other for other, theirs in DEFAULTS.items() if keys and other != name and _keys(theirs) == keys]
    return f"{name} (or {' or '.join(others)}: in memory their configurations are the same)" if others else name


def check_values(config: Mapping[str, Any], usual: Mapping[str, Any], name: str) -> None:
    """Refuse values of another type than the usual ones; None is taken everywhere.

    Parameters
    ----------
    config : mapping
        Values by key.
    usual : mapping
        Values in force by default; keys that are not in it are not looked at.
    name : str
        What the configuration is of, in words.

    Raises
    ------
    ValueError
        If a flag is no truth value (the text ``"False"`` is true), a number none, or a word none.
    """
    for key, default in usual.items():
        value = config.get(key)
        if value is None or default is None:
            continue
        truth = isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")
        if isinstance(default, bool):
            fits, wanted = truth, "True or False"
        elif isinstance(default, int):
            fits, wanted = isinstance(value, Integral) and not truth, "a whole number"
            fits = fits or (isinstance(value, float) and value.is_integer())
        elif isinstance(default, float):
            fits, wanted = isinstance(value, Real) and not truth, "a number"
        else:
            fits, wanted = isinstance(value, str) or not isinstance(default, str), "a word"
        if not fits:
            msg = f"{key}={value!r} of {name} is a {type(value).__name__}: pass {wanted}"
            raise ValueError(msg)


def in_force(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says, with the defaults of its class and without what its class does not read.

    Parameters
    ----------
    config : mapping
        Configuration of a diffusers scheduler, from memory or from a file.

    Returns
    -------
    dict
        With ``"_class_name"``.

    Raises
    ------
    ValueError
        If the class, a key or the value of a key is not understood.
    """
    name = class_of(config)
    if "Inverse" in name:
        msg = f"{name}: times that run backwards (inversion) are not understood, keep the pipeline's own"
        raise ValueError(msg)
    if name == OWN:
        return dict(config)
    if name and name not in DEFAULTS:
        msg = (
            f"{name} is not understood: its process, its times or its network are not those of the classes listed in "
            "diffnum.models.loading.understood.KINDS; wrap the network with dn.models.wrap(module, schedule=...), or "
            "keep its own scheduler"
        )
        raise ValueError(msg)
    strange = sorted(_keys(config) - _KNOWN - _keys(DEFAULTS.get(name, {})))
    if strange:
        msg = (
            f"{strange[0]}={config[strange[0]]!r} of {name or 'the configuration'} is a key that diffnum does not "
            "know, and may change the process or the times: remove it if it does not"
        )
        raise ValueError(msg)
    known = DEFAULTS.get(name)
    found = {key: value for key, value in config.items() if known is None or key in known}
    check_values(found, known or {}, name)
    found = {**(known or {}), **found, "_class_name": name}
    for key, (usual, why) in _UNUSUAL.items():
        if found.get(key, usual) not in (usual, None):
            msg = f"{key}={found[key]!r} of {name or 'the configuration'}: {why}"
            raise ValueError(msg)
    if found.get("timestep_type", "discrete") != "discrete" and found.get("prediction_type") == "v_prediction":
        msg = (
            f"timestep_type={found['timestep_type']!r} of {name}: the network is told 0.25 log(sigma) in place of a "
            "label (as in Stable Video Diffusion), which is not understood, keep the pipeline's own scheduler"
        )
        raise ValueError(msg)
    return found
