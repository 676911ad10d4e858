"""Bad input to the discrete part is named: argument, value, remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffnum import discrete as dd

CHAIN = dd.Law.markov(6, [[0.8, 0.2], [0.2, 0.8]], [0.5, 0.5])
SMALL = dd.Law(np.random.default_rng(4).dirichlet(np.ones(27)).reshape(3, 3, 3))
M, U = dd.Masked(), dd.Uniform()
LONG = dd.Law.markov(60, np.eye(2), [0.5, 0.5])
HALF = np.full((2, 2), 0.5)


class Told:
    """A model that answers with what it is told."""

    length, tokens = 3, 3

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __call__(self, x: np.ndarray, _t: float) -> np.ndarray:
        return np.tile(np.asarray(self.answer), (len(x), 3, 1))


def draw(answer: Any, method: str = "ancestral") -> np.ndarray:
    steps = None if dd.sampler(method).exact else 2
    return dd.sample(Told(answer), M, method, 2, steps)


def record(rule: Any) -> dd.TokenSampler:
    return dd.TokenSampler("own", rule, ("masked",), 1, "-", "-", "-")


VALUES: list[tuple[Callable[[], Any], str]] = [
    # laws
    (lambda: dd.Law(np.array(1.0)), r"p has shape \(\)"),
    (lambda: dd.Law(np.zeros(0)), r"p has shape \(0,\)"),
    (lambda: dd.Law([[0.5], [0.2, 0.3]]), "p is ragged"),  # type: ignore[arg-type]
    (lambda: dd.Law(np.array([np.inf, 0.0])), "not finite"),
    (lambda: dd.HiddenChain(np.array([0.5, 0.6]), np.ones((1, 2, 2)) / 2, np.ones((2, 2, 2)) / 2), "start sums to 1.1"),
    (lambda: dd.HiddenChain(HALF[0], np.ones((5, 2, 2)) / 2, np.ones((2, 2, 2)) / 2), "moves has shape"),
    (lambda: dd.Law.markov(2, np.eye(2), np.eye(2)), r"start has shape \(2, 2\)"),
    (lambda: dd.Law.markov(2, np.eye(2), 1.0), r"start has shape \(\)"),
    (lambda: dd.Law.mixture([0.5, 0.6], np.ones((2, 3, 2)) / 2), "weights sums to 1.1"),
    (lambda: CHAIN.sample(3, seed=-1), "seed=-1"),
    (lambda: CHAIN.log_prob(np.zeros(6, dtype=int)), r"x has shape \(6,\)"),
    (lambda: SMALL.log_prob(np.zeros((2, 5), dtype=int)), r"x has shape \(2, 5\)"),
    (lambda: CHAIN.conditional({0: 2}), "known.0. holds the mask token"),
    (lambda: LONG.conditional({0: 0, 59: 1}), "probability zero"),
    (lambda: LONG.marginal(range(40)), "too large: ask for fewer"),
    (lambda: dd.Survival("x", lambda t: t * np.nan, lambda t: t, lambda a: a), "not finite"),
    (lambda: dd.Survival("x", lambda t: 1 - t, lambda t: np.nan * t, lambda a: 1 - a), "not the derivative"),
    # the exact model
    (lambda: dd.ExactTokens(SMALL, M)(np.zeros(3, dtype=int), 0.5), r"x has shape \(3,\)"),
    (lambda: dd.ExactTokens(SMALL, M)(np.full((1, 3), 4), 0.5), "x holds token 4"),
    (lambda: dd.ExactTokens(SMALL, M)(np.full((1, 3), -1), 0.5), "x holds token -1"),
    (lambda: dd.ExactTokens(SMALL, U)(np.full((1, 3), 3), 0.5), "x holds token 3"),
    (lambda: dd.ExactTokens(SMALL, U)(np.zeros((1, 3), dtype=int), np.nan), r"t=nan lies outside \[0, 1\]"),
    (lambda: dd.ExactTokens(SMALL, U)(np.zeros((1, 3), dtype=int), 1.5), "t=1.5 lies outside"),
    (lambda: dd.ExactTokens(SMALL, U)(np.zeros((2, 3), dtype=int), np.array([0.1, 0.2, 0.3])), r"t has shape \(3,\)"),
    # runs
    (lambda: dd.output_law("ancestral", dd.Law.markov(40, np.eye(2), HALF[0]), M, 4), "too many to enumerate"),
    (lambda: dd.output_law("ancestral", SMALL, M, -1), "steps=-1"),
    (lambda: dd.output_law("uniformisation", SMALL, M, 0), "steps=0"),
    (lambda: dd.output_law("confidence", SMALL, M, 0), "steps=0: use at least one step"),
    (lambda: dd.output_law("first_hitting", SMALL, M, nodes=[1.0, 0.0]), "has no steps of time"),
    (lambda: dd.output_law("ancestral", SMALL, M, 3, nodes=[1.0, 0.0]), "both given"),
    (lambda: dd.output_law("ancestral", SMALL, M, nodes=[1.0, np.nan, 0.0]), "times that fall"),
    (lambda: dd.output_law("ancestral", SMALL, M, nodes=[0.5, 0.0]), "from 1 to at least 0"),
    (lambda: dd.output_law("ancestral", SMALL, M, nodes=1.0), "times that fall"),
    (lambda: dd.sample(dd.ExactTokens(SMALL, M), nodes=[1.0, 0.5]), "masks would be left"),
    (lambda: dd.counts(0, 1), "length=0"),
    (lambda: dd.counts(4, []), "masks would be left"),
    # models
    (lambda: draw([np.nan, 0.5, 0.5]), "returned values that are not finite"),
    (lambda: draw([1.5, -0.5, 0.0]), "returned the negative probability -0.5"),
    (lambda: draw([1.0, 1.0, 1.0]), "sum to 3: return probabilities"),
    (lambda: draw([0.0, 0.0, 0.0], "first_hitting"), "sum to 0"),
    (lambda: draw([2.0, -3.0, 0.1], "confidence"), "negative probability"),
    (lambda: draw([np.nan] * 3, "uniformisation"), "not finite"),
    # steps
    (lambda: dd.Bridge(-1.0), "temperature=-1.0"),
    (lambda: dd.Unmask(temperature=float("nan")), "temperature=nan"),
    (lambda: dd.Leap((dd.LeapStage(0, 1, (1,)),), jump="twice"), "jump='twice'"),  # type: ignore[arg-type]
    (lambda: dd.Leap((dd.LeapStage(0, 1, (1,)),), clock="wall"), "clock='wall'"),  # type: ignore[arg-type]
    (lambda: dd.Leap(()), "path is empty"),
    (lambda: dd.Leap((dd.LeapStage(3, 1, (1,)),)), "leaps from state 3"),
    (lambda: dd.Leap((dd.LeapStage(0, 1, (1, 2)),)), "with 2 weights"),
    (lambda: dd.LeapStage(0, -1.0, (1,)), "span=-1.0"),
    (lambda: dd.LeapStage(0, 1.0, (float("nan"),)), "not all finite"),
    (lambda: dd.output_law(record(dd.Remask(lambda _a, _b: -0.5)), SMALL, M, 3), "masking again has a probability"),
    (lambda: dd.Uniformisation(end=0.0), "end=0.0"),
    (lambda: dd.theta_rk2(float("nan")), "theta=nan"),
    (lambda: dd.defects(dd.sampler("ancestral"), 0.0), "size=0.0"),
    # the chain
    (lambda: dd.reverse_law(dd.StateSpace(SMALL, M), 0.2, 0.8), "runs from t down to s"),
    (lambda: dd.reverse_law(dd.StateSpace(SMALL, M), 0.8, 0.2, np.ones(64)), "law sums to 64"),
    (lambda: dd.reverse_law(dd.StateSpace(SMALL, M), 0.8, 0.2, np.ones(4) / 4), "law has 4 entries"),
    (lambda: dd.generator(dd.StateSpace(SMALL, M), 0.0), r"lies outside \(0, 1\]"),
    (lambda: dd.generator(dd.StateSpace(SMALL, U), 1.0), "infinite there"),
    (lambda: dd.StateSpace(SMALL, M).marginal(2.0), "t=2 lies outside"),
    # precision and correlation
    (lambda: dd.gumbel_law([0.5, 0.5], 1, 0), "bits=0"),
    (lambda: dd.gumbel_law([0.5, 0.5], [1, 2, 3]), "copies"),
    (lambda: dd.truncated_law(np.ones((2, 2)) / 2), r"p has shape \(2, 2\)"),
    (lambda: dd.effective_temperature([0.5, 0.5], [0.5, 0.5]), "cannot be told"),
    (lambda: dd.effective_temperature([0.6, 0.4], [0.2, 0.3, 0.5]), "same tokens"),
    (lambda: dd.best_counts([0.0, np.nan], 1), "finite entropies"),
    # studies
    (lambda: dd.convergence_study("ancestral", SMALL, steps=()), "step counts"),
    (lambda: dd.convergence_study("ancestral", SMALL, steps=(0, 1, 2)), "steps=0"),
    (lambda: dd.convergence_study("ancestral", SMALL, variants=("all",)), "variants="),  # type: ignore[arg-type]
    (lambda: dd.convergence_study("ancestral", SMALL, measures="global"), "measures="),  # type: ignore[arg-type]
    (lambda: dd.convergence_study(lambda model, x, nodes, rng: x, SMALL, draws=0), "draws=0"),
    (lambda: dd.monte_carlo("ancestral", dd.Law(np.array([0.5, 0.5])), M, 2), "two positions"),
    (lambda: dd.convergence_study("ancestral", SMALL, steps=(8, 8, 16)), "step counts that increase"),
    (lambda: dd.convergence_study("ancestral", SMALL, spacing="log"), "spacing='log'"),
    (lambda: dd.samplers("gaussian"), "process='gaussian'"),
    (lambda: dd.sample(dd.ExactTokens(SMALL, M), U, steps=2), "made for the masked .linear. process"),
    (lambda: dd.sample(dd.ExactTokens(SMALL, U), dd.Uniform("cosine"), steps=2), "not for the uniform .cosine. one"),
    (lambda: dd.output_law("ancestral", SMALL, M, nodes=[1.0, 0.5]), "let the times end at 0"),
    (lambda: dd.Survival("x", lambda t: 1 - t, lambda _t: -1.0, lambda a: 1 - a), r"slope of .* gives shape \(\)"),
]

TYPES: list[tuple[Callable[[], Any], str]] = [
    (lambda: dd.Law(np.array([0.5 + 0j, 0.5])), "complex128"),
    (lambda: dd.Law("abc"), "p has dtype"),  # type: ignore[arg-type]
    (lambda: dd.Law(np.array([True, False])), "bool"),
    (lambda: dd.Law(chain=3), "pass a HiddenChain"),  # type: ignore[arg-type]
    (lambda: dd.Law.markov(2.5, np.eye(2), HALF[0]), "length=2.5"),  # type: ignore[arg-type]
    (lambda: CHAIN.sample(2.5), "n=2.5"),  # type: ignore[arg-type]
    (lambda: CHAIN.sample(True), "n=True"),
    (lambda: CHAIN.sample(2, seed=0.5), "seed=0.5"),  # type: ignore[arg-type]
    (lambda: CHAIN.marginal([0.5]), "positions="),  # type: ignore[list-item]
    (lambda: CHAIN.conditional({0: 1.0}), "known.0. has dtype float64"),  # type: ignore[dict-item]
    (lambda: dd.ExactTokens(np.ones(3) / 3, M), "pass a dn.discrete.Law"),  # type: ignore[arg-type]
    (lambda: dd.ExactTokens(SMALL, "masked"), "process='masked'"),  # type: ignore[arg-type]
    (lambda: dd.ExactTokens(SMALL, M)(np.zeros((1, 3)), 0.5), "float64: pass tokens as integers"),
    (lambda: dd.output_law("ancestral", np.ones(3) / 3, M, 4), "pass a dn.discrete.Law"),  # type: ignore[arg-type]
    (lambda: dd.output_law("ancestral", SMALL, M, 2.5), "steps=2.5"),  # type: ignore[arg-type]
    (lambda: dd.output_law("ancestral", SMALL, M), "steps=None"),
    (lambda: dd.output_law("ancestral", SMALL, M, True), "steps=True"),
    (lambda: dd.output_law("confidence", SMALL, M, 1.5), "steps=1.5"),  # type: ignore[arg-type]
    (lambda: dd.output_law("confidence", SMALL, M, [1.5, 1.5]), "count=1.5"),  # type: ignore[list-item]
    (lambda: dd.output_law(3, SMALL, M, 3), "sampler=3"),  # type: ignore[arg-type]
    (lambda: dd.sample(lambda x, t: x, n=2, steps=2), "with length, tokens"),  # type: ignore[arg-type]
    (lambda: draw(np.array([1.0 + 0j, 0, 0])), "complex128"),
    (lambda: dd.ModelSpace(dd.ExactTokens(SMALL, M), np.array([-1.0, 0, 0])), "held has dtype float64"),
    (lambda: dd.convergence_study(3), "sampler=3"),  # type: ignore[arg-type]
    (lambda: dd.convergence_study("ancestral", np.ones(3)), "pass a dn.discrete.Law"),  # type: ignore[arg-type]
    (lambda: dd.convergence_study("ancestral", {}), "pass a dn.discrete.Law"),
    (lambda: dd.convergence_study("ancestral", SMALL, "masked"), "process='masked'"),  # type: ignore[arg-type]
    (lambda: dd.monte_carlo("ancestral", CHAIN, M, 2, draws=250.5), "draws=250.5"),  # type: ignore[arg-type]
    (lambda: CHAIN.conditional([0, 1]), "known=.* pass a mapping"),  # type: ignore[arg-type]
    (lambda: dd.sample(None), "model=None"),  # type: ignore[arg-type]
    (lambda: dd.sample(SMALL), r"model=Law\(table, length=3, tokens=3\)"),  # type: ignore[arg-type]
    (lambda: dd.Survival("x", lambda t: 1.0 - float(t), lambda t: t, lambda a: a), "alpha of .* fails on an array"),
    (lambda: dd.Bridge("hot"), "temperature='hot'"),  # type: ignore[arg-type]
    (lambda: dd.Remask(0.3), "share=0.3"),  # type: ignore[arg-type]
    (lambda: dd.theta_trapezoidal("half"), "theta='half'"),
    (lambda: dd.parallel_divergence(SMALL, [0, 1, 2]), "pass sets of positions"),  # type: ignore[list-item]
    (lambda: dd.least_rate("ancestral", dd.StateSpace(SMALL, M), 0.5), "is no leap"),
]


@pytest.mark.parametrize(("call", "message"), VALUES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_bad_value_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("call", "message"), TYPES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_bad_type_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_a_masked_model_runs_under_any_masked_schedule() -> None:
    dd.sample(dd.ExactTokens(SMALL, M), dd.Masked("cosine"), n=2, steps=2)


def test_names_stand_for_their_records() -> None:
    assert dd.defects("ancestral").keys() == dd.defects(dd.sampler("ancestral")).keys()
    space = dd.StateSpace(SMALL, M)
    rule = dd.sampler("theta_trapezoidal").rule
    assert dd.least_rate("theta_trapezoidal", space, 0.5) == dd.least_rate(rule, space, 0.5)  # type: ignore[arg-type]


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    assert dd.output_law("ancestral", SMALL, M, np.int64(3)).tv == dd.output_law("ancestral", SMALL, M, 3).tv  # type: ignore[arg-type]
    assert dd.output_law("confidence", SMALL, M, np.int64(2)).tv == dd.output_law("confidence", SMALL, M, 2).tv  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_marginals_of_low_precision_leave_no_masks(dtype: Any) -> None:
    """A softmax in half precision sums to one within a thousandth: what is missing is not left masked."""
    x = dd.sample(Told(np.array([0.3, 0.3, 0.3995], dtype=dtype)), M, "ancestral", 4000, 2)
    assert x.max() < 3


def test_an_empty_batch_is_answered() -> None:
    for law in (SMALL, CHAIN):
        model = dd.ExactTokens(law, M)
        assert model(np.zeros((0, law.length), dtype=int), 0.5).shape == (0, law.length, law.tokens)
