"""What is audited: every scheduler of diffusers and every sampler of k-diffusion, or the reason why it is not."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from diffnum.audits.sweeps import (
    CHURNED,
    CLIPPING,
    CROSSED,
    FLOWS,
    GRIDS,
    K_SWEEPS,
    LAST_STEPS,
    NOISY_GRIDS,
    NOISY_REST,
    NOISY_SWEEPS,
    PREDICTORS,
    REST,
    SPACINGS,
    SWEEPS,
    UNSWEPT,
    VARIANCES,
    Made,
    every_step,
)
from diffnum.foreign import understood
from diffnum.foreign.adapters import DiffusersSampler, KDiffusionSampler
from diffnum.foreign.backwards import Backwards
from diffnum.foreign.conventions import Convention, convention_of
from diffnum.foreign.libraries import diffusers_schedulers, k_diffusion_samplers
from diffnum.types import Problem, Sampler

__all__ = ["Subject", "arguments", "code_of", "no_noise", "silence", "subjects", "unswept"]


def no_noise(t: Any) -> int:  # noqa: ARG001
    """Noise level of SA-Solver at every time: none."""
    return 0


@dataclass(frozen=True)
class Subject:
    """One sampler in one configuration.

    Parameters
    ----------
    library : str
        Where it comes from: "diffusers", "k-diffusion", or "own".
    name : str
        Class or function.
    claimed : float
        Order that its documentation, its name or its source paper gives it; see :attr:`basis`.
    config : mapping
        Arguments of its constructor (diffusers) or call (k-diffusion).
    options : mapping
        Arguments of every ``step`` (diffusers).
    drift : bool
        Stochastic: run with zeros for noise, and held against the drift of the reverse SDE.
    own_clock : bool
        Constant coefficients, made for steps that are equal in sigma / alpha.
    inverse : bool
        Runs from data to noise.
    given : object, optional
        The sampler itself, where it is one's own.
    rests_on : str
        What the claimed order rests on; by default what its class or function says, see :data:`BASES`.
    sweep : mapping
        Options of which every combination is run, shortly, instead of one configuration at length.
    """

    library: str
    name: str
    claimed: float
    config: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    drift: bool = False
    own_clock: bool = False
    inverse: bool = False
    given: Any = None
    rests_on: str = ""
    sweep: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def keeps_noise(self) -> bool:
        """Whether the user asks for an end above sigma = 0."""
        return self.config.get("final_sigmas_type") == "sigma_min"

    @property
    def configuration(self) -> str:
        """Arguments as they are written in code; "defaults" if there are none."""
        pairs = [f"{k}={code_of(v)}" for k, v in (*self.config.items(), *self.options.items())]
        pairs += [f"{k}=" + " | ".join(map(code_of, values)) for k, values in self.sweep.items()]
        text = ", ".join(pairs) or ("defaults" if self.given is None else "as given")
        return f"{text}; noise off{' and on' if self.sweep else ''}" if self.drift else text

    @property
    def basis(self) -> str:
        """What the claimed order rests on."""
        if self.given is not None:
            return "as given"
        return self.rests_on or BASES.get(self.name, "its name")

    def build(self) -> Any:
        """Scheduler object, or sampling function."""
        if self.given is not None:
            return self.given
        if self.library == "diffusers":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecations concern the library's users, not its numbers
                return _made(self.name, self.config)
        return k_diffusion_samplers()[self.name]

    def sampler(self, problem: Problem) -> Sampler:
        """The same as ``sampler(model, x, nodes)`` with continuous noise levels, in float64."""
        if self.library == "own":
            kind = self.convention
            return understood(self.given, kind, **({} if kind == "nodes" else {"double": True, **self.config}))
        if self.library == "diffusers":
            found = DiffusersSampler(self.build(), silent=self.drift, options=self.options)
            return Backwards(found, problem) if self.inverse else found
        return KDiffusionSampler(self.build(), self.call_options(), silent=self.drift, double=True)

    @property
    def convention(self) -> Convention:
        """How one's own sampler is called."""
        try:
            return convention_of(self.given)
        except ValueError:
            return "nodes"

    @property
    def has_default(self) -> bool:
        """Whether there is a run that users make: with levels of the sampler's own, or of its library."""
        return self.library != "own" or self.convention in ("diffusers", "k-diffusion")

    def chosen(self, values: Mapping[str, Any]) -> Subject:
        """Subject with one value of each option that is swept: arguments of its constructor, or of every ``step``."""
        made = set(values)
        if self.library == "diffusers":
            made &= inspect.signature(diffusers_schedulers()[self.name]).parameters.keys()
        config = {name: value for name, value in values.items() if name in made}
        later = {name: value for name, value in values.items() if name not in made}
        return replace(self, config=config, options={**self.options, **later}, sweep={})

    def call_options(self, *, loud: bool = False) -> dict[str, Any]:
        """Arguments of a call of a function; noise is drawn as zeros where a sampler of it is accepted, unless loud."""
        quiet = not loud and "noise_sampler" in inspect.signature(self.build()).parameters
        return {**self.config, **({"noise_sampler": silence} if quiet else {})}


