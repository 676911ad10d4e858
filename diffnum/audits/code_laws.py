"""Findings in code on record that is about laws: posteriors, log-densities, particles, tokens and losses."""

from __future__ import annotations

from typing import Final

from diffnum.audits.densities import COPIES
from diffnum.audits.letters import CodeReport

__all__ = ["LAWS"]

_MEAN = (
    "The log-density is averaged over the entries of a sample where that of a step is their sum{more}. So the ratio of "
    "two is not the importance weight but its root, of a degree that grows with the size of the sample, and clipping "
    "it at 1 +- c is clipping the weight at (1 +- c)^entries."
)
_SUM = "Sum over all axes but the first, in place of the mean, and choose the range of the ratio for that."
_SCALED = (
    "Sum over all axes but the first, in place of the mean, divide squares by twice the variance of the step, and "
    "choose the range of the ratio for that."
)
_ADDED = "the formula with a sum has the importance weight for its ratio"
_GRPO = (
    "yifan123/flow_grpo#104 (closed), #143 (closed: the mean is meant, for the sum was unstable) and #247 (open); "
    "jannerm/ddpo#10 (closed) is the first, of the code that the others follow"
)


def _density(
    stem: str, title: str, numbers: tuple[int, ...], more: str, change: str, prior: str, tried: str = _ADDED
) -> CodeReport:
    which = str(list(numbers)).strip("[]") + ("," if len(numbers) == 1 else "")
    snippet = (
        "from diffnum.audits.densities import COPIES, examined\n"
        f"for number in ({which}):\n"
        '    print(*examined(COPIES[number]).sentences, sep="; ")'
    )
    where = "; ".join(COPIES[n].source for n in numbers)
    reads = "What is found of a step with 64 entries."
    return CodeReport(stem, title, where, _MEAN.format(more=more), snippet, reads, change, prior, tried)


