"""Strong and weak orders: as recorded for every method, and wrong methods are found out."""

from dataclasses import replace

import numpy as np
import pytest

import diffnum as dn
from diffnum.coefficients.catalogue import method as find
from diffnum.convergence.stochastic import law_study, monte_carlo_study, strong_study, weak_study
from diffnum.tableau import Step, Vector

NAMES = list(dn.methods("stochastic"))
APPROACHING = [name for name in NAMES if find(name).noise.approaches]


def with_noise_scaled(name, factor):
    """Method whose noise at the end of a step is scaled by ``factor(step length)``."""
    method = find(name)

    def rule(window, order):
        step = method.rule(window, order)
        x = Vector({k: w * factor(window.step) if k[0] == "z" else w for k, w in step.x.items()})
        return Step(step.stages, x, step.memory)

    return replace(method, rule=rule)


@pytest.mark.parametrize("name", APPROACHING)
def test_every_method_has_its_strong_order(name):
    strong_study(name, grids=("irregular",)).assert_order(1)


@pytest.mark.parametrize(("name", "study"), [*((n, weak_study) for n in APPROACHING), *((n, law_study) for n in NAMES)])
def test_every_method_has_its_orders_given_the_start_and_in_law(name, study):
    measured = study(name, grids=("irregular",))
    assert measured.order is not None, str(measured)
    # order 3 on Gaussian data at tau = 1 for the corrector on two nodes; no more than order 2 at other levels
    assert measured.matches or (name, measured.order) == ("sa_solver_2_2_exact", 3.0), str(measured)


def test_the_weak_order_of_the_two_node_corrector_is_two_in_general():
    weak_study("sa_solver_2_2_exact_tau0.5", grids=("irregular",)).assert_order(2)


def test_at_unit_noise_the_conditional_mean_is_exact():
    # the data prediction is a martingale along the time reversal
    series = {s.quantity: s for s in weak_study("sde_dpmpp_2m", grids=("irregular",)).series}
    assert series["conditional mean"].estimate.status == "exact"
    other = {s.quantity: s for s in weak_study("sde_dpmpp_2m_tau0.5", grids=("irregular",)).series}
    assert other["conditional mean"].order == 2


@pytest.mark.parametrize("study", [strong_study, weak_study])
def test_one_percent_of_wrong_variance_destroys_convergence(study):
    wrong = with_noise_scaled("sde_dpmpp_2m", lambda _: 1.005)
    measured = study(wrong, grids=("uniform",))
    assert measured.order != measured.recorded
    with pytest.raises(AssertionError, match="does not show"):
        measured.assert_order(measured.recorded)


def test_a_variance_wrong_by_a_power_of_the_step_costs_weak_order():
    # Euler-Maruyama's 2 h instead of 1 - exp(-2 h): the defect is of first order
    wrong = with_noise_scaled("sde_dpmpp_2m", lambda h: (2 * h / -np.expm1(-2 * h)) ** 0.5)
    weak_study(wrong, grids=("uniform",)).assert_order(1)


@pytest.mark.parametrize("name", ["seeds_2", "sde_dpmpp_2m_tau0.5", "ddim_eta0.5"])
def test_the_distance_without_sampling_agrees_with_sampled_paths(name):
    rotated = np.array([[1.0, 0.6], [0.6, 2.0]])
    options = {"grids": ("irregular",), "steps": (8, 16, 32, 64), "problem": dn.problems.Gaussian([0.5, -1.0], rotated)}
    exact, sampled = strong_study(name, **options), strong_study(name, points=1500, **options)
    levels = slice(0, 4)
    np.testing.assert_allclose(
        sampled.series[0].estimate.errors[levels], exact.series[0].estimate.errors[levels], rtol=0.08
    )


def test_independent_draws_are_no_shared_path():
    # the negative control of the path: noise that knows nothing of it leaves an error of order zero
    from diffnum.convergence import stochastic as module
    from diffnum.solver.noise import NestedNoise

    class Unrelated(NestedNoise):
        def normal(self, a, b, rate=0.0):  # noqa: ARG002
            return np.random.default_rng([round(1e6 * (a + 5)), round(1e6 * (b - a))]).standard_normal(self.shape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "NestedNoise", Unrelated)
        study = strong_study("sde_dpmpp_1", points=200, grids=("uniform",))
    assert study.order != 1


