"""Any method of the catalogue as a scheduler of diffusers.

>>> from diffusers import DDPMPipeline  # doctest: +SKIP
>>> import diffnum as dn
>>> pipe = DDPMPipeline.from_pretrained("google/ddpm-cifar10-32")  # doctest: +SKIP
>>> pipe.scheduler = dn.interop.PlanScheduler.from_config(pipe.scheduler.config, method="unipc_3")  # doctest: +SKIP
>>> images = pipe(num_inference_steps=10).images  # doctest: +SKIP

``timesteps`` lists every evaluation of the network, so that a step of a Runge-Kutta method has several of them; the
network is told continuous times unless the spacing is one of labels. ``scheduler.order`` is the evaluations a step.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput
from diffusers.utils.torch_utils import randn_tensor

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.programme import Start
from diffnum.forms import conversion
from diffnum.grids import Grid
from diffnum.interop import checked
from diffnum.interop.configuration import SPACED_AS, grid_of, is_flow, label_scale, process_of
from diffnum.interop.found import given_plan, grid_of_plan
from diffnum.interop.run import PipelineRun, RowRuns, check_finite, clipped, evaluations_a_step, unrounded
from diffnum.interop.translation import translated
from diffnum.models.loading.tables import prediction_of
from diffnum.plans import Plan, plan
from diffnum.solver import Evaluation, evaluations
from diffnum.types import Prediction, Schedule

__all__ = ["PlanScheduler"]

_HALF = (torch.float16, torch.bfloat16)
_LARGE = 100.0


class PlanScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """A method of the catalogue behind the interface of a diffusers scheduler.

    The state is kept as pipelines of diffusion models keep it, ``alpha x_0 + sigma eps`` (``init_noise_sigma`` is 1,
    the network's input is not scaled), in float32 where the pipeline works in half precision. A change that the
    pipeline makes to the sample between two calls, as in inpainting, is a change of the state. What a pipeline does to
    the timesteps is beyond a scheduler: those of Flux round them to the dtype of their latents (``dn.load`` does not).

    A run from pure noise (``rescale_betas_zero_snr``, flows) is told the label of pure noise, and computed from a
    signal of 2^-24 on, which is below the rounding of float32: half-log-SNRs stay finite.

    Parameters
    ----------
    method : str
        Name in the catalogue, alias, or member of a family: ``"unipc_3"``, ``"edm_heun"``, ``"sde_dpmpp_2m"``.
    num_train_timesteps : int
        Number of labels.
    beta_start, beta_end, beta_schedule, trained_betas, rescale_betas_zero_snr
        The network's table: ``"linear"``, ``"scaled_linear"``, ``"squaredcos_cap_v2"``, ``"sigmoid"``, ``"exp"``,
        ``"laplace"``, or the betas themselves.
    snr_shift_scale : float, optional
        Number by which the signal-to-noise ratio of the table is divided, as CogVideoX does by 3.
    prediction_type : {"epsilon", "v_prediction", "sample", "flow_prediction"}
        What the network returns; the last makes the process a flow, ``(1 - sigma) x_0 + sigma eps``.
    timestep_spacing : str
        ``"leading"``, ``"linspace"``, ``"trailing"`` (labels, as in diffusers), or a builder of :mod:`diffnum.grids` in
        continuous time, such as ``"uniform_half_log_snr"``.
    spacing_as : str
        Scheduler of diffusers whose nodes are meant: the ``"leading"`` and ``"linspace"`` of DDIM are n labels, Euler's
        are n real ones, DPM-Solver's the first n of n + 1. :meth:`from_config` fills in the one that is replaced.
    lambda_min_clipped : float
        Half-log-SNR below which there are no labels.
    steps_offset : int
        Added to the labels of ``"leading"``.
    final_sigmas_type : {"zero", "sigma_min"}
        Whether the last step goes to clean data or to label 0.
    use_karras_sigmas, use_exponential_sigmas, use_lu_lambdas, use_beta_sigmas : bool
        Noise levels that are spaced as diffusers spaces them, n of them with both ends; the labels are not rounded.
    sigma_min, sigma_max : float, optional
        Ends of that spacing, sigma/alpha, in place of those of the table.
    shift, use_dynamic_shifting, base_shift, max_shift, base_image_seq_len, max_image_seq_len, time_shift_type, \
shift_terminal
        Of a flow, as in FlowMatchEulerDiscreteScheduler. Applied once; where ``spacing_as`` names a scheduler of
        flows, its static shift is applied to the last time 1/N twice, as there.
    use_flow_sigmas, flow_shift
        A flow with the nodes of the scheduler that ``spacing_as`` names, DPMSolverMultistepScheduler for one.
    start, terminal, noise_level
        Start-up and terminal rule, see :func:`diffnum.plan`; where runs begin, see :meth:`set_noise_level`.
    lower_order_final : bool
        Terminal rule ``"lower_order"`` for fewer than 15 steps.
    parameters : dict, optional
        Numbers per step that a method asks for.
    clip_sample, clip_sample_range, thresholding, dynamic_thresholding_ratio, sample_max_value
        Clipping of the data prediction, for networks on pixels.
    variance_type : {None, "learned", "learned_range"}
        Whether the network's channels are two blocks, of which the second is a variance and is left out.
    plan : Plan, dict, str or Path, optional
        A whole plan, such as that of :func:`diffnum.calibration.fit_plan`, its dictionary or its file, in place of
        ``method`` and timesteps; the pipeline is to ask for its number of steps.

    Raises
    ------
    ValueError
        If the method, the table or the prediction is unknown.
    """

    _compatibles = sorted(SPACED_AS)
    _order = 1
    _slack = (1.0, 0.01)
    _rows: RowRuns | None = None

    @register_to_config  # type: ignore[untyped-decorator, unused-ignore]
    def __init__(
        self,
        method: str = "dpmpp_2m",
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        rescale_betas_zero_snr: bool = False,
        snr_shift_scale: float | None = None,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
        spacing_as: str = "DPMSolverMultistepScheduler",
        lambda_min_clipped: float = -math.inf,
        steps_offset: int = 0,
        final_sigmas_type: str = "zero",
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_lu_lambdas: bool = False,
        use_beta_sigmas: bool = False,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        shift: float = 1.0,
        use_dynamic_shifting: bool = False,
        base_shift: float = 0.5,
        max_shift: float = 1.15,
        base_image_seq_len: int = 256,
        max_image_seq_len: int = 4096,
        time_shift_type: str = "exponential",
        shift_terminal: float | None = None,
        use_flow_sigmas: bool = False,
        flow_shift: float = 1.0,
        start: str | None = None,
        terminal: str = "stop",
        lower_order_final: bool = False,
        parameters: dict[str, Any] | None = None,
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        variance_type: str | None = None,
        plan: Any = None,
        noise_level: float | None = None,
    ) -> None:
        if isinstance(trained_betas, torch.Tensor):  # the configuration of a scheduler is to be JSON
            self.register_to_config(trained_betas=trained_betas.tolist())  # type: ignore[no-untyped-call]
        checked.check_settings(PlanScheduler, self.config)
        self._method, self._built = find_method(method), shift
        self.schedule: Schedule = process_of(self.config)
        self.prediction: Prediction = prediction_of(self.config)
        self._given = given_plan(plan, self.schedule)
        if self._given is not None:
            self.register_to_config(plan=self._given.to_dict())  # type: ignore[no-untyped-call]
        self.init_noise_sigma = 1.0
        if not is_flow(self.config):
            products = torch.tensor(self.schedule.alphas_cumprod, dtype=torch.float64)  # type: ignore[attr-defined]
            self.alphas_cumprod = products.to(torch.float32)
            self.alphas = (products / torch.cat([products.new_ones(1), products[:-1]])).to(torch.float32)
            self.betas = 1.0 - self.alphas
        self.plan: Plan | None = None
        self.num_inference_steps: int | None = None
        self.timesteps = torch.arange(int(num_train_timesteps) - 1, -1, -1)
        self.sigmas = torch.zeros(0)
        self._begin_index: int | None = None
        self._step_index: int | None = None
        self._generator: Any = None
        self._run: PipelineRun | None = None

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """Scheduler with the process and the timesteps of another scheduler, from its configuration.

        What is understood is listed in :mod:`diffnum.models.loading.understood`, class by class and key by key; the
        rest is refused. What that scheduler left at its defaults is read as well, since it was in force.

        Networks of noise levels (EDM, Stable Video Diffusion, variance exploding) get a
        :class:`~diffnum.interop.sigma_scheduler.SigmaScheduler`.

        Two things differ from its timesteps. An evaluation without effect is left out: where the nodes end with the
        same one twice (DDIM and PNDM with ``"leading"``, ``steps_offset=0`` and ``set_alpha_to_one=False``; DEIS,
        SASolver and UniPC with ``final_sigmas_type="sigma_min"`` and levels spaced by a flag), the last of the n
        timesteps is missing here. And labels of continuous levels are not rounded. A flow with a static shift has the
        times of the scheduler that is replaced, FlowMatchEuler's with the last one shifted twice; to have it once, as
        the formula says, pass ``spacing_as="DPMSolverMultistepScheduler"``.

        Parameters
        ----------
        config : mapping
            ``pipe.scheduler.config``.
        return_unused_kwargs : bool
            Return what was not understood too.
        **kwargs
            Parameters of this class that replace those of the configuration, ``method`` first of all.

        Raises
        ------
        TypeError
            If ``config`` is no configuration, or an argument is no parameter of this class.
        ValueError
            If the class, a key or the value of a key is not understood: another process, times that run backwards.
        """
        checked.check_configuration(config, cls.__name__)
        checked.check_known(cls, {} if return_unused_kwargs else kwargs)
        if cls is PlanScheduler:
            for kind in PlanScheduler.__subclasses__():  # of networks that are told noise levels
                if (found := kind.parameters_of(config)) is not None:  # type: ignore[attr-defined]
                    return kind(**{**found, **kwargs})
            config = translated({key: value for key, value in config.items() if key != "_use_default_values"})
        return super().from_config(config, return_unused_kwargs, **kwargs)

    def __len__(self) -> int:
        """Number of labels that the network was trained with."""
        return int(self.config["num_train_timesteps"])

    def __getstate__(self) -> dict[str, Any]:
        """State without a run in progress: a copy begins anew."""
        return {**self.__dict__, "_run": None, "_rows": None, "_step_index": None}

    # -- nodes -------------------------------------------------------------------------------------

    @property
    def order(self) -> int:
        """Evaluations of the network a step; 1 where steps differ in it."""
        return self._order

    @property
    def step_index(self) -> int | None:
        """Number of evaluations done, counted from the first timestep; None before the first."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """Where in ``timesteps`` the run begins; None if the first call of :meth:`step` tells."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin at a later timestep, a multiple of :attr:`order`, as image-to-image pipelines do."""
        self._begin_index = checked.whole("begin_index", begin_index)

    def set_noise_level(self, level: float | None) -> None:
        """Begin runs at a noise level, from the next :meth:`set_timesteps` on: an exact strength of image-to-image.

        As many nodes as before end where they did; a pipeline called with ``strength=1.0`` adds noise of this level.

        Parameters
        ----------
        level : float or None
            sigma/alpha, or the time of a flow; None begins where the network does.
        """
        checked.check_positive("level", level, "noise level, sigma/alpha or the time of a flow, or None")
        self.register_to_config(noise_level=level)  # type: ignore[no-untyped-call]

    def set_shift(self, shift: float) -> None:
        """Change the shift of a flow, from the next :meth:`set_timesteps` on; ValueError where the process is none."""
        checked.check_positive("shift", shift if is_flow(self.config) else "of a table", "number, and to a flow")
        name = "flow_shift" if self.config.get("use_flow_sigmas") else "shift"
        self.register_to_config(**{name: float(shift)})  # type: ignore[no-untyped-call]

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Make the plan of the next runs, and forget the last one.

        Parameters
        ----------
        num_inference_steps : int, optional
            Number of steps; :attr:`timesteps` has as many entries as they need evaluations.
        device : str or torch.device, optional
            Where :attr:`timesteps` go.
        timesteps : sequence of float, optional
            Labels of the nodes, decreasing, in place of a number of steps; they need not be integers.
        sigmas : sequence of float, optional
            Noise levels of the nodes in place of their labels: sigma/alpha, or the times of a flow before the shift.
        mu : float, optional
            Logarithm of the shift where it depends on the resolution.

        Raises
        ------
        ValueError
            If the nodes are not given in one way, or are none.

        Warns
        -----
        UserWarning
            If the first node is pure noise and the first step of the method grows without bound there.
        """
        timesteps, sigmas = checked.listed("timesteps", timesteps), checked.listed("sigmas", sigmas)  # type: ignore[assignment]
        given = timesteps if timesteps is not None else sigmas
        if given is not None and num_inference_steps not in (None, len(given)):
            msg = f"num_inference_steps={num_inference_steps} and {len(given)} nodes: leave the number out"
            raise ValueError(msg)
        if self._given is not None:
            if given is not None:
                msg = "timesteps and sigmas are those of the plan: leave them out"
                raise ValueError(msg)
            self._grid = grid_of_plan(self._given, num_inference_steps)
            self._first, self.plan = float(self._grid.t[0]), self._given.for_prediction(self.prediction)
        else:
            self._grid, self._first = grid_of(
                self.config,
                self.schedule,
                num_inference_steps,
                timesteps=timesteps,
                sigmas=sigmas,
                mu=mu,
                built=self._built,
            )
            self.plan = self._planned(self._grid)
        if self._first != self._grid.t[0]:
            self._warn_of_pure_noise(self.plan)
        times = np.concatenate([step.stage_t for step in self.plan.steps])
        labels = np.where(times == self._grid.t[0], self._first, times) * label_scale(self.config)
        whole = not is_flow(self.config) and bool((labels == np.rint(labels)).all())
        self._times = times
        self._labels = torch.tensor(labels, dtype=torch.int64 if whole else torch.float32)
        self.timesteps = self._labels.to(device)
        ends = np.append(labels / label_scale(self.config), self.plan.steps[-1].t_to)
        levels = ends if is_flow(self.config) else np.exp(-np.asarray(self.schedule.half_log_snr(ends)))
        self.sigmas = torch.tensor(levels, dtype=torch.float32)
        self.num_inference_steps = self._grid.n
        self._order = evaluations_a_step(self._grid, times)
        self._begin_index = self._step_index = self._run = self._rows = None

    def _warn_of_pure_noise(self, numbers: Plan) -> None:
        """Say so where the first step has no limit as the signal vanishes; that of data prediction has one."""
        largest = max(abs(float(weight)) for _, row in numbers.programme[0] for weight in dict(row).values())
        if largest > _LARGE:
            warnings.warn(
                f"method={self._method.name!r} from pure noise: its first step has weights up to {largest:.0e}, which "
                "multiply every error of the network; use one in data prediction, such as 'dpmpp_2m' or 'unipc_3', or "
                "begin later (timesteps=..., sigmas=...)",
                stacklevel=3,
            )

    def _planned(self, grid: Grid, start: Start | None = None) -> Plan:
        """Plan on some nodes, for what the network predicts."""
        config: Any = self.config
        moves = (
            f"method={self._method.name!r} moves the sample before it evaluates the network, a pipeline does not: "
            "use another method, or dn.interop.k_diffusion"
        )
        noise = self._method.noise
        if noise is not None and noise.scheme == "churn":  # whose first node would have to be noisier than any label
            raise ValueError(moves)
        numbers = plan(
            self._method,
            self.schedule,
            grid,
            start=start or config.start,
            prediction=self.prediction,
            parameters=config.parameters,
        )
        if numbers.history:
            msg = f"start={config.start!r} needs exact evaluations, which a pipeline has not: use 'ramp'"
            raise ValueError(msg)
        if dict(numbers.programme[0][0][1]) != {"x": 1.0}:
            raise ValueError(moves)
        return numbers

    def _from(self, index: int) -> Plan:
        """Plan of the run that begins at an entry of ``timesteps``."""
        if self.plan is None:
            msg = "there are no timesteps yet: call set_timesteps first"
            raise ValueError(msg)
        if index == 0:
            return self.plan
        if not 0 < index < len(self._times):
            msg = f"begin_index={index}: there are {len(self._times)} timesteps, begin at one of them"
            raise ValueError(msg)
        if self._given is not None:
            msg = f"begin_index={index}: a plan that is given whole is one run from its first level on"
            raise ValueError(msg)
        where = np.flatnonzero(self._grid.t == self._times[index])
        if len(where) and where[0] < self._grid.n:
            rest = Grid(self._grid.t[where[0] :], self._grid.lam[where[0] :], self._grid.terminal, self._grid.name)
            starts: tuple[Start | None, ...] = (None, "ramp")
            for start in starts:
                numbers = self._planned(rest, start)
                times = np.concatenate([step.stage_t for step in numbers.steps])
                if np.array_equal(times, self._times[index:]):
                    return numbers
        if self._method.inner_times and self.order == 1:
            msg = (
                f"begin_index={index}: {self._method.name} evaluates between the nodes of its grid, begin at the first"
            )
            raise ValueError(msg)
        msg = (
            f"begin_index={index} is in the middle of a step of {self._method.name}: begin at a multiple of "
            f"scheduler.order = {self.order}, or use start='ramp'"
        )
        raise ValueError(msg)

    def index_for_timestep(self, timestep: Any, schedule_timesteps: torch.Tensor | None = None) -> int:
        """Where in ``timesteps`` a label is; the second place where it is there twice (the start of a step)."""
        if math.isnan(float(timestep)):
            msg = "timestep=nan: pass an entry of scheduler.timesteps"
            raise ValueError(msg)
        labels = self._labels if schedule_timesteps is None else schedule_timesteps.cpu()
        found = (labels.to(torch.float64) - float(timestep)).abs()
        places = (found <= 1e-3 + found.min()).nonzero().flatten().tolist()
        if schedule_timesteps is None:  # near pure noise a stage may have nearly the label of its step
            nodes = np.isin(self._times, self._grid.t)
            places = [place for place in places if nodes[place]] or places
        return int(places[min(1, len(places) - 1)])

    # -- one evaluation ----------------------------------------------------------------------------

    def scale_model_input(self, sample: torch.Tensor, timestep: Any = None) -> torch.Tensor:
        """The sample itself: the state is what the network was trained on."""
        return sample

    def step(
        self,
        model_output: torch.Tensor,
        timestep: float | torch.Tensor,
        sample: torch.Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        eta: float = 0.0,
        use_clipped_model_output: bool | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[torch.Tensor]:
        """Take the network's value at one timestep, and return where it is to be evaluated next.

        Parameters
        ----------
        model_output : tensor, shape (batch, ...)
            Network at ``sample`` and ``timestep``.
        timestep : float or tensor
            Entry of :attr:`timesteps`; looked at where the run begins, and later only if it is on the CPU. A tensor of
            shape (batch,): each sample is at its own, and its steps are those that it would take alone.
        sample : tensor
            The ``prev_sample`` of the call before, or the initial sample.
        generator : torch.Generator, or list of one a sample, optional
            Of the noise of a stochastic method; torch's own where a pipeline hands none on.
        eta : float
            Must be 0: the noise belongs to the method.
        use_clipped_model_output : bool, optional
            Has no effect: clipped predictions are used wherever clipping is on.
        return_dict : bool
            Whether to return an output object or a tuple.

        Returns
        -------
        SchedulerOutput, or tuple of one tensor
            ``prev_sample``: the state where the network is to be evaluated at the next timestep, or the result.

        Raises
        ------
        TypeError
            If the tensors are none, or not of a floating dtype.
        ValueError
            If there are no timesteps, this one is none of them or out of turn, ``eta`` is not 0, shapes differ, or what
            the network returned is not finite (on an accelerator: the end of the run).
        """
        if eta:
            msg = f"eta={eta}: the noise belongs to the method, use method='ddim_eta{eta}'"
            raise ValueError(msg)
        checked.check_step(model_output, timestep, sample, generator)
        if isinstance(timestep, torch.Tensor) and timestep.numel() != 1:
            self._rows = RowRuns.of(self, timestep, sample, self._rows)
            previous = self._rows.step(model_output, timestep, sample, generator)
            return SchedulerOutput(prev_sample=previous) if return_dict else (previous,)
        if model_output.device.type == "cpu":  # elsewhere looking would take time, and the end is looked at
            check_finite("model_output", model_output, timestep)
        self._generator = generator
        run = self._run
        if run is None or self._begins_again(run, timestep):
            run = self._run = self._begin(timestep, sample)
        elif not self._expects(run, timestep):
            msg = (
                f"timestep={float(timestep):g} is out of turn, timesteps[{run.index}] = {self._labels[run.index]:g} is "
                "next: call set_timesteps to begin anew"
            )
            raise ValueError(msg)
        if (
            self.config.get("variance_type") in ("learned", "learned_range")
            and model_output.shape[1] == 2 * sample.shape[1]
        ):
            model_output = model_output[:, : sample.shape[1]]
        change = None if sample is run.emitted else sample.to(run.state.dtype) - run.emitted.to(run.state.dtype)
        if change is not None:
            change = run.change(change)
        event = run.tell(self._value(model_output, run.event, change), change)
        previous = (run.state if event is None else event.x).to(sample.dtype)
        run.index += 1
        self._step_index = run.index
        if event is None:  # the run is over: the next call begins another
            self._run = self._generator = None
            check_finite("prev_sample", previous, timestep)
        else:
            run.event, run.emitted = event, previous
        return SchedulerOutput(prev_sample=previous) if return_dict else (previous,)

    def _begin(self, timestep: Any, sample: torch.Tensor) -> PipelineRun:
        """A run from ``begin_index``, or from a timestep; nothing of an earlier run is left in it."""
        if self.plan is None:
            msg = "there are no timesteps yet: call set_timesteps first"
            raise ValueError(msg)
        index = self._begin_index
        if index is None:
            index = self.index_for_timestep(timestep)
            self._check_first(timestep, index)
        state = sample.to(torch.float32) if sample.dtype in _HALF else sample
        loop = evaluations(self._from(index), state, noise=self._noise)
        return PipelineRun(loop, cast(Evaluation, next(loop)), state, sample, index, index)

    def _check_first(self, timestep: Any, index: int) -> None:
        """Refuse a run that begins at a label that is none of those to come, other than by rounding."""
        label, asked = float(self._labels[index]), float(timestep)
        if not abs(asked - label) <= self._slack[0] + self._slack[1] * abs(label):
            msg = (
                f"timestep={asked:g} is none of the timesteps, the nearest is {label:g}: call step with the entries of "
                "scheduler.timesteps"
            )
            raise ValueError(msg)

    def _begins_again(self, run: PipelineRun, timestep: Any) -> bool:
        """Whether a run was left, and the first timestep is here again; unknown on an accelerator."""
        if isinstance(timestep, torch.Tensor) and timestep.device.type != "cpu":
            return False
        return float(timestep) == float(self._labels[run.first]) != float(self._labels[run.index])

    def _expects(self, run: PipelineRun, timestep: Any) -> bool:
        """Whether a timestep is the next one; taken to be on an accelerator, where looking would take time."""
        if isinstance(timestep, torch.Tensor) and timestep.device.type != "cpu":
            return True
        label = float(self._labels[run.index])
        return abs(float(timestep) - label) <= self._slack[0] + self._slack[1] * abs(label)  # pipelines round them

    def _noise(self, step: int, index: int, like: torch.Tensor) -> torch.Tensor:
        """Standard normal draw from the generator of the call."""
        return cast(
            torch.Tensor, randn_tensor(like.shape, generator=self._generator, device=like.device, dtype=like.dtype)
        )

    def _value(self, output: torch.Tensor, event: Evaluation, change: torch.Tensor | None) -> torch.Tensor:
        """The network's value as the run reads it: for the state that it knows, and clipped."""
        config: Any = self.config
        clip = config.clip_sample or config.thresholding
        if change is None and not clip:
            return output
        p, q = conversion(self.prediction, "data", self.schedule.alpha(event.t), self.schedule.sigma(event.t))
        if change is not None:  # so that the data prediction, p x + q output, is that of the changed state
            output = output + (p / q) * change
        return (clipped(config, p * event.x + q * output) - p * event.x) / q if clip else output

    # -- noising -----------------------------------------------------------------------------------

    def add_noise(self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """``alpha x_0 + sigma eps`` at one label a sample, shape (batch,)."""
        alpha, sigma = self._factors(original_samples, timesteps)
        return alpha * original_samples + sigma * noise

    def scale_noise(self, sample: torch.Tensor, timestep: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """:meth:`add_noise` as pipelines of flows call it."""
        return self.add_noise(sample, noise, timestep)

    def get_velocity(self, sample: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """``alpha eps - sigma x_0``, what a network of v prediction is trained on."""
        alpha, sigma = self._factors(sample, timesteps)
        return alpha * noise - sigma * sample

    def _factors(self, like: torch.Tensor, labels: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Signal and noise factors beside a batch."""
        checked.check_tensor("the sample", like)  # whole numbers would make both factors 0
        given = torch.as_tensor(labels).detach().cpu()  # float64 is not to be had on every device
        if given.ndim > 1 or (given.ndim == 1 and len(given) not in (1, len(like))):
            msg = f"timesteps have shape {tuple(given.shape)}: pass one, or one for each of {len(like)} samples"
            raise ValueError(msg)
        t = unrounded(given, None if self.plan is None else self._labels) / label_scale(self.config)
        low, high = (max(0.0, end) * label_scale(self.config) for end in (self.schedule.t_min, self.schedule.t_max))
        if not bool(((t >= max(0.0, self.schedule.t_min)) & (t <= self.schedule.t_max)).all()):
            msg = f"timesteps={given.tolist()}: pass labels from {low:g} to {high:g}"
            raise ValueError(msg)
        shape = (-1, *([1] * (like.ndim - 1)))
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        return tuple(factor.to(like.dtype).to(like.device).reshape(shape) for factor in (alpha, sigma))  # type: ignore[return-value]
