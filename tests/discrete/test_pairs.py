"""Laws after two leaps without listing pairs: against the list of all of them, with symmetries and without."""

from __future__ import annotations

from dataclasses import replace
from math import factorial

import numpy as np
import pytest

from diffnum.discrete import Law, Leap, LeapStage, Masked, StateSpace, Uniform, theta_rk2, theta_trapezoidal
from diffnum.discrete.output import advance
from diffnum.discrete.pairs import at_letters

RNG = np.random.default_rng(0)
LAWS = {
    f"{size} tokens, {length} places": Law(RNG.dirichlet(np.ones(size**length)).reshape((size,) * length))
    for size, length in ((2, 1), (2, 5), (3, 3), (4, 2), (5, 2))
}
LAWS["symmetric"] = Law.markov(4, 0.7 * np.eye(3) + 0.1, np.ones(3) / 3)

RULES = {
    "trapezoidal": theta_trapezoidal(0.5),
    "trapezoidal, clock": theta_trapezoidal(0.3, "noise"),
    "trapezoidal, linear": replace(theta_trapezoidal(0.4), jump="linear"),
    "trapezoidal, rejecting": replace(theta_trapezoidal(0.4), jump="rejecting"),
    "midpoint": theta_rk2(0.5),
    "Runge-Kutta": theta_rk2(0.3),
    "corrected": Leap((LeapStage(0, 1, (1,)), LeapStage(1, 0.5, (0, 1), correct=True))),
    "corrected, from the first": Leap((LeapStage(0, 0.5, (1,)), LeapStage(0, 0.5, (-1, 2), correct=True))),
    "rates of the first only": Leap((LeapStage(0, 0.5, (1,)), LeapStage(1, 0.5, (1,)))),
    "three leaps": Leap((LeapStage(0, 0.3, (1,)), LeapStage(1, 0.3, (-1, 2)), LeapStage(2, 0.4, (0, -1, 2)))),
    "pairs behind a leap": Leap((LeapStage(0, 0.3, (1,)), LeapStage(1, 0.3, (0, 1)), LeapStage(2, 0.4, (0, -1, 2)))),
}


def listed(rule: Leap, space: StateSpace, law: np.ndarray, t: float, s: float) -> np.ndarray:
    """The law by all paths through all states, one by one."""
    paths = [(law[k], [k]) for k in range(space.size)]
    for i in range(rule.stages):
        at = np.array([way for _, way in paths])
        states = [space.states[at[:, j]] for j in range(i + 1)]
        nodes = [t if j == 0 else rule.node(j, space.process, t, s) for j in range(i + 1)]
        posteriors = [space.denoised(node)[at[:, j]] for j, node in enumerate(nodes)]
        weights = np.array([w for w, _ in paths])
        found = weights[:, None] * np.stack(
            [
                np.prod(probs[np.arange(space.length), space.states], axis=1)
                for probs in rule.stage(i, space.process, states, posteriors, t, s)
            ]
        )
        if i == rule.stages - 1:
            return np.asarray(found.sum(axis=0))
        paths = [(found[r, k], [*paths[r][1], k]) for r, k in zip(*np.nonzero(found), strict=True)]
    raise AssertionError


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("process", [Uniform(), Uniform("cosine"), Masked()], ids=lambda p: p.name)
def test_laws_after_several_leaps_are_the_sums_over_all_paths(rule: Leap, process: Uniform) -> None:
    for law in (LAWS["2 tokens, 1 places"], Law(RNG.dirichlet(np.ones(9)).reshape(3, 3))):
        space = StateSpace(law, process)
        before = space.marginal(0.7)
        after = advance(rule, space, before, 0.7, 0.5)
        np.testing.assert_allclose(after, listed(rule, space, before, 0.7, 0.5), atol=1e-15)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
@pytest.mark.parametrize("name", ["trapezoidal", "midpoint", "Runge-Kutta"])
def test_pairs_are_summed_alike_whatever_the_shape_and_the_symmetries(law: Law, name: str) -> None:
    for process in (Uniform(), Masked()):
        space = StateSpace(law, process)
        if space.size > 300:
            continue
        before = space.marginal(0.6)
        after = advance(RULES[name], space, before, 0.6, 0.55)
        np.testing.assert_allclose(after, listed(RULES[name], space, before, 0.6, 0.55), atol=1e-15)


def test_a_law_that_has_not_the_symmetries_of_the_data_is_pushed_without_them() -> None:
    space = StateSpace(LAWS["symmetric"], Uniform())
    before = RNG.dirichlet(np.ones(space.size))
    for name in ("trapezoidal", "midpoint"):
        after = advance(RULES[name], space, before, 0.6, 0.5)
        np.testing.assert_allclose(after, listed(RULES[name], space, before, 0.6, 0.5), atol=1e-15)


def test_the_symmetries_of_a_chain_are_found_and_no_others() -> None:
    for process in (Uniform(), Masked()):
        space = StateSpace(LAWS["symmetric"], process)
        assert len(space.symmetries) == 2 * factorial(3)
        assert np.array_equal(space.symmetries[0], np.arange(space.size))
        group, orbits, sizes = space.orbits(space.marginal(0.4))
        assert len(group) == 12
        assert sizes.sum() == space.size
        assert len(orbits) < space.size / 5
        alone, every, _ = space.orbits(RNG.dirichlet(np.ones(space.size)))
        assert len(alone) == 1
        assert len(every) == space.size
    nearly = LAWS["symmetric"].table.copy()
    nearly[0, 0, 0, 0] += 1e-11
    assert len(StateSpace(Law(nearly / nearly.sum()), Uniform()).symmetries) == 4


def test_only_leaps_from_the_first_state_with_rates_at_the_second_go_by_letters() -> None:
    by_letters = {name for name, rule in RULES.items() if rule.stages == 2 and at_letters(rule)}
    assert by_letters == {"midpoint"}
