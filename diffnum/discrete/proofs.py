"""Proofs about samplers on tokens: the numbers that ship, put into the expansion of the generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from diffnum.discrete.checks import TokenArray
from diffnum.discrete.enumeration import StateSpace
from diffnum.discrete.jumps import Uniformisation
from diffnum.discrete.processes import TokenProcess
from diffnum.discrete.samplers import TokenSampler, sampler
from diffnum.discrete.steps import Bridge, Leap, LeapStage, Remask, StepRule, node_of
from diffnum.discrete.unmasking import Unmask
from diffnum.types import FloatArray

__all__ = ["Hurried", "TokenProof", "defects", "expansion_of", "least_rate", "prove"]


@dataclass(frozen=True)
class Hurried:
    """A step whose tokens change too often: a planted defect.

    Parameters
    ----------
    rule : StepRule
        The right step.
    size : float
        Relative surplus of the probability to leave a state, where there is room for it.
    """

    rule: StepRule
    size: float

    @property
    def stages(self) -> int:
        """Number of stages."""
        return self.rule.stages

    def node(self, i: int, process: TokenProcess, t: float, s: float) -> float:
        """Time of state i."""
        return node_of(self.rule, i, process, t, s)

    def stage(
        self,
        i: int,
        process: TokenProcess,
        states: Sequence[TokenArray],
        posteriors: Sequence[FloatArray],
        t: float,
        s: float,
    ) -> FloatArray:
        """The right stage, its departures made more probable."""
        law = self.rule.stage(i, process, states, posteriors, t, s)
        place = states[0][..., None] if i == 0 else states[i][..., None]
        stays = np.take_along_axis(law, place, axis=-1)
        more = np.minimum(1.0 + self.size, 1.0 / np.maximum(1.0 - stays, np.finfo(float).tiny))
        out = law * more
        np.put_along_axis(out, place, 1.0 - more * (1.0 - stays), axis=-1)
        return np.asarray(np.maximum(out, 0.0))


@dataclass(frozen=True)
class TokenProof:
    """What is decided about a sampler.

    Parameters
    ----------
    name : str
        Sampler.
    order : int or None
        Order in law that the expansion gives where no rate is extrapolated below zero; None where steps are no
        parameter.
    claims : tuple of (str, bool)
        What was decided, and whether it holds.
    """

    name: str
    order: int | None
    claims: tuple[tuple[str, bool], ...]

    @property
    def ok(self) -> bool:
        """Whether every claim holds."""
        return all(ok for _, ok in self.claims)

    def __str__(self) -> str:
        lines = [f"{self.name}: {'proved' if self.ok else 'NOT proved'}"]
        return "\n".join([*lines, *(f"  {'ok  ' if ok else 'FAIL'} {text}" for text, ok in self.claims)])


def expansion_of(rule: StepRule) -> Any:
    """Expansion of a step in jumps, a :class:`diffnum.derivation.jumps.JumpExpansion`, from the numbers that ship.

    Parameters
    ----------
    rule : StepRule
        A leap, a hurried one, or the bridge at temperature 1.

    Returns
    -------
    JumpExpansion

    Raises
    ------
    TypeError
        For rules that are neither leaps nor the bridge.
    """
    from diffnum.derivation.jumps import BRIDGE, leap_expansion

    if isinstance(rule, Hurried):
        right = expansion_of(rule.rule)
        return replace(right, first=right.first * (1 + _exact(rule.size)))
    if isinstance(rule, Bridge) and rule.temperature == 1.0:
        return BRIDGE
    if not isinstance(rule, Leap):
        msg = f"{type(rule).__name__} has no expansion in leaps: use a Leap, or the Bridge at temperature 1"
        raise TypeError(msg)
    # What only mixes leaves the exact law alone to first order; the order is that of the rest.
    path = [stage for stage in rule.path if not stage.correct]
    found = leap_expansion([(s.origin, _exact(s.span), [_exact(w) for w in s.weights]) for s in path], rule.jump)
    # With other than one reverse rate to each forward one it does not only mix.
    surplus = sum(_exact(s.span) * (sum(_exact(w) for w in s.weights) - 1) for s in rule.path if s.correct)
    return replace(found, first=found.first + surplus)


def _exact(value: Any) -> Any:
    """A float as the simple fraction that it stands for."""
    return Fraction(value).limit_denominator(10**6) if isinstance(value, float) else value


def prove(name: str | TokenSampler) -> TokenProof:
    """Decide what is claimed of a sampler, symbolically.

    Parameters
    ----------
    name : str or TokenSampler
        Sampler.

    Returns
    -------
    TokenProof

    Raises
    ------
    TypeError
        If nothing is known of steps of this kind.
    """
    record = sampler(name)
    for kind, decide in _DECIDED:
        if isinstance(record.rule, kind):
            return decide(record, record.rule)
    msg = f"{record.name}: nothing is known of a {type(record.rule).__name__}; measure it by convergence_study"
    raise TypeError(msg)


def _expanded(record: TokenSampler, rule: Any) -> TokenProof:
    """Order of a step by its expansion in jumps."""
    from diffnum.derivation import jumps

    if isinstance(rule, Bridge) and rule.temperature != 1.0:
        claims = (("order 0 in law: other rates than those of the chain", record.order == 0),)
        return TokenProof(record.name, 0, (*jumps.bridge_claims(), *jumps.tempered_claims(rule.temperature), *claims))
    found = expansion_of(rule)
    first, second = found.residuals()
    decided = [
        ("consistent: the coefficient of h a_k F_k is 1", all(value == 0 for value in first)),
        (f"order {record.order} in law: the expansion gives {found.order}", found.order == record.order),
    ]
    if record.order == 1:
        wrong = [str(value) for value in second if value != 0]
        decided.append((f"not of order 2: residuals {', '.join(wrong)}", bool(wrong)))
    kernel = jumps.frozen_claims(rule.jump) if isinstance(rule, Leap) else jumps.bridge_claims()
    mixes = isinstance(rule, Leap) and any(stage.correct for stage in rule.path)
    return TokenProof(record.name, found.order, (*kernel, *(jumps.mixing_claims() if mixes else ()), *decided))


def _unmasked(record: TokenSampler, rule: Any) -> TokenProof:
    """What showing tokens by count does; the times of one at a time at random are labels."""
    from diffnum.derivation.jumps import first_hitting_claims, unmasking_claims

    sees_draws = rule.order == "confidence"
    exact = rule.one and not sees_draws and rule.temperature == 1.0
    claims = [*unmasking_claims(sees_draws), (f"exact {record.exact}: one token a step {exact}", exact == record.exact)]
    times = first_hitting_claims() if rule.one and rule.order == "random" else ()
    return TokenProof(record.name, None, (*times, *claims))


def _thinned(record: TokenSampler, rule: Any) -> TokenProof:  # noqa: ARG001
    """That thinned candidates have the law of the chain."""
    from diffnum.derivation.jumps import thinning_claims

    return TokenProof(record.name, None, thinning_claims())


def _remasking(record: TokenSampler, rule: Any) -> TokenProof:
    """Whether the share that is masked again vanishes with the step: only then is there a limit chain."""
    from diffnum.derivation.jumps import remasking_claims

    shares = [rule.share(0.5, 0.5 + 0.5**k) * 2.0**k for k in (20, 24)]
    vanishes = abs(shares[1] / shares[0] - 1.0) < 1e-3
    falls = "fall like h" if vanishes else "do not fall with h, so that no rates are left in the limit"
    claims = [(f"order {record.order} in law: the shares {falls}", record.order == int(vanishes))]
    limit = remasking_claims(rule.share) if vanishes else ()
    return TokenProof(record.name, int(vanishes), (*claims, *limit))


def _hurried(record: TokenSampler, rule: Any) -> TokenProof:
    """That a planted surplus of jumps is no chain's."""
    return TokenProof(record.name, 0, ((f"consistent: the coefficient of h a_k F_k is 1 + {rule.size:g}", False),))


