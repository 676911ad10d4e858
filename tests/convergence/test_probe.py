"""The probe recovers weights: ours, hand-written ones, and defects planted in them."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffnum as dn
from diffnum.convergence.probe import Probe, probe
from diffnum.grids import from_half_log_snr
from diffnum.plans import Plan, plan
from diffnum.solver import solve

SCHEDULE = dn.schedules.VPLinear()
NODES = np.array([-2.0, -1.6, -0.9, -0.65, -0.1, 0.3, 1.0])


def levels(lam: float) -> tuple[float, float]:
    """Alpha and sigma of every variance-preserving schedule."""
    return math.sqrt(1 / (1 + math.exp(-2 * lam))), math.sqrt(1 / (1 + math.exp(2 * lam)))


def wrapped(numbers: Plan):
    """A plan as a black box."""

    def sampler(model, x, nodes):
        return solve(numbers, model.denoiser(numbers.prediction), x)

    return sampler


def planned(name: str, **options) -> Plan:
    return plan(name, SCHEDULE, from_half_log_snr(SCHEDULE, NODES), **options)


def cumulative(numbers: Plan) -> list[np.ndarray]:
    """Rows of a plan by its own tableaux, multiplied out: an independent road to what the probe reads off."""
    width = 1 + numbers.nfe
    vectors, rows, count = {"x": np.eye(width)[0]}, [], 0
    for step in numbers.steps:
        known = np.stack([vectors[name] for name in step.inputs])
        evaluations = np.zeros((step.nfe, width))
        for i in range(step.nfe):
            rows.append(step.U[i] @ known + step.A[i] @ evaluations)
            count += 1
            evaluations[i, count] = 1.0
        vectors = dict(zip(step.outputs, step.V @ known + step.B @ evaluations, strict=True))
    return [*rows, vectors["x"]]


# -- samplers written as others write them -------------------------------------------------------------


def ddim(model, x, nodes):
    for start, end in pairwise(nodes):
        (alpha, sigma), (alpha_next, sigma_next) = levels(start), levels(end)
        noise = model.noise(x, start)
        x = alpha_next * (x - sigma * noise) / alpha + sigma_next * noise
    return x


def dpmpp_2m(model, x, nodes, defect=1.0):
    """In the manner of k-diffusion: sigma and x/alpha are its variables."""
    x = x / levels(nodes[0])[0]
    old = None
    for i in range(len(nodes) - 1):
        t, t_next = nodes[i], nodes[i + 1]
        h = t_next - t
        denoised = model.data(x * levels(t)[0], t)
        if old is None:
            used = denoised
        else:
            r = (t - nodes[i - 1]) / h
            used = (1 + defect / (2 * r)) * denoised - defect / (2 * r) * old
        x = math.exp(-h) * x - math.expm1(-h) * used
        old = denoised
    return levels(nodes[-1])[0] * x


def heun(model, x, nodes, weight=0.5):
    x = x / levels(nodes[0])[0]
    for start, end in pairwise(nodes):
        sigma, sigma_next = math.exp(-start), math.exp(-end)
        slope = (x - model.data(x * levels(start)[0], start)) / sigma
        guess = x + (sigma_next - sigma) * slope
        slope_next = (guess - model.data(guess * levels(end)[0], end)) / sigma_next
        x = x + (sigma_next - sigma) * ((1 - weight) * slope + weight * slope_next)
    return levels(nodes[-1])[0] * x


# -- what it recovers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", dn.methods())
def test_the_numbers_of_every_catalogue_method_are_read_off_from_the_outside(name):
    numbers = planned(name)
    found = probe(wrapped(numbers), nodes=NODES)
    assert found.nfe == numbers.nfe
    for row, call in zip(cumulative(numbers), [*(c.row for c in found.calls), found.result], strict=True):
        np.testing.assert_allclose(call, row, rtol=0, atol=1e-13)
    comparison = found.compare(name)
    assert comparison.ok, str(comparison)
    assert comparison.worst < 1e-12
    assert found.findings == ()


@pytest.mark.parametrize("name", ["dpmpp_2m", "edm_heun", "dpm_solver_3", "unipc_3_bh2", "ghvb_2.8"])
def test_the_recovered_tableaux_run_and_do_what_the_sampler_does(name):
    model = dn.problems.three_peaks().denoiser(SCHEDULE, "noise")
    numbers, x = planned(name), np.array([[0.3], [-1.7]])
    recovered = probe(wrapped(numbers), nodes=NODES).plan
    np.testing.assert_allclose(solve(recovered, model, x), solve(numbers, model, x), rtol=1e-11)
    assert len(recovered) == len(numbers)


@pytest.mark.parametrize("prediction", ["data", "noise", "velocity", "score", "v"])
def test_a_folded_plan_is_recognised_whatever_it_asks_of_the_model(prediction):
    found = probe(wrapped(planned("dpmpp_2m", prediction=prediction)), nodes=NODES)
    assert found.compare("dpmpp_2m").worst < 1e-11
    assert not found.compare("eab_2").ok


def test_hand_written_samplers_are_recognised():
    assert probe(ddim, nodes=NODES).compare("ddim").worst < 1e-13
    assert probe(dpmpp_2m, nodes=NODES).compare("dpmpp_2m").worst < 1e-13
    found = probe(heun, nodes=NODES)
    assert found.nfe == 2 * (len(NODES) - 1)
    assert found.compare("edm_heun").worst < 1e-13


def test_weights_are_stated_in_the_normal_form_of_the_prediction():
    h, u = NODES[2] - NODES[1], (NODES[0] - NODES[1]) / (NODES[2] - NODES[1])
    row = probe(dpmpp_2m, nodes=NODES).weights(1)["x"]
    w0, w1 = dn.coefficients.dpmpp_2m(h, u)
    assert row == pytest.approx({"x": 1.0, "k1": w0, "m1": w1}, abs=1e-13)
    (w,) = dn.coefficients.ddim(h, "noise")
    assert probe(ddim, nodes=NODES).weights(-5)["x"] == pytest.approx({"x": 1.0, "k1": w}, abs=1e-13)


@given(steps=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6), defect=st.floats(0.5, 2.0))
@settings(max_examples=20)
def test_any_weight_on_any_nodes_is_recovered(steps, defect):
    nodes = np.concatenate([[-2.0], -2.0 + np.cumsum(steps)])
    found = probe(lambda model, x, nodes: dpmpp_2m(model, x, nodes, defect), nodes=nodes)
    for i in range(1, len(steps)):
        h = nodes[i + 1] - nodes[i]
        expected = defect * math.expm1(-h) * h / (2 * (nodes[i] - nodes[i - 1]))
        assert found.weights(i)["x"].get("m1", 0.0) == pytest.approx(expected, abs=1e-11)


def test_images_are_probed_like_vectors():
    def sampler(model, x, nodes):
        assert x.shape[:3] == (2, 3, 8)
        return dpmpp_2m(model, x, nodes)

    assert probe(sampler, nodes=NODES, shape=(2, 3, 8)).compare("dpmpp_2m").ok


def test_the_package_offers_it_by_name():
    found = dn.probe("eab_3")
    assert isinstance(found, Probe)
    assert found.compare("dpmpp_3m_corrected", start=None).differences  # their second steps differ: exact moments
    assert "step 2" in str(found)


# -- planted defects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ddim", "eab_4", "dpmpp_2m", "edm_heun", "dpm_solver_3", "unipc_3_bh2", "ghvb_2.8"])
@pytest.mark.parametrize("position", [2, 4])
def test_one_weight_off_by_one_percent_is_found_and_located(name, position):
    numbers = planned(name)
    for matrix in ("U", "A", "V", "B"):
        step = numbers.steps[position]
        rows = 1 if matrix in "VB" else step.nfe  # histories are handed on unchanged: their rows are no weights
        for index in zip(*np.nonzero(getattr(step, matrix)[:rows]), strict=True):
            changed = getattr(step, matrix).copy()
            changed[index] *= 1.01
            steps = list(numbers.steps)
            steps[position] = replace(step, **{matrix: changed})
            found = probe(wrapped(replace(numbers, steps=tuple(steps))), nodes=NODES).compare(name)
            assert not found.ok, f"{matrix}{index} of step {position}"
            first = found.differences[0]
            # from outside, a wrong input of a step is a wrong output of the step before, and a corrector's result
            # is seen by the model one step later
            early, late = matrix == "U" and index[0] == 0, name.startswith("unipc")
            assert position - early <= first.step <= position + late
            if name == "dpmpp_2m" and matrix == "B":
                assert (first.row, first.weight) == ("x", "k1")
                assert first.found / first.expected == pytest.approx(1.01)
                assert len(found.differences) == 1


def test_the_sentence_names_step_row_weight_and_size():
    comparison = probe(lambda m, x, n: dpmpp_2m(m, x, n, 1.01), nodes=NODES).compare("dpmpp_2m")
    assert not comparison.ok
    assert "step 1, row x: the weight of k1 is" in str(comparison)
    assert "9 more weights differ" in str(comparison)
    assert comparison.differences[1].weight == "m1"
    assert comparison.differences[1].found / comparison.differences[1].expected == pytest.approx(1.01)
    off = probe(lambda m, x, n: heun(m, x, n, 0.505), nodes=NODES).compare("edm_heun")
    assert {d.row for d in off.differences} == {"x"}


def test_samplers_with_other_evaluations_are_not_compared_weight_by_weight():
    found = probe(heun, nodes=NODES).compare("dpmpp_2m")
    assert found.worst == math.inf
    assert "12 evaluations on 6 steps, not 6" in str(found)

    def late(model, x, nodes):
        return ddim(model, x, nodes + np.array([0, 0, 0.01, 0, 0, 0, 0]))

    assert "evaluation 3 is at half-log-SNR" in str(probe(late, nodes=NODES).compare("ddim"))


# -- findings ------------------------------------------------------------------------------------------


def test_a_sampler_that_ignores_the_model_is_told_so():
    found = probe(lambda _model, x, _nodes: 0.5 * x, nodes=NODES)
    assert (found.nfe, found.ignores_model) == (0, True)
    assert found.findings == ("the result does not depend on the model",)
    assert found.weights(0)["x"]["x"] == pytest.approx(0.5 * levels(NODES[0])[1] / levels(NODES[-1])[1])


def test_wasted_duplicated_and_outlying_evaluations_are_listed():
    def sampler(model, x, nodes):
        model.data(x, nodes[0])
        x = dpmpp_2m(model, x, nodes)
        model.data(x, nodes[-1] + 0.5)
        return x

    found = probe(sampler, nodes=NODES)
    assert found.wasted == (1, 8)
    assert found.duplicated == ((1, 2),)
    assert "outside the nodes: 8" in found.findings[-1]
    assert probe(dpmpp_2m, nodes=NODES).findings == ()


def test_writing_into_the_input_is_noticed():
    def sampler(model, x, nodes):
        x *= 0.5
        return ddim(model, x, nodes)

    assert "writes into its input" in probe(sampler, nodes=NODES).findings[0]


def test_single_precision_is_noticed_and_does_not_pass_for_a_defect_of_linearity():
    def sampler(model, x, nodes):
        return ddim(model, x, nodes).astype(np.float32)

    found = probe(sampler, nodes=NODES)
    assert "low precision" in found.findings[0]
    assert found.compare("ddim", tolerance=1e-5).ok
    assert not found.compare("ddim").ok


# -- refusals ------------------------------------------------------------------------------------------


def clipped(model, x, nodes):
    class Clipped:
        def data(self, x, lam):
            return np.clip(model.data(x, lam), -1, 1)

    return dpmpp_2m(Clipped(), x, nodes)


def noisy(model, x, nodes):
    return ddim(model, x, nodes) + np.random.default_rng().standard_normal(x.shape)


def shifted(model, x, nodes):
    return ddim(model, x, nodes) + 0.25


def randomly_weighted(model, x, nodes):
    return ddim(model, x, nodes) * np.random.default_rng().random()


def adaptive(model, x, nodes):
    middle = np.abs(x).max() > 0.5
    return ddim(model, x, nodes if middle else nodes[::2])


def uneven(model, x, nodes):
    return ddim(model, x, nodes) * np.array([[1.0], [2.0]])


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (clipped, "not linear"),
        (noisy, "adds noise of its own"),
        (shifted, "adds noise or a constant"),
        (randomly_weighted, "is random"),
        (adaptive, "adapts its steps"),
        (uneven, "treats equal samples"),
        (lambda _model, x, _nodes: x[..., :1, :], "returned shape"),
        (lambda _model, x, _nodes: x * np.nan, "not finite"),
        (lambda model, x, nodes: model.data(x[:1], nodes[0]), r"calls its model with shape \(1, "),
    ],
)
def test_what_has_no_weights_is_refused_with_the_reason(sampler, message):
    with pytest.raises(ValueError, match=message):
        probe(sampler, nodes=NODES, shape=(2,))


def test_bad_arguments_are_named():
    with pytest.raises(TypeError, match="sampler=3"):
        probe(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="repeated node"):
        probe("ddim", nodes=[0.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="step=6 does not exist"):
        probe("ddim", nodes=NODES).weights(6)
    with pytest.raises(ValueError, match="prediction='score'"):
        probe("ddim", nodes=NODES).for_prediction("score")
    with pytest.raises(ValueError, match="did you mean"):
        probe("dpmpp_2n")