LAWS: Final[tuple[CodeReport, ...]] = (
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
        tried="that is the bound above, and the coordinate that tells more is chosen",
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
        tried="the variance at the end of the chain above is that of the posterior",
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
        tried="the units are those of the first line above; the pasting was read, and not run",
    ),
    CodeReport(
        "dds-last-step", "DDS: the last step but one takes the branch of the last, and loses its noise",
        "HJ-harry/DDS at 509b140e, solver_2d.py, Diffusion.dds",
        "The pairs of times end with (skip, 0) and (0, -1), and the branch without noise is taken at j == 0, in the "
        "first of the two. The network is then called at time 0 with data that lack the noise of that time.",
        "from diffnum import Gaussian\n"
        "from diffnum.inverse import exact_law, mask\n"
        "prior, seen = Gaussian([0.0], [[1.0]]), mask([True])\n"
        "for early in (True, False):\n"
        '    _, bias = exact_law("dds", prior, seen, 0.3, steps=30, early=early)\n'
        '    print(early, f"{bias.spread:.4f}")',
        "The spread of the samples over that of the posterior, as shipped and with the branch in the last step; exact, "
        "for the defaults of gamma and eta. (gamma, which knows of no noise, makes it small in any case.)",
        "-                    if j != 0:\n+                    if j >= 0:",
        tried="it is the second line above",
    ),
    CodeReport(
        "dps-batch", "DPS: the norm of the residual is taken over the whole batch",
        "DPS2022/diffusion-posterior-sampling at effbde73, guided_diffusion/condition_methods.py, "
        "ConditioningMethod.grad_and_value",
        "torch.linalg.norm(difference) is one number for all samples, so that the gradient of each is divided by the "
        "norm of all residuals: samples steer each other, and the larger the batch is the weaker is the guidance.",
        "import numpy as np\n"
        "from diffnum import Gaussian\n"
        "from diffnum.inverse import mask, sample\n"
        "from diffnum.schedules import VPLinear\n"
        "model, x = Gaussian([0.0], [[1.0]]).denoiser(VPLinear()), np.linspace(-1, 1, 16)[:, None]\n"
        "quiet = lambda step, index, like: np.zeros_like(like)\n"
        "given = dict(method='dps', noise=quiet)\n"
        "for joint in (True, False):\n"
        "    ends = [sample(model, mask([True]), np.array([1.0]), 0.1, x=x[:n], joint=joint, **given)[0, 0]\n"
        "            for n in (1, 4, 16)]\n"
        '    print(joint, *(f"{end:.3f}" for end in ends))',
        "Where the first sample ends in batches of 1, 4 and 16, with one norm for all and with one for each.",
        "Take the norm of each sample, over all axes but the first, and the gradient of their sum.",
        "DPS2022/diffusion-posterior-sampling#12 (open) asks why the size of the batch matters",
        tried="it is the second line above: a sample does not depend on the others",
    ),
    CodeReport(
        "fk-weights", "FK steering: where particles are not resampled, their weights are forgotten",
        "zacharyhorvitz/Fk-Diffusion-Steering at 9413005, text_to_image/fkd_diffusers/fkd_class.py, resample",
        "With adaptive_resampling the particles are kept while enough of them are effective, and the next weights are "
        "not multiplied by those that were found. What is weighed after the last resampling is dropped in any case.",
        "import diffnum as dn\n"
        "from diffnum import particles\n"
        "vp = dn.schedules.VPLinear()\n"
        "model = dn.Gaussian([0.0], [[1.0]]).denoiser(vp)\n"
        'plan = dn.plan("ddpm", vp, dn.grids.uniform_time(vp, 100, t_start=1.0, t_end=1e-3))\n'
        "reward, nodes = (lambda x: x[:, 0]), (20, 40, 60, 80)\n"
        "kept = particles.steered(model, reward, 1.0, nodes=nodes)\n"
        "right = particles.run(plan, kept, 4000, seed=0, at=[k + 1 for k in nodes])\n"
        "lost = particles.steered_as_shipped(plan, model, reward, 1.0, 4000, nodes=nodes, adaptive=True, seed=0)\n"
        'for name, found in (("weights kept", right), ("as shipped", lost)):\n'
        '    print(name, f"{float(found.estimate(reward)[0]):.2f}")',
        "The mean of samples of N(0, 1) that are steered by the reward x; it should be 1.",
        "Multiply the weights of a step by those before, and set them to 1 after resampling.",
        "zacharyhorvitz/Fk-Diffusion-Steering#12 (open)",
        tried="it is the first line above",
    ),
    CodeReport(
        "mmd-ddm-degree", "MMD-DDM: the polynomial kernel is of degree 1 by default, and its documentation says 3",
        "diegovalsesia/MMD-DDM at 2874edf8, functions/losses.py, _polynomial_kernel and KID",
        "With degree 1 the distance is that of the means of the features: laws of one mean have the distance 0.",
        "import numpy as np\n"
        "rng = np.random.default_rng(0)\n"
        "x, y = rng.standard_normal((2, 1000, 1)) * np.array([1.0, 3.0])[:, None, None]\n"
        "for degree in (1, 3):\n"
        "    kernel = lambda a, b, degree=degree: ((a @ b.T + 1) ** degree).mean()\n"
        '    print(degree, f"{kernel(x, x) + kernel(y, y) - 2 * kernel(x, y):.2f}")',
        "The squared distance of samples of N(0, 1) and N(0, 9), for either degree.",
        "Set degree=3 in both signatures, or correct the documentation.",
        tried="it is the second line above",
    ),
    CodeReport(
        "tauldr-reject", "tauLDR: reject_multiple_jumps is overwritten in ConditionalTauLeaping",
        "andrew-cr/tauLDR at 5128d4a5, lib/sampling/sampling.py, ConditionalTauLeaping.sample, line 336",
        "After the branch that rejects tokens with more than one jump, adj_diffs is set to that of all jumps again. "
        "ConditionalPCTauLeaping has the branch alone.",
        "import numpy as np\n"
        "jumps = np.random.default_rng(0).poisson(0.01, (20000, 128))  # of a token, to each value\n"
        "kept = np.where(jumps.sum(axis=1, keepdims=True) <= 1, jumps, 0)\n"
        "for used in (jumps, kept):\n"
        '    print(f"{np.mean(used.sum(axis=1) > 1):.3f}")',
        "The share of tokens that make more than one jump, by the line and by the branch.",
        "Take the second assignment of adj_diffs out.",
        tried="it is the second line above",
    ),
    CodeReport(
        "remdm-last-step", "ReMDM, forward-backward: the last step has negative probabilities",
        "kuleshov-group/remdm at f830d659, diffusion.py, _ddpm_caching_update, line 696",
        "The share that is masked again exceeds (1 - alpha_s) / alpha_t in the last step, where alpha_s is nearly 1. "
        "The probability that a masked token stays masked is then negative, and the draw takes it for zero. Shown "
        "tokens are masked again all the same, and line 892 fills them with the most likely values, all at once. The "
        "variant remdm-cap has the bound.",
        "from diffnum.discrete import sampler\n"
        'share = sampler("remdm_forward_backward").rule.share\n'
        "for steps in (8, 64, 512):\n"
        "    alpha_t, alpha_s = 1 - 1 / steps, 1 - 1e-5\n"
        "    again = share(alpha_t, alpha_s)\n"
        '    print(steps, f"{(1 - alpha_s - again * alpha_t) / (1 - alpha_t):.2f}",\n'
        '          f"{(1 - alpha_s - min(again, (1 - alpha_s) / alpha_t) * alpha_t) / (1 - alpha_t):.2f}")',
        "The probability of the mask in the last step of a run, as shipped and with the bound.",
        "Take the smaller of the share and (1 - alpha_s) / alpha_t.",
        tried="it is the last column above",
    ),
    CodeReport(
        "bd3lms-steps", "BD3-LM: without first_hitting a step ends elsewhere than the next one begins",
        "kuleshov-group/bd3lms at 1c3e8f43, diffusion.py, _semi_ar_sampler, lines 1017 to 1019",
        "The times are 1 / (num_steps - 1) apart and the steps 1 / num_steps long. And with first_hitting the loop "
        "ends after num_steps tokens of a block, so that with fewer steps than tokens masks are left.",
        "import numpy as np\n"
        "steps = 5\n"
        "times = np.linspace(1, 0, steps)\n"
        "for begin, after in zip(times[:-1], times[1:]):\n"
        '    print(f"{begin:.2f} to {begin - 1 / steps:.2f}, the next from {after:.2f}")',
        "Where steps begin and end, for five steps.",
        "Make num_steps + 1 times, and leave the last of them out of the loop.",
    ),
    CodeReport(
        "llada-eos", "LLaDA: confidence_eos_eot_inf does not lower the confidence of EOS",
        "ML-GSAI/LLaDA at b7e6c356, generate.py, generate, line 98",
        "The line writes to logits_with_noise for the one token and to logits for the other. The first is not read "
        "again: the confidence is the softmax of logits.",
        "import numpy as np\n"
        "logits, eos, eot = np.array([0.0, 3.0, 2.0]), 1, 2\n"
        "with_noise = logits.copy()\n"
        "with_noise[eos] = logits[eot] = -np.inf  # line 98\n"
        'print(*(f"{p:.3f}" for p in np.exp(logits) / np.exp(logits).sum()))',
        "The confidence of a word, of EOS and of EOT.",
        "Write to logits in both places.",
        "ML-GSAI/LLaDA#137 (2026-08-20, open)",
        tried="with logits[eos] = logits[eot] in the lines above the confidence of both is 0",
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
        ", and the square is not divided by twice the variance", _SCALED,
        "sharonyu-115 in NVIDIA-NeMo/RL#3408, of another copy of this formula",
    ),
    _density(
        "unirl-density", "UniRL: log-densities of steps are means over the entries", (5, 6),
        ", and that of CPS is without the variance", _SCALED,
        "none was found among the issues of the repository; NVIDIA-NeMo/RL#3408 is about a copy of the second formula",
    ),
    _density(
        "precise-density", "Precise: the log-density of a step is a mean over the entries", (7,), "", _SUM,
        "none was found among the issues of the repository",
    ),
)  # fmt: skip
"""Reports that are ready."""
