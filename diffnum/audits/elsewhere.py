r"""Findings in code that no package index has: reports to send, of lines on record, with lines that show them here.

The code itself is not run: what it computes is on record in this package, line by line, and the snippets hold that
against what it should be. What they print is taken down when the reports are written.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from diffnum.audits.densities import COPIES
from diffnum.jobs.shown import short

__all__ = ["CODES", "CodeReport", "elsewhere", "printed"]


@dataclass(frozen=True)
class CodeReport:
    """A finding in code on record.

    Parameters
    ----------
    stem : str
        Name of its file.
    title : str
        One line.
    where : str
        ``owner/repository at commit, file, function``.
    what : str
        The fault, in a sentence or two.
    snippet : str
        Lines that print the numbers.
    reads : str
        What the numbers are.
    change : str
        A line for another, as a difference, or what to do.
    prior : str
        Earlier reports.
    """

    stem: str
    title: str
    where: str
    what: str
    snippet: str
    reads: str
    change: str
    prior: str = "none was found among the issues of the repository"

    def __repr__(self) -> str:
        """Short form."""
        return short("CodeReport", self.stem, where=self.where)

    def written(self, prints: str, versions: Mapping[str, str]) -> str:
        """The report in Markdown."""
        named = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
        told = "\n".join(f"# {line}" for line in prints.strip().splitlines())
        change = f"\n\n```diff\n{self.change}\n```" if self.change.startswith("-") else f" {self.change}"
        parts = (
            f"# {self.title}",
            f"{self.where}. Versions: that commit; {named}.",
            f"**What.** {self.what}",
            f"**To see it.** {self.reads}\n\n```python\n{self.snippet}\n{told}\n```",
            f"**Proposed change.**{change}",
            f"**Earlier reports.** {self.prior}.",
            "**Reported?** To be filled in by the person who sends it.",
        )
        return "\n\n".join(parts) + "\n"


def printed(snippet: str) -> str:
    """What lines print, run in a namespace of their own.

    Parameters
    ----------
    snippet : str
        Python.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(snippet, "<report>", "exec"), {"__name__": "report"})
    return out.getvalue()


_MEAN = (
    "The log-density is averaged over the entries of a sample where that of a step is their sum{more}. So the ratio of "
    "two is not the importance weight but its root, of a degree that grows with the size of the sample, and clipping "
    "it at 1 +- c is clipping the weight at (1 +- c)^entries."
)
_SUM = "Sum over all axes but the first, in place of the mean, and choose the range of the ratio for that."
_GRPO = (
    "yifan123/flow_grpo#104 (closed), #143 (closed: the mean is meant, for the sum was unstable) and #247 (open); "
    "jannerm/ddpo#10 (closed) is the first, of the code that the others follow"
)


def _density(stem: str, title: str, numbers: tuple[int, ...], more: str, change: str, prior: str) -> CodeReport:
    which = str(list(numbers)).strip("[]") + ("," if len(numbers) == 1 else "")
    snippet = (
        "from diffnum.audits.densities import COPIES, examined\n"
        f"for number in ({which}):\n"
        '    print(*examined(COPIES[number]).sentences, sep="; ")'
    )
    where = "; ".join(COPIES[n].source for n in numbers)
    reads = "What is found of a step with 64 entries."
    return CodeReport(stem, title, where, _MEAN.format(more=more), snippet, reads, change, prior)


