"""Proofs about samplers on tokens: the numbers that ship, put into the expansion of the generator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from diffnum.discrete.enumeration import StateSpace
from diffnum.discrete.jumps import Uniformisation
from diffnum.discrete.samplers import TokenSampler, sampler
from diffnum.discrete.steps import Bridge, Leap, LeapStage, Remask
from diffnum.discrete.unmasking import Unmask

__all__ = ["TokenProof", "defects", "expansion_of", "least_rate", "prove"]


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


def expansion_of(rule: Bridge | Leap) -> Any:
    """Expansion of a step in jumps, a :class:`diffnum.derivation.jumps.JumpExpansion`, from the numbers that ship.

    Raises
    ------
    TypeError
        For rules that are neither leaps nor the bridge.
    """
    from diffnum.derivation.jumps import BRIDGE, leap_expansion

    if isinstance(rule, Bridge) and rule.temperature == 1.0:
        return BRIDGE
    if not isinstance(rule, Leap):
        msg = f"{type(rule).__name__} has no expansion in leaps: use a Leap, or the Bridge at temperature 1"
        raise TypeError(msg)
    # What only mixes leaves the exact law alone to first order; the order is that of the rest.
    path = [stage for stage in rule.path if not stage.correct]
    return leap_expansion([(s.origin, _exact(s.span), [_exact(w) for w in s.weights]) for s in path], rule.jump)


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
    ValueError
        If the sampler claims nothing that is proved here.
    """
    from diffnum.derivation.jumps import bridge_claims, first_hitting_claims, frozen_claims, thinning_claims

    record = sampler(name)
    rule = record.rule
    if isinstance(rule, Bridge | Leap):
        found = expansion_of(rule)
        first, second = found.residuals()
        claims = [
            ("consistent: the coefficient of h a_k F_k is 1", all(value == 0 for value in first)),
            (f"order {record.order} in law: the expansion gives {found.order}", found.order == record.order),
        ]
        if record.order == 1:
            wrong = [str(value) for value in second if value != 0]
            claims.append((f"not of order 2: residuals {', '.join(wrong)}", bool(wrong)))
        kernel = frozen_claims(rule.jump) if isinstance(rule, Leap) else bridge_claims()
        return TokenProof(record.name, found.order, (*kernel, *claims))
    if isinstance(rule, Unmask) and rule.one and rule.order == "random":
        return TokenProof(record.name, None, first_hitting_claims())
    if isinstance(rule, Remask):
        return _remasking(record, rule)
    if isinstance(rule, Uniformisation):
        return TokenProof(record.name, None, thinning_claims())
    msg = (
        f"{record.name} claims no order: what showing tokens at once costs is dn.discrete.correlation's theorem, "
        "and its laws are exact by dn.discrete.output_law"
    )
    raise ValueError(msg)


def _remasking(record: TokenSampler, rule: Remask) -> TokenProof:
    """Whether the share that is masked again vanishes with the step: only then is there a limit chain."""
    from diffnum.derivation.jumps import remasking_claims

    shares = [rule.share(0.5, 0.5 + 0.5**k) * 2.0**k for k in (20, 24)]
    vanishes = abs(shares[1] / shares[0] - 1.0) < 1e-3
    falls = "fall like h" if vanishes else "do not fall with h, so that no rates are left in the limit"
    claims = [(f"order {record.order} in law: the shares {falls}", record.order == int(vanishes))]
    return TokenProof(record.name, int(vanishes), (*claims, *(remasking_claims() if vanishes else ())))


def least_rate(rule: Leap, space: StateSpace, t: float) -> float:
    """Least extrapolated rate after one jump, relative to the rate before: negative where it will count as zero.

    Parameters
    ----------
    rule : Leap
        The step; the limit of small steps is taken.
    space : StateSpace
        All states of a law under a process.
    t : float
        Time.

    Returns
    -------
    float
        The minimum over all possible states, first jumps and second jumps; 1 where nothing is extrapolated.
    """
    process, x = space.process, space.states
    rates = process.rates(space.denoised(t), x, t)
    possible = space.marginal(t) > 0
    least = 1.0
    for stage in rule.path:
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


def defects(record: TokenSampler, size: float = 0.05) -> dict[str, TokenSampler]:
    """Records with one number of the step wrong: negative controls.

    Parameters
    ----------
    record : TokenSampler
        A sampler whose rule is a Leap.
    size : float
        Relative size of the defect.
    """
    rule = record.rule
    if not isinstance(rule, Leap):
        msg = f"{record.name} is no leap: defects are planted in spans and weights"
        raise TypeError(msg)
    found: dict[str, TokenSampler] = {}
    for i, stage in enumerate(rule.path):
        bad: list[tuple[str, LeapStage]] = []
        if i < len(rule.path) - 1:
            bad.append((f"span of stage {i + 1}", replace(stage, span=stage.span * (1 + size))))
        for j, weight in enumerate(stage.weights):
            if weight != 0:
                weights = tuple(w * (1 + size) if k == j else w for k, w in enumerate(stage.weights))
                bad.append((f"weight {j} of stage {i + 1}", replace(stage, weights=weights)))
        for what, wrong in bad:
            path = (*rule.path[:i], wrong, *rule.path[i + 1 :])
            found[what] = replace(record, name=f"{record.name} with another {what}", rule=replace(rule, path=path))
    return found