def _made(name: str, config: Mapping[str, Any]) -> Any:
    """Scheduler of diffusers, with those that its options name."""
    installed = diffusers_schedulers()
    given = {word: v.build(installed) if isinstance(v, Made) else v for word, v in config.items()}
    return installed[name](**given)


def silence(*_: Any) -> float:
    """Noise sampler that draws nothing."""
    return 0.0


def code_of(value: Any) -> str:
    """Value as it is written in code."""
    return _WRITTEN.get(id(value), repr(value))


_WRITTEN = {id(no_noise): "lambda t: 0", id(every_step): "list(range(1000))", id(silence): "lambda *_: 0.0"}
"""Values that repr writes badly."""


_EULER = "Euler's method"
_FLOW = "Euler's method along the flow"
_ORDERS = "documentation of solver_order (1, 2 or 3)"
_NO_ORDER = "ancestral sampling: no order beyond consistency is claimed"
_DRIFT = "the reverse SDE without its noise: no order beyond consistency is claimed"

BASES: Mapping[str, str] = {
    "DDIMScheduler": "Song et al. 2021: Euler's method in sigma / alpha",
    "DDIMParallelScheduler": "DDIM",
    "DDIMInverseScheduler": "DDIM",
    "CogVideoXDDIMScheduler": "DDIM",
    "CogVideoXDPMScheduler": "its documentation: DPM-Solver++(2M)",
    "TCDScheduler": "at eta = 0 a step of DDIM",
    "PNDMScheduler": "Liu et al. 2022: pseudo linear multistep of order 4",
    "IPNDMScheduler": "Zhang and Chen 2023: four-step Adams-Bashforth",
    "DPMSolverMultistepInverseScheduler": "documentation of solver_order",
    "DPMSolverMultistepScheduler": _ORDERS,
    "DPMSolverSinglestepScheduler": _ORDERS,
    "DPMSolverSDEScheduler": _DRIFT,
    "CosineDPMSolverMultistepScheduler": "documentation of solver_order",
    "EDMDPMSolverMultistepScheduler": _ORDERS,
    "DEISMultistepScheduler": f"{_ORDERS}; tAB-q has order q + 1, and solver_order = q + 1",
    "UniPCMultistepScheduler": "documentation of solver_order: the effective order of accuracy is solver_order + 1",
    "SASolverScheduler": "documentation of predictor_order and corrector_order",
    "EulerDiscreteScheduler": _EULER,
    "EulerAncestralDiscreteScheduler": _DRIFT,
    "EDMEulerScheduler": _EULER,
    "HeunDiscreteScheduler": "Karras et al. 2022: Heun's method",
    "KDPM2AncestralDiscreteScheduler": _DRIFT,
    "KDPM2DiscreteScheduler": "Karras et al. 2022, Lu et al. 2022: midpoint method",
    "KarrasVeScheduler": "Karras et al. 2022: Heun's method, by step and step_correct",
    "LMSDiscreteScheduler": "documentation of order: linear multistep of order 4",
    "FlowMatchHeunDiscreteScheduler": "Heun's method",
    "FlowMatchEulerDiscreteScheduler": _FLOW,
    "FlowMapEulerDiscreteScheduler": _FLOW,
    "LTXEulerAncestralRFScheduler": _FLOW,
    "MiniMaxH3Scheduler": _FLOW,
    "DDPMScheduler": _NO_ORDER,
    "DDPMParallelScheduler": _NO_ORDER,
    "DDPMWuerstchenScheduler": _NO_ORDER,
    "UnCLIPScheduler": _NO_ORDER,
    "sample_euler": _EULER,
    "sample_euler_ancestral": "Euler's method at eta = 0",
    "sample_heun": "Heun's method",
    "sample_dpm_2": "DPM-Solver-2",
    "sample_dpm_2_ancestral": "DPM-Solver-2 at eta = 0",
    "sample_lms": "argument order: linear multistep",
    "sample_dpmpp_2m": "its name: DPM-Solver++(2M)",
    "sample_dpmpp_2m_sde": "its name: DPM-Solver++(2M) at eta = 0",
    "sample_dpmpp_2s_ancestral": "its name: DPM-Solver++(2S) at eta = 0",
    "sample_dpmpp_3m_sde": "its name: DPM-Solver++(3M) at eta = 0",
    "sample_dpmpp_sde": "DPM-Solver++(2S) at eta = 0",
}
"""What claimed orders rest on, by class or function."""


