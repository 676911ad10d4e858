"""What is proved of noise: its law, known data, and the strong and weak orders that follow.

Everything is decided in the field of the reverse equation (:mod:`diffnum.derivation.algebra.reverse`), with the noise
level a symbol. What is proved of the orders, and of what equations:

* *strong order 1 and no more*: the noise of the shipped step is that of one path, and the response of the step to it
  differs from the exact one by a variance q h^3 > 0;
* *weak order 2*: weights of order 2, the exact variance, and a mean response of 1/2. For one-step methods these are all
  conditions of weak order 2 with additive noise, for every smooth drift; for multistep methods they are those of linear
  drifts on constant steps. Where one fails, the order is 1;
* *order in law* of split methods: noise that keeps exact marginals, between steps of the flow of some order.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from diffnum.coefficients.method import Method
from diffnum.derivation import SCHEMES, Identity
from diffnum.derivation.algebra.reverse import ReverseSymbols, covariance, path_covariance
from diffnum.derivation.algebra.series import SeriesKernel, SeriesRing
from diffnum.derivation.algebra.symbols import Exact, as_fraction
from diffnum.derivation.response import Response, response
from diffnum.forms import TabulatedKernel
from diffnum.proofs.arithmetic import exact_rule, noise_of, without_noise
from diffnum.proofs.claims import decide
from diffnum.proofs.steps import Case, top_case, top_placement
from diffnum.tableau import Stage, Step, Vector, Window

__all__ = ["law_identities", "order_identities_with_noise", "response_of"]


# -- law of the noise ----------------------------------------------------------------------------------


def law_identities(top: Case) -> Iterator[Identity]:
    """Joint law of the noise at the nodes, and of states where the data are known; nothing without noise."""
    if top.record.noise is None:
        return
    if SCHEMES[top.record.noise.scheme].entry == "path":
        claim = "the noise at stages and end has the covariances of Ito's isometry on one path"
        yield decide(claim, lambda: _isometry(top))
    if top.record.form.prediction == "data":
        law = SCHEMES[top.record.noise.scheme].keeps
        what = "law" if law else "mean"
        claim = f"known data keep their {what} at every stage and at the end, for every noise level"
        yield decide(claim, lambda: _kept(top, law=law))


def _field(top: Case) -> ReverseSymbols:
    """Field of a case with noise."""
    symbols = top.symbols
    if not isinstance(symbols, ReverseSymbols):
        msg = f"symbols={symbols} have no noise level: the method {top.record.name!r} draws no noise"
        raise TypeError(msg)
    return symbols


def _isometry(top: Case) -> str:
    """First covariance between two rows that is not that of one path."""
    symbols = _field(top)
    rows = [(name, as_fraction(c), row) for name, c, row in top.shipped.rows() if c is not None]
    for name, a, row in rows:
        for other, b, row_b in rows:
            expected = path_covariance(symbols, symbols.prediction, a, b)
            if covariance(row, row_b) - expected != 0:
                return f"Cov({name}, {other}) is {covariance(row, row_b)} against {expected}"
    return ""


def _kept(top: Case, *, law: bool) -> str:
    """For constant D = x_0: x = alpha x_0 + sigma eps goes over into the same law, or mean, at every node."""
    symbols = _field(top)
    for name, node, row in top.shipped.rows():
        if node is None or (isinstance(node, int) and node == 0):
            continue
        weights = sum((w for source, w in row.items() if source[0] in "km"), symbols.constant(0))
        state = row["x"]
        # alpha_c/sigma_c = e^{ch} alpha_0/sigma_0, for the node's own c
        if symbols.rate is None:
            signal = weights - symbols["M_0"]
        else:
            c = (node if isinstance(node, Exact) else symbols.constant(as_fraction(node))) * symbols.h
            signal = weights + state * symbols.exponential(-c) - 1
        if signal != 0:
            return f"the weights of x_0 in row {name} do not add up: {signal}"
        if law and covariance(row, row) + state * state - 1 != 0:
            return f"the variance in row {name} is {covariance(row, row)}, not 1 - {state * state}"
    return ""


# -- orders ------------------------------------------------------------------------------------------


def order_identities_with_noise(record: Method) -> Iterator[Identity]:
    """Strong and weak order and, of split methods, that in law; nothing without noise."""
    if record.noise is None:
        return
    noise = record.noise
    if not noise.approaches:
        yield decide("order 0: the share of new noise in a step does not fall with it", lambda: _same_share(record))
        return
    constant = "the response to noise leaves q > 0"
    yield decide(f"strong order {noise.strong:g}, and no more: {constant}", lambda: _strong(record))
    scope = "linear drifts on constant steps" if record.depth else "smooth drifts"
    yield decide(f"weak order {noise.weak:g} for {scope}", lambda: _weak(record))
    if SCHEMES[noise.scheme].splits:
        claim = f"order {noise.law:g} in law: exact noise between steps of the flow of that order"
        yield decide(claim, lambda: "" if noise.law == record.order else f"the flow has order {record.order}")


def _same_share(record: Method) -> str:
    """Whether the shares of old and new noise are numbers, other than 1 and 0, on steps of every length."""
    top = top_case(record)
    symbols = top.symbols
    window = top.window(symbols.h, symbols.past, symbols.shipped_kernel(), symbols.__getitem__)
    row = exact_rule(record.rule, lambda _, number: Fraction(number))(window, top.placement.order).x
    kept, new = symbols.constant(0) + row["x"], symbols.constant(0) + covariance(row, row)
    same = kept.is_constant and new.is_constant and kept - 1 != 0 and new != 0
    return "" if same else f"the shares are {kept} and {new}"


def _strong(record: Method) -> str:
    noise = noise_of(record)
    if noise.silent:
        return "" if noise.strong == record.order else f"without noise the order is {record.order}"
    constant = response_of(record).strong_constant
    return "" if noise.strong == 1 and constant > 0 else f"q = {constant} and {noise.strong:g} is claimed"


def _weak(record: Method) -> str:
    noise = noise_of(record)
    found = record.order if noise.silent else _weak_order(record)
    return "" if found == noise.weak else f"the conditions give weak order {found}"


def _weak_order(record: Method) -> int:
    """Weak order that the conditions give, 1 or 2."""
    second = record.order >= 2 and response_of(record).mean == Fraction(1, 2)
    return 2 if second and _exact_variance(record) else 1


def _exact_variance(record: Method) -> bool:
    """Whether the variance of a step is that of the equation approached, to all orders."""
    noise = noise_of(record)
    if SCHEMES[noise.scheme].parameter != "eta":
        return True
    eta = Fraction(noise.level or 0)
    # eta^2 (1 - e^{-2h}) - (1 - e^{-2 eta^2 h}) = 2 eta^2 (eta^2 - 1) h^2 + ...
    return eta**2 * (eta**2 - 1) == 0


def response_of(record: Method) -> Response:
    """Response of a method to the noise of one step, see :class:`~diffnum.derivation.response.Response`.

    Parameters
    ----------
    record : Method
        Record of a stochastic method.
    """
    return response(_limit(record), SCHEMES[noise_of(record).scheme].entry)


def _limit(record: Method) -> Step:
    """Step without noise in the limit h -> 0 on constant steps, weights in steps."""
    plain = without_noise(record)
    place = top_placement(plain)
    ring = SeriesRing(6)
    past = tuple(Fraction(-j) for j in range(1, place.past + 1))
    if plain.form.rate is None:
        kernel: Any = TabulatedKernel(tuple(ring.h / (k + 1) for k in range(place.order)))
    else:
        kernel = SeriesKernel(ring.h, plain.form.rate)
    step = plain.rule(Window(ring.h, past, kernel, place.known, place.depth), place.order)

    def leading(value: Vector, steps: int) -> Vector:
        return Vector({n: as_fraction((0 * ring.h + w)[steps]) if n[0] in "km" else w for n, w in value.items()})

    stages = tuple(Stage(s.node, leading(s.value, 1)) for s in step.stages)
    return Step(stages, leading(step.x, 1), {n: leading(v, 0) for n, v in step.memory.items()})
