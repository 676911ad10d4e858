"""Every guidance rule is what its formula says, on numpy and torch, whatever is predicted; bad input is refused."""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.guidance import (
    RULES,
    BayesClassifier,
    Classifier,
    RegionClassifier,
    classifier_free,
    classifier_guidance,
    clean_classifier_guidance,
    ddim_inversion,
    degraded,
    gradient_free,
    guide_and_rescale,
    minority_classifier,
    minority_guidance,
    minority_score,
    perturbed_attention,
    projected,
    quantile_labels,
    zero_star,
)
from diffnum.guidance.law import parts_of
from diffnum.types import Denoiser, Prediction
from tests.optional import optional

ROOT = Path(__file__).resolve().parents[2]
VP = dn.schedules.VPLinear()
MIXTURE = dn.GaussianMixture(
    [0.3, 0.2, 0.3, 0.2],
    [[1.0, 0.6], [1.0, -0.6], [-1.0, 0.5], [-1.0, -0.5]],
    [0.04, 0.1, 0.05, 0.2],
    labels=[0, 0, 1, 1],
)
LINE = dn.GaussianMixture([0.4, 0.6], [[-1.0], [1.0]], [0.5, 0.3], labels=[0, 1])
CLASSIFIER = BayesClassifier(MIXTURE, VP)
X = np.random.default_rng(0).standard_normal((5, 2))
SCHEDULES = (VP, dn.schedules.EDM(), dn.schedules.FlowMatching())
PREDICTIONS = ("data", "noise", "velocity", "score", "v")


def conditional(prediction: Prediction = "data", schedule: Any = VP) -> Any:
    return MIXTURE.conditional(0).denoiser(schedule, prediction)


def whole(prediction: Prediction = "data", schedule: Any = VP) -> Any:
    return MIXTURE.denoiser(schedule, prediction)


def middle(schedule: Any) -> float:
    """A time at which signal and noise are alike."""
    return float(schedule.time(-0.3))


def built(name: str, schedule: Any = VP, scale: float = 2.5, prediction: Prediction = "data") -> Any:
    """Rule on the mixture, with exact parts."""
    record = RULES[name]
    grid = dn.grids.uniform_half_log_snr(schedule, 5)
    parts = parts_of(record, MIXTURE, 0, schedule, grid=grid)
    alone = "classifier" in record.needs and name != "gradient_free"
    model = whole(prediction, schedule) if alone else conditional(prediction, schedule)
    return record(model, scale, **parts), float(grid.t[2])


# -- all of them ---------------------------------------------------------------------------------------


def test_every_file_of_a_rule_is_found_and_every_record_tells_formula_source_and_citation() -> None:
    files = {p.stem for p in (ROOT / "diffnum/guidance").glob("*.py") if re.search(r"^RULES = ", p.read_text(), re.M)}
    assert len(RULES) >= len(files) == 12
    entries = (ROOT / "book/references.bib").read_text(encoding="utf-8")
    for name, record in RULES.items():
        assert record.name == name
        assert record.formula
        assert record.source
        assert f"{{{record.cite}," in entries, record.cite


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
def test_every_rule_is_a_denoiser_on_every_schedule_and_array(name: str, schedule: Any) -> None:
    model, t = built(name, schedule)
    assert isinstance(model, Denoiser)
    assert model.schedule == schedule
    found = model(X, t)
    assert found.shape == X.shape
    assert np.isfinite(found).all()
    assert np.isfinite(model(X.reshape(5, 1, 2, 1), t)).all()
    torch = optional("torch")
    got = model(torch.as_tensor(X, dtype=torch.float32), t)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), found, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_the_parts_predict_matters_only_where_the_record_says_so(name: str, prediction: Prediction) -> None:
    (first, t), (second, _) = built(name), built(name, prediction=prediction)
    same = np.allclose(dn.predict(first, X, t, "data"), dn.predict(second, X, t, "data"), rtol=1e-8, atol=1e-9)
    assert same == (RULES[name].invariant or prediction == "data")


