"""Findings in other people's code as reports to send: what, where, lines that show it, a change, who was first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from diffnum.audits.experiments import Row
from diffnum.audits.findings import Finding
from diffnum.audits.report import AuditReport
from diffnum.jobs.shown import short

__all__ = ["REPORTS", "UpstreamReport", "upstream"]


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
    prior : tuple of str
        Earlier reports and changes, ``owner/repository#number`` with what became of them.
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
    prior: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Short form."""
        return short("UpstreamReport", self.stem, library=self.library, sampler=self.sampler, part=self.part)

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
        named = ", ".join(f"{name} {number}" for name, number in versions.items())
        told = finding.text if "=" in finding.text.split()[0] else f"{finding.text[0].upper()}{finding.text[1:]}"
        parts = [
            f"# {self.title}",
            f"{self.where}. Versions: {named}.",
            f"**What.** {told} (`{row.sampler}`, {finding.smallest}).",
            f"**Why.** {self.why}",
            f"**To see it.**\n\n```python\n{finding.snippet}\n# {finding.prints.strip()}\n```",
        ]
        if self.old:
            parts.append(f"**Proposed change.**\n\n```diff\n-{self.old}\n+{self.new}\n```")
        else:
            parts.append(f"**Proposed change.** {self.advice}")
        before = "; ".join(self.prior) if self.prior else "none was found among the issues of the repository"
        parts += [f"**Earlier reports.** {before}.", "**Reported?** To be filled in by the person who sends it."]
        return "\n\n".join(parts) + "\n"


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
    ),
    UpstreamReport(
        "diffusers-ddim-stride", "DDIM steps end elsewhere than the next ones begin, for times that are not leading",
        "diffusers", "DDIMScheduler", "gaps", "trailing", "scheduling_ddim.py, line 445, step",
        "The end of a step is T // n times after its beginning, whatever the times are. The same line is in the "
        "schedulers DDIMParallel, CogVideoXDDIM, CogVideoXDPM and PNDM.",
        old="        prev_timestep = timestep - self.config.num_train_timesteps // self.num_inference_steps",
        new="        prev_timestep = next((int(t) for t in self.timesteps if t < timestep), -1)",
        prior=(
            "huggingface/diffusers#9261, #11347 and #12633 (for linspace and trailing times)",
            "pull requests #13108 (closed) and #14357 (open; it holds that trailing times are not concerned, which is "
            "so where n divides T)",
        ),
    ),
    UpstreamReport(
        "diffusers-unipc-bh1", "UniPC with solver_type='bh1' ends in NaN", "diffusers", "UniPCMultistepScheduler",
        "not finite", "solver_type='bh1'", "scheduling_unipc_multistep.py, lines 919 and 1054",
        "B(h) is h itself, which is infinite in the last step to sigma = 0, and infinity times a difference of zero "
        "is not a number; 'bh2' has the limit -1.",
        old="            B_h = hh",
        new="            B_h = hh if torch.isfinite(hh) else torch.expm1(hh)",
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
        prior=(
            "none of UniPC was found among the issues of the repository",
            "huggingface/diffusers#9007 (open) is the like of DPMSolverSinglestep, mended by #9104 (merged)",
        ),
    ),
    UpstreamReport(
        "diffusers-ddpm-fixed-large-log", "DDPM with variance_type='fixed_large_log' returns NaN", "diffusers",
        "DDPMScheduler", "not finite", "fixed_large_log", "scheduling_ddpm.py, line 407, _get_variance",
        "The logarithm of a variance is returned, of which step takes the square root.",
        old="            variance = torch.log(current_beta_t)",
        new="            variance = current_beta_t  # step takes its square root",
        prior=("huggingface/diffusers#14569 (2026-08-23, open)", "pull request #14571 (open)"),
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
    ),
    UpstreamReport(
        "diffusers-ddim-inverse-sample", "DDIMInverseScheduler with prediction_type='sample' returns NaN", "diffusers",
        "DDIMInverseScheduler", "not finite", "prediction_type='sample'", "scheduling_ddim_inverse.py, line 360, step",
        "The first step begins at the clean sample, where beta is 0 and noise is computed as 0 / 0; and outputs are "
        "converted at another time than the one at which the network was asked, so that 'v_prediction' differs too.",
        advice="Begin at the first time of the table, or refuse 'sample'; convert at the time of the network.",
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
    ),
    UpstreamReport(
        "diffusers-flow-last-step", "The last step of a flow has length zero, and ends in NaN", "diffusers",
        "UniPCMultistepScheduler", "not finite", "of length zero",
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
    ),
    UpstreamReport(
        "diffusers-inverse-sde", "DPMSolverMultistepInverse takes 'sde-dpmsolver++', and returns NaN", "diffusers",
        "DPMSolverMultistepInverseScheduler", "not finite", "after step 1 of 10, of sigma / alpha from 0.01",
        "scheduling_dpmsolver_multistep_inverse.py, line 762, dpm_solver_first_order_update",
        "Upwards h is negative, and so is the variance 1 - exp(-2 h), of which the root is taken; 'sde-dpmsolver' is "
        "alike. At order 3 the two raise: step hands the update no noise, or it has no branch.",
        advice="Refuse both values in the constructor.",
        prior=("huggingface/diffusers#10748 (open)", "pull request #14356 (open; it refuses both values)"),
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
