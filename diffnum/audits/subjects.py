"""What is audited: every scheduler of diffusers and every sampler of k-diffusion, or the reason why it is not."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffnum.audits.adapters import DiffusersSampler, KDiffusionSampler
from diffnum.audits.libraries import diffusers_schedulers, k_diffusion_samplers
from diffnum.types import Sampler

__all__ = ["Subject", "subjects"]


def no_noise(t: Any) -> int:  # noqa: ARG001
    """Noise level of SA-Solver at every time: none."""
    return 0


@dataclass(frozen=True)
class Subject:
    """One sampler in one configuration.

    Parameters
    ----------
    library : {"diffusers", "k-diffusion"}
        Where it comes from.
    name : str
        Class or function.
    claimed : int
        Order that its name, documentation or source paper gives it.
    config : mapping
        Arguments of its constructor (diffusers) or call (k-diffusion).
    options : mapping
        Arguments of every ``step`` (diffusers).
    drift : bool
        Stochastic: run with zeros for noise, and held against the drift of the reverse SDE.
    own_clock : bool
        Constant coefficients, made for steps that are equal in sigma / alpha.
    """

    library: str
    name: str
    claimed: int
    config: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    drift: bool = False
    own_clock: bool = False

    @property
    def configuration(self) -> str:
        """Arguments as they are written in code; "defaults" if there are none."""
        pairs = [f"{k}={_code(v)}" for k, v in (*self.config.items(), *self.options.items())]
        text = ", ".join(pairs) or "defaults"
        return f"{text}; noise off" if self.drift else text

    def build(self) -> Any:
        """Scheduler object, or sampling function."""
        if self.library == "diffusers":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecations concern the library's users, not its numbers
                return diffusers_schedulers()[self.name](**self.config)
        return k_diffusion_samplers()[self.name]

    def sampler(self) -> Sampler:
        """The same as ``sampler(model, x, nodes)`` with continuous noise levels."""
        if self.library == "diffusers":
            return DiffusersSampler(self.build(), silent=self.drift, options=self.options)
        return KDiffusionSampler(self.build(), self.call_options(), silent=self.drift, double=True)

    def call_options(self) -> dict[str, Any]:
        """Arguments of a call of a k-diffusion function; noise is drawn as zeros where a sampler of it is accepted."""
        quiet = "noise_sampler" in inspect.signature(self.build()).parameters
        return {**self.config, **({"noise_sampler": _silence} if quiet else {})}

    @property
    def snippet(self) -> str:
        """Five lines that reproduce the measured orders."""
        arguments = ", ".join(f"{k}={_code(v)}" for k, v in self.config.items())
        options = "".join(f", {k}={_code(v)}" for k, v in self.options.items()) + (
            ", silent=True" if self.drift else ""
        )
        problem = "ReverseDrift(dn.problems.three_peaks())" if self.drift else "dn.problems.three_peaks()"
        lines = ["import diffnum as dn"]
        if self.library == "diffusers":
            lines += [f"from diffusers import {self.name}", "from diffnum.audits import ReverseDrift, adapt"]
            lines += [f"sampler = adapt({self.name}({arguments}){options})"]
        else:
            call = f", {arguments}" if arguments else ""
            lines += ["from diffnum.audits import ReverseDrift, adapt, k_diffusion_samplers"]
            lines += [f'sampler = adapt(k_diffusion_samplers()["{self.name}"]{call}{options})']
        return "\n".join([*lines, f'print(dn.convergence_study(sampler, {problem}, grids=("uniform", "irregular")))'])


def _silence(*_: Any) -> float:
    """Noise sampler that draws nothing."""
    return 0.0


def _code(value: Any) -> str:
    return "lambda t: 0" if value is no_noise else repr(value)


def _diffusers() -> tuple[Subject, ...]:
    def one(name: str, claimed: int, **config: Any) -> Subject:
        return Subject("diffusers", f"{name}Scheduler", claimed, config)

    multi, single, unipc, deis = "DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep"
    sa: dict[str, Any] = {"tau_func": no_noise}
    return (
        one("DDIM", 1, clip_sample=False),
        one("DDIMParallel", 1, clip_sample=False),
        one("CogVideoXDDIM", 1, clip_sample=False),
        Subject("diffusers", "TCDScheduler", 1, options={"eta": 0.0}),
        Subject("diffusers", "PNDMScheduler", 4, {"skip_prk_steps": True}, own_clock=True),
        Subject("diffusers", "PNDMScheduler", 4, {"skip_prk_steps": False}, own_clock=True),
        Subject("diffusers", "IPNDMScheduler", 4, own_clock=True),
        one(multi, 1, solver_order=1),
        one(multi, 2),
        one(multi, 2, final_sigmas_type="sigma_min"),
        one(multi, 2, solver_type="heun"),
        one(multi, 2, use_karras_sigmas=True),
        one(multi, 2, use_lu_lambdas=True),
        one(multi, 2, euler_at_final=True, use_karras_sigmas=True),
        one(multi, 2, algorithm_type="dpmsolver", final_sigmas_type="sigma_min"),
        one(multi, 2, use_flow_sigmas=True, prediction_type="flow_prediction"),
        one(multi, 3, solver_order=3),
        one(multi, 3, solver_order=3, final_sigmas_type="sigma_min"),
        one(multi, 3, solver_order=3, algorithm_type="dpmsolver", final_sigmas_type="sigma_min"),
        Subject("diffusers", f"{multi}Scheduler", 2, {"algorithm_type": "sde-dpmsolver++"}, drift=True),
        one(single, 2),
        one(single, 2, solver_type="heun"),
        one(single, 3, solver_order=3),
        one(single, 3, solver_order=3, solver_type="heun"),
        one(single, 3, solver_order=3, lower_order_final=True, final_sigmas_type="sigma_min"),
        one(deis, 2),
        one(deis, 3, solver_order=3),
        one(deis, 2, use_karras_sigmas=True),
        one(unipc, 2, solver_order=1),
        one(unipc, 3),
        one(unipc, 3, lower_order_final=False),
        one(unipc, 3, solver_type="bh1"),
        one(unipc, 3, predict_x0=False),
        one(unipc, 3, use_karras_sigmas=True),
        one(unipc, 3, use_flow_sigmas=True, prediction_type="flow_prediction"),
        one(unipc, 4, solver_order=3),
        Subject("diffusers", "SASolverScheduler", 2, {**sa, "predictor_order": 2, "corrector_order": 2}),
        Subject("diffusers", "SASolverScheduler", 3, {**sa, "predictor_order": 3, "corrector_order": 3}),
        Subject("diffusers", "SASolverScheduler", 2, {**sa, "lower_order_final": False}),
        one("EulerDiscrete", 1),
        one("EulerDiscrete", 1, use_karras_sigmas=True),
        one("HeunDiscrete", 2),
        one("HeunDiscrete", 2, use_karras_sigmas=True),
        one("KDPM2Discrete", 2),
        one("KDPM2Discrete", 2, use_karras_sigmas=True),
        one("LMSDiscrete", 4),
        one("EDMEuler", 1),
        one("EDMDPMSolverMultistep", 2),
        one("EDMDPMSolverMultistep", 3, solver_order=3),
        Subject("diffusers", "CosineDPMSolverMultistepScheduler", 2, drift=True),
        one("FlowMatchEulerDiscrete", 1),
        one("FlowMatchEulerDiscrete", 1, shift=3.0),
        one("FlowMatchHeunDiscrete", 2),
        one("FlowMapEulerDiscrete", 1),
        one("LTXEulerAncestralRF", 1, eta=0.0),
        one("MiniMaxH3", 1),
        Subject("diffusers", "DDPMScheduler", 1, {"clip_sample": False}, drift=True),
        Subject("diffusers", "DDPMParallelScheduler", 1, {"clip_sample": False}, drift=True),
        Subject("diffusers", "EulerAncestralDiscreteScheduler", 1, drift=True),
    )


def _k_diffusion() -> tuple[Subject, ...]:
    def one(name: str, claimed: int, **config: Any) -> Subject:
        return Subject("k-diffusion", f"sample_{name}", claimed, config)

    return (
        one("euler", 1),
        one("heun", 2),
        one("dpm_2", 2),
        one("lms", 4),
        one("lms", 3, order=3),
        one("lms", 2, order=2),
        one("dpmpp_2m", 2),
        one("euler_ancestral", 1, eta=0.0),
        one("dpm_2_ancestral", 2, eta=0.0),
        one("dpmpp_2s_ancestral", 2, eta=0.0),
        one("dpmpp_sde", 2, eta=0.0),
        one("dpmpp_2m_sde", 2, eta=0.0),
        one("dpmpp_2m_sde", 2, eta=0.0, solver_type="heun"),
        one("dpmpp_3m_sde", 3, eta=0.0),
        Subject("k-diffusion", "sample_euler_ancestral", 1, {"eta": 1.0}, drift=True),
        Subject("k-diffusion", "sample_dpm_2_ancestral", 1, {"eta": 1.0}, drift=True),
        Subject("k-diffusion", "sample_dpmpp_2s_ancestral", 1, {"eta": 1.0}, drift=True),
        Subject("k-diffusion", "sample_dpmpp_sde", 1, {"eta": 1.0}, drift=True),
        Subject("k-diffusion", "sample_dpmpp_2m_sde", 2, {"eta": 1.0}, drift=True),
        Subject("k-diffusion", "sample_dpmpp_3m_sde", 3, {"eta": 1.0}, drift=True),
    )


_CONSISTENCY = "samples a consistency model: it jumps to the data and adds noise, and solves no differential equation"
_DISCRETE = "samples discrete tokens: there is no differential equation"
_TWIN = "stochastic, with noise that cannot be switched off and levels that depend on it; {} is audited instead"
LEFT_OUT: Mapping[str, Mapping[str, str]] = {
    "diffusers": {
        "AmusedScheduler": _DISCRETE,
        "BlockRefinementScheduler": _DISCRETE,
        "DiscreteDDIMScheduler": _DISCRETE,
        "EntropyBoundScheduler": _DISCRETE,
        "VQDiffusionScheduler": _DISCRETE,
        "CMStochasticIterativeScheduler": _CONSISTENCY,
        "ConsistencyDecoderScheduler": _CONSISTENCY,
        "LCMScheduler": _CONSISTENCY,
        "FlowMatchLCMScheduler": _CONSISTENCY,
        "SCMScheduler": _CONSISTENCY,
        "HeliosDMDScheduler": _CONSISTENCY,
        "HeliosScheduler": "changes the resolution of the sample between stages: not a map of one state space",
        "PiflowScheduler": "follows a policy that its network predicts; an exact mixture has none",
        "RFD4ProteinaScheduler": "works on atom coordinates with a mask, not on samples alone",
        "RePaintScheduler": "inpaints: it jumps back in time on purpose",
        "UnCLIPScheduler": "its only step is the stochastic one of DDPMScheduler, which is audited with noise off",
        "DDPMWuerstchenScheduler": "stochastic, with a schedule of its own; DDPMScheduler is audited with noise off",
        "CogVideoXDPMScheduler": "stochastic, called with two further arguments by its pipeline only",
        "DDIMInverseScheduler": "runs from data to noise; the study runs from noise to data",
        "DPMSolverMultistepInverseScheduler": "runs from data to noise; the study runs from noise to data",
        "KDPM2AncestralDiscreteScheduler": _TWIN.format("sample_dpm_2_ancestral of k-diffusion"),
        "DPMSolverSDEScheduler": _TWIN.format("sample_dpmpp_sde of k-diffusion"),
        "ScoreSdeVeScheduler": "a predictor-corrector with Langevin steps: it samples a law, and follows no flow",
        "ScoreSdeVpScheduler": "a predictor-corrector with Langevin steps: it samples a law, and follows no flow",
        "KarrasVeScheduler": "deprecated: the installed version keeps only a placeholder",
    },
    "k-diffusion": {
        "sample_dpm_adaptive": "chooses its own steps from a tolerance: it has no order in the number of steps",
        "sample_dpm_fast": "makes its own nodes, and orders that depend on their number modulo 3",
    },
}
"""Reasons why a sampler is not audited."""


def subjects(library: str) -> tuple[tuple[Subject, ...], dict[str, str]]:
    """Subjects of a library, and the samplers left out with the reason.

    Parameters
    ----------
    library : {"diffusers", "k-diffusion"}
        Which.

    Returns
    -------
    (tuple of Subject, dict of str to str)
        Samplers of the installed version that this package does not know are left out, and say so; subjects that the
        installed version does not have are left out likewise.
    """
    if library not in LEFT_OUT:
        raise ValueError(f"library={library!r} is unknown: use one of {', '.join(LEFT_OUT)}")
    known = _diffusers() if library == "diffusers" else _k_diffusion()
    installed = diffusers_schedulers() if library == "diffusers" else k_diffusion_samplers()
    out = {name: reason for name, reason in LEFT_OUT[library].items() if name in installed or name.startswith("Karras")}
    covered = {s.name for s in known} | set(out)
    out |= dict.fromkeys(sorted(set(installed) - covered), "not known to this version of the audit")
    out |= {s.name: "not in the installed version" for s in known if s.name not in installed}
    return tuple(s for s in known if s.name in installed), dict(sorted(out.items()))