_DECIDED: tuple[tuple[Any, Callable[[TokenSampler, Any], TokenProof]], ...] = (
    (Bridge | Leap, _expanded),
    (Unmask, _unmasked),
    (Uniformisation, _thinned),
    (Remask, _remasking),
    (Hurried, _hurried),
)
"""How steps of each kind are decided."""


def least_rate(rule: Leap | str | TokenSampler, space: StateSpace, t: float) -> float:
    """Least extrapolated rate after one jump, relative to the rate before: negative where it will count as zero.

    Parameters
    ----------
    rule : Leap, str or TokenSampler
        The step, or a sampler whose step is a leap; the limit of small steps is taken.
    space : StateSpace
        All states of a law under a process.
    t : float
        Time.

    Returns
    -------
    float
        The minimum over all possible states, first jumps and second jumps; 1 where nothing is extrapolated.

    Raises
    ------
    TypeError
        If the step is no leap.
    """
    leap = sampler(rule).rule if isinstance(rule, str | TokenSampler) else rule
    if not isinstance(leap, Leap):
        msg = f"rule={rule!r} is no leap, and extrapolates no rates: pass a Leap, or the name of a sampler of leaps"
        raise TypeError(msg)
    process, x = space.process, space.states
    rates = process.rates(space.denoised(t), x, t)
    possible = space.marginal(t) > 0
    least = 1.0
    for stage in leap.path:
        if min(stage.weights) >= 0:
            continue
        old = sum(float(w) for at, w in enumerate(stage.weights) if at == 0)
        new = sum(float(w) for at, w in enumerate(stage.weights) if at > 0)
        for place in range(space.length):
            for letter in range(space.letters):
                y = x.copy()
                y[:, place] = letter
                reached = possible & (rates[:, place, letter] > 0)
                after = rates[space.index(y)]
                second = rates > 0
                if process.time_free:
                    second[:, place] = False  # a token that shows stays
                second[np.arange(len(y))[:, None], np.arange(space.length), y] = False
                at = second & reached[:, None, None]
                if at.any():
                    least = min(least, float(np.min(new * after[at] / rates[at] + old)))
    return least