@pytest.mark.parametrize("name", [name for name in RULES if not math.isnan(RULES[name].unguided)])
def test_at_its_unguided_scale_a_rule_changes_nothing(name: str) -> None:
    model, t = built(name, scale=RULES[name].unguided)
    alone = "classifier" in RULES[name].needs and name != "gradient_free"
    expected = (whole() if alone else conditional())(X, t)
    if name == "guide_and_rescale":
        assert not np.allclose(dn.predict(model, X, t, "data"), expected)  # a guider is left
    else:
        np.testing.assert_allclose(dn.predict(model, X, t, "data"), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_one_time_a_sample_and_runs_under_a_plan(name: str) -> None:
    model, t = built(name)
    if name != "cfg_plus_plus":
        times = np.full(5, t)
        np.testing.assert_allclose(model(X, times), model(X, t), rtol=1e-9, atol=1e-11)
    grid = dn.grids.uniform_half_log_snr(VP, 5)
    method = "ddim" if name == "cfg_plus_plus" else "dpmpp_2m"
    assert np.isfinite(dn.solve(dn.plan(method, VP, grid), model, X)).all()


@pytest.mark.parametrize("name", RULES)
def test_scales_may_be_functions_of_time_and_records_and_models_can_be_pickled(name: str) -> None:
    if name != "cfg_plus_plus":
        constant, t = built(name, scale=2.0)
        ramped, _ = built(name, scale=dn.guidance.Ramp(VP, 2.0, 2.0))  # type: ignore[arg-type]
        np.testing.assert_allclose(ramped(X, t), constant(X, t), rtol=1e-12)
        copied = pickle.loads(pickle.dumps(constant))
        np.testing.assert_array_equal(copied(X, t), constant(X, t))


def test_records_refuse_what_they_do_not_take_and_name_what_they_lack() -> None:
    with pytest.raises(ValueError, match=r"'autoguidance' needs weak=: give a worse model"):
        RULES["autoguidance"](conditional(), 2.0)
    with pytest.raises(TypeError, match=r"weak= is nothing that the rule 'classifier_free' takes"):
        RULES["classifier_free"](conditional(), 2.0, weak=whole())
    with pytest.raises(TypeError, match="is no model"):
        RULES["classifier_free"](3.0, 2.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scale=inf"):
        RULES["projected"](conditional(), math.inf, unconditional=whole())


# -- extrapolations ------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0.05, 0.4, 0.9])
def test_with_the_exact_classifier_classifier_guidance_is_classifier_free_guidance(t: float) -> None:
    found = classifier_guidance(whole("v"), CLASSIFIER, 3.0, label=0)
    expected = classifier_free(conditional("noise"), 3.0, unconditional=whole())
    np.testing.assert_allclose(found(X, t), expected(X, t), rtol=1e-9, atol=1e-11)


def test_labels_may_differ_from_sample_to_sample() -> None:
    labels = np.array([0, 1, 0, 1, 1])
    mixed = classifier_guidance(whole(), CLASSIFIER, 2.0, label=labels)(X, 0.4)
    for k in (0, 1):
        one = classifier_guidance(whole(), CLASSIFIER, 2.0, label=k)(X, 0.4)
        np.testing.assert_allclose(mixed[labels == k], one[labels == k], rtol=1e-12)


@pytest.mark.parametrize("t", [0.2, None])
def test_the_gradient_of_bayes_logits_is_their_derivative(t: float | None) -> None:
    weights = np.random.default_rng(1).standard_normal((5, 2))
    found = CLASSIFIER.vjp(X, t, weights)
    for axis in range(2):
        move = 1e-6 * np.eye(2)[axis]
        slope = np.sum(weights * (CLASSIFIER(X + move, t) - CLASSIFIER(X - move, t)), axis=1) / 2e-6
        np.testing.assert_allclose(found[:, axis], slope, rtol=1e-5, atol=1e-7)
    assert isinstance(CLASSIFIER, Classifier)


def test_perturbed_attention_guidance_is_autoguidance_of_one_more() -> None:
    worse = degraded(MIXTURE.conditional(0), 2.0).denoiser(VP)
    found = perturbed_attention(conditional(), worse, 1.5)(X, 0.4)
    good, bad = conditional()(X, 0.4), worse(X, 0.4)
    np.testing.assert_allclose(found, good + 1.5 * (good - bad), rtol=1e-12)


def test_gradient_free_guidance_moves_away_from_the_likeliest_other_class() -> None:
    three = dn.GaussianMixture([0.4, 0.3, 0.3], [[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]], [0.2] * 3, labels=[0, 1, 2])
    models = [three.conditional(k).denoiser(VP) for k in range(3)]
    judge = BayesClassifier(three, VP)
    x = np.array([[0.3, 0.0], [2.5, -1.0], [0.2, 0.5], [-1.0, 3.0], [0.4, 0.4]])
    found = gradient_free(models[0], judge, 2.0, label=0, classes=models)(x, 0.5)
    data = models[0](x, 0.5)
    joint = np.exp(judge(data, None))
    chances = joint / joint.sum(axis=1, keepdims=True)
    other = 1 + np.argmax(chances[:, 1:], axis=1)
    away = np.stack([models[k](x[i : i + 1], 0.5)[0] for i, k in enumerate(other)])
    expected = data + 2.0 * (1.0 - chances[:, :1]) * (data - away)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert set(other.tolist()) == {1, 2}


# -- projections ---------------------------------------------------------------------------------------


def test_projected_guidance_moves_at_right_angles_to_the_prediction() -> None:
    given, free = conditional()(X, 0.4), whole()(X, 0.4)
    moved = projected(conditional("noise"), 4.0, unconditional=whole("v"))(X, 0.4) - given
    np.testing.assert_allclose(np.sum(moved * given, axis=1), 0.0, atol=1e-10)
    plain = projected(conditional(), 4.0, unconditional=whole(), parallel=1.0)(X, 0.4)
    np.testing.assert_allclose(plain, free + 4.0 * (given - free), rtol=1e-10)
    short = projected(conditional(), 4.0, unconditional=whole(), parallel=1.0, largest=0.01)(X, 0.4)
    assert np.linalg.norm(short - given, axis=1).max() <= 3.0 * 0.01 * (1.0 + 1e-12)


def test_projected_guidance_is_that_of_diffusers_in_either_form() -> None:
    torch = optional("torch")
    guider = optional("diffusers.guiders.adaptive_projected_guidance")
    given, free = (torch.as_tensor(m(X, 0.4)) for m in (conditional(), whole()))
    for base, original, scale in (("conditional", True, 3.0), ("unconditional", False, 4.0)):
        expected = guider.normalized_guidance(given, free, scale, None, 0.3, 0.2, original)
        found = projected(conditional(), 4.0, unconditional=whole(), parallel=0.3, largest=0.2, base=base)(X, 0.4)
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-10)


def test_as_diffusers_ships_it_the_scale_one_is_not_the_conditional_model() -> None:
    found = projected(conditional(), 1.0, unconditional=whole(), base="unconditional")(X, 0.4)
    assert np.abs(found - conditional()(X, 0.4)).max() > 0.1
    np.testing.assert_allclose(projected(conditional(), 1.0, unconditional=whole())(X, 0.4), conditional()(X, 0.4))


def test_zero_star_subtracts_the_nearest_multiple_of_the_unconditional_velocity() -> None:
    given, free = conditional("velocity")(X, 0.4), whole("velocity")(X, 0.4)
    share = np.sum(given * free, axis=1, keepdims=True) / np.sum(free * free, axis=1, keepdims=True)
    found = zero_star(conditional(), 3.0, unconditional=whole("v"))
    np.testing.assert_allclose(found(X, 0.4), share * free + 3.0 * (given - share * free), rtol=1e-9)
    left = given - share * free
    np.testing.assert_allclose(np.sum(left * free, axis=1), 0.0, atol=1e-9)


def test_zero_star_stays_where_there_is_much_noise_on_the_linear_path_only() -> None:
    flow = dn.schedules.FlowMatching()
    model = zero_star(conditional(schedule=flow), 3.0, unconditional=whole(schedule=flow), zero_above=9.0)
    assert not model(X, 0.95).any()
    assert model(X, 0.85).all()
    mixed = model(X, np.array([0.95, 0.85, 0.95, 0.5, 0.5]))
    assert [bool(row.any()) for row in mixed] == [False, True, False, True, True]
    with pytest.raises(
        ValueError, match=r"zero_above=9\.0: on the schedule vp-linear a state with velocity zero moves"
    ):
        zero_star(conditional(), 3.0, unconditional=whole(), zero_above=9.0)


# -- a classifier of clean data ------------------------------------------------------------------------


def test_the_gradient_by_the_state_is_the_derivative_of_the_tempered_log_probability() -> None:
    found = clean_classifier_guidance(whole("v"), CLASSIFIER, 2.0, label=0, temperatures=(1.0, 0.5), jacobian=True)
    t = 0.4

    def energy(x: Any) -> Any:
        z = CLASSIFIER(whole()(x, t), None)
        return z[:, 0] - np.log(np.sum(np.exp(0.5 * z), axis=1))

    slopes = [(energy(X + 1e-6 * e) - energy(X - 1e-6 * e)) / 2e-6 for e in np.eye(2)]
    expected = whole("noise")(X, t) - 2.0 * float(VP.sigma(t)) * np.stack(slopes, axis=1)
    np.testing.assert_allclose(found(X, t), expected, rtol=1e-5, atol=1e-7)


def test_as_published_the_gradient_by_the_data_is_used_in_the_place_of_that_by_the_state() -> None:
    t = 0.4
    data = whole()(X, t)
    z = CLASSIFIER(data, None)
    chances = np.exp(z - z.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    gradient = CLASSIFIER.vjp(data, None, np.array([[1.0, 0.0]]) - chances)
    found = clean_classifier_guidance(whole(), CLASSIFIER, 2.0, label=0, temperatures=(1.0, 1.0))(X, t)
    np.testing.assert_allclose(found, whole("noise")(X, t) - 2.0 * float(VP.sigma(t)) * gradient, rtol=1e-9)


# -- minority ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minority() -> RegionClassifier:
    return minority_classifier(LINE, VP, 0.4, count=3)


def test_minority_labels_have_equal_shares_and_grow_with_the_score(minority: RegionClassifier) -> None:
    x = LINE.sample(20_000, 1)
    labels = minority.labels(x)
    np.testing.assert_allclose(np.bincount(labels) / len(x), 1 / 3, atol=0.012)
    score = minority_score(LINE.denoiser(VP), x[:4000], 0.4, draws=64)
    means = [score[labels[:4000] == k].mean() for k in range(3)]
    assert means[0] < means[1] < means[2]
    assert (quantile_labels(score, 3) == labels[:4000]).mean() > 0.8


def test_probabilities_of_regions_are_those_of_the_noised_data(minority: RegionClassifier) -> None:
    t = 0.3
    alpha, sigma = float(VP.alpha(t)), float(VP.sigma(t))
    axis = np.linspace(-8, 8, 40_001)
    joint = np.exp(LINE.log_prob(axis[:, None])) * (axis[1] - axis[0])
    for x in (-1.3, 0.2, 1.9):
        kernel = joint * np.exp(-0.5 * ((x - alpha * axis) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
        expected = [kernel[minority.labels(axis) == k].sum() for k in range(3)]
        np.testing.assert_allclose(np.exp(minority(np.array([[x]]), t)[0]), expected, rtol=2e-3)


@pytest.mark.parametrize("t", [0.02, 0.3, 0.9])
def test_the_gradient_of_regions_is_their_derivative(minority: RegionClassifier, t: float) -> None:
    x = np.linspace(-3, 3, 13)[:, None]
    weights = np.random.default_rng(2).standard_normal((13, 3))
    slope = np.sum(weights * (minority(x + 1e-6, t) - minority(x - 1e-6, t)), axis=1) / 2e-6
    np.testing.assert_allclose(minority.vjp(x, t, weights)[:, 0], slope, rtol=2e-5, atol=1e-4)


def test_minority_guidance_of_weight_one_draws_the_minority(minority: RegionClassifier) -> None:
    grid = dn.grids.uniform_half_log_snr(VP, 80)
    z = np.random.default_rng(3).standard_normal((2000, 1))
    found = dn.solve(dn.plan("dpmpp_2m", VP, grid), minority_guidance(LINE.denoiser(VP), minority, 1.0), z)
    assert (minority.labels(found) == 2).mean() > 0.97
    plain = dn.solve(dn.plan("dpmpp_2m", VP, grid), LINE.denoiser(VP), z)
    assert abs((minority.labels(plain) == 2).mean() - 1 / 3) < 0.04


# -- energies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1e-6, 1.0, 1e6])
def test_guiders_are_kept_between_two_shares_of_the_classifier_free_term(length: float) -> None:
    plain = classifier_free(conditional("noise"), 3.0, unconditional=whole("noise"))(X, 0.4)
    term = plain - whole("noise")(X, 0.4)
    found = guide_and_rescale(conditional(), 3.0, [lambda x, _: length * x], unconditional=whole(), bounds=(0.5, 2.0))
    pull = found(X, 0.4) - plain
    np.testing.assert_allclose(np.sum(pull * X, axis=1), np.linalg.norm(pull, axis=1) * np.linalg.norm(X, axis=1))
    ratio = np.linalg.norm(pull, axis=1) / np.linalg.norm(term, axis=1)
    assert ((ratio > 0.5 - 1e-9) & (ratio < 2.0 + 1e-9)).all()
    if length != 1.0:
        np.testing.assert_allclose(ratio, 0.5 if length < 1.0 else 2.0, rtol=1e-9)


def test_ddim_inversion_is_of_first_order_and_no_inverse() -> None:
    x = MIXTURE.sample(50, 4)
    errors = []
    for n in (40, 80, 160):
        grid = dn.grids.uniform_half_log_snr(VP, n)
        numbers = dn.plan("ddim", VP, grid)
        back = dn.solve(numbers, whole(), ddim_inversion(whole(), grid, x))
        errors.append(float(np.abs(back - x).mean()))
    assert errors[0] > 1e-3
    rates = np.log2(np.divide(errors[:-1], errors[1:]))
    assert 0.7 < rates[-1] < 1.3


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: classifier_guidance(whole(), 3, 1.0, label=0), TypeError, "classifier is a int"),
        (lambda: classifier_guidance(whole(), CLASSIFIER, 1.0, label=2), ValueError, "knows the labels 0 to 1"),
        (lambda: classifier_guidance(whole(), CLASSIFIER, 1.0, label=0.5), ValueError, "whole numbers"),
        (lambda: classifier_guidance(whole(), CLASSIFIER, 1.0), ValueError, "label=None: the model is a ExactDenoiser"),
        (
            lambda: clean_classifier_guidance(whole(), CLASSIFIER, 1.0, label=0, temperatures=(1.0, 0.0)),
            ValueError,
            r"temperatures=\(1\.0, 0\.0\)",
        ),
        (lambda: gradient_free(conditional(), CLASSIFIER, 1.0, label=0), ValueError, "classes=None"),
        (
            lambda: gradient_free(conditional(), CLASSIFIER, 1.0, label=0, classes=[whole()]),
            ValueError,
            "classes has 1 models",
        ),
        (lambda: projected(conditional(), 2.0), ValueError, "unconditional=None"),
        (lambda: projected(conditional(), 2.0, unconditional=whole(), largest=0.0), ValueError, r"largest=0\.0"),
        (lambda: projected(conditional(), 2.0, unconditional=whole(), base="both"), ValueError, "base='both'"),
        (
            lambda: zero_star(conditional(), 2.0, unconditional=whole(schedule=dn.schedules.EDM())),
            ValueError,
            "different schedules",
        ),
        (lambda: guide_and_rescale(conditional(), 2.0, [], unconditional=whole()), ValueError, r"guiders=\[\]"),
        (
            lambda: guide_and_rescale(conditional(), 2.0, [abs], unconditional=whole(), bounds=(2.0, 1.0)),
            ValueError,
            r"bounds=\(2\.0, 1\.0\)",
        ),
        (lambda: degraded(MIXTURE, 0.0), ValueError, r"inflation=0\.0"),
        (lambda: minority_classifier(MIXTURE, VP, 0.4), ValueError, "problem has 2 dimensions"),
        (lambda: quantile_labels(np.arange(3.0), 1), ValueError, "count=1"),
        (lambda: BayesClassifier(dn.GaussianMixture([1.0], [[0.0]], [1.0]), VP), ValueError, "no labels"),
        (
            lambda: BayesClassifier(dn.GaussianMixture([1.0], [[0.0]], [1.0], labels=[3]), VP),
            ValueError,
            "number its classes 0 to 0",
        ),
        (lambda: RegionClassifier(LINE, VP, np.array([1.0, 0.0]), [0, 1, 0]), ValueError, "increasing edges"),
    ],
)
def test_bad_input_is_named_with_its_remedy(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
