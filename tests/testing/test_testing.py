"""The tools for tests: strategies make well-posed objects, fixtures arrive, failures say what is likely wrong."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum.testing as tools
from diffnum.grids import Grid
from diffnum.problems import GaussianMixture
from diffnum.schedules import VPLinear
from diffnum.types import Schedule

ROOT = Path(__file__).resolve().parents[2]


@given(tools.mixtures())
def test_mixtures_are_normalised_and_sample(mixture: GaussianMixture) -> None:
    np.testing.assert_allclose(mixture.weights.sum(), 1.0, rtol=1e-12)
    assert np.asarray(mixture.sample(3, 0)).shape == (3, mixture.dim)


@given(tools.mixtures(dim=st.just(2), components=st.just(3)))
def test_mixtures_take_a_dimension_and_a_number(mixture: GaussianMixture) -> None:
    assert mixture.means.shape == (3, 2)


@given(tools.schedules())
def test_schedules_invert(schedule: Schedule) -> None:
    lam = schedule.half_log_snr(schedule.time(0.25))
    np.testing.assert_allclose(lam, 0.25, rtol=1e-9)


@given(tools.grids(ratio=2.0))
def test_grids_rise_by_steps_of_bounded_ratio(grid: Grid) -> None:
    steps = np.diff(grid.lam)
    assert np.all(steps > 0)
    assert steps.max() <= 2.0 * steps.min() * (1 + 1e-9)


@given(st.data())
def test_a_ratio_below_one_is_refused(data: st.DataObject) -> None:
    with pytest.raises(ValueError, match=r"ratio=0.5 is below 1"):
        data.draw(tools.grids(ratio=0.5))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tools.nothing


def ddim(model: Any, x: Any, nodes: Any) -> Any:
    s = model.schedule
    for a, b in zip(nodes, nodes[1:], strict=False):
        x = s.alpha(s.time(b)) / s.alpha(s.time(a)) * x - s.sigma(s.time(b)) * np.expm1(b - a) * model.noise(x, a)
    return x


def test_a_right_order_passes_and_gives_the_study() -> None:
    assert tools.assert_convergence_order(ddim, 1).order == 1.0


def test_a_wrong_order_fails_and_says_where() -> None:
    with pytest.raises(AssertionError, match="look at the formula") as caught:
        tools.assert_convergence_order(ddim, 2, grids=("uniform",))
    assert "order 2 REJECTED" in str(caught.value)


def test_an_order_that_is_too_low_fails_too() -> None:
    with pytest.raises(AssertionError, match="order 1 REJECTED"):
        tools.assert_convergence_order("dpmpp_2m", 1, grids=("uniform",))


def test_foreign_conventions_are_understood() -> None:
    pytest.importorskip("torch")

    def euler(model: Any, x: Any, sigmas: Any) -> Any:
        for i in range(len(sigmas) - 1):
            x = x + (sigmas[i + 1] / sigmas[i] - 1) * (x - model(x, sigmas[i] * x.new_ones(len(x))))
        return x

    tools.assert_convergence_order(euler, 1, grids=("uniform",))


def test_problems_are_exact_ones() -> None:
    assert {"three-peaks", "gaussian"} <= set(tools.exact_problems())


def test_the_plugin_gives_its_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import numpy as np, pytest\n"
        "def euler(model, x, nodes):\n"
        "    s = model.schedule\n"
        "    for a, b in zip(nodes, nodes[1:]):\n"
        "        ratio = s.alpha(s.time(b)) / s.alpha(s.time(a))\n"
        "        x = ratio * x - s.sigma(s.time(b)) * np.expm1(b - a) * model.noise(x, a)\n"
        "    return x\n"
        "def test_it(exact_problems, study_grids, assert_convergence_order):\n"
        "    assert 'three-peaks' in exact_problems and len(study_grids['uniform'].t) == 17\n"
        "    assert_convergence_order(euler, 1, grids=('uniform',))\n"
        "    with pytest.raises(AssertionError, match='euler, claimed order 2: look at the formula'):\n"
        "        assert_convergence_order(euler, 2, grids=('uniform',))\n"
    )
    installed = "diffnum" in {entry.name for entry in entry_points(group="pytest11")}
    plugin = [] if installed else ["-p", "diffnum.testing.plugin"]  # an installed package brings it along
    words = [sys.executable, "-m", "pytest", "-q", *plugin, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_plugin_alone_loads_nothing_heavy() -> None:
    code = "import diffnum.testing.plugin, sys; print(*{n.split('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "sympy", "matplotlib"} & set(done.stdout.split())


@given(tools.grids(schedule=VPLinear(), steps=st.just(5)))
def test_the_number_of_steps_can_be_chosen(grid: Grid) -> None:
    assert grid.n == 5


def test_a_convention_that_is_given_is_kept_whatever_the_parameters_are_called() -> None:
    def midpoint(model: Any, x: Any, ts: Any) -> Any:
        s = model.schedule
        for a, b in zip(ts, ts[1:], strict=False):
            rho = np.exp(-a)
            y, step = x / s.alpha(s.time(a)), np.exp(-b) - rho
            middle = -np.log(rho + step / 2)
            half = s.alpha(s.time(middle)) * (y + step / 2 * model.noise(x, a))
            x = s.alpha(s.time(b)) * (y + step * model.noise(half, middle))
        return x

    assert tools.assert_convergence_order(midpoint, 2, convention="nodes", grids=("uniform",)).order == 2.0


def test_without_torch_a_sampler_in_sigmas_gets_one_sentence() -> None:
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'torch': raise ModuleNotFoundError('no', name='torch')\n"
        "sys.meta_path.insert(0, Block)\n"
        "from diffnum.testing import assert_convergence_order\n"
        "def euler(model, x, sigmas): return x\n"
        "try: assert_convergence_order(euler, 1)\n"
        "except ModuleNotFoundError as error: print(error.name, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    said = "torch euler is called as samplers of 'k-diffusion' are, which get torch tensors, and torch is not"
    assert done.stdout.startswith(said)