CODES: Final[tuple[CodeReport, ...]] = (
    CodeReport(
        "ads-score", "Active diffusion subsampling: the score of a pixel or column has the exponent of the wrong sign",
        "active-diffusion-subsampling/ads at 64f2889b, ActiveSampler.py, select_pixel_entropy and "
        "select_column_entropy",
        r"The bound on the entropy of the mixture around the particles is $-\sum_i \log \sum_j e^{-d_{ij}^2 / 2 "
        r"\sigma^2}$ (the paper, after Hershey and Olsen); the code maximises $\sum_i \log \sum_j e^{+d_{ij}^2 / 2 "
        r"\sigma^2}$, which is ruled by the farthest pair and overflows where it is far.",
        "import numpy as np\n"
        "from diffnum import GaussianMixture\n"
        "from diffnum.inverse import information_gain, measure_actively\n"
        "places = [[-1.5, 0.0], [1.5, 0.0], [-1.5, 8.0], [1.5, 8.0]]\n"
        "law = GaussianMixture([0.475, 0.475, 0.025, 0.025], places, np.full(4, 0.04))\n"
        "print(information_gain(law, np.eye(2), 0.3).round(2))\n"
        'for score in ("entropy bound", "spread"):\n'
        "    made = measure_actively(law, np.eye(2), 0.3, 1, n=100, acquisition=score, particles=64)\n"
        "    print(score, int((made.chosen == 0).sum()))",
        'Nats that the two coordinates tell, and in how many of 100 trials the first is chosen, by the bound and by '
        'the sum of the code ("spread").',
        "Negate the exponent and the sum, in both functions.",
    ),
    CodeReport(
        "daps-likelihood", "DAPS: Langevin and HMC use half the variance tau^2 that Metropolis-Hastings uses",
        "zhangbingliang2019/DAPS at 098df6b7, cores/mcmc.py, MCMCSampler.score_fn",
        "operator.gradient is that of the sum of squares (forward_operator/__init__.py, loss), divided by tau ** 2. "
        "The log-likelihood of noise tau is minus that sum over 2 * tau ** 2, as sample_mh and log_likelihood have it. "
        "So Langevin and HMC sample with noise tau / sqrt(2). Besides, tau = 0.01 is set in configs/task where the "
        "noise of the measurement is 0.05.",
        "import numpy as np\n"
        "rng, tau, sigma, lr = np.random.default_rng(0), 0.1, 1.0, 1e-4\n"
        "x = np.zeros(20000)\n"
        "for _ in range(400):\n"
        "    score = -2 * x / tau**2 - x / sigma**2  # as in score_fn, for a measurement of 0\n"
        "    x = x + lr * score + np.sqrt(2 * lr) * rng.standard_normal(x.shape)\n"
        'print(f"{x.var():.4f} {1 / (1 / tau**2 + 1 / sigma**2):.4f}")',
        "The variance at the end of the chain, and that of the posterior, of one unknown.",
        "A factor 1/2 in data_term of score_fn.",
        "none of it; zhangbingliang2019/DAPS#3 (closed) asks where the two terms of the score are",
    ),
    CodeReport(
        "diffpir-noise", "DiffPIR: the noise level enters rho in units of [0, 1], the data have units of [-1, 1]",
        "yuanzhi-zhu/DiffPIR at 111d26e8, main_ddpir_inpainting.py, main_ddpir_deblur.py and main_ddpir_sisr.py",
        "Noise of standard deviation noise_level_img * 2 is added to images in [-1, 1], while rhos are made of sigma = "
        "max(0.001, noise_level_img), so that rho is a quarter of lambda sigma_n^2 / sigma_t^2. In the inpainting "
        "script x[mask] = y[mask] comes after x_0, the image to be saved, was made from x, so that it changes nothing.",
        "import numpy as np\n"
        "from diffnum.inverse import exact_law, mask\n"
        "from diffnum.problems import Gaussian\n"
        "prior, seen = Gaussian(np.zeros(2), np.diag([1.0, 0.1])), mask([True, True])\n"
        "for factor in (1.0, 0.5):\n"
        '    _, bias = exact_law("diffpir", prior, seen, 0.3, noise_factor=factor)\n'
        '    print(f"{factor} {bias.mean:.2f} {bias.coverage:.0%}")',
        "Error of the posterior's mean in its standard deviations, and the true values that 90 % intervals hold, with "
        "the noise of the measurement and with half of it, as shipped; exact, for lambda = zeta = 1.",
        "Make rhos of sigma = max(0.001, 2 * noise_level_img), and paste the pixels before x_0 is made.",
        "none of it; yuanzhi-zhu/DiffPIR#1 (open) asks for another sigma",
    ),
    CodeReport(
        "neuralsolver-vp", "NeuralSolver's VP sampler updates the state twice in each step",
        "MCG-NJU/NeuralSolver at 71887944, src/diffusion/ddpm/ns_sampling.py, NeuralSolverSampler._impl_sampling",
        "After the update with the learned combination, three more lines append the same evaluation to pred_trajectory "
        "again and update x once more with the newest evaluation alone. So every step is taken twice, and "
        "solver_coeffs[i, j] falls on evaluations other than those for which it was learned. The flow version has one "
        "update. On an exact mixture the errors are in the book, chapter on learned solvers.",
        "from diffnum.calibration.learned import neural_solver_vp\n"
        "from diffnum.schedules import VPLinear\n"
        "zero, vp = (lambda x, t: 0 * x), VPLinear()\n"
        "for shipped in (False, True):\n"
        '    print(f"{neural_solver_vp(zero, 1.0, [0.5], [[]], vp, as_shipped=shipped):.4f}")\n'
        'print(f"{vp.sigma(0.499) / vp.sigma(0.999):.4f}")',
        "What one step leaves of the noise if the data are 0, without and with the lines; and sigma' / sigma, which it "
        "should leave.",
        "Take the three lines after the update out.",
    ),
    CodeReport(
        "stork-times", "STORK-2 has Gegenbauer's weights at Legendre's times",
        "ZT220501/STORK at fd991caf, STORKScheduler.py, step_flow_matching_2",
        "b_coeff and mu_tilde are those of the Runge-Kutta-Gegenbauer method, whose stages stand at (j - 1)(j + 4)/((s "
        "- 1)(s + 4)); fraction is (j - 1)(j + 2)/((s - 1)(s + 2)), the times of the Runge-Kutta-Legendre method. "
        "Order 2 needs a weighted mean of the times of 1/2, so that the order is 1 (`diffnum verify stork_2`). Since "
        "the virtual velocities are values of a polynomial in time, no stage sees another's state, and the region of "
        "stability does not grow with s.",
        "from diffnum.coefficients.few_steps import virtual_moments\n"
        'for times in ("legendre", "gegenbauer"):\n'
        '    print(times, f"{float(virtual_moments(50, times)[0]):.4f}")',
        "The weighted mean of the times for s = 50, at the times of the code and at those of the weights.",
        "fraction = (j - 1) * (j + 4) / ((s - 1) * (s + 4)).",
    ),
    CodeReport(
        "ipndm-v-bracket", "iPNDM with variable steps: a bracket of the second difference's weight is misplaced",
        "zju-pi/diff-sampler at 68d5ce42, solvers.py, ipndm_v_sampler",
        "The weights of order 3 are those of Adams-Bashforth on constant steps only; on others the order is 2.",
        'import diffnum as dn\nfor name in ("ipndm_v_3", "lms_3"):\n'
        '    study = dn.convergence_study(name, grids=("irregular",))\n'
        "    print(name, study.order)",
        "The order on irregular steps, of the code and of Adams-Bashforth.",
        "Take the weights of Adams-Bashforth on the steps at hand; ours are `diffnum derive lms_3 --code python`.",
        "none was found among the issues of the repository; copies are in ComfyUI and in stable-diffusion.cpp#344",
    ),
    CodeReport(
        "unipc-vary", "UniPC, variant vary_coeff: the corrector adds the new difference once, with a stale loop index",
        "wl-zhao/UniPC at cf9de85b, uni_pc.py, multistep_uni_pc_vary_update",
        "The formula has the difference in every term of the sum, and the code after the loop, so that the order falls "
        "below that of the predictor.",
        'import diffnum as dn\nfor name in ("unipc_3_vary", "unipc_3_vary_fixed"):\n'
        '    study = dn.convergence_study(name, grids=("irregular",))\n'
        "    print(name, study.order)",
        "The order on irregular steps, as shipped and with the sum.",
        "Move the addition of D1_t into the loop over its weights.",
        "wl-zhao/UniPC#10 (2023-08-22)",
    ),
    _density(
        "flow-grpo-density", "Flow-GRPO: the log-density of a step is a mean, and its divergence has another scale",
        (0,), "; the divergence is over twice the squared diffusion, which is not the variance of the step",
        "-    log_prob = log_prob.mean(dim=tuple(range(1, log_prob.ndim)))\n"
        "+    log_prob = log_prob.sum(dim=tuple(range(1, log_prob.ndim)))",
        _GRPO,
    ),
    _density(
        "dance-grpo-density", "DanceGRPO: the log-density of a step is a mean over the entries", (1,), "", _SUM,
        "none was found among the issues of the repository; of Flow-GRPO yifan123/flow_grpo#143 (closed: it is meant)",
    ),
    _density(
        "mixgrpo-density", "MixGRPO: the log-density of a step is a mean over the entries", (2, 3),
        ", in one of two functions without the constant", _SUM,
        "none was found among the issues of the repository; of Flow-GRPO yifan123/flow_grpo#143 (closed: it is meant)",
    ),
    _density(
        "flowcps-density", "Flow-CPS: the log-density of a step is minus a mean of squares", (4,),
        ", and the square is not divided by twice the variance", _SUM,
        "sharonyu-115 in NVIDIA-NeMo/RL#3408, of another copy of this formula",
    ),
    _density(
        "unirl-density", "UniRL: log-densities of steps are means over the entries", (5, 6),
        ", and that of CPS is without the variance", _SUM,
        "none was found among the issues of the repository; NVIDIA-NeMo/RL#3408 is about a copy of the second formula",
    ),
    _density(
        "precise-density", "Precise: the log-density of a step is a mean over the entries", (7,), "", _SUM,
        "none was found among the issues of the repository",
    ),
)  # fmt: skip
"""Reports that are ready."""


def elsewhere(versions: Mapping[str, str]) -> dict[str, str]:
    """All reports of this kind, in Markdown by stem; their lines are run.

    Parameters
    ----------
    versions : mapping of str to str
        Versions that the numbers belong to.

    Returns
    -------
    dict of str to str
    """
    return {report.stem: report.written(printed(report.snippet), versions) for report in CODES}
