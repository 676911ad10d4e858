"""Laws of tokens, processes and the exact model: tables, chains, marginals, conditionals, rates."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnum.derivation.jumps import bayes_posterior, bayes_rates, uniform_score
from diffnum.discrete import (
    SURVIVALS,
    ExactTokens,
    HiddenChain,
    Law,
    Masked,
    StateSpace,
    Survival,
    Uniform,
    generator,
    reverse_law,
)

CHAIN = Law.markov(6, [[0.8, 0.2], [0.2, 0.8]], [0.5, 0.5])
PROCESSES = [Masked(), Uniform(), Masked("cosine"), Uniform("cosine"), Masked("square"), Uniform("square")]


def names(process: object) -> str:
    return f"{process.name}-{process.survival.name}"  # type: ignore[attr-defined]


def random_law(seed: int, tokens: int, length: int) -> Law:
    p = np.random.default_rng(seed).gamma(0.5, size=(tokens,) * length)
    return Law(p / p.sum())


@given(st.integers(0, 10_000), st.integers(2, 3), st.integers(1, 4))
@settings(max_examples=15)
def test_conditionals_and_marginals_multiply_to_the_law(seed: int, tokens: int, length: int) -> None:
    law = random_law(seed, tokens, length)
    for token in range(tokens):
        if length == 1:
            continue
        rest = law.conditional({0: token})
        np.testing.assert_allclose(law.marginal([0])[token] * rest.table, law.table[token], atol=1e-15)


def test_a_marginal_has_its_axes_in_the_order_asked_for() -> None:
    law = random_law(1, 3, 4)
    both = law.marginal([2, 0])
    for a in range(3):
        for b in range(3):
            assert both[a, b] == pytest.approx(law.table[b, :, a, :].sum(), abs=1e-15)


def test_a_mixture_of_products_has_its_table() -> None:
    marginals = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 3))
    law = Law.mixture([0.3, 0.7], marginals)
    table = sum(w * np.einsum("a,b,c->abc", *m) for w, m in zip([0.3, 0.7], marginals, strict=True))
    np.testing.assert_allclose(law.table, table, atol=1e-15)


@pytest.mark.parametrize("process", PROCESSES, ids=names)
def test_the_chain_by_messages_is_the_table_by_sums(process: Masked) -> None:
    law = Law.markov(4, np.random.default_rng(3).dirichlet(np.ones(3), size=(3, 3)), [0.2, 0.3, 0.5])
    space = StateSpace(law, process)
    for t in (0.2, 0.7):
        by_messages = ExactTokens(law, process)(space.states, t)
        by_sums = ExactTokens(Law(law.table), process)(space.states, t)
        np.testing.assert_allclose(by_messages, space.denoised(t), atol=1e-13)
        np.testing.assert_allclose(by_sums, space.denoised(t), atol=1e-13)


def test_the_exact_model_takes_a_time_for_each_sequence() -> None:
    law, process = random_law(5, 3, 3), Uniform()
    x, t = StateSpace(law, process).states[:6], np.linspace(0.1, 0.8, 6)
    one_by_one = np.concatenate([ExactTokens(law, process)(x[i : i + 1], t[i]) for i in range(6)])
    np.testing.assert_allclose(ExactTokens(law, process)(x, t), one_by_one, atol=1e-14)


def test_long_chains_are_exact_without_a_table() -> None:
    law = Law.markov(200, [[0.8, 0.2], [0.2, 0.8]], [0.5, 0.5])
    x = np.full((1, 200), 2)
    x[0, 100] = 1
    p = ExactTokens(law, Masked())(x, 0.5)[0]
    np.testing.assert_allclose(p[:, 1], 0.5 + 0.5 * 0.6 ** np.abs(np.arange(200) - 100.0), atol=1e-12)
    with pytest.raises(ValueError, match="too large"):
        _ = law.table


@given(st.integers(0, 10_000), st.sampled_from([(0,), (2,), (4,), (0, 4), (1, 3), (3, 1), (2, 3, 0)]))
@settings(max_examples=20)
def test_chains_condition_and_marginalise_as_their_tables_do(seed: int, at: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    hidden = HiddenChain(
        rng.dirichlet(np.ones(2)), rng.dirichlet(np.ones(2), (4, 2)), rng.dirichlet(np.ones(3), (5, 2))
    )
    plain = Law.markov(5, rng.dirichlet(np.ones(3), (4, 3)), rng.dirichlet(np.ones(3))).chain
    for chain in (hidden, plain):
        law = Law(chain=chain)
        table = Law(law.table)
        np.testing.assert_allclose(law.marginal(at), table.marginal(at), atol=1e-14)
        known = {d: int(rng.integers(3)) for d in at}
        np.testing.assert_allclose(law.conditional(known).table, table.conditional(known).table, atol=1e-13)
    assert Law(chain=plain).entropy() == pytest.approx(Law(Law(chain=plain).table).entropy(), abs=1e-12)


def test_long_chains_condition_exactly() -> None:
    law = Law.markov(3000, [[0.8, 0.2], [0.2, 0.8]], [0.5, 0.5])
    rest = law.conditional(dict.fromkeys(range(0, 3000, 3), 0))
    # between two zeros three moves apart: p(a, b) is proportional to P[0, a] P[a, b] P[b, 0]
    move = np.array([[0.8, 0.2], [0.2, 0.8]])
    wanted = move[0][:, None] * move * move[:, 0]
    np.testing.assert_allclose(rest.marginal([1000, 1001]), wanted / wanted.sum(), atol=1e-12)
    assert law.entropy() == pytest.approx(np.log(2) + 2999 * 0.5004024235381879, rel=1e-12)


def test_draws_have_the_law_and_the_same_seed_the_same_draws() -> None:
    for law in (CHAIN, Law(CHAIN.table)):
        x = law.sample(40_000, seed=3)
        share = np.zeros((2,) * 6)
        np.add.at(share, tuple(x.T), 1 / 40_000)
        assert np.sum((share - CHAIN.table) ** 2 / CHAIN.table) * 40_000 < 63 + 5 * np.sqrt(2 * 63)
        assert np.array_equal(x, law.sample(40_000, seed=3))


def test_log_probabilities_are_those_of_the_table() -> None:
    x = CHAIN.sample(50, seed=1)
    np.testing.assert_allclose(CHAIN.log_prob(x), np.log(CHAIN.table[tuple(x.T)]), atol=1e-13)


@pytest.mark.parametrize("process", PROCESSES, ids=names)
def test_the_reverse_chain_carries_exact_marginals_to_exact_marginals(process: Masked) -> None:
    space = StateSpace(random_law(7, 2, 3), process)
    np.testing.assert_allclose(reverse_law(space, 0.8, 0.2), space.marginal(0.2), atol=2e-9)


def test_a_wrong_rate_does_not() -> None:
    law, process = random_law(7, 2, 3), Uniform()
    space = StateSpace(law, process)
    t, h = 0.5, 1e-5
    slope = (space.marginal(t - h) - space.marginal(t + h)) / (2 * h)
    right = generator(space, t).T @ space.marginal(t)
    wrong = generator(StateSpace(law, Uniform("cosine")), t).T @ space.marginal(t)
    assert np.abs(right - slope).max() < 1e-8
    assert np.abs(wrong - slope).max() > 1e-2


@pytest.mark.parametrize("process", PROCESSES, ids=names)
def test_mixing_rates_leave_the_exact_marginal_alone(process: Masked) -> None:
    space, t = StateSpace(random_law(9, 2, 3), process), 0.4
    p, x = space.marginal(t), space.states
    rates = process.rates(space.denoised(t), x, t) + process.forward_rates(x, 2, t)
    flow = -p * rates.sum(axis=(1, 2))
    for place in range(3):
        for letter in range(space.letters):
            y = x.copy()
            y[:, place] = letter
            np.add.at(flow, space.index(y), p * rates[:, place, letter])
    np.testing.assert_allclose(flow, 0.0, atol=1e-14)


@pytest.mark.parametrize("process", PROCESSES, ids=names)
def test_the_concrete_score_is_the_ratio_of_exact_marginals_and_gives_the_rates(process: Masked) -> None:
    space, t = StateSpace(random_law(3, 3, 2), process), 0.6
    law, score, x = space.marginal(t), space.score(t), space.states
    for d, b in ((0, 0), (1, 2)):
        y = x.copy()
        y[:, d] = b
        np.testing.assert_allclose(score[:, d, b] * law, law[space.index(y)], atol=1e-15)
    forward = np.stack([process.forward_rates(np.full((1, 2), b), 3, t)[0, 0] for b in range(space.letters)])
    rates = score * forward.T[x]
    np.put_along_axis(rates, x[..., None], 0.0, axis=-1)
    np.testing.assert_allclose(rates, process.rates(space.denoised(t), x, t), atol=1e-12)
    if isinstance(process, Uniform):
        np.testing.assert_allclose(process.score(space.denoised(t), x, t), score, atol=1e-12)


def symbolic(process: str, size: int, alpha: sp.Expr) -> sp.Matrix:
    if process == "masked":
        return sp.Matrix(size, size + 1, lambda a, b: alpha * int(a == b) if b < size else 1 - alpha)
    return sp.Matrix(size, size, lambda a, b: alpha * int(a == b) + (1 - alpha) / size)


@pytest.mark.parametrize("size", [2, 3])
def test_the_shipped_score_of_the_uniform_process_is_bayes_rule(size: int) -> None:
    alpha = sp.Symbol("alpha", positive=True)
    p = list(sp.symbols(f"p0:{size - 1}"))
    p.append(1 - sum(p))
    rates = sp.Matrix(size, size, lambda a, b: sp.Rational(1, size) if a != b else 0)
    for x in range(size):
        exact = bayes_rates(rates, symbolic("uniform", size, alpha), p, x)
        score = uniform_score(p, x, alpha)
        assert all(sp.simplify(exact[b] - score[b] / size) == 0 for b in range(size) if b != x)


@pytest.mark.parametrize("process", [Masked(), Uniform()], ids=names)
def test_rates_and_bridges_that_ship_are_bayes_rule_in_numbers(process: Masked) -> None:
    size, t, s = 3, 0.7, 0.4
    p = np.random.default_rng(2).dirichlet(np.ones(size), size=(1, 1))
    letters = process.states(size)
    alpha_t, alpha_s = 1 - t, 1 - s
    between = np.eye(letters)
    kept = alpha_t / alpha_s
    between[:size, :size] *= kept
    forward = np.zeros((letters, letters))
    if process.name == "masked":
        between[:size, size] = 1 - kept
        forward[:size, size] = 1 / alpha_t
    else:
        between[:size, :size] += (1 - kept) / size
        forward[:] = 1 / alpha_t / size
    early, late = (process.noising(size, time) for time in (s, t))
    for x in range(letters):
        at = np.array([[x]])
        if process.name == "masked" and x < size:
            continue  # a shown token stays, whatever the model says of it
        rates = bayes_rates(sp.Matrix(forward), sp.Matrix(late), list(p[0, 0]), x)
        bridge = bayes_posterior(sp.Matrix(between), sp.Matrix(early), sp.Matrix(late), list(p[0, 0]), x)
        np.testing.assert_allclose(process.rates(p, at, t)[0, 0], np.array(rates, dtype=float), atol=1e-13)
        np.testing.assert_allclose(process.posterior(p, at, t, s)[0, 0], np.array(bridge, dtype=float), atol=1e-13)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Law(np.array([0.5, 0.6])), "sums to 1.1"),
        (lambda: Law(np.array([1.5, -0.5])), "negative probability -0.5"),
        (lambda: Law(np.ones((2, 3)) / 6), "one axis of S tokens"),
        (lambda: Law(np.array([np.nan, 1.0])), "not finite"),
        (lambda: Law(), "either p"),
        (lambda: Law.markov(0, np.eye(2), [0.5, 0.5]), "length=0"),
        (lambda: Law.markov(3, np.eye(3), [0.5, 0.5]), "transition has shape"),
        (lambda: Law.markov(3, [[0.8, 0.1], [0.2, 0.8]], [0.5, 0.5]), "transition sums to 0.9"),
        (lambda: CHAIN.log_prob(np.full((1, 6), 2)), "the mask token"),
        (lambda: CHAIN.log_prob(np.full((1, 6), -1)), "token -1"),
        (lambda: CHAIN.marginal([0, 0]), "different ones"),
        (lambda: CHAIN.conditional({7: 0}), "different ones of 0 ... 5"),
        (lambda: CHAIN.sample(0), "n=0"),
        (lambda: Masked("steep"), "'steep' is unknown"),
        (lambda: StateSpace(Law.markov(12, np.eye(3), np.ones(3) / 3), Masked()), "too many to enumerate"),
    ],
)
def test_bad_laws_and_processes_are_named(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_tokens_that_are_no_integers_are_named() -> None:
    with pytest.raises(TypeError, match="float64"):
        CHAIN.log_prob(np.zeros((1, 6)))


def test_schedules_of_ones_own_are_tried() -> None:
    own = Survival("cubic", lambda t: 1 - t**3, lambda t: -3 * t**2, lambda a: (1 - a) ** (1 / 3))
    space = StateSpace(CHAIN, Masked(own))
    assert space.marginal(0.5).sum() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="not the derivative"):
        Survival("cubic", own.alpha, lambda t: -2 * t**2, own.time)
    with pytest.raises(ValueError, match="not the inverse"):
        Survival("cubic", own.alpha, own.slope, lambda a: 1 - a)
    with pytest.raises(ValueError, match="rises"):
        Survival("up", lambda t: 1 + t, lambda t: 1 + 0 * t, lambda a: a - 1)
    assert set(SURVIVALS) == {"linear", "cosine", "square"}
