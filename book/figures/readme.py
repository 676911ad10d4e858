"""Draw the picture of the README: ``python book/figures/readme.py book/static/readme.png``."""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

import diffnum as dn

mpl.use("Agg")
import matplotlib.pyplot as plt

METHODS = {
    "ddim": ("DDIM", "#4c566a"),
    "dpmpp_2m": ("DPM-Solver++(2M)", "#0072b2"),
    "dpmpp_3m": ("3M as shipped", "#d55e00"),
    "dpmpp_3m_corrected": ("3M corrected", "#009e73"),
    "unipc_3_bh2": ("UniPC-3", "#aa3377"),
}
STEPS = (12, 24, 48, 96, 192, 384)


def draw_flow(ax: plt.Axes, problem: dn.problems.Mixture1D, schedule: dn.schedules.VPLinear) -> None:
    """Marginal density over the half-log-SNR, exact trajectories, and six steps of two samplers."""
    lam = np.linspace(-2.5, 3.0, 240)
    grid = np.linspace(-2.6, 2.6, 400)
    density = np.stack(
        [np.exp(problem.at(schedule, float(schedule.time(float(v)))).log_prob(grid[:, None])) for v in lam], axis=1
    )
    ax.imshow(
        (density / density.max(axis=0)) ** 0.6,
        extent=(lam[0], lam[-1], grid[0], grid[-1]),
        origin="lower",
        aspect="auto",
        cmap="Greys",
        vmax=1.6,
    )
    start = np.array([[-1.7], [-0.75], [-0.1], [0.45], [1.5]])
    times = [float(schedule.time(float(v))) for v in lam]
    exact = np.stack([problem.flow(start, schedule, times[0], t)[:, 0] for t in times])
    ax.plot(lam, exact, color="black", lw=1.2)
    for name in ("ddim", "dpmpp_3m_corrected"):
        nodes = dn.grids.from_half_log_snr(schedule, np.linspace(lam[0], lam[-1], 7))
        run = dn.solve(dn.plan(name, schedule, nodes), problem.denoiser(schedule), start, return_trajectory=True)
        title, colour = METHODS[name]
        lines = ax.plot(nodes.lam, np.stack(run.x)[:, :, 0], "o--", ms=4, lw=1.2, color=colour)
        lines[0].set_label(f"{title}, 6 evaluations")
    ax.set(xlabel="half-log-SNR", ylabel="state", title="Exact probability flow of a mixture (black)")
    ax.legend(loc="upper left", fontsize=8, framealpha=0.9)


def draw_orders(ax: plt.Axes, problem: dn.problems.Mixture1D, schedule: dn.schedules.VPLinear) -> None:
    """Error against steps from exact starts, with the order that each method turns out to have."""
    for name, (title, colour) in METHODS.items():
        study = dn.convergence_study(
            name,
            problem,
            schedule=schedule,
            grids=("smooth",),
            variants=("formula",),
            measures=("global",),
            steps=STEPS,
        )
        estimate = study.series[0].estimate
        ax.loglog(estimate.steps, estimate.errors, "o-", ms=4, color=colour)
        label = f"{title}: order {study.order:g}" if study.order else title
        ax.annotate(label, (estimate.steps[-1], estimate.errors[-1]), xytext=(6, 0), textcoords="offset points",
                    color=colour, va="center", fontsize=9)  # fmt: skip
    ax.set(xlabel="steps", ylabel="root-mean-square error", title="Measured order of the update formulas")
    ax.set_xlim(10, 384 * 9)
    ax.set_xticks(STEPS, [str(n) for n in STEPS])
    ax.minorticks_off()
    ax.grid(alpha=0.25)


def main(path: str) -> None:
    """Draw and save."""
    problem, schedule = dn.problems.three_peaks(), dn.schedules.VPLinear()
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), dpi=150, layout="constrained")
    draw_flow(left, problem, schedule)
    draw_orders(right, problem, schedule)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "book/static/readme.png")