def _diffusers() -> tuple[Subject, ...]:
    def one(name: str, claimed: int, **config: Any) -> Subject:
        return Subject("diffusers", f"{name}Scheduler", claimed, config)

    multi, single, unipc, deis = "DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep"
    sa: dict[str, Any] = {"tau_func": no_noise}
    return (
        one("DDIM", 1, clip_sample=False),
        one("DDIM", 1, clip_sample=False, timestep_spacing="trailing"),
        one("DDIM", 1, clip_sample=False, timestep_spacing="linspace"),
        Subject("diffusers", "DDIMScheduler", 1, {"clip_sample": False}, {"eta": 1.0}, drift=True, rests_on=_DRIFT),
        one("DDIMParallel", 1, clip_sample=False),
        one("CogVideoXDDIM", 1, clip_sample=False),
        Subject("diffusers", "TCDScheduler", 1, options={"eta": 0.0}),
        Subject("diffusers", "PNDMScheduler", 4, {"skip_prk_steps": True}, own_clock=True),
        Subject("diffusers", "PNDMScheduler", 4, {"skip_prk_steps": False}, own_clock=True),
        Subject("diffusers", "PNDMScheduler", 4, {"skip_prk_steps": True, "steps_offset": 1}, own_clock=True),
        Subject(
            "diffusers", "PNDMScheduler", 4, {"skip_prk_steps": True, "timestep_spacing": "trailing"}, own_clock=True
        ),
        Subject(
            "diffusers", "PNDMScheduler", 4, {"skip_prk_steps": True, "timestep_spacing": "linspace"}, own_clock=True
        ),
        Subject("diffusers", "IPNDMScheduler", 4, own_clock=True),
        one(multi, 1, solver_order=1),
        one(multi, 2),
        one(multi, 2, final_sigmas_type="sigma_min"),
        one(multi, 2, solver_type="heun"),
        one(multi, 2, use_karras_sigmas=True),
        one(multi, 2, use_lu_lambdas=True),
        one(multi, 2, use_exponential_sigmas=True),
        one(multi, 2, solver_type="heun", use_karras_sigmas=True, final_sigmas_type="sigma_min"),
        one(multi, 2, euler_at_final=True, use_karras_sigmas=True),
        one(multi, 2, algorithm_type="dpmsolver", final_sigmas_type="sigma_min"),
        one(multi, 2, use_flow_sigmas=True, prediction_type="flow_prediction"),
        one(multi, 3, solver_order=3),
        one(multi, 3, solver_order=3, final_sigmas_type="sigma_min"),
        one(multi, 3, solver_order=3, algorithm_type="dpmsolver", final_sigmas_type="sigma_min"),
        *(
            one(multi, 3, solver_order=3, final_sigmas_type="sigma_min", **{f"use_{spacing}": True})
            for spacing in ("karras_sigmas", "exponential_sigmas", "beta_sigmas", "lu_lambdas")
        ),
        Subject("diffusers", f"{multi}Scheduler", 2, {"algorithm_type": "sde-dpmsolver++"}, drift=True),
        one(single, 2),
        one(single, 2, solver_type="heun"),
        one(single, 3, solver_order=3),
        one(single, 3, solver_order=3, solver_type="heun"),
        one(single, 3, solver_order=3, lower_order_final=True, final_sigmas_type="sigma_min"),
        one(deis, 2),
        one(deis, 3, solver_order=3),
        one(deis, 2, use_karras_sigmas=True),
        one(deis, 2, use_flow_sigmas=True, prediction_type="flow_prediction"),
        one(unipc, 2, solver_order=1),
        one(unipc, 3),
        one(unipc, 3, lower_order_final=False),
        one(unipc, 3, solver_type="bh1"),
        one(unipc, 3, predict_x0=False),
        one(unipc, 3, use_karras_sigmas=True),
        one(unipc, 3, use_flow_sigmas=True, prediction_type="flow_prediction"),
        one(unipc, 4, solver_order=3),
        one(unipc, 5, solver_order=4),
        one(unipc, 3, solver_order=3, disable_corrector=every_step),
        Subject("diffusers", "SASolverScheduler", 2, {**sa, "predictor_order": 2, "corrector_order": 2}),
        Subject("diffusers", "SASolverScheduler", 3, {**sa, "predictor_order": 3, "corrector_order": 3}),
        Subject("diffusers", "SASolverScheduler", 2, {**sa, "lower_order_final": False}),
        Subject("diffusers", "SASolverScheduler", 4, {**sa, "predictor_order": 3, "corrector_order": 4}),
        Subject("diffusers", "SASolverScheduler", 2, {**sa, "algorithm_type": "noise_prediction"}),
        Subject(
            "diffusers", "SASolverScheduler", 2, {**sa, "use_flow_sigmas": True, "prediction_type": "flow_prediction"}
        ),
        one("EulerDiscrete", 1),
        one("EulerDiscrete", 1, use_karras_sigmas=True),
        one("HeunDiscrete", 2),
        one("HeunDiscrete", 2, use_karras_sigmas=True),
        one("KDPM2Discrete", 2),
        one("KDPM2Discrete", 2, use_karras_sigmas=True),
        one("LMSDiscrete", 4),
        one("LMSDiscrete", 4, use_karras_sigmas=True),
        one("EDMEuler", 1),
        one("EDMDPMSolverMultistep", 2),
        one("EDMDPMSolverMultistep", 3, solver_order=3),
        one("EDMDPMSolverMultistep", 3, solver_order=3, final_sigmas_type="sigma_min"),
        Subject("diffusers", "CosineDPMSolverMultistepScheduler", 2, drift=True),
        one("FlowMatchEulerDiscrete", 1),
        one("FlowMatchEulerDiscrete", 1, shift=3.0),
        one("FlowMatchHeunDiscrete", 2),
        one("FlowMapEulerDiscrete", 1),
        one("LTXEulerAncestralRF", 1, eta=0.0),
        one("MiniMaxH3", 1),
        Subject("diffusers", "DDPMScheduler", 1, {"clip_sample": False}, drift=True),
        Subject("diffusers", "DDPMParallelScheduler", 1, {"clip_sample": False}, drift=True),
        Subject("diffusers", "DDPMWuerstchenScheduler", 1, drift=True),
        Subject("diffusers", "UnCLIPScheduler", 1, {"clip_sample": False}, drift=True),
        Subject("diffusers", "EulerAncestralDiscreteScheduler", 1, drift=True),
        Subject("diffusers", "KDPM2AncestralDiscreteScheduler", 1, drift=True),
        Subject("diffusers", "DPMSolverSDEScheduler", 1, drift=True),
        Subject("diffusers", "CogVideoXDPMScheduler", 2, {"clip_sample": False}, drift=True),
        Subject("diffusers", "DDIMInverseScheduler", 1, {"clip_sample": False}, inverse=True),
        Subject("diffusers", "DPMSolverMultistepInverseScheduler", 2, inverse=True),
        Subject("diffusers", "DPMSolverMultistepInverseScheduler", 3, {"solver_order": 3}, inverse=True),
        *(
            _swept(name, options)
            for table in (SWEEPS, LAST_STEPS, FLOWS, REST, VARIANCES, CHURNED, GRIDS, SPACINGS, CROSSED, PREDICTORS)
            for name, options in table.items()
        ),
        *(
            _swept(name, options, drift=True)
            for table in (NOISY_SWEEPS, NOISY_REST, NOISY_GRIDS)
            for name, options in table.items()
        ),
    )