def defects(name: str | TokenSampler, size: float = 0.05) -> dict[str, TokenSampler]:
    """Records with one number of the step wrong: negative controls.

    Parameters
    ----------
    name : str or TokenSampler
        Sampler.
    size : float
        Relative size of the defect.

    Returns
    -------
    dict of str to TokenSampler
        Of leaps one for each span and weight; of other steps with a length one whose tokens change too often; of
        unmasking by count one at another temperature; of uniformisation one that ends early.

    Raises
    ------
    ValueError
        If the size is not in (0, 1).
    """
    if not 0.0 < size < 1.0:
        msg = f"size={size}: plant a relative defect in (0, 1)"
        raise ValueError(msg)
    rules: dict[str, Any]
    record = sampler(name)
    rule = record.rule
    if isinstance(rule, Leap):
        rules = _wrong_leaps(rule, size)
    elif isinstance(rule, Unmask):
        rules = {"temperature": replace(rule, temperature=rule.temperature * (1.0 + size))}
    elif isinstance(rule, Uniformisation):
        rules = {"end": replace(rule, end=0.5)}
    else:
        rules = {"rate": Hurried(rule, size)}
    return {
        what: replace(record, name=f"{record.name} with another {what}", rule=wrong) for what, wrong in rules.items()
    }


def _wrong_leaps(rule: Leap, size: float) -> dict[str, Leap]:
    """Leaps with one span or weight wrong."""
    found: dict[str, Leap] = {}
    for i, stage in enumerate(rule.path):
        bad: list[tuple[str, LeapStage]] = []
        if i < len(rule.path) - 1:
            bad.append((f"span of stage {i + 1}", replace(stage, span=stage.span * (1 + size))))
        for j, weight in enumerate(stage.weights):
            if weight != 0:
                weights = tuple(w * (1 + size) if k == j else w for k, w in enumerate(stage.weights))
                bad.append((f"weight {j} of stage {i + 1}", replace(stage, weights=weights)))
        for what, wrong in bad:
            found[what] = replace(rule, path=(*rule.path[:i], wrong, *rule.path[i + 1 :]))
    return found
