r"""Stochastic methods: the reverse equations that share one family of marginals, and their exact steps.

For every noise level tau >= 0 the equation, in the half-log-SNR and with Brownian motion W in it,

.. math:: d\frac{x}{\sigma e^{-\eta^2\lambda}} = (1 + \eta^2)\, e^{(1+\eta^2)\lambda} D\, d\lambda
          + \sqrt2\, \eta\, e^{\eta^2\lambda}\, dW
          \qquad\text{or}\qquad
          d\frac{x}{\alpha} = -(1 + \eta^2)\, e^{-\lambda} \epsilon\, d\lambda + \sqrt2\, \eta\, e^{-\lambda}\, dW

with exact data prediction D or noise prediction epsilon has the same marginals; tau = 0 is the probability flow,
tau = 1 the time reversal of the noising process. Over a step both are integrated exactly but for the prediction:

.. math:: x(\lambda_{n+1}) = \frac{\sigma_{n+1}}{\sigma_n} e^{-\eta^2 h} x(\lambda_n)
          + \alpha_{n+1} \int_0^1 (1+\eta^2) h\, e^{-(1+\eta^2) h (1-s)} D\, ds
          + \sigma_{n+1} \sqrt{1 - e^{-2\eta^2 h}}\; z .

So a stochastic method is a deterministic one on another kernel (for data prediction: with a step longer by the factor
1 + tau^2), plus noise: :func:`reverse_sde_step` says it once, for
multistep, Runge-Kutta and predictor-corrector rules alike. The noise at inner stages and at the end is that of one
Brownian path, one standard normal draw for each part of the step between two nodes; in units of sigma at the node c it
is :math:`\sqrt2 \eta \int_0^c e^{\rho h (c - s)} dW` with rho = -tau^2 for data and +1 for noise prediction, and its
variance follows from Ito's isometry.

The level is :math:`\eta` in formulas and ``tau`` in code, where ``eta`` is the keyword of other authors: tau^2 is that
of k-diffusion's SDE samplers, and tau the ``tau`` of SA-Solver; the eta of DDIM differs, see :func:`ddim_eta`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from diffnum.coefficients.adams import combine, ddim, dpmpp_2m_step, dpmpp_3m, exponential_adams, multistep
from diffnum.coefficients.checked import distinct, noise_level, step_length, within
from diffnum.forms import ExponentialKernel
from diffnum.phi import phi
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors
from diffnum.types import Scalar

__all__ = [
    "ReverseKernel",
    "ddim_eta",
    "noise_variance",
    "reverse_kernel",
    "sde_dpm_1",
    "sde_dpmpp_1",
    "stochastic_adams",
]


@dataclass(frozen=True)
class ReverseKernel:
    r"""Kernel of the reverse equation at a noise level, with what its noise needs.

    For data prediction :math:`(1+\eta^2) h\, e^{-(1+\eta^2) h (c - s)}`: the ordinary kernel of a step of length
    :math:`(1+\eta^2) h`. For noise prediction :math:`(1+\eta^2) h\, e^{h (c - s)}`: the ordinary kernel, enlarged.

    Parameters
    ----------
    length : scalar or array
        Step ``h`` in half-log-SNR; rules are analytic in it, so that a negative one continues them.
    noise_level : scalar
        tau >= 0.
    prediction : {"data", "noise"}
        What the model predicts.
    kind : type
        Class of :attr:`ordinary`; an exact one in proofs.

    Raises
    ------
    ValueError
        If ``noise_level`` is negative or not finite, or ``prediction`` is neither.
    """

    length: Scalar
    noise_level: Scalar
    prediction: str = "data"
    kind: type[ExponentialKernel] = ExponentialKernel

    def __post_init__(self) -> None:
        if self.prediction not in ("data", "noise"):
            msg = f"prediction={self.prediction!r} has no reverse equation here: use 'data' or 'noise'"
            raise ValueError(msg)
        object.__setattr__(self, "noise_level", noise_level(self.noise_level, "tau"))

    @property
    def squared(self) -> Scalar:
        """tau^2."""
        return self.noise_level * self.noise_level

    @property
    def ordinary(self) -> ExponentialKernel:
        """Kernel of the probability flow that the weights are taken from."""
        if self.prediction == "data":
            return self.kind((1 + self.squared) * self.length, -1)
        return self.kind(self.length, 1)

    @property
    def rational(self) -> Any:
        """Maker of exact constants, where the arithmetic is exact."""
        return getattr(self.ordinary, "rational", None)

    def moment(self, k: int, fraction: Scalar = 1) -> Scalar:
        """Integral of ``kernel(s) s^k`` over the first ``fraction`` of the step."""
        ordinary = self.ordinary.moment(k, fraction)
        return ordinary if self.prediction == "data" else (1 + self.squared) * ordinary

    def discount(self, fraction: Scalar = 1) -> Scalar:
        """That of the ordinary kernel."""
        return self.ordinary.discount(fraction)

    def decay(self, fraction: Scalar = 1) -> Scalar:
        r"""Share of ``x/sigma`` left after a part of the step (data), :math:`e^{-\eta^2 c h}`; 1 for noise."""
        return phi(0, -self.squared * fraction * self.length) if self.prediction == "data" else 1

    def variance(self, fraction: Scalar = 1) -> Scalar:
        r"""Variance of the noise gathered over a part of the step, in units of sigma^2 at its end.

        :math:`2\eta^2 c h \varphi_1(2 \rho c h)`: ``1 - exp(-2 tau^2 c h)`` for data, ``tau^2 (exp(2 c h) - 1)`` for
        noise prediction.
        """
        part = fraction * self.length
        return 2 * self.squared * part * phi(1, 2 * self._growth * part)

    def carry(self, fraction: Scalar) -> Scalar:
        r"""Factor :math:`e^{\rho c h}` of earlier noise after a part of the step, in units of sigma there."""
        return phi(0, self._growth * fraction * self.length)

    @property
    def _growth(self) -> Scalar:
        """Growth rate rho of the noise, in units of sigma."""
        return -self.squared if self.prediction == "data" else 1


def reverse_kernel(h: Scalar, tau: Scalar = 1, prediction: str = "data") -> ReverseKernel:
    """Kernel of a step of the reverse equation; use it wherever a step ``h`` or kernel is accepted.

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR (natural log of alpha/sigma), > 0.
    tau : scalar
        Noise level, >= 0: 0 probability flow, 1 time reversal. Its square is k-diffusion's ``eta``.
    prediction : {"data", "noise"}
        What the model predicts.

    Returns
    -------
    ReverseKernel

    Raises
    ------
    ValueError
        If ``h`` or ``tau`` is negative or not finite, ``prediction`` has no such kernel, or the noise of a step in
        noise prediction, ``exp(2 h)``, is no float64 number.
    """
    h = step_length(h)
    if prediction == "noise" and not within(h, 0.0, LONGEST):
        msg = f"h={h}: the noise of noise prediction grows like exp(2 h), beyond float64: take h < {LONGEST:g}, or data"
        raise ValueError(msg)
    return ReverseKernel(h, tau, prediction)


LONGEST = 350.0
"""Step above which exp(2 h) leaves the range of float64."""


def noise_variance(h: Scalar, tau: Scalar = 1, prediction: str = "data") -> Scalar:
    """Variance of the noise of one step in units of sigma^2 at its end (Ito's isometry).

    Parameters
    ----------
    h, tau, prediction
        As in :func:`reverse_kernel`.

    Returns
    -------
    scalar or array
        ``1 - exp(-2 tau^2 h)`` for data prediction, ``tau^2 (exp(2 h) - 1)`` for noise prediction.

    References
    ----------
    Xue et al., arXiv:2309.05019; scxue/SA-Solver at 876f3dd8, ``adams_bashforth_update`` (its noise).
    """
    return reverse_kernel(h, tau, prediction).variance()


def stochastic_adams(
    h: Scalar, nodes: Sequence[Scalar], tau: Scalar = 1, prediction: str = "data"
) -> tuple[Scalar, ...]:
    """Weights of the stochastic Adams method on arbitrary nodes: those of SA-Solver.

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    nodes : sequence of scalars or arrays
        ``u_j = (lambda_j - lambda_n)/h``: 0 first, past nodes negative, 1 for the corrector.
    tau : scalar
        Noise level, >= 0.
    prediction : {"data", "noise"}
        What the model predicts.

    Returns
    -------
    tuple of scalars or arrays
        One weight a node, multiplying alpha (data) or -sigma (noise) at the end of the step.

    Notes
    -----
    Deterministic order ``len(nodes)`` at tau = 0; with noise strong order 1, whatever the number of nodes, since past
    evaluations know nothing of the path inside the step.

    References
    ----------
    Xue et al., arXiv:2309.05019, eqs. (15) and (18).
    """
    kernel = reverse_kernel(h, tau, prediction)
    return exponential_adams(kernel.ordinary if prediction == "data" else kernel, distinct(nodes))


def sde_dpmpp_1(h: Scalar, tau: Scalar = 1) -> tuple[Scalar, Scalar, Scalar]:
    r"""Factors of SDE-DPM-Solver++(1).

    .. math:: y_{n+1} = d \frac{\sigma_{n+1}}{\sigma_n} y_n + \alpha_{n+1} w D_n + \sigma_{n+1} \sqrt v z

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    tau : scalar
        Noise level, >= 0; 1 in the paper.

    Returns
    -------
    d, w, v : scalars or arrays
        ``exp(-tau^2 h)``, ``1 - exp(-(1 + tau^2) h)``, ``1 - exp(-2 tau^2 h)``.

    Notes
    -----
    Strong and weak order 1, 1 NFE per step. At tau = 1 it is the ancestral (DDPM) step, :func:`ddim_eta` with eta = 1.

    References
    ----------
    Lu et al., arXiv:2211.01095, SDE-DPM-Solver++1; k-diffusion 0.1.1, sampling.py, ``sample_dpmpp_2m_sde`` (its first
    step).
    """
    kernel = reverse_kernel(h, tau)
    return kernel.decay(), kernel.moment(0), kernel.variance()


def sde_dpm_1(h: Scalar, tau: Scalar = 1) -> tuple[Scalar, Scalar, Scalar]:
    r"""Factors of SDE-DPM-Solver-1.

    .. math:: y_1 = d \frac{\alpha_1}{\alpha_0} y_0 - \sigma_1 w \epsilon_0 + \sigma_1 \sqrt v z

    Parameters
    ----------
    h, tau
        As in :func:`sde_dpmpp_1`.

    Returns
    -------
    d, w, v : scalars or arrays
        1, ``(1 + tau^2)(exp(h) - 1)``, ``tau^2 (exp(2 h) - 1)``.

    Notes
    -----
    Strong and weak order 1, 1 NFE per step. Not to be confused with :func:`sde_dpmpp_1`: with noise, holding epsilon or
    D constant are two different methods.

    References
    ----------
    Lu et al., arXiv:2211.01095, SDE-DPM-Solver-1; SEEDS-1 of Gonzalez et al., arXiv:2305.14267.
    """
    kernel = reverse_kernel(h, tau, "noise")
    return kernel.decay(), kernel.moment(0), kernel.variance()


def ddim_eta(h: Scalar, eta: Scalar = 1) -> tuple[Scalar, Scalar, Scalar]:
    r"""Factors of DDIM(eta): :math:`y_1 = d \frac{\sigma_1}{\sigma_0} y_0 + \alpha_1 w D_0 + \sigma_1 \sqrt v z`.

    The variance is ``eta^2`` times that of the exact reversal for known data; of the noise in y_0, what remains
    keeps its direction: :math:`v = \mathtt{eta}^2 (1 - e^{-2h})`, :math:`d = \sqrt{1 - v}`, :math:`w = 1 - d e^{-h}`.

    Parameters
    ----------
    h : scalar or array
        Step in half-log-SNR, > 0.
    eta : scalar
        >= 0: 0 DDIM, 1 DDPM (ancestral). Above 1 only while v <= 1.

    Returns
    -------
    d, w, v : scalars or arrays

    Raises
    ------
    ValueError
        If ``eta`` is negative, or the variance exceeds what the new noise level allows.

    Notes
    -----
    Strong and weak order 1, 1 NFE per step; the equation approached as h -> 0 is that of tau = eta, but for 0 < eta < 1
    the step is not the exponential Euler step :func:`sde_dpmpp_1` of that equation.

    References
    ----------
    Song, Meng and Ermon, arXiv:2010.02502, eqs. (12) and (16); k-diffusion, sampling.py, ``get_ancestral_step``.
    """
    return eta_factors(step_length(h), noise_level(eta, "eta"))


def eta_factors(h: Scalar, eta: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Factors of :func:`ddim_eta`, continued to negative steps."""
    if isinstance(eta, int | float) and eta == 0:
        return 1, h * phi(1, -h), 0
    v = eta * eta * 2 * h * phi(1, -2 * h)
    if not within(1 - v, -1e-6, math.inf):
        msg = f"eta={eta} asks for more noise than the level at the end of the step: use eta <= 1 or smaller steps"
        raise ValueError(msg)
    decay = phi(0, -h)
    whole = isinstance(eta, int | float) and eta == 1  # the root is exact
    # 1 - v and 1 - d e^{-h} in terms of one sign: no digits are lost on long steps, nor on short ones
    d = decay if whole else (decay * decay + (1 - eta) * (1 + eta) * 2 * h * phi(1, -2 * h)) ** 0.5
    return d, 2 * h * phi(1, -2 * h) * (1 + eta * eta * decay * decay) / (1 + d * decay), v


# -- step rules --------------------------------------------------------------------------------------


class BaseRule(Protocol):
    """Rule of a deterministic method, ``rule(window, order)``."""

    def __call__(self, window: Window, order: int, /) -> Step:
        """Step of the method."""


def reverse_sde_step(
    window: Window, order: int, base: BaseRule, tau: Scalar = 1.0, prediction: str = "data", *, given: bool = False
) -> Step:
    """Any deterministic rule on the kernel of the reverse equation, with the noise of one Brownian path.

    Parameters
    ----------
    window : Window
        Place on the grid, in the form ``DATA`` or ``NOISE`` of the same prediction.
    order : int
        Order asked of the rule.
    base : callable
        Rule ``base(window, order)`` of the deterministic method.
    tau : scalar
        Noise level.
    prediction : {"data", "noise"}
        Prediction of the form.
    given : bool
        Take the noise level from the window's parameter ``tau`` (SA-Solver's tau(t), constant on each step).

    Returns
    -------
    Step
        The rule's step; weights of x in the coordinates of the form, draws z1, z2, ... for the parts of the step.
    """
    tau = window.parameters["tau"] if given else tau
    kind = type(window.kernel) if isinstance(window.kernel, ExponentialKernel) else ExponentialKernel
    kernel = ReverseKernel(window.step, tau, prediction, kind)
    if prediction == "data":  # all a rule sees is a longer step
        step = base(replace(window, step=kernel.ordinary.step, kernel=kernel.ordinary), order)
    else:
        step = base(replace(window, kernel=kernel), order)
    nodes = _inner_nodes(step)

    def at(node: Scalar, value: Vector) -> Vector:
        """Row at a node with its decay and noise."""
        if isinstance(node, int) and node == 0:
            return value
        decayed = Vector({name: w * kernel.decay(node) if name == "x" else w for name, w in value.items()})
        return decayed if isinstance(tau, int | float) and tau == 0 else decayed + _gathered(kernel, nodes, node)

    stages = tuple(Stage(stage.node, at(stage.node, stage.value)) for stage in step.stages)
    return Step(stages, at(1, step.x), step.memory)


def _inner_nodes(step: Step) -> list[Any]:
    """Where noise is wanted: the nodes of the rows, increasing, each once; 0 apart."""
    found: list[Any] = [1]
    for node in (stage.node for stage in step.stages):
        if all(float(node) != float(other) for other in (0, *found)):
            found.append(node)
    return sorted(found, key=float)


def _gathered(kernel: ReverseKernel, nodes: list[Any], node: Scalar) -> Vector:
    """Noise at a node: the parts before it, each carried there."""
    noise, previous = Vector({}), 0
    for j, end in enumerate(nodes, start=1):
        if float(end) > float(node):
            break
        deviation = kernel.variance(end - previous) ** 0.5
        carried = deviation if float(end) == float(node) else deviation * kernel.carry(node - end)
        noise, previous = noise + carried * vector(f"z{j}"), end
    return noise


def ddim_eta_step(window: Window, order: int, eta: Scalar = 1.0) -> Step:  # noqa: ARG001
    """DDIM(eta); 1 NFE."""
    x, k1, z1 = vectors("x k1 z1")
    d, w, v = eta_factors(window.step, eta)
    moved = d * x + w * k1
    return Step((Stage(0, x),), moved if isinstance(v, int) else moved + v**0.5 * z1, window.remember(k1))


def dpmpp_3m_taylor_step(window: Window, order: int) -> Step:
    """DPM-Solver++(3M) with the halved second difference, whose second-order step has exact moments (k-diffusion)."""
    if order == 3:
        return multistep(window, dpmpp_3m(window.kernel, *window.past[:2]))
    if order == 2:
        return multistep(window, exponential_adams(window.kernel, (0, *window.past[:1])))
    return dpmpp_2m_step(window, order)


def exponential_trapezoid_step(window: Window, order: int) -> Step:
    """Exponential trapezoidal rule, predicted by exponential Euler (ETD2RK); 2 NFE."""
    x, k1, k2 = vectors("x k1 k2")
    predicted = x + ddim(window.kernel)[0] * k1
    if order == 1:
        return Step((Stage(0, x),), predicted)
    return Step((Stage(0, x), Stage(1, predicted)), x + combine(exponential_adams(window.kernel, (0, 1)), (k1, k2)))


def sa_solver_weights(window: Window, nodes: Sequence[Scalar], *, exact: bool) -> tuple[Scalar, ...]:
    """Adams weights on nodes, 0 first; on two nodes (0, u) those of the official code, h/(2 u), unless ``exact``.

    That is the shortcut of UniPC with B(h) = h, on the longer step; in noise prediction the code has none.
    """
    if len(nodes) == 2 and not exact and getattr(window.kernel, "rate", 1) < 0:
        total, (_, node) = window.moment(0), nodes
        other = window.step / (2 * node)
        return total - other, other
    return exponential_adams(window.kernel, nodes)


def sa_predictor_step(window: Window, order: int, *, exact: bool = False) -> Step:
    """SA-Predictor alone; 1 NFE."""
    return multistep(window, sa_solver_weights(window, (0, *window.past[: order - 1]), exact=exact))


def sa_solver_step(window: Window, order: int, predictor: int, corrector: int, *, exact: bool = False) -> Step:
    """Predictor on ``predictor`` nodes, corrector on ``corrector`` nodes with the new one; PEC, 1 NFE.

    While the history fills, both use what there is. The last step is not corrected. The corrected state has the noise
    of the predicted one.
    """
    x, m0 = vectors("x m0")
    stages: list[Stage] = []
    if "m0" not in window.known:
        stages.append(Stage(0, x))
        m0 = vector("k1")
    new = vector(f"k{len(stages) + 1}")
    history = [m0, *(vector(f"m{j}") for j in range(1, len(window.past) + 1))]
    nodes: tuple[Scalar, ...] = (0, *window.past)

    def move(at: tuple[Scalar, ...], evaluations: list[Vector]) -> Vector:
        return x + combine(sa_solver_weights(window, at, exact=exact), evaluations)

    count = min(predictor, order)
    predicted = move(nodes[:count], history[:count])
    if window.last:
        return Step(tuple(stages), predicted)
    stages.append(Stage(1, predicted))
    count = min(corrector - 1, order)
    corrected = move((*nodes[:count], 1), [*history[:count], new])
    memory = {"m0": new, "m1": m0} if window.depth else {"m0": new}
    memory |= {f"m{j + 1}": vector(f"m{j}") for j in range(1, window.depth) if f"m{j}" in window.known}
    return Step(tuple(stages), corrected, memory)
