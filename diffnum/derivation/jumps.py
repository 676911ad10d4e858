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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
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
    "masked_matrix",
    "mixing_claims",
    "product_claims",
    "remasking_claims",
    "score_of",
    "tempered_claims",
    "thinning_claims",
    "uniform_matrix",
    "uniform_score",
    "unmasking_claims",
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


@cache
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


@cache
def thinning_claims() -> tuple[tuple[str, bool], ...]:
    """That thinned candidates have the law of the chain: candidates at rate r, each with the kernel 1 + l/r."""
    h, r, rate = sp.symbols("h r l", positive=True)
    k = sp.symbols("k", integer=True, nonnegative=True)
    law = sp.exp(-r * h) * sp.summation((r * h * (1 + rate / r)) ** k / sp.factorial(k), (k, 0, sp.oo))
    return (
        ("thinned candidates at any bounding rate have the law exp(h L)", sp.simplify(law - sp.exp(h * rate)) == 0),
    )


@cache
def remasking_claims(share: Callable[[Any, Any], Any]) -> tuple[tuple[str, bool], ...]:
    """What a step of remasking is to first order in its length, whose share vanishes with it: claim, whether it holds.

    Parameters
    ----------
    share : callable
        ``share(alpha_t, alpha_s)``, on symbols.
    """
    a, d, h, b, s = sp.symbols("alpha d h beta s", positive=True)
    p = sp.Symbol("p_b", positive=True)
    keeps = a * (1 - s) + (1 - a) * (b - (1 - s) * a) / (1 - a)
    again = share(a, a + d * h)
    shown = (a + d * h - (1 - again) * a) / (1 - a)
    loss = sp.limit(again / h, h, 0)
    rate = sp.limit(shown / h, h, 0)
    hazard, mixing = d / (1 - a), loss / (d / a)
    score = score_of(masked_matrix(2, a)[:2, :], [p, 1 - p], 2)[0]
    return (
        ("with any share masked again each token shows with probability alpha_s", sp.simplify(keeps - b) == 0),
        (
            "in the limit of short steps tokens show at the reverse rate, and at some multiple of it more",
            sp.simplify(rate - hazard * (1 + mixing)) == 0,
        ),
        (
            "the surplus and the masking are in balance under the exact law, so that the limit keeps it",
            sp.simplify((rate - hazard) * p - loss * score) == 0,
        ),
        *product_claims(),
    )


@cache
def product_claims() -> tuple[tuple[str, bool], ...]:
    """That a step which draws every token from the state at its beginning is of order 1 at most.

    Jumps of two tokens then have the product of their probabilities, whatever else the kernel is: the word ``a_j a_k^j
    E_jk`` has the coefficient 0.
    """
    h, a, b, c = sp.symbols("h a_j a_k a_k^j", positive=True)
    alone = [h * rate + sp.Symbol(f"c_{i}") * h**2 for i, rate in enumerate((a, b))]
    both = sp.expand(alone[0] * alone[1]).coeff(h, 2)
    return (
        (
            "tokens are drawn independently: two jump with probability h^2 a_j a_k, not h^2 a_j a_k^j",
            both == a * b and both.coeff(c) == 0 and EXACT.apart["new E"] != 0,
        ),
    )


@cache
def mixing_claims() -> tuple[tuple[str, bool], ...]:
    """That noising and reverse rates together leave the exact law alone: each jump and its way back are in balance."""
    a = sp.Symbol("alpha", positive=True)
    p = list(sp.symbols("p_0 p_1", positive=True))
    p.append(1 - sum(p))
    size = len(p)
    found = []
    for name, noising in (("masked", masked_matrix(size, a)[:size, :]), ("uniform", uniform_matrix(size, a))):
        letters = noising.shape[1]
        forward = [[0] * letters for _ in range(letters)]
        for i in range(size):
            for j in range(letters):
                if i != j and (name == "uniform" or j == size):
                    forward[i][j] = 1 if name == "masked" else sp.Rational(1, size)
        rates = sp.Matrix(forward)
        x = letters - 1
        score, back = score_of(noising, p, x), bayes_rates(rates, noising, p, x)
        # the share of state b is its score; its rate to x must carry what comes back from x
        balanced = all(sp.simplify(score[b] * rates[b, x] - back[b]) == 0 for b in range(letters - 1))
        found.append((f"a leap with forward and reverse rates leaves the exact law alone: balance, {name}", balanced))
    return tuple(found)


