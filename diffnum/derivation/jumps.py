"""Jump processes on tokens: orders in law of leaps, reverse rates by Bayes' rule, first-hitting times.

A reverse chain jumps at rates ``a_k(x, t)``, where a jump k sets one token. For a function f of the state let ``F_k =
f(x + k) - f(x)`` and ``E_jk = f(x + j + k) - f(x + j)``, and let ``a_k^j`` be the rate of k after the jump j. The
generator is ``L f = sum a_k F_k``, and the exact law after a step h is

    f + h L f + h^2/2 (L L f + L' f),   L L f = sum a_j (a_k^j E_jk - a_k F_k).

A step that consists of leaps with frozen rates has an expansion in the same words, with other coefficients. It is of
order p in law if the coefficients agree up to h^p, whatever the rates: the words are independent. Two jumps of the
*same* token are words of their own, since there the second one overwrites the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sympy as sp

__all__ = [
    "BRIDGE",
    "EXACT",
    "JumpExpansion",
    "StageData",
    "bayes_posterior",
    "bayes_rates",
    "bridge_claims",
    "first_hitting_claims",
    "first_hitting_time",
    "frozen_claims",
    "leap_expansion",
    "remasking_claims",
    "thinning_claims",
    "uniform_score",
]

StageData: TypeAlias = tuple[int, Any, Sequence[Any]]
"""A stage: state from which it leaps, span as a part of the step, weights of the rates at the states so far."""

Words: TypeAlias = dict[str, Any]

SAME_TOKEN = {"exponential": sp.Rational(-1, 2), "linear": sp.Integer(0), "rejecting": sp.Integer(-1)}
"""Coefficient of ``h^2 a_j a_k F_k`` for two jumps of one token in a leap: 1 - exp(-h r), h r, h r exp(-h r)."""


@dataclass(frozen=True)
class JumpExpansion:
    """Expansion of a step.

    Parameters
    ----------
    first : expression
        Coefficient of ``h a_k F_k``; 1 for a consistent step.
    slope : expression
        Coefficient of ``h^2 a_k' F_k``, the rates' own change in time.
    apart, same : dict of str to expression
        Coefficients of ``h^2`` times ``a_j a_k^j E_jk`` ("new E"), ``a_j a_k E_jk`` ("old E"), ``a_j a_k^j F_k``
        ("new F") and ``a_j a_k F_k`` ("old F"), for jumps of different tokens and of one token. (For one token "old
        E" sums to zero over j and k, being antisymmetric; it is left out.)
    """

    first: Any
    slope: Any
    apart: Words
    same: Words

    def residuals(self) -> tuple[list[Any], list[Any]]:
        """What is wrong at h and at h^2: zeros where the step is right."""
        second = [self.slope - EXACT.slope]
        second += [self.apart[word] - EXACT.apart[word] for word in EXACT.apart]
        second += [self.same[word] - EXACT.same[word] for word in EXACT.same]
        return [sp.simplify(self.first - EXACT.first)], [sp.simplify(value) for value in second]

    @property
    def order(self) -> int:
        """Order in law that the coefficients prove: 0, 1 or (at least) 2."""
        first, second = self.residuals()
        if any(value != 0 for value in first):
            return 0
        return 1 if any(value != 0 for value in second) else 2


HALF = sp.Rational(1, 2)
EXACT = JumpExpansion(
    sp.Integer(1),
    HALF,
    {"new E": HALF, "old E": sp.Integer(0), "new F": sp.Integer(0), "old F": -HALF},
    {"new E": HALF, "new F": sp.Integer(0), "old F": -HALF},
)
"""The reverse chain itself."""

BRIDGE = JumpExpansion(
    sp.Integer(1),
    HALF,
    {"new E": sp.Integer(0), "old E": HALF, "new F": HALF, "old F": sp.Integer(-1)},
    {"new E": HALF, "new F": sp.Integer(0), "old F": -HALF},
)
"""Independent draws from the exact law of each token alone: right in functions of one token, first order in law."""


def leap_expansion(path: Sequence[StageData], jump: str = "exponential") -> JumpExpansion:
    """Expansion of a step made of leaps, where no sum of rates is negative.

    Parameters
    ----------
    path : sequence of (origin, span, weights)
        The stages; numbers or sympy expressions. The last one is the result.
    jump : {"exponential", "linear", "rejecting"}
        How frozen rates become probabilities.

    Returns
    -------
    JumpExpansion
    """
    spans = [sp.nsimplify(span) for _, span, _ in path]
    weights = [[sp.nsimplify(w) for w in row] for _, _, row in path]
    ancestors: list[set[int]] = [set()]
    nodes = [sp.Integer(0)]
    for i, (origin, _, _) in enumerate(path):
        ancestors.append(ancestors[origin] | {i})
        nodes.append(nodes[origin] + spans[i])
    ends = ancestors[-1]
    sums = [sum(row, sp.Integer(0)) for row in weights]
    first = sum((spans[i] * sums[i] for i in ends), sp.Integer(0))
    slope = sum((spans[i] * w * nodes[at] for i in ends for at, w in enumerate(weights[i])), sp.Integer(0))
    apart = dict.fromkeys(EXACT.apart, sp.Integer(0))
    same = dict.fromkeys(EXACT.same, sp.Integer(0))
    for i in range(len(path)):
        drawn = spans[i] * sums[i]
        if i in ends:  # both jumps within one leap
            apart["old E"] += drawn**2 / 2
            apart["old F"] -= drawn**2 / 2
            same["old F"] += SAME_TOKEN[jump] * drawn**2
        for later in range(i + 1, len(path)):
            if later not in ends:
                continue
            seen = sum((w for at, w in enumerate(weights[later]) if i in ancestors[at]), sp.Integer(0))
            moved = drawn * spans[later]
            if i in ends:  # the first jump stays, the second may know of it
                apart["new E"] += moved * seen
                apart["old E"] += moved * (sums[later] - seen)
                apart["old F"] -= moved * sums[later]
                same["new E"] += moved * seen
                same["old F"] -= moved * sums[later]
            else:  # the first jump is forgotten: only the rates have seen it
                for words in (apart, same):
                    words["new F"] += moved * seen
                    words["old F"] -= moved * seen
    return JumpExpansion(
        sp.simplify(first),
        sp.simplify(slope),
        {word: sp.simplify(value) for word, value in apart.items()},
        {word: sp.simplify(value) for word, value in same.items()},
    )


# -- Bayes' rule for one token ------------------------------------------------------------------------


def bayes_rates(generator: Any, noising: Any, p: Sequence[Any], x: int) -> list[Any]:
    """Reverse rates of a token in state x, by Bayes' rule over its datum.

    Parameters
    ----------
    generator : Matrix, shape (K, K)
        Rates of the noising process, from row to column.
    noising : Matrix, shape (S, K)
        Law of the noisy token given the datum.
    p : sequence of S expressions
        Posterior of the datum given the whole noisy state.
    x : int
        State of the token.

    Returns
    -------
    list of K expressions
        Rate to each state; zero to x.
    """
    return [
        0
        if b == x
        else generator[b, x] * sum(p[a] * noising[a, b] / noising[a, x] for a in range(len(p)) if noising[a, x] != 0)
        for b in range(generator.shape[0])
    ]


def bayes_posterior(between: Any, early: Any, late: Any, p: Sequence[Any], x: int) -> list[Any]:
    """Law of the token at the earlier time, given its state x at the later one and the posterior of the datum.

    Parameters
    ----------
    between : Matrix, shape (K, K)
        Law of the later state given the earlier one.
    early, late : Matrix, shape (S, K)
        Laws of the two states given the datum.
    p : sequence of length S
        Posterior probabilities of the datum.
    x : int
        State at the later time.
    """
    data = [a for a in range(len(p)) if late[a, x] != 0]
    return [sum(p[a] * early[a, b] * between[b, x] / late[a, x] for a in data) for b in range(between.shape[0])]


def uniform_score(p: Sequence[Any], x: int, alpha: Any) -> list[Any]:
    """Concrete score of the uniform process: ``1 + p_b alpha/c - p_x alpha/(alpha + c)``, c = (1 - alpha)/S."""
    rest = (1 - alpha) / len(p)
    return [1 if b == x else 1 + p[b] * alpha / rest - p[x] * alpha / (alpha + rest) for b in range(len(p))]


# -- first-hitting times ------------------------------------------------------------------------------


def first_hitting_time() -> tuple[Any, Any, Any]:
    """Time when the first of n masked tokens shows, by the hazard of each, in the share of what is masked.

    The clock is ``m = 1 - alpha``, falling from a to b: a masked token shows at rate 1/m in it, whatever the state.

    Returns
    -------
    survival : expression
        Probability that none of n tokens has shown: the solution of S' = n S/m with S(a) = 1, at m = b.
    solved : expression
        The b at which that probability is u, for each u in (0, 1).
    shown : expression
        Probability that one given token has shown: 1 - survival for n = 1.
    """
    n, a, b, u, m = sp.symbols("n a b u m", positive=True)
    function = sp.Function("S")
    found = sp.dsolve(function(m).diff(m) - n / m * function(m), function(m)).rhs
    constant = next(iter(found.free_symbols - {n, m}))
    survival = sp.powsimp(
        found.subs(constant, sp.solve(sp.Eq(found.subs(m, a), 1), constant)[0]).subs(m, b), force=True
    )
    solved = sp.solve(sp.Eq(sp.log(survival), sp.log(u)), b)[0]
    return survival, sp.simplify(solved), sp.simplify(1 - survival.subs(n, 1))


def first_hitting_claims() -> tuple[tuple[str, bool], ...]:
    """That the times of the first-hitting sampler are labels, decided: claim and whether it holds."""
    n, a, b, u = sp.symbols("n a b u", positive=True)
    survival, solved, shown = first_hitting_time()
    return (
        (
            "none of n masked tokens has shown with probability (b/a)^n when 1 - alpha fell from a to b",
            sp.simplify(survival / (b / a) ** n) == 1,
        ),
        (
            "the next time has 1 - alpha = a u^(1/n): it depends on the state through n alone",
            sp.simplify(solved / (a * u ** (1 / n))) == 1,
        ),
        ("each token has shown with the ancestral probability (a - b)/a", sp.simplify(shown - (a - b) / a) == 0),
    )


def thinning_claims() -> tuple[tuple[str, bool], ...]:
    """That thinned candidates have the law of the chain: candidates at rate r, each with the kernel 1 + l/r."""
    h, r, rate = sp.symbols("h r l", positive=True)
    k = sp.symbols("k", integer=True, nonnegative=True)
    law = sp.exp(-r * h) * sp.summation((r * h * (1 + rate / r)) ** k / sp.factorial(k), (k, 0, sp.oo))
    return (
        ("thinned candidates at any bounding rate have the law exp(h L)", sp.simplify(law - sp.exp(h * rate)) == 0),
    )


def remasking_claims() -> tuple[tuple[str, bool], ...]:
    """That remasking keeps the law of each token: a share s of the shown ones masked again, alpha from a to b."""
    a, b, s = sp.symbols("a b s", positive=True)
    shown = a * (1 - s) + (1 - a) * (b - (1 - s) * a) / (1 - a)
    return (("with any share masked again each token shows with probability alpha_s", sp.simplify(shown - b) == 0),)


# -- kernels of one token -----------------------------------------------------------------------------


def frozen_claims(jump: str) -> tuple[tuple[str, bool], ...]:
    """What frozen rates r_1, r_2 to two values do to one token in a time h: claim and whether it holds.

    Parameters
    ----------
    jump : {"exponential", "linear", "rejecting"}
        How rates become probabilities.
    """
    h, r, q = sp.symbols("h r q", positive=True)
    total = r + q
    if jump == "exponential":
        # events of any value overwrite: from each of the three states to value i at rate r_i
        rates = sp.Matrix([[-total, r, q], [0, -q, q], [0, r, -r]])
        moved = (1 - sp.exp(-h * total)) / total
        law = sp.Matrix([[sp.exp(-h * total), moved * r, moved * q]])
        solved = sp.simplify(law.diff(h) - law * rates) == sp.zeros(1, 3) and law.subs(h, 0) == sp.Matrix([[1, 0, 0]])
        return (("the first jump decides: the same law as if every later event overwrote the token", bool(solved)),)
    if jump == "rejecting":
        one = r * h * sp.exp(-r * h) * sp.exp(-q * h)
        return (
            (
                "one event of this value and none of another: h r exp(-h sum)",
                sp.simplify(one - h * r * sp.exp(-h * total)) == 0,
            ),
        )
    first = sp.series((1 - sp.exp(-h * total)) * r / total, h, 0, 2).removeO()
    return (("Euler's probability h r is that of the jump to first order", sp.simplify(first - h * r) == 0),)


def bridge_claims() -> tuple[tuple[str, bool], ...]:
    """What Bayes' rule makes of a token's bridge, masked and uniform, three tokens: claim and whether it holds."""
    a, b = sp.symbols("alpha_t alpha_s", positive=True)
    p = list(sp.symbols("p_0 p_1", positive=True))
    p.append(1 - sum(p))
    size = len(p)

    def masked(keep: Any) -> Any:
        return sp.Matrix(
            size + 1, size + 1, lambda i, j: 1 if i == j == size else keep * int(i == j) if j < size else 1 - keep
        )

    def uniform(keep: Any) -> Any:
        return sp.Matrix(size, size, lambda i, j: keep * int(i == j) + (1 - keep) / size)

    hidden = bayes_posterior(masked(a / b), masked(b)[:size, :], masked(a)[:size, :], p, size)
    shown = (b - a) / (1 - a)
    masked_right = all(sp.simplify(hidden[i] - shown * p[i]) == 0 for i in range(size))
    leap = 1 - sp.exp(-(sp.log(1 - a) - sp.log(1 - b)))
    exact = bayes_posterior(uniform(a / b), uniform(b), uniform(a), p, 0)
    rest, later = (1 - a) / size, (1 - b) / size
    weight = [p[i] / (a + rest if i == 0 else rest) for i in range(size)]
    closed = [(b * weight[i] + later * sum(weight)) * ((1 - a / b) / size + a / b * int(i == 0)) for i in range(size)]
    uniform_right = all(sp.simplify(exact[i] - closed[i]) == 0 for i in range(size))
    return (
        ("by Bayes' rule a masked token shows b with probability (alpha_s - alpha_t)/(1 - alpha_t) p_b", masked_right),
        ("that is the leap with frozen marginals in the clock -log(1 - alpha)", sp.simplify(leap - shown) == 0),
        ("the uniform bridge that ships is Bayes' rule", uniform_right),
    )
