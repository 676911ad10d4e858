"""Findings in code on record that is about steps: weights, times and loops of solvers."""

from __future__ import annotations

from typing import Final

from diffnum.audits.letters import CodeReport

__all__ = ["SOLVERS"]

SOLVERS: Final[tuple[CodeReport, ...]] = (
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
        tried="the loop without them leaves sigma' / sigma in each step, and ends three times nearer on the mixture",
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
        "In the loop, with k = j - 1 for the stage that is read: fraction = (k - 1) * (k + 4) / ((s - 1) * (s + 4)), "
        "and 6 / ((s - 1) * (s + 4)) for k = 1.",
        tried="the loop as it is on record then has the weighted mean 1/2, and is stork_2_corrected, of order 2 on "
        "constant steps; on irregular ones it is 1, since the slope is that of constant steps",
    ),
    CodeReport(
        "ipndm-v-bracket", "iPNDM with variable steps: a bracket of the second difference's weight is misplaced",
        "zju-pi/diff-sampler at 68d5ce42, solvers.py, ipndm_v_sampler",
        "The weights of order 3 are those of Adams-Bashforth on constant steps only; on others the order is 2. Those "
        "of order 4 have the bracket too, 11/24 where constant steps ask for 9/24, and a wrong ratio of steps in the "
        "last weight: order 3 on constant steps, and none on irregular ones.",
        'import diffnum as dn\nfor name in ("ipndm_v_3", "lms_3", "ipndm_v_4", "lms_4"):\n'
        '    study = dn.convergence_study(name, grids=("irregular",), variants=("formula",))\n'
        "    print(name, study.order)",
        "The order on irregular steps, of the code and of Adams-Bashforth.",
        "Take the weights of Adams-Bashforth on the steps at hand; ours are `diffnum derive lms_3 --code python` and "
        "`diffnum derive lms_4 --code python`.",
        "none was found among the issues of the repository; copies are in ComfyUI and in stable-diffusion.cpp#344",
        tried="the orders are those of lms_3 and lms_4 above",
    ),
    CodeReport(
        "unipc-vary", "UniPC, variant vary_coeff: the corrector adds the new difference once, with a stale loop index",
        "wl-zhao/UniPC at cf9de85b, uni_pc.py, multistep_uni_pc_vary_update",
        "The formula has the difference in every term of the sum, and the code after the loop, so that the order falls "
        "below that of the predictor.",
        'import diffnum as dn\nfor name in ("unipc_3_vary", "unipc_3_vary_fixed"):\n'
        '    study = dn.convergence_study(name, grids=("irregular",), variants=("formula",))\n'
        "    print(name, study.order)",
        "The order on irregular steps, as shipped and with the sum.",
        "Move the addition of D1_t into the loop over its weights.",
        "wl-zhao/UniPC#10 (2023-08-22)",
        tried="the order is that of unipc_3_vary_fixed above",
    ),
    CodeReport(
        "dpm-solver-3m", "The multistep update of order 3 has order 2",
        "LuChengTHU/dpm-solver at 52bc3fbc, dpm_solver_pytorch.py, multistep_dpm_solver_third_update",
        "D2 is the second divided difference, and is multiplied by the weight of a second derivative, which is twice "
        "it; so it is for noise and for data prediction. The single-step update of type 'taylor' of the same file has "
        "the factor 2. diffusers, k-diffusion and the solver that GAS (3145tttt/GAS, unbound_update) starts from "
        "follow the line.",
        "import diffnum as dn\n"
        'for name in ("dpmpp_3m", "dpmpp_3m_corrected", "dpm_solver_3m", "dpm_solver_3m_corrected"):\n'
        '    study = dn.convergence_study(name, grids=("uniform",), variants=("formula",))\n'
        "    print(name, study.order)",
        "The order on constant steps, as shipped and with the factor, for data and for noise prediction.",
        "-        D2 = (1. / (r0 + r1)) * (D1_0 - D1_1)\n+        D2 = (2. / (r0 + r1)) * (D1_0 - D1_1)",
        "none was found among the issues of the repository",
        tried="the orders are those of the corrected names above; in the copy of diffusers the line itself was "
        "changed, and the order is 3",
    ),
    CodeReport(
        "deis-quadrature", "tAB-DEIS: left Riemann sums leave order 1",
        "qsh-zh/deis at a30709f4, th_deis/multistep.py, get_ab_eps_coef",
        "The integrals of the weights are sums over 10000 cells with the value at the beginning of each. Their error "
        "is in proportion to the square of the step, with a small constant, so that the order of every multistep "
        "method is 1 in the end. diff-sampler (zju-pi/diff-sampler at 68d5ce42, solver_utils.py, get_deis_coeff_list) "
        "sums over 10000 points with both ends, each with the weight 1/10000 of the interval, which is of order 1 too.",
        "import numpy as np\n"
        "import diffnum as dn\n"
        "vp, law = dn.schedules.VPLinear(), dn.problems.three_peaks()\n"
        "x = np.random.default_rng(0).standard_normal((64, law.dim))\n"
        "for steps in (20, 40, 80):\n"
        "    grid = dn.grids.uniform_time(vp, steps, t_end=1e-3)\n"
        '    ends = [dn.solve(dn.plan(name, vp, grid), law.denoiser(vp, "noise"), x)\n'
        '            for name in ("deis_tab2_official", "deis_tab2")]\n'
        '    print(steps, f"{np.abs(ends[0] - ends[1]).max():.1e}")',
        "The distance of the samples from those with exact weights, which halves when the steps do.",
        "Sum values at the middle of the cells, or take Gauss's points: the integrands are smooth.",
    ),
    CodeReport(
        "res-3s-gamma", "RES-3 singlestep: gamma has a cube for a square",
        "ClownsharkBatwing/RES4LYF at 88937eab, beta/phi_functions.py, calculate_gamma",
        "The stiff conditions of order 3 ask for (3 c3^2 - 2 c3) / (c2 (2 - 3 c2)). The two agree at c3 = 1, the "
        "default of res_3s; at other nodes the order is 2.",
        "import diffnum as dn\n"
        'for name in ("res_3s_c1/2_3/4_as_shipped", "res_3s_c1/2_3/4"):\n'
        '    study = dn.convergence_study(name, grids=("uniform",), variants=("formula",))\n'
        "    print(name, study.order)",
        "The order with c2 = 1/2 and c3 = 3/4, with the cube and with the square.",
        "-    return (3*(c3**3) - 2*c3) / (c2*(2 - 3*c2))\n+    return (3*(c3**2) - 2*c3) / (c2*(2 - 3*c2))",
        tried="the order is 3, as above",
    ),
    CodeReport(
        "gas-corrector", "GAS: the corrector of its S4S baseline starts from the predicted state",
        "3145tttt/GAS at f090ede4, src/gas/generalized_solver.py, not_theory_update (s4s_update in later commits)",
        "After the predictor x_t is multiplied by a_ii = sigma' / sigma once more, and the weighted evaluations are "
        "added to that. A corrector starts from the state before the step. The weights of evaluations are learned, but "
        "none of them scales the state, so that its noise falls by the square of what its level says.",
        "import math\n"
        "ratio = math.exp(-1 / 10)  # sigma' / sigma in each of ten steps; the data are 0\n"
        "shipped = meant = 1.0\n"
        "for _ in range(10):\n"
        "    predicted = ratio * shipped\n"
        "    shipped, meant = ratio * predicted, ratio * meant\n"
        'print(f"{shipped:.4f} {meant:.4f} {math.exp(-1):.4f}")',
        "The noise that is left, from the predicted state and from that before the step; and what should be left.",
        "-        x_t = a_ii * x_t\n+        x_t = a_ii * x",
        tried="in the loop as it is on record here, with the weights of DPM-Solver++(2M) in both places, the change "
        "makes it that method, of order 2; as it is, it does not converge",
    ),
    CodeReport(
        "flowturbo-keyword", "FlowTurbo: steps of kind 'P' stop with a TypeError",
        "shiml20/FlowTurbo at 361b16ba, transport/integrators.py, ode.sample",
        "one_step_pseudo_corrector is called with begin=1, which it does not take; so every run with the default steps "
        "stops. And linspace(t0, t1, num_steps) makes num_steps - 1 intervals.",
        "import numpy as np\n"
        "def one_step_pseudo_corrector(i, xi, model, d_i_cache=None):\n"
        "    return xi  # the signature of the code\n"
        "try:\n"
        "    one_step_pseudo_corrector(0, 0.0, None, None, begin=1)\n"
        "except TypeError as error:\n"
        "    print(error)\n"
        "print(len(np.diff(np.linspace(0, 1, 8))))",
        "What the call raises; and the intervals of num_steps = 8.",
        "Leave begin=1 out, and make num_steps + 1 times.",
    ),
    CodeReport(
        "prodiff-label", "ProDiff: the student is told a label one step below the noise of its input",
        "Rongjiehuang/ProDiff at 1d199bc5, modules/ProDiff/model/ProDiff.py, forward and p_sample",
        "x_t has the noise of t, and the student is called with t - time_scale. Its target is made for a step from t "
        "to t - time_scale, while p_sample with the label i steps by the posterior from i to i - 1 in the table of the "
        "teacher. So neither the label nor the step is that of the distillation.",
        "scale, steps = 2, 2\n"
        "for label in reversed(range(0, scale * steps, scale)):\n"
        "    told, level = label, label + scale  # in training: denoise_fn(x_t, t - time_scale) with t = level\n"
        '    print(f"input {level}, told {told}; target {level} -> {level - scale}, sampled {told} -> {told - 1}")',
        "Levels in units of the teacher's table, for two steps of a student of a teacher with four.",
        "Call the student with t, and take the DDIM step from t to t - time_scale, of which the target is the answer "
        "(p_sample_ddim has it).",
        "Rongjiehuang/ProDiff#8 (open; answered that the two have different time scales)",
    ),
)  # fmt: skip
"""Reports that are ready."""