@cache
def tempered_claims(temperature: Any) -> tuple[tuple[str, bool], ...]:
    """That marginals at another temperature are other rates, however short the step."""
    p, power = sp.Rational(1, 3), 1 / sp.nsimplify(temperature)
    changed = p**power / (p**power + (1 - p) ** power)
    off = sp.simplify(changed - p)
    return (
        (
            f"of two tokens that with probability 1/3 shows with {float(changed):.4f} at temperature {temperature}",
            off != 0,
        ),
    )


# -- unmasking by count -------------------------------------------------------------------------------


@cache
def unmasking_claims(sees_draws: bool) -> tuple[tuple[str, bool], ...]:
    """What showing so many tokens a step does, on two tokens with any law: claim and whether it holds.

    Parameters
    ----------
    sees_draws : bool
        Whether the choice of what to show looks at the values that were drawn, as confidence does.
    """
    m, k = sp.symbols("m k", positive=True, integer=True)
    p = sp.Matrix(2, 2, lambda i, j: sp.Symbol(f"p_{i}{j}", positive=True))
    p[1, 1] = 1 - p[0, 0] - p[0, 1] - p[1, 0]
    rows, columns = [sum(p[i, :]) for i in range(2)], [sum(p[:, j]) for j in range(2)]
    cells = [(i, j) for i in range(2) for j in range(2)]
    cost = sum(p[c] * (sp.log(p[c]) - sp.log(rows[c[0]] * columns[c[1]])) for c in cells)
    entropy = sum(-x * sp.log(x) for x in (*rows, *columns)) + sum(p[c] * sp.log(p[c]) for c in cells)
    apart = sp.expand(sp.expand_log(cost - entropy, force=True))
    claims = [
        (
            "each of m masked tokens is among k that are chosen at random with probability k/m",
            sp.simplify(sp.combsimp(sp.binomial(m - 1, k - 1) / sp.binomial(m, k)) - k / m) == 0,
        ),
        ("both at once: KL(p || output) is the total correlation of the two", sp.simplify(apart) == 0),
        (
            "one at a time, whichever is first by what shows: the law itself",
            all(sp.simplify(rows[i] * p[i, j] / rows[i] - p[i, j]) == 0 for i, j in cells)
            and all(sp.simplify(columns[j] * p[i, j] / columns[j] - p[i, j]) == 0 for i, j in cells),
        ),
    ]
    if sees_draws:
        claims.append(
            ("the choice looks at the values drawn: one at a time is not exact, shown by a law", _prefers_likely())
        )
    return tuple(claims)


def _prefers_likely() -> bool:
    """Whether showing first the token whose drawn value is the more probable changes a law of two tokens, exactly."""
    p = sp.Matrix([[4, 1], [2, 3]]) / 10
    rows, columns = [sum(p[i, :]) for i in range(2)], [sum(p[:, j]) for j in range(2)]
    out = sp.zeros(2, 2)
    for i in range(2):
        for j in range(2):
            chance = rows[i] * columns[j]
            if rows[i] >= columns[j]:  # the first one is shown, the second drawn again
                out[i, :] += chance * p[i, :] / rows[i]
            else:
                out[:, j] += chance * p[:, j] / columns[j]
    return bool(sum(out) == 1 and out != p)


# -- kernels of one token -----------------------------------------------------------------------------


@cache
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


def masked_matrix(size: int, keep: Any) -> Any:
    """Law of one token after masking, the mask last: kept with probability ``keep``, shape (S + 1, S + 1)."""
    return sp.Matrix(
        size + 1, size + 1, lambda i, j: 1 if i == j == size else keep * int(i == j) if j < size else 1 - keep
    )


