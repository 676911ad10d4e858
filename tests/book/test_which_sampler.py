"""What the chapter on the choice of a sampler says of libraries is what they are."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.coefficients.catalogue.hosts import HOST_NAMES
from diffnum.convergence.oracle import Oracle
from tests.book.test_tools import BOOK, load

which = load(BOOK / "figures/which_sampler.py")
RECORD = json.loads((BOOK / "results/which_sampler.json").read_text(encoding="utf-8"))["diffusers"]

# of diffusers and numpy, and of diffusers on a choice that is still there
pytestmark = [
    pytest.mark.needs("diffusers"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`algorithm_types=dpmsolver` is deprecated:FutureWarning"),
]


def test_the_lines_on_record_are_those_that_the_installed_library_takes() -> None:
    assert which.lines() == RECORD
    assert {"dpmpp_2m", "unipc_3_bh2"} <= set(RECORD)


PASTED = [(method, grid, line) for method, grids in RECORD.items() for grid, line in grids.items()]
METHODS_OF_RUNS = which.METHODS


def made(line: str) -> Any:
    """Scheduler of a line."""
    import diffusers

    kind = line.partition("(")[0]
    return eval(line, {kind: getattr(diffusers, kind)})


ON_OUR_NODES = {
    "use_exponential_sigmas": False, "use_karras_sigmas": False, "final_sigmas_type": "sigma_min",
    "lower_order_final": False,
}  # fmt: skip


EVEN, UNEVEN = np.linspace(-2.0, 1.6, 7), np.cumsum([-2.0, 0.4, 0.9, 0.5, 0.7, 0.3, 0.8])


def on_our_nodes(line: str) -> Any:
    """The scheduler of a line as a sampler on nodes that it is given."""
    from diffnum.foreign.adapters import adapt

    scheduler = made(line)
    taken = {name: value for name, value in ON_OUR_NODES.items() if name in scheduler.config}
    return adapt(type(scheduler).from_config(scheduler.config, **taken))


def read_back(line: str, method: str) -> Any:
    """Weights that the scheduler of a line uses on nodes of ours, beside those of a method."""
    return dn.probe(on_our_nodes(line), nodes=UNEVEN).compare(method, tolerance=1e-9)


def gap_of_pairs(line: str, method: str, nodes: Any) -> float:
    """Distance of the ends where a scheduler makes a step of two evaluations out of two intervals."""
    schedule = dn.schedules.VPLinear()
    oracle = Oracle(dn.problems.three_peaks(), schedule, (-2.0, 1.7))
    x = np.linspace(-1.5, 1.5, 7)[:, None]
    plan = dn.plan(method, schedule, dn.grids.from_half_log_snr(schedule, nodes[::2]))
    return float(np.abs(on_our_nodes(line)(oracle, x, nodes) - dn.solve(plan, oracle.denoiser("data"), x)).max())


@pytest.mark.parametrize("method", [name for name in RECORD if name != "dpmpp_2s"])
def test_a_line_computes_the_method_that_it_is_pasted_for_weight_by_weight(method: str) -> None:
    for line in set(RECORD[method].values()):
        found = read_back(line, method)
        assert found.ok, (line, str(found))


def test_a_line_whose_inner_node_is_one_of_the_grid_is_pasted_where_that_is_half_way() -> None:
    ((grid, line),) = RECORD["dpmpp_2s"].items()
    assert grid == "uniform_half_log_snr"
    assert gap_of_pairs(line, "dpmpp_2s", EVEN) < 1e-9
    assert gap_of_pairs(line, "dpmpp_2s", UNEVEN) > 1e-4


def test_a_line_at_another_order_is_seen() -> None:
    """The negative control: the default order of the class, and LMS whose order no constructor takes."""
    line = RECORD["unipc_3_bh2"]["karras"]
    assert not read_back(line.replace("solver_order=3, ", ""), "unipc_3_bh2").ok
    assert not read_back("LMSDiscreteScheduler()", "lms_3").ok
    assert read_back("LMSDiscreteScheduler()", "lms_4").ok


@pytest.mark.parametrize(("method", "grid", "line"), PASTED, ids=[f"{m}-{g}" for m, g, _ in PASTED])
def test_a_line_carries_the_grid_that_was_ranked_and_ends_at_no_noise(method: str, grid: str, line: str) -> None:
    scheduler = made(line)
    scheduler.set_timesteps(12)
    *inner, last = np.unique(np.asarray(scheduler.sigmas, dtype=float))[::-1]
    assert last == 0.0
    levels = np.array(inner)
    clock = np.log(levels) if grid == "uniform_half_log_snr" else levels ** (1 / 7)
    steps = np.diff(clock)
    np.testing.assert_allclose(steps, steps.mean(), rtol=2e-3)


@pytest.mark.parametrize("method", METHODS_OF_RUNS)
def test_a_name_in_a_menu_is_of_the_method_at_its_order(method: str) -> None:
    """One name of ComfyUI is one formula: that which its function was found to have."""
    name = dn.method(method).aliases.get("ComfyUI", "")
    if ("ComfyUI", name) in HOST_NAMES:
        assert HOST_NAMES["ComfyUI", name].record == method
    for other in METHODS_OF_RUNS:
        if other != method and name:
            assert dn.method(other).aliases.get("ComfyUI") != name
    if "sample_lms" in dn.method(method).aliases.get("k-diffusion", ""):
        assert dn.method(method).aliases["k-diffusion"] == f"sample_lms(order={dn.method(method).order})"


def test_a_line_that_the_library_refuses_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers

    def refuse(*_: object, use_karras_sigmas: bool = False, use_exponential_sigmas: bool = False, **__: object) -> None:
        if use_karras_sigmas:
            msg = "not these"
            raise ValueError(msg)
        assert use_exponential_sigmas

    monkeypatch.setattr(diffusers, "DPMSolverMultistepScheduler", refuse)
    assert set(which.lines()["dpmpp_2m"]) == {"uniform_half_log_snr"}
