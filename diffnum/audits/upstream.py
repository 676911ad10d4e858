"""Findings in other people's code as reports to send: what, where, lines that show it, a change, who was first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from diffnum.audits.experiments import Row
from diffnum.audits.findings import Finding
from diffnum.audits.letters import laid_out
from diffnum.audits.report import AuditReport
from diffnum.jobs.shown import short

__all__ = ["MEASURED", "REPORTS", "UpstreamReport", "upstream"]

_RUN = "a property of the run that is measured; whether it is a fault depends on what is wanted"
MEASURED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "start-up", "last step", "time rounding", "float32", "time rounding and last step", "step count",
            "noise left", "convergence", "wasted calls", "repeated times", "empty steps",
        ),
        _RUN,
    ),
    "formula of PNDMScheduler": "the weights of its paper, for constant steps",
    "formula of IPNDMScheduler": "the weights of its paper, for constant steps",
    "formula of SASolverScheduler": "undecided, for digits are lost on short steps",
    "formula of UniPCMultistepScheduler": "undecided, for digits are lost on short steps",
}  # fmt: skip
"""Parts of findings of which nobody is told, or parts of single samplers, with the reason."""


@dataclass(frozen=True)
class UpstreamReport:
    """What is said of a finding beyond its numbers, which are the audit's.

    Parameters
    ----------
    stem : str
        Name of its file.
    title : str
        One line.
    library, sampler, part : str
        Rows and findings that it rests on.
    among : str
        Words of the row's configuration or of the finding; empty for any.
    where : str
        File, line and function, at the version audited.
    why : str
        The cause, in a sentence or two.
    old, new : str
        A line of the source and what to write for it; empty where no line alone does.
    advice : str
        What to do where no line alone does.
    tried : str
        What was found when the change was made to the installed source and run; empty if it was not.
    prior : tuple of str
        Earlier reports and changes, ``owner/repository#number`` with what became of them.
    also : tuple of (str, str, str)
        Other samplers with findings of this kind, each with its part and words as above.
    """

    stem: str
    title: str
    library: str
    sampler: str
    part: str
    among: str
    where: str
    why: str
    old: str = ""
    new: str = ""
    advice: str = ""
    tried: str = ""
    prior: tuple[str, ...] = ()
    also: tuple[tuple[str, str, str], ...] = ()

    def __repr__(self) -> str:
        """Short form."""
        return short("UpstreamReport", self.stem, library=self.library, sampler=self.sampler, part=self.part)

    def covers(self, library: str, row: Row, finding: Finding) -> bool:
        """Whether a finding is one of those that the report is about."""
        said = f"{row.configuration} {finding.text}"
        kinds = ((self.sampler, self.part, self.among), *self.also)
        return library == self.library and any(
            (row.sampler, finding.part) == (sampler, part) and among in said for sampler, part, among in kinds
        )

    def of(self, audit: AuditReport) -> tuple[Row, Finding] | None:
        """First row and finding of an audit that the report rests on."""
        if audit.target != self.library:
            return None
        for row in audit.rows:
            for finding in row.findings:
                said = f"{row.configuration} {finding.text}"
                if (row.sampler, finding.part) == (self.sampler, self.part) and self.among in said:
                    return row, finding
        return None

    def written(self, row: Row, finding: Finding, versions: Mapping[str, str]) -> str:
        """The report in Markdown."""
        told = finding.text if "=" in finding.text.split()[0] else f"{finding.text[0].upper()}{finding.text[1:]}"
        what = f"{told} (`{row.sampler}`, {finding.smallest})."
        return laid_out(
            self.title,
            self.where,
            versions,
            (("What.", what), ("Why.", self.why)),
            finding.snippet,
            finding.prints,
            change=f"-{self.old.rstrip()}\n+{self.new.rstrip()}" if self.old else self.advice,
            tried=self.tried,
            prior="; ".join(self.prior) if self.prior else "none was found among the issues of the repository",
        )


_UPDATE = "scheduling_dpmsolver_multistep.py, line {}, multistep_dpm_solver_third_order_update"

REPORTS: Final[tuple[UpstreamReport, ...]] = (
    UpstreamReport(
        "diffusers-dpmpp-3m", "DPM-Solver++ of order 3 (multistep) has order 2", "diffusers",
        "DPMSolverMultistepScheduler", "formula", "solver_order=3, final_sigmas_type='sigma_min'",
        _UPDATE.format(1116),
        "D2 is multiplied by the weight of a second derivative, which is twice the second divided difference. The "
        "official implementation, LuChengTHU/dpm-solver, has the same line; its single-step solver of type 'taylor' "
        "has the factor 2.",
        old="        D2 = (1.0 / (r0 + r1)) * (D1_0 - D1_1)",
        new="        D2 = (2.0 / (r0 + r1)) * (D1_0 - D1_1)",
        tried="the order is 3",
        also=tuple(
            (f"{name}Scheduler", "formula", "order 2")
            for name in ("DPMSolverMultistep", "EDMDPMSolverMultistep", "DPMSolverMultistepInverse")
        ),
    ),
    UpstreamReport(
        "diffusers-ddim-stride", "DDIM steps end elsewhere than the next ones begin, for times that are not leading",
        "diffusers", "DDIMScheduler", "gaps", "trailing", "scheduling_ddim.py, line 445, step",
        "The end of a step is T // n times after its beginning, whatever the times are. The same line is in the "
        "schedulers DDIMParallel, CogVideoXDDIM, CogVideoXDPM and PNDM.",
        old="        prev_timestep = timestep - self.config.num_train_timesteps // self.num_inference_steps",
        new="        prev_timestep = next((int(t) for t in self.timesteps if t < timestep), -1)",
        tried="with trailing times the error falls with the number of steps, where it grew",
        prior=(
            "huggingface/diffusers#9261, #11347 and #12633 (for linspace and trailing times)",
            "pull requests #13108 (closed) and #14357 (open; it holds that trailing times are not concerned, which is "
            "so where n divides T)",
        ),
        also=(
            ("DDIMScheduler", "gaps", "linspace"),
            ("PNDMScheduler", "gaps", ""),
        ),
    ),
    UpstreamReport(
        "diffusers-unipc-bh1", "UniPC with solver_type='bh1' ends in NaN", "diffusers", "UniPCMultistepScheduler",
        "not finite", "solver_type='bh1'", "scheduling_unipc_multistep.py, lines 919 and 1054",
        "B(h) is h itself, which is infinite in the last step to sigma = 0, and infinity times a difference of zero "
        "is not a number; 'bh2' has the limit -1.",
        old="            B_h = hh",
        new="            B_h = hh if torch.isfinite(hh) else torch.expm1(hh)",
        tried="the sample is finite",
    ),
    UpstreamReport(
        "diffusers-unipc-last-step", "UniPC with lower_order_final=False raises or ends in NaN at sigma = 0",
        "diffusers", "UniPCMultistepScheduler", "failure", "lower_order_final=False",
        "scheduling_unipc_multistep.py, line 1211, step",
        "The half-log-SNR is infinite at sigma = 0, so that every ratio of earlier steps to the last one is 0: from "
        "order 3 on the matrix that is solved for the weights is singular, and at order 2 a difference is divided by "
        "0. The multistep and single-step schedulers of DPM-Solver lower the order of that step in any case.",
        old="            this_order = self.config.solver_order",
        new="            this_order = 1 if self.sigmas[self.step_index + 1] == 0 else self.config.solver_order",
        tried="orders 2 to 4 end in finite numbers whose error falls; with a last level that is not 0 nothing changes",
        prior=(
            "none of UniPC was found among the issues of the repository",
            "huggingface/diffusers#9007 (open) is the like of DPMSolverSinglestep, mended by #9104 (merged)",
        ),
        also=(
            ("UniPCMultistepScheduler", "not finite", "lower_order_final=False"),
        ),
    ),
    UpstreamReport(
        "diffusers-ddpm-fixed-large-log", "DDPM with variance_type='fixed_large_log' returns NaN", "diffusers",
        "DDPMScheduler", "not finite", "fixed_large_log", "scheduling_ddpm.py, line 407, _get_variance",
        "The logarithm of a variance is returned, of which step takes the square root.",
        old="            variance = torch.log(current_beta_t)",
        new="            variance = current_beta_t  # step takes its square root",
        tried="the sample is finite",
        prior=("huggingface/diffusers#14569 (2026-08-23, open)", "pull request #14571 (open)"),
        also=(
            ("DDPMParallelScheduler", "not finite", "fixed_large_log"),
        ),
    ),
    UpstreamReport(
        "diffusers-dpm-sde-3", "algorithm_type='sde-dpmsolver' with solver_order=3 raises", "diffusers",
        "DPMSolverMultistepScheduler", "failure", "sde-dpmsolver", _UPDATE.format(1117),
        "The update of order 3 has no branch for it, and the constructor takes it.",
        advice="Refuse the combination in the constructor, or add the branch.",
        prior=(
            "huggingface/diffusers#9104 (merged; it added the branch of sde-dpmsolver++)",
            "pull request #13778 (closed)",
        ),
    ),
    UpstreamReport(
        "diffusers-pndm-v", "PNDM combines velocities where its formula is about noise", "diffusers", "PNDMScheduler",
        "prediction_type", "v_prediction", "scheduling_pndm.py, line 435, _get_prev_sample",
        "Past outputs are combined as they are, and the sum is converted with the alphas and the sample of the current "
        "time; each belongs to a time of its own.",
        advice="Convert each output to noise where it arrives, in step_prk and step_plms, before it is kept.",
        prior=("huggingface/diffusers#14816 (2026-09-20, open)",),
    ),
    UpstreamReport(
        "diffusers-euler-log-linear", "Euler with interpolation_type='log_linear' asks its model at wrong times",
        "diffusers", "EulerDiscreteScheduler", "prediction_type", "interpolation_type='log_linear'",
        "scheduling_euler_discrete.py, line 441, set_timesteps",
        "Levels are spaced evenly in log(sigma), and the times remain those of the linear spacing, so that a model is "
        "told another level than its input has; and there is one level more than there are steps, so that the last "
        "step never gets to the final one.",
        advice="Make as many levels as there are steps, and give each its time by `_sigma_to_t`, as the branch of "
        "`use_karras_sigmas` does.",
    ),
    UpstreamReport(
        "diffusers-flow-dpmsolver", "prediction_type='flow_prediction' is accepted with 'dpmsolver', and raises",
        "diffusers", "DPMSolverMultistepScheduler", "failure", "must be one of `epsilon`",
        "scheduling_dpmsolver_multistep.py, line 833, convert_model_output",
        "Flows are converted where data are integrated, and not where noise is. So it is in DPMSolverMultistepInverse, "
        "DPMSolverSinglestep, SASolver (algorithm_type='noise_prediction') and UniPCMultistep (predict_x0=False).",
        advice="Add the branch `epsilon = sample + (1 - sigma_t) * model_output`, or refuse the pair in the "
        "constructor.",
        also=(
            ("DPMSolverSinglestepScheduler", "failure", "must be one of `epsilon`"),
            ("UniPCMultistepScheduler", "failure", "must be one of `epsilon`"),
            ("SASolverScheduler", "failure", "must be one of `epsilon`"),
            ("DPMSolverMultistepInverseScheduler", "failure", "must be one of `epsilon`"),
        ),
    ),
    UpstreamReport(
        "diffusers-ddim-inverse-sample", "DDIMInverseScheduler with prediction_type='sample' returns NaN", "diffusers",
        "DDIMInverseScheduler", "not finite", "prediction_type='sample'", "scheduling_ddim_inverse.py, line 360, step",
        "The first step begins at the clean sample, where beta is 0 and noise is computed as 0 / 0; and outputs are "
        "converted at another time than the one at which the network was asked, so that 'v_prediction' differs too.",
        advice="Begin at the first time of the table, or refuse 'sample'; convert at the time of the network.",
        prior=(
            "none of 'sample' was found among the issues of the repository",
            "pull request huggingface/diffusers#5832 (closed) is about the two times",
        ),
        also=(
            ("DDIMInverseScheduler", "prediction_type", "prediction_type='v_prediction'"),
        ),
    ),
    UpstreamReport(
        "diffusers-sample-not-implemented", "prediction_type='sample' is documented, accepted, and raises", "diffusers",
        "KDPM2DiscreteScheduler", "failure", "prediction_type='sample'", "scheduling_k_dpm_2_discrete.py, step",
        "step raises NotImplementedError; the documentation lists the value and the constructor takes it. So do "
        "KDPM2AncestralDiscrete, EulerAncestralDiscrete and DPMSolverSDE; EDMDPMSolverMultistep and "
        "CosineDPMSolverMultistep, which list it too, raise ValueError.",
        advice="Add the branch `pred_original_sample = model_output`, or refuse the value in the constructor.",
        prior=(
            "pull request huggingface/diffusers#2347 (merged; it put the exception in)",
            "issue #4767 of EulerAncestralDiscrete (closed as stale)",
        ),
        also=(
            ("KDPM2AncestralDiscreteScheduler", "failure", "prediction_type='sample'"),
            ("EulerAncestralDiscreteScheduler", "failure", "prediction_type='sample'"),
            ("DPMSolverSDEScheduler", "failure", "prediction_type='sample'"),
            ("EDMDPMSolverMultistepScheduler", "failure", "prediction_type='sample'"),
            ("CosineDPMSolverMultistepScheduler", "failure", "prediction_type='sample'"),
        ),
    ),
    UpstreamReport(
        "diffusers-edm-order-3", "solver_order=3 is accepted and has no branch, so that step raises", "diffusers",
        "EDMDPMSolverMultistepScheduler", "failure", "algorithm_type='sde-dpmsolver++', solver_order=3,",
        "scheduling_edm_dpmsolver_multistep.py, line 661, multistep_dpm_solver_third_order_update",
        "The update of order 3 has a branch for dpmsolver++ alone. CosineDPMSolverMultistep has no update of order 3 "
        "(line 674, step), and its constructor takes the order too.",
        advice="Refuse the order in the constructors, or take over the branch of DPMSolverMultistep.",
        prior=(
            "none of these two classes was found among the issues of the repository",
            "huggingface/diffusers#9104 (merged) added the branch to DPMSolverMultistep and DPMSolverSinglestep",
        ),
        also=(
            ("CosineDPMSolverMultistepScheduler", "failure", "solver_order=3"),
        ),
    ),
    UpstreamReport(
        "diffusers-flow-last-step", "The last step of a flow has length zero, and ends in NaN", "diffusers",
        "UniPCMultistepScheduler", "not finite", "4 of 4, of length zero",
        "scheduling_unipc_multistep.py, line 443, set_timesteps",
        "The last level is appended once more, so that the last step goes nowhere, and differences are divided by its "
        "length. DPMSolverMultistepInverse does the same (line 346). In DEISMultistep (line 335) and SASolver "
        "(line 333) the step is finite and does nothing: one call of the network is in vain, and its noise stays in "
        "the sample.",
        advice="Append the level to which the grid goes, which is cut off in the line above: 0, or that of one time "
        "before it.",
        prior=(
            "pull request huggingface/diffusers#10267 (merged; it appended the level where none was)",
            "#6477 (merged) took such a step out of DPMSolverMultistep with Karras levels",
        ),
        also=(("UniPCMultistepScheduler", "not finite", "'flow_prediction'"),),
    ),
    UpstreamReport(
        "diffusers-edm-last-step", "final_sigmas_type='sigma_min' makes a last step of length zero, and NaN",
        "diffusers", "EDMDPMSolverMultistepScheduler", "not finite", "final_sigmas_type='sigma_min'",
        "scheduling_edm_dpmsolver_multistep.py, line 306, set_timesteps",
        "Both spacings end at sigma_min, which is then appended once more: the last step has no length but what "
        "rounding makes of it, and differences are divided by it. So it is in CosineDPMSolverMultistep (line 283) with "
        "solver_type='heun'.",
        advice="Make one level more in this case, and append none.",
        prior=(
            "none of these classes was found among the issues of the repository",
            "huggingface/diffusers#6477 (merged) tells of such a step of DPMSolverMultistep",
        ),
        also=(
            ("CosineDPMSolverMultistepScheduler", "not finite", "final_sigmas_type='sigma_min'"),
        ),
    ),
    UpstreamReport(
        "diffusers-inverse-sde", "DPMSolverMultistepInverse takes 'sde-dpmsolver++', and returns NaN", "diffusers",
        "DPMSolverMultistepInverseScheduler", "not finite", "of sigma / alpha from 0.01",
        "scheduling_dpmsolver_multistep_inverse.py, line 762, dpm_solver_first_order_update",
        "Upwards h is negative, and so is the variance 1 - exp(-2 h), of which the root is taken; 'sde-dpmsolver' is "
        "alike. At order 3 the two raise: step hands the update no noise, or it has no branch.",
        advice="Refuse both values in the constructor.",
        prior=("huggingface/diffusers#10748 (open)", "pull request #14356 (open; it refuses both values)"),
        also=(
            ("DPMSolverMultistepInverseScheduler", "failure", "solver_order=3"),
        ),
    ),
    UpstreamReport(
        "diffusers-inverse-flow", "DPMSolverMultistepInverse with use_flow_sigmas goes from noise to data", "diffusers",
        "DPMSolverMultistepInverseScheduler", "direction", "go from noise to data",
        "scheduling_dpmsolver_multistep_inverse.py, line 344, set_timesteps",
        "The levels of the flow are flipped as in the classes that go down; all other spacings of the class go up.",
        advice="Leave out np.flip, and append the largest level in place of the last one.",
        prior=("pull request huggingface/diffusers#12262 (open)",),
    ),
    UpstreamReport(
        "diffusers-unipc-noise-prediction", "UniPC with predict_x0=False ends in NaN by default", "diffusers",
        "UniPCMultistepScheduler", "not finite", "predict_x0=False",
        "scheduling_unipc_multistep.py, line 952, multistep_uni_p_bh_update",
        "In the last step to sigma = 0 the half-log-SNR is infinite, and 0 times exp(h) - 1 is not a number, for "
        "either solver_type; DPMSolverMultistep refuses algorithm_type='dpmsolver' with final_sigmas_type='zero'.",
        advice="Refuse predict_x0=False with final_sigmas_type='zero' in the constructor, as DPMSolverMultistep does.",
        prior=(
            "none of predict_x0 was found among the issues of the repository",
            "pull request huggingface/diffusers#7517 (merged) added final_sigmas_type",
        ),
    ),
    UpstreamReport(
        "diffusers-sasolver-thresholding", "SASolver with 'noise_prediction' and thresholding=True raises", "diffusers",
        "SASolverScheduler", "failure", "algorithm_type='noise_prediction', thresholding=True",
        "scheduling_sasolver.py, line 663, convert_model_output",
        "The argument timestep is None since steps are counted within, and indexing with it gives the whole table; the "
        "two levels of the step are computed at the top of the function already. DPMSolverSinglestep has the same line "
        "(755), for 'dpmsolver': its sample grows by the length of the table, and the levels are to be computed first.",
        old="                alpha_t, sigma_t = self.alpha_t[timestep], self.sigma_t[timestep]",
        new="                # alpha_t and sigma_t are those of this step",
        tried="the sample is that without thresholding, where nothing exceeds the threshold",
        also=(
            ("DPMSolverSinglestepScheduler", "failure", "algorithm_type='dpmsolver', thresholding=True"),
        ),
    ),
    UpstreamReport(
        "diffusers-sasolver-learned-variance", "SASolver with variance_type='learned' raises", "diffusers",
        "SASolverScheduler", "failure", "variance_type=",
        "scheduling_sasolver.py, line 1323, step",
        "Noise is drawn in the shape of the network's answer, which has twice the channels of the sample. Here and in "
        "DPMSolverMultistep, DPMSolverMultistepInverse and DPMSolverSinglestep the variance is cut off for "
        "prediction_type='epsilon' alone: 'sample' and 'v_prediction' raise.",
        old="            model_output.shape,",
        new="            sample.shape,",
        tried="the sample is that with a fixed variance",
        also=(
            ("DPMSolverMultistepScheduler", "failure", "variance_type="),
            ("DPMSolverSinglestepScheduler", "failure", "variance_type="),
            ("DPMSolverMultistepInverseScheduler", "failure", "variance_type="),
        ),
    ),
    UpstreamReport(
        "diffusers-flow-match-churn", "FlowMatchEulerDiscrete.step takes s_churn, s_tmin, s_tmax and s_noise, and "
        "reads none of them", "diffusers", "FlowMatchEulerDiscreteScheduler", "ignored options", "s_churn",
        "scheduling_flow_match_euler_discrete.py, lines 437 to 440, step",
        "The arguments and their documentation were taken over from EulerDiscrete, the code was not; in "
        "FlowMatchHeunDiscrete they add noise.",
        advice="Take the four arguments out, as it was asked for of FlowMatchLCM before that class came in.",
        prior=(
            "none was found among the issues of the repository",
            "pull request huggingface/diffusers#11170 (merged), whose review took them out of FlowMatchLCM",
        ),
    ),
    UpstreamReport(
        "diffusers-tcd-options", "TCD takes options of its constructor that nothing reads", "diffusers",
        "TCDScheduler", "ignored options", "timestep_spacing=", "scheduling_tcd.py, lines 213 to 222, __init__",
        "They are those of LCM, of DDIM and of DDPM, from which the class was copied; _threshold_sample is there, and "
        "nothing calls it. LCM itself reads neither steps_offset nor timestep_spacing, and HeliosDMD neither "
        "prediction_type nor use_flow_sigmas, nor its step the generator.",
        advice="Read them or take them out; where old configurations have them, warn.",
        also=(
            ("TCDScheduler", "ignored options", ""),
        ),
    ),
    UpstreamReport(
        "diffusers-cogvideox-options", "CogVideoXDDIM.step takes eta and use_clipped_model_output, and reads neither",
        "diffusers", "CogVideoXDDIMScheduler", "ignored options", "eta=",
        "scheduling_ddim_cogvideox.py, lines 333 to 336, step, and line 196, __init__",
        "The step is written without noise. Documentation and arguments are those of DDIM, clip_sample among them, "
        "which is True by default and clips nothing. CogVideoXDPM is alike, and draws its noise whatever eta is.",
        advice="Take the arguments out, or raise where eta is not 0.",
        also=(("CogVideoXDPMScheduler", "ignored options", "eta="),),
    ),
    UpstreamReport(
        "diffusers-zero-snr-epsilon", "rescale_betas_zero_snr=True is accepted with prediction_type='epsilon', and "
        "ends in NaN", "diffusers", "DDIMScheduler", "not finite", "rescale_betas_zero_snr=True",
        "scheduling_ddim.py, line 456, step",
        "alpha is 0 at the first time, so that noise says nothing of the data, by which the code divides. So it is in "
        "DDIMParallel, CogVideoXDDIM, CogVideoXDPM, TCD, DDPM and DDPMParallel; the classes of sigmas put 2^-24 there.",
        advice="Refuse the pair in the constructor, or put 2^-24 in place of 0, as EulerDiscrete does.",
        prior=(
            "huggingface/diffusers#3851 and #5103 (closed as stale)",
            "#5969 (open) is about eta=1 with 'v_prediction', which is finite in this version",
        ),
        also=tuple(
            (f"{name}Scheduler", "not finite", "rescale_betas_zero_snr=True")
            for name in ("DDIMParallel", "CogVideoXDDIM", "CogVideoXDPM", "TCD", "DDPM", "DDPMParallel")
        ),
    ),
    UpstreamReport(
        "diffusers-ancestral-cosine", "Ancestral steps from a very large sigma end in NaN", "diffusers",
        "EulerAncestralDiscreteScheduler", "not finite", "beta_schedule='squaredcos_cap_v2'",
        "scheduling_euler_ancestral_discrete.py, line 448, step",
        "sigma_up is sigma_to but for rounding, so that the difference of their squares may be negative; its root is "
        "sigma_to^2 / sigma_from exactly. KDPM2Ancestral has the same difference in set_timesteps, and its times are "
        "not numbers.",
        old="        sigma_down = (sigma_to**2 - sigma_up**2) ** 0.5",
        new="        sigma_down = sigma_to**2 / sigma_from",
        tried="the step is finite, and the sample on the default table is the same",
        prior=("huggingface/diffusers#14213 (2026-07-17, open)",),
        also=(
            ("KDPM2AncestralDiscreteScheduler", "failure", "squaredcos_cap_v2"),
        ),
    ),
    UpstreamReport(
        "diffusers-unipc-solver-p", "UniPC takes any scheduler as solver_p, and most raise", "diffusers",
        "UniPCMultistepScheduler", "failure", "solver_p=EulerDiscreteScheduler()",
        "scheduling_unipc_multistep.py, line 882, multistep_uni_p_bh_update",
        "The label of the step is an integer where Euler's steps want one of their own, and the sample is in units of "
        "the data, where theirs is x / alpha. DDIM and DPMSolverMultistep work. The documentation says any scheduler.",
        advice="Refuse predictors whose init_noise_sigma is not 1 in the constructor.",
        prior=("huggingface/diffusers#2700 (open) is about a configuration file with solver_p",),
    ),
    UpstreamReport(
        "diffusers-dpm-last-step", "A spacing of levels with final_sigmas_type='sigma_min' ends in a step of length "
        "zero, and NaN", "diffusers", "DPMSolverMultistepScheduler", "not finite", "20 of 20, of length zero",
        "scheduling_dpmsolver_multistep.py, line 474, set_timesteps",
        "use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas and use_lu_lambdas make levels that end at the "
        "smallest one of the table, which is then appended once more; differences are divided by the length of the "
        "step.",
        advice="Make one level more in this case, and append none.",
        prior=("pull request huggingface/diffusers#6477 (merged) took the step out where the last level is 0",),
        also=(("DPMSolverMultistepScheduler", "not finite", "of length zero"),),
    ),
    UpstreamReport(
        "diffusers-inverse-last-step", "DPMSolverMultistepInverse with trailing times ends in a step of length zero, "
        "and NaN", "diffusers", "DPMSolverMultistepInverseScheduler", "not finite", "timestep_spacing='trailing'",
        "scheduling_dpmsolver_multistep_inverse.py, line 309, set_timesteps",
        "Trailing times end at the last one, whose level is appended once more; differences are divided by the length "
        "of the step.",
        advice="Begin the trailing times one spacing earlier, as the two other spacings do.",
        prior=("none of it; huggingface/diffusers#10748 (open) is about NaN in the first step",),
        also=(("DPMSolverMultistepInverseScheduler", "not finite", "of length zero"),),
    ),
    UpstreamReport(
        "diffusers-linspace-1000", "As many steps as there are training times end in NaN", "diffusers",
        "DPMSolverMultistepScheduler", "not finite", "at 1000 steps",
        "scheduling_dpmsolver_multistep.py, lines 415 to 421, set_timesteps",
        "linspace makes n + 1 times and rounds them, so that for n = 1000 of 1000 two are one, and differences are "
        "divided by the step between them. So it is in DEISMultistep, UniPCMultistep (where a matrix is singular), "
        "SASolver, DPMSolverSinglestep and DPMSolverMultistepInverse.",
        advice="Refuse num_inference_steps >= num_train_timesteps for 'linspace', or do not round the times.",
        also=(
            *((f"{name}Scheduler", "not finite", "at 1000 steps") for name in (
                "DEISMultistep", "UniPCMultistep", "SASolver", "DPMSolverSinglestep", "DPMSolverMultistepInverse")),
            ("UniPCMultistepScheduler", "failure", "(1000 steps)"),
        ),
    ),
    UpstreamReport(
        "diffusers-steps-offset", "steps_offset=1 with as many steps as there are training times raises", "diffusers",
        "PNDMScheduler", "failure", "(1000 steps)", "scheduling_pndm.py, line 195, set_timesteps",
        "Times from 0 to 999 become those from 1 to 1000, of which the last is none.",
        advice="Refuse num_inference_steps * ratio + steps_offset > num_train_timesteps in set_timesteps.",
        prior=("huggingface/diffusers#10003 (open) is that of DDIM", "#477 (closed) is an earlier one of PNDM"),
    ),
    UpstreamReport(
        "diffusers-pndm-few-steps", "PNDM with skip_prk_steps=False raises for fewer than four steps", "diffusers",
        "PNDMScheduler", "failure", "(1, 2, 3 steps)", "scheduling_pndm.py, line 217, set_timesteps",
        "The Runge-Kutta steps are made of the last four times, whether there are four or not.",
        advice="Refuse fewer than four steps in words, or take Runge-Kutta steps for as many as there are.",
        prior=("none in the repository; tenstorrent/tt-metal#8196 (closed) is about a copy of the class",),
    ),
    UpstreamReport(
        "diffusers-unclip-one-step", "UnCLIP raises ZeroDivisionError for one step", "diffusers",
        "UnCLIPScheduler", "failure", "(1 step)", "scheduling_unclip.py, line 191, set_timesteps",
        "The distance of times is 999 / (n - 1).",
        old="        step_ratio = (self.config.num_train_timesteps - 1) / (self.num_inference_steps - 1)",
        new="        step_ratio = (self.config.num_train_timesteps - 1) / max(self.num_inference_steps - 1, 1)",
        tried="one step runs, and ten make the same sample as before",
        prior=("huggingface/diffusers#14586 (2026-08-24, open)", "pull request #14574 (open; it refuses one step)"),
    ),
    UpstreamReport(
        "diffusers-singlestep-3", "DPMSolverSinglestep of order 3 has order 2 on steps of unequal length", "diffusers",
        "DPMSolverSinglestepScheduler", "formula", "", "scheduling_dpmsolver_singlestep.py, lines 1014 to 1032, "
        "singlestep_dpm_solver_third_order_update",
        "Both stages stand at nodes of the grid. 'midpoint' has order 3 only where the second one is at two thirds of "
        "the step in lambda, and 'heun' gives the first one, which is made by Euler's method, no weight only there. "
        "The official implementation, LuChengTHU/dpm-solver, takes its inner nodes from the grid too.",
        advice="Say that the order needs equal steps in lambda, or place the stages as the paper does.",
    ),
    UpstreamReport(
        "k-diffusion-one-step", "sample_dpmpp_2m_sde raises for one step", "k-diffusion", "sample_dpmpp_2m_sde",
        "failure", "(1 step)", "k_diffusion/sampling.py, line 651; sample_dpmpp_3m_sde has the same in line 701",
        "h is set where the next level is not 0, and read in any case.",
        old="        h_last = h\n",
        new="        h_last = h if sigmas[i + 1] > 0 else None\n",
        tried="one step runs, and ten make the same sample as before",
        prior=(
            "crowsonkb/k-diffusion#72 and #88 (open)",
            "pull requests #74 (merged), #80 (open) and #104 (closed)",
        ),
        also=(("sample_dpmpp_3m_sde", "failure", "(1 step)"),),
    ),
    UpstreamReport(
        "k-diffusion-dpmpp-3m-sde", "sample_dpmpp_3m_sde has order 2 without its noise", "k-diffusion",
        "sample_dpmpp_3m_sde", "formula", "", "k_diffusion/sampling.py, line 687",
        "d2 is the second divided difference, and is multiplied by the weight of a second derivative, which is twice "
        "it. LuChengTHU/dpm-solver has the same, of which diffusers is told too.",
        old="                d2 = (d1_0 - d1_1) / (r0 + r1)",
        new="                d2 = 2 * (d1_0 - d1_1) / (r0 + r1)",
        tried="the order is 3",
    ),
    UpstreamReport(
        "diffusers-cosine-spacings", "Spacings of levels on the table squaredcos_cap_v2 raise, for they repeat labels",
        "diffusers", "DPMSolverMultistepScheduler", "failure", "IndexError",
        "scheduling_dpmsolver_multistep.py, set_timesteps and index_for_timestep",
        "The first levels of a spacing are so near in this table that they have one label. The index of the first step "
        "is looked up by its label, of which the second occurrence is taken, so that the run goes one level too far. "
        "set_begin_index(0) lets it run. So it is in DPMSolverSinglestep, DEISMultistep, UniPCMultistep and SASolver; "
        "KDPM2Discrete and KDPM2Ancestral end in NaN.",
        advice="Look the first index up by the first occurrence, unless a pipeline begins within the schedule.",
        prior=(
            "huggingface/diffusers#12771 (2025-12-02, open)",
            "pull requests #12788 and #13239 (closed), #13240 and #14718 (open)",
        ),
        also=(
            *((f"{name}Scheduler", "failure", "squaredcos_cap_v2") for name in (
                "DPMSolverSinglestep", "DEISMultistep", "UniPCMultistep", "SASolver")),
            ("KDPM2DiscreteScheduler", "not finite", "squaredcos_cap_v2"),
            ("KDPM2AncestralDiscreteScheduler", "not finite", "squaredcos_cap_v2"),
        ),
    ),
)  # fmt: skip
"""Reports that are ready."""


def upstream(audit: AuditReport) -> dict[str, str]:
    """Reports, in Markdown by stem, of what an audit found.

    Parameters
    ----------
    audit : AuditReport
        Findings; reports that rest on others are left out.

    Returns
    -------
    dict of str to str
    """
    found = {}
    for report in REPORTS:
        rests_on = report.of(audit)
        if rests_on is not None:
            found[report.stem] = report.written(*rests_on, audit.versions)
    return found