@pytest.mark.slow
def test_a_mixture_shows_the_same_strong_order():
    study = strong_study("sde_dpmpp_1", problem=dn.problems.three_peaks(), grids=("uniform",), steps=(8, 16, 32, 64))
    errors = study.series[0].estimate.errors
    assert 0.8 < np.log2(errors[0] / errors[-1]) / 3 < 1.2


@pytest.mark.slow
def test_monte_carlo_finds_first_order_on_a_mixture():
    study = monte_carlo_study("sde_dpmpp_1", points=2**14)
    assert all(s.resolved for s in study.series)
    study.assert_order(1)


@pytest.mark.slow
def test_too_much_noise_decides_nothing():
    study = monte_carlo_study("sde_dpmpp_2m", points=2**11)
    assert study.order is None
    assert "Monte-Carlo error" in str(study)


def test_deterministic_methods_are_referred_elsewhere():
    with pytest.raises(ValueError, match="convergence_study"):
        strong_study(dn.method("ddim"))


@pytest.mark.parametrize("study", [strong_study, weak_study, monte_carlo_study])
def test_what_approaches_no_equation_has_an_order_in_law_only(study):
    with pytest.raises(ValueError, match=r"approaches no equation.*measure='law'"):
        study("cps_0.5")


# -- one study ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("measure", "order"), [("strong", 1), ("weak", 1), ("law", 2)])
def test_one_study_measures_every_kind_of_order_and_returns_one_type(measure, order):
    study = dn.convergence_study("dpm_2_ancestral", measure=measure, grids=("uniform",))
    study.assert_order(order)
    assert type(study) is type(dn.convergence_study("ddim", grids=("uniform",), measure="global"))
    assert study.matches
    assert study.measure == study.kind == measure
    assert {s.measure for s in study.series} == {measure}
    assert study.to_dict()["order"] == order
    with pytest.raises(AssertionError, match=f"does not show .*{order + 1}"):
        study.assert_order(order + 1)


def test_the_old_names_are_the_same_studies():
    old = weak_study("sde_dpmpp_2m", grids=("uniform",))
    new = dn.convergence_study("sde_dpmpp_2m", measure="weak", grids=("uniform",))
    assert str(old) == str(new)


def test_on_a_mixture_in_1d_the_law_is_measured_without_sampling():
    study = dn.convergence_study(
        "sde_dpmpp_1", dn.problems.three_peaks(), measure="law", grids=("uniform",), steps=(4, 8, 16, 32)
    )
    assert [s.quantity for s in study.series] == ["E[x^2]", "E[cos x]"]
    assert all(s.estimate.errors[-1] < s.estimate.errors[0] for s in study.series)


def test_a_study_with_noise_is_drawn():
    ax = dn.convergence_study("sde_dpmpp_2m", measure="weak", grids=("uniform",)).plot()
    assert "conditional variance" in ax.get_title(loc="left")


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("sde_dpmpp_2m", {}, "pass measure='strong', 'weak' or 'law'"),
        ("sde_dpmpp_2m", {"measure": "global"}, "draws noise"),
        ("sde_dpmpp_2m", {"measure": "weak", "variants": ("formula",)}, "as shipped"),
        ("ddim", {"measure": "strong"}, "deterministic"),
        ("ddim", {"measure": "worst"}, "is unknown"),
        ("ddim", {"measures": ("locals",)}, "is unknown"),
        ("ddim", {"measure": "local", "measures": ("global",)}, "give one of them"),
        ("sde_dpmpp_2m_given", {"measure": "weak"}, "takes tau from its caller"),
        ("sde_dpmpp_3m", {"measure": "law", "problem": dn.problems.three_peaks()}, "measure='weak'"),
    ],
)
def test_a_measure_that_a_method_has_not_is_refused_with_those_that_it_has(name, options, match):
    with pytest.raises(ValueError, match=match):
        dn.convergence_study(name, **options)


def test_the_order_of_a_one_step_defect_is_one_below_its_rate():
    study = dn.convergence_study("dpmpp_2m", measure="local", grids=("uniform",))
    assert study.order == 2
    study.assert_order(2)
    with pytest.raises(AssertionError, match="REJECTED"):
        study.assert_order(3)
