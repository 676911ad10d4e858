"""Hold samplers against converged runs on exact problems and networks: book/results/which_sampler.json.

``python book/figures/which_sampler.py`` takes half an hour on two cores, most of it for the colour network; ``--quick``
measures the exact problems alone, in seconds; ``--lines`` renews what a user of diffusers pastes, ``--flows`` the
guided flows (in a minute), and nothing else.
Every method runs on every grid at every budget of evaluations, started as it is shipped; the error is the root mean
square distance to the converged run, relative to the spread of its ends.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import diffnum as dn
from diffnum.guidance import classifier_free
from diffnum.jobs.files import write_json
from diffnum.plans import plan_for

RESULTS = Path(__file__).resolve().parents[1] / "results/which_sampler.json"
METHODS = (
    "ddim", "dpmpp_2m", "dpmpp_3m", "dpmpp_3m_corrected", "unipc_2_bh2", "unipc_3_bh2", "eab_noise_2", "eab_noise_3",
    "lms_3", "plms_4", "ghvb_1.8", "ab_velocity_2", "dpmpp_2s", "dpm_solver_3", "edm_heun",
)  # fmt: skip
GRIDS = ("uniform_half_log_snr", "quadratic_time", "karras", "uniform_time")
BUDGETS = (5, 8, 12, 20, 40)


def shifted(schedule: Any, n: int, *, t_start: float, t_end: float, terminal: str) -> dn.Grid:  # noqa: ARG001
    """Times of pipelines of flows: equal steps before a shift by 3, as Stable Diffusion 3 has it."""
    ends = [t / (3.0 - 2.0 * t) for t in (t_start, t_end)]
    u = np.linspace(*ends, n + 1)
    return dn.grids.from_times(schedule, 3.0 * u / (1.0 + 2.0 * u))


OWN_GRIDS: dict[str, Callable[..., dn.Grid]] = {"shift_3": shifted}
"""Grids that are no spacing of :mod:`diffnum.grids`."""


@dataclass(frozen=True)
class Subject:
    """A model with states to start from, and how closely it is looked at."""

    name: str
    guidance: float
    model: Any
    x: Any
    grids: tuple[str, ...] = GRIDS
    budgets: tuple[int, ...] = BUDGETS
    fine: int = 200


def exact() -> Iterator[Subject]:
    """Problems with a closed form: smooth, narrow modes, and a mixture of classes at three scales."""
    schedule = dn.schedules.VPLinear()
    smooth = dn.problems.rotated_product(dim=4, seed=1)
    narrow = dn.GaussianMixture([0.3, 0.4, 0.3], [[-1.0, 0.4], [0.2, -0.8], [1.0, 0.7]], [0.002] * 3)
    means = np.array([[1.0, 0.6], [1.0, -0.6], [-1.0, 0.5], [-1.0, -0.5]])
    whole = dn.GaussianMixture([0.25] * 4, means, [0.04] * 4, labels=[0, 0, 1, 1])
    draw = np.random.default_rng(0)
    yield Subject("smooth mixture", 1.0, smooth.denoiser(schedule), draw.standard_normal((96, 4)), fine=600)
    yield Subject("narrow modes", 1.0, narrow.denoiser(schedule), draw.standard_normal((96, 2)), fine=600)
    own = whole.conditional(0).denoiser(schedule)
    for scale in (1.0, 4.0, 7.5):
        model = classifier_free(own, scale, unconditional=whole.denoiser(schedule))
        yield Subject("mixture of classes", scale, model, draw.standard_normal((96, 2)), fine=600)


def network(name: str, scales: tuple[float, ...], n: int, **options: Any) -> Iterator[Subject]:
    """A trained network from its own noise, at each scale of guidance."""
    from diffnum.models.runs.sampling import initial_noise

    model = dn.load(name)
    x = float(model.schedule.sigma(model.default_t_start)) * initial_noise(n, model.sample_shape, 0, dtype=model.dtype)
    classes = model.num_classes
    bound = model.conditioned([i % classes for i in range(n)]) if classes else model
    for scale in scales:
        guided = bound if scale == 1.0 else classifier_free(bound, scale)
        yield Subject(name, scale, guided, x, **options)


def networks() -> Iterator[Subject]:
    """The networks that ship or that ``make models`` brings."""
    yield from network("toy/digits", (1.0, 4.0, 7.5), 20)
    yield from network("toy/digits-flow", (1.0,), 20)
    yield from network("galaxies/hsc-32", (1.0,), 4)
    yield from network(
        "toy/emoji-32", (1.0, 4.0), 3, grids=("uniform_half_log_snr", "quadratic_time"), budgets=(5, 8, 12, 20), fine=80
    )


def flows() -> Iterator[Subject]:
    """Guided flows, as in pipelines of rectified flows: an exact mixture of classes, and the network of this kind."""
    schedule, grids = dn.schedules.FlowMatching(), (*GRIDS, "shift_3")
    means = np.array([[1.0, 0.6], [1.0, -0.6], [-1.0, 0.5], [-1.0, -0.5]])
    whole = dn.GaussianMixture([0.25] * 4, means, [0.04] * 4, labels=[0, 0, 1, 1])
    draw, own = np.random.default_rng(0), whole.conditional(0).denoiser(schedule)
    for scale in (4.0, 7.5):
        model = classifier_free(own, scale, unconditional=whole.denoiser(schedule))
        yield Subject("mixture of classes, flow", scale, model, draw.standard_normal((96, 2)), grids, fine=600)
    yield from network("toy/digits-flow", (4.0, 7.5), 20, grids=grids)


def flat(z: Any) -> np.ndarray:
    """State as float64 numpy array."""
    return np.asarray(z.detach().cpu() if hasattr(z, "detach") else z, dtype=np.float64)


def measured(subject: Subject) -> dict[str, Any]:
    """Errors of all methods on all grids at all budgets, and how well the reference is known."""
    ends = {"t_start": 0.99, "t_end": 5e-3} if isinstance(subject.x, np.ndarray) else {}

    def end(method: str, grid: str, start: str | None = None, **length: int) -> np.ndarray:
        plan = plan_for(subject.model, method, grid=OWN_GRIDS.get(grid, grid), start=start, **length, **ends)
        return flat(dn.solve(plan, subject.model, subject.x, check_finite=False))

    fine = {"grid": "uniform_half_log_snr", "start": "high_order"}
    converged = end("dpmpp_3m_corrected", steps=2 * subject.fine, **fine)
    size = float(converged.std())
    distance: Callable[[np.ndarray], float] = lambda z: float(np.sqrt(np.mean((z - converged) ** 2))) / size  # noqa: E731
    rows = []
    for method in METHODS:
        for grid in subject.grids:
            for nfe in subject.budgets:
                if dn.method(method).nfe(1) <= nfe:
                    rows.append(
                        {"method": method, "grid": grid, "nfe": nfe, "error": distance(end(method, grid, nfe=nfe))}
                    )
        print(f"{subject.name}, scale {subject.guidance}: {method} done", file=sys.stderr)
    return {
        "problem": subject.name,
        "guidance": subject.guidance,
        "samples": len(subject.x),
        "reference": distance(end("eab_noise_3", steps=subject.fine, **fine)),
        "rows": rows,
    }


FLAGS = {"uniform_half_log_snr": "use_exponential_sigmas", "karras": "use_karras_sigmas"}
"""Grid -> what schedulers of diffusers call it; they have no other grid of these."""

PAIRED = ("DPMSolverSinglestepScheduler",)
"""Schedulers whose inner nodes are nodes of the grid: half way, as ours are, where steps in half-log-SNR are equal."""


def lines() -> dict[str, dict[str, str]]:
    """Schedulers of the installed diffusers: method -> grid -> line, where there is one that the library takes.

    A method that the library makes by more than its constructor, such as an order that is an argument of ``step``, has
    none: pipelines pass no such argument.
    """
    import diffusers

    found: dict[str, dict[str, str]] = {}
    for method in METHODS:
        named = re.fullmatch(r"(\w+)(?:\(([^()]*)\))?", dn.method(method).aliases.get("diffusers", ""))
        kind, inside = named.groups(default="") if named else ("", "")
        known = inspect.signature(getattr(diffusers, kind)).parameters if hasattr(diffusers, kind) else ()
        for grid, flag in FLAGS.items():
            if flag in known and (kind not in PAIRED or grid == "uniform_half_log_snr"):
                line = f"{kind}({', '.join([inside] * bool(inside) + [f'{flag}=True'])})"
                with suppress(ValueError):  # DPM-Solver-3 ends at no noise there by default, and refuses to
                    eval(line, {kind: getattr(diffusers, kind)})
                    found.setdefault(method, {})[grid] = line
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the exact problems alone")
    parser.add_argument("--lines", action="store_true", help="the lines for diffusers alone, the errors as they are")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--flows", action="store_true", help="the guided flows alone")
    given = parser.parse_args()
    if given.flows:
        flowing = [measured(subject) for subject in flows()]
        write_json(given.out, {**json.loads(RESULTS.read_text(encoding="utf-8")), "flows": flowing})
        return
    if given.lines:
        write_json(given.out, {**json.loads(RESULTS.read_text(encoding="utf-8")), "diffusers": lines()})
        return
    subjects = list(exact()) if given.quick else [*exact(), *networks()]
    write_json(given.out, {
        "command": "python book/figures/which_sampler.py" + " --quick" * given.quick,
        "version": dn.__version__,
        "problems": [measured(subject) for subject in subjects],
        "flows": [measured(subject) for subject in ([] if given.quick else flows())],
        "diffusers": lines(),
    })  # fmt: skip


if __name__ == "__main__":
    main()