def _swept(name: str, options: Mapping[str, tuple[Any, ...]], *, drift: bool = False) -> Subject:
    """All combinations of options of a class of diffusers."""
    clips = name.removesuffix("Scheduler") in CLIPPING and "clip_sample" not in options
    config = {"clip_sample": False} if clips else {}
    named = {"eta": 0.0} if name == "TCDScheduler" and "eta" not in options else {}
    inverse = "Inverse" in name
    return Subject("diffusers", name, 1, config, named, drift=drift, inverse=inverse, sweep=options)


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
        Subject("k-diffusion", "sample_euler_ancestral", 1, {"eta": 1.0}, drift=True, rests_on=_DRIFT),
        Subject("k-diffusion", "sample_dpm_2_ancestral", 1, {"eta": 1.0}, drift=True, rests_on=_DRIFT),
        Subject("k-diffusion", "sample_dpmpp_2s_ancestral", 1, {"eta": 1.0}, drift=True, rests_on=_DRIFT),
        Subject("k-diffusion", "sample_dpmpp_sde", 1, {"eta": 1.0}, drift=True, rests_on=_DRIFT),
        Subject("k-diffusion", "sample_dpmpp_2m_sde", 2, {"eta": 1.0}, drift=True),
        Subject("k-diffusion", "sample_dpmpp_3m_sde", 3, {"eta": 1.0}, drift=True),
        *(Subject("k-diffusion", name, 1, sweep=options) for name, options in K_SWEEPS.items()),
    )