def uniform_matrix(size: int, keep: Any) -> Any:
    """Law of one token after uniform noise: kept with probability ``keep``, shape (S, S)."""
    return sp.Matrix(size, size, lambda i, j: keep * int(i == j) + (1 - keep) / size)


def score_of(noising: Any, p: Sequence[Any], x: int) -> list[Any]:
    """Concrete score of one token: probability of each of its states over that of x, the other tokens held."""
    data = [a for a in range(len(p)) if noising[a, x] != 0]
    return [sum(p[a] * noising[a, b] / noising[a, x] for a in data) for b in range(noising.shape[1])]


@cache
def bridge_claims() -> tuple[tuple[str, bool], ...]:
    """What Bayes' rule makes of a token's bridge, masked and uniform, three tokens: claim and whether it holds."""
    a, b = sp.symbols("alpha_t alpha_s", positive=True)
    p = list(sp.symbols("p_0 p_1", positive=True))
    p.append(1 - sum(p))
    size = len(p)

    early, late = masked_matrix(size, b)[:size, :], masked_matrix(size, a)[:size, :]
    hidden = bayes_posterior(masked_matrix(size, a / b), early, late, p, size)
    shown = (b - a) / (1 - a)
    masked_right = all(sp.simplify(hidden[i] - shown * p[i]) == 0 for i in range(size))
    leap = 1 - sp.exp(-(sp.log(1 - a) - sp.log(1 - b)))
    exact = bayes_posterior(uniform_matrix(size, a / b), uniform_matrix(size, b), uniform_matrix(size, a), p, 0)
    rest, later = (1 - a) / size, (1 - b) / size
    weight = [p[i] / (a + rest if i == 0 else rest) for i in range(size)]
    closed = [(b * weight[i] + later * sum(weight)) * ((1 - a / b) / size + a / b * int(i == 0)) for i in range(size)]
    uniform_right = all(sp.simplify(exact[i] - closed[i]) == 0 for i in range(size))
    tweedie = all(
        sp.simplify(found[i] - wanted[i]) == 0
        for found, wanted in (
            (_tweedie(masked_matrix(size, a / b), masked_matrix(size, a)[:size, :], p, size), hidden),
            (_tweedie(uniform_matrix(size, a / b), uniform_matrix(size, a), p, 0), exact),
        )
        for i in range(len(wanted))
    )
    words = sp.symbols("new_E old_E new_F old_F")
    new_e, old_e, new_f, old_f = words
    conditions = (
        new_e + new_f - EXACT.apart["new E"] - EXACT.apart["new F"],  # functions of one token: E_jk = F_k, exact
        old_e + old_f - EXACT.apart["old E"] - EXACT.apart["old F"],
        new_e,  # functions of two: F_k = 0, and both jump with h^2 a_j a_k, since the draws are independent
        old_e - HALF,
    )
    solved = sp.solve(conditions, words)
    expanded = [solved[word] for word in words] == [BRIDGE.apart[name] for name in ("new E", "old E", "new F", "old F")]
    return (
        ("by Bayes' rule a masked token shows b with probability (alpha_s - alpha_t)/(1 - alpha_t) p_b", masked_right),
        ("that is the leap with frozen marginals in the clock -log(1 - alpha)", sp.simplify(leap - shown) == 0),
        ("the uniform bridge that ships is Bayes' rule", uniform_right),
        ("exact for each token alone and independent for two: these two conditions give its expansion", expanded),
        ("the exact score, carried back by the inverse noising matrix (Tweedie), is the bridge", tweedie),
    )


def _tweedie(between: Any, late: Any, p: Sequence[Any], x: int) -> list[Any]:
    """Law of the token at the earlier time from the score: ``(s P^-1)_b P[b, x]``."""
    back = sp.Matrix([score_of(late, p, x)]) * between.inv()
    return [back[b] * between[b, x] for b in range(between.shape[0])]