_CONSISTENCY = "samples a consistency model: it jumps to the data and adds noise, and solves no differential equation"
_DISCRETE = "samples discrete tokens: there is no differential equation"
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
        "ScoreSdeVeScheduler": "a predictor-corrector with Langevin steps: it samples a law, and follows no flow",
        "ScoreSdeVpScheduler": "Euler-Maruyama steps of the reverse SDE by step_pred, whose noise nothing turns off",
        "KarrasVeScheduler": (
            "Euler by step and Heun by step_correct, from a level that add_noise_to_input raises: its pipeline calls "
            "three functions a step, as that of no other class does"
        ),
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
        msg = f"library={library!r} is unknown: use one of {', '.join(LEFT_OUT)}"
        raise ValueError(msg)
    known = _diffusers() if library == "diffusers" else _k_diffusion()
    installed = diffusers_schedulers() if library == "diffusers" else k_diffusion_samplers()
    out = {name: reason for name, reason in LEFT_OUT[library].items() if name in installed}
    covered = {s.name for s in known} | set(out)
    out |= dict.fromkeys(sorted(set(installed) - covered), "not known to this version of the audit")
    out |= {s.name: "not in the installed version" for s in known if s.name not in installed}
    return tuple(s for s in known if s.name in installed), dict(sorted(out.items()))


def arguments(library: str) -> dict[str, dict[str, inspect.Parameter]]:
    """Options by sampler that is audited: arguments of the constructor and of ``step``, or of the function.

    Parameters
    ----------
    library : {"diffusers", "k-diffusion"}
        Which.

    Returns
    -------
    dict of str to dict
        Without the states, outputs, times and levels that a run hands over.
    """
    installed: Mapping[str, Any] = diffusers_schedulers() if library == "diffusers" else k_diffusion_samplers()
    found = {}
    for name in sorted({s.name for s in subjects(library)[0]}):
        calls = [installed[name]] + ([installed[name].step] if library == "diffusers" else [])
        every = {p.name: p for call in calls for p in inspect.signature(call).parameters.values()}
        found[name] = {word: p for word, p in every.items() if word not in _HANDED and p.kind != p.VAR_KEYWORD}
    return found


def unswept(library: str, names: Collection[str] | None = None) -> dict[str, str]:
    """Options of a library's samplers of which not every value is run, with the reason.

    Parameters
    ----------
    library : {"diffusers", "k-diffusion"}
        Which.
    names : collection of str, optional
        Samplers whose options are told; all of the library by default.

    Returns
    -------
    dict of str to str
        Reason by option, or by sampler and option, ``"Sampler.option"``, where it holds for one only.
    """
    asked = {name: words for name, words in arguments(library).items() if names is None or name in names}
    known = {word for name, words in asked.items() for o in words for word in (o, f"{name}.{o}")}
    return {word: reason for word, reason in UNSWEPT.items() if word in known}


_HANDED = frozenset(
    {
        "self", "model", "model_output", "x", "sample", "sigmas", "timestep", "timestep_back", "prev_timestep",
        "old_pred_original_sample", "extra_args", "callback", "disable",
    }
)  # fmt: skip
