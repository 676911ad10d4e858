"""Samplers on tokens as records: what a step is, where it comes from, which order its law has."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from diffnum.discrete.jumps import Uniformisation
from diffnum.discrete.steps import Bridge, Leap, LeapStage, Remask, StepRule
from diffnum.discrete.unmasking import Unmask
from diffnum.jobs.shown import facts_html, short

__all__ = ["SAMPLERS", "TokenSampler", "sampler", "samplers", "theta_rk2", "theta_trapezoidal"]

Rule: TypeAlias = StepRule | Unmask | Uniformisation
BOTH, MASKED = ("masked", "uniform"), ("masked",)


@dataclass(frozen=True)
class TokenSampler:
    """A sampler on tokens.

    Parameters
    ----------
    name : str
        Name.
    rule : StepRule, Unmask or Uniformisation
        What a step does.
    processes : tuple of str
        Processes that it runs on.
    order : int or None
        Order in law, in total variation, of the step formula on problems where no rate is extrapolated below zero: 0
        does not converge; None if the number of steps is no parameter or the law is exact.
    rough_order : int or None
        The same where extrapolated rates do become negative and count as zero; ``order`` where nothing is extrapolated.
    exact : bool
        Whether the law of the output is exact, whatever the steps.
    cite, source : str
        Key of the bibliography; place in that work, or in code.
    idea : str
        One sentence.
    deviation : str
        Where official code departs from the source, or the source from its claim.
    """

    name: str
    rule: Rule
    processes: tuple[str, ...]
    order: int | None
    cite: str
    source: str
    idea: str
    rough_order: int | None = None
    exact: bool = False
    deviation: str = ""

    def __post_init__(self) -> None:
        if self.rough_order is None:
            object.__setattr__(self, "rough_order", self.order)

    def __repr__(self) -> str:
        """Short form."""
        return short("TokenSampler", self.name, processes=self.processes, order=self.order, cite=self.cite)

    def _repr_html_(self) -> str:
        facts = {"idea": self.idea, "processes": ", ".join(self.processes), "order": self.order, "exact": self.exact}
        return facts_html({**facts, "source": self.source, "deviation": self.deviation or None}, self.name)

    @property
    def evaluations(self) -> int:
        """Model evaluations of a step."""
        return self.rule.stages if not isinstance(self.rule, Unmask | Uniformisation) else 1

    def order_on(self, rough: bool) -> int | None:
        """Order on problems where extrapolated rates become negative, or do not."""
        return self.rough_order if rough else self.order


def theta_rk2(theta: Any) -> Leap:
    """Leap to theta, then a leap of the whole step from its beginning with the rates of both combined.

    Parameters
    ----------
    theta : number
        Inner node, in (0, 1]; weights are negative below 1/2.

    Returns
    -------
    Leap
    """
    _check_theta(theta, 1.0, "(0, 1]")
    return Leap((LeapStage(0, theta, (1,)), LeapStage(0, 1, (1 - 1 / (2 * theta), 1 / (2 * theta)))))


def theta_trapezoidal(theta: Any, clock: Any = "time") -> Leap:
    """Leap to theta, then on from there with extrapolated rates.

    Parameters
    ----------
    theta : number
        Inner node, in (0, 1).
    clock : {"time", "noise"}
        Clock of the leaps.

    Returns
    -------
    Leap
    """
    _check_theta(theta, np.nextafter(1.0, 0.0), "(0, 1)")
    new = 1 / (2 * theta * (1 - theta))
    return Leap((LeapStage(0, theta, (1,)), LeapStage(1, 1 - theta, (1 - new, new))), clock=clock)


def _check_theta(theta: Any, largest: float, interval: str) -> None:
    """Symbols pass; numbers must lie inside."""
    if isinstance(theta, str) or not hasattr(theta, "__mul__"):
        msg = f"theta={theta!r}: pass a number in {interval}, or a symbol"
        raise TypeError(msg)
    if isinstance(theta, Real) and not 0.0 < float(theta) <= largest:
        msg = f"theta={theta} lies outside {interval}: use an inner node of the step"
        raise ValueError(msg)


def _leap(**options: Any) -> Leap:
    return Leap((LeapStage(0, 1, (1,)),), **options)


def _corrected(size: float) -> Leap:
    return Leap((LeapStage(0, 1, (1,)), LeapStage(1, size, (0, 1), correct=True)))


COOL = 0.8
"""Temperature in the record that shows what one does."""

REMASKED = 0.4
"""Share of remasking in the records whose official code leaves it to the user."""


def _loss(alpha_t: float, alpha_s: float) -> float:
    return (alpha_s - alpha_t) / alpha_t


def _constant(_alpha_t: float, _alpha_s: float) -> float:
    return REMASKED


def _rescaled(alpha_t: float, alpha_s: float) -> float:
    return REMASKED * min(1.0, (1.0 - alpha_s) / alpha_t)


_MDLM = "kuleshov-group/mdlm at c112c526, diffusion.py"
_MASKGIT = "google-research/maskgit at 1db23594, maskgit/libml"
_SEDD = "louaaron/Score-Entropy-Discrete-Diffusion at 0605786d, sampling.py"
_TAU = "andrew-cr/tauLDR at 5128d4a5, lib/sampling/sampling.py"
_REMDM = "kuleshov-group/remdm at f830d659, diffusion.py, _ddpm_caching_update"
_LLADA = "ML-GSAI/LLaDA at b7e6c356, generate.py, generate"
_BLOCKS = "kuleshov-group/bd3lms at 1c3e8f43, diffusion.py"

_LISTED = (
    TokenSampler(
        "ancestral",
        Bridge(),
        BOTH,
        1,
        "sahoo2024mdlm",
        f"{_MDLM}, _ddpm_update, lines 612-637",
        "Each token goes to the exact law of that token alone, given the whole state.",
        deviation=f"after the last step official code fills remaining masks with the most likely token "
        f"({_MDLM}, _sample, lines 658 and 697), "
        "not with a draw; with 1e-5 of the time left that changes the law by at most 1e-5 a token. Its draws are by "
        "Gumbel noise in float32 (lines 24-28 and 315)",
    ),
    TokenSampler(
        "tweedie_tau_leaping",
        Bridge(),
        BOTH,
        1,
        "lou2024sedd",
        f"{_SEDD}, AnalyticPredictor, lines 75-86",
        "The concrete score, carried back by the inverse noising matrix: with an exact score the kernel of ancestral.",
        deviation="official code draws by Gumbel noise in the precision of the score, float32 unless told otherwise "
        "(catsample.py of the same repository, line 12)",
    ),
    TokenSampler(
        "euler",
        _leap(jump="linear"),
        BOTH,
        1,
        "lou2024sedd",
        f"{_SEDD}, EulerPredictor, lines 59-67",
        "Rates times step as probabilities.",
        deviation="where the rates times the step exceed one, official code leaves the probability to stay negative, "
        "which its draw takes for zero (graph_lib.py of the same repository, sample_rate, lines 87-88); here the "
        "probabilities to move are divided by their sum, which is the same law",
    ),
    TokenSampler(
        "tau_leaping",
        _leap(),
        BOTH,
        1,
        "gillespie2001tau",
        "the tau-leap method: Poisson numbers of events with the rates of the beginning; on tokens the first decides",
        "Rates frozen over the step; the first jump of each token counts.",
    ),
    TokenSampler(
        "tau_leaping_rejecting",
        _leap(jump="rejecting"),
        BOTH,
        1,
        "campbell2022continuous",
        f"tau-leaping, more than one change of a token rejected; {_TAU}, ConditionalPCTauLeaping, lines 443-459",
        "Poisson numbers of jumps; a token with several stays where it is.",
        deviation=f"official code adds the jumps of a token up and clamps the sum, as ordinal data allow ({_TAU}, "
        "TauLeaping, lines 105-111); the option reject_multiple_jumps rejects in ConditionalPCTauLeaping "
        "(lines 448-452), while in ConditionalTauLeaping line 336 overwrites what lines 327-331 rejected",
    ),
    TokenSampler(
        "tau_leaping_clock",
        _leap(clock="noise"),
        BOTH,
        1,
        "lou2024sedd",
        "the schedule as a change of time",
        "Tau-leaping in the clock of the noise: on masked data the same kernel as ancestral.",
    ),
    TokenSampler(
        "tau_leaping_corrected",
        _corrected(0.5),
        BOTH,
        1,
        "campbell2022continuous",
        f"predictor-corrector with forward plus reverse rates; {_TAU}, PCTauLeaping, lines 221-233",
        "A leap, then a leap of half the length that mixes without changing the time.",
        deviation="official code corrects late in the run only, corrector_entry_time, with as many leaps and of such "
        "length as the user says (lines 223-233), and ends with the most likely token (lines 238-240)",
    ),
    TokenSampler(
        "theta_rk2",
        theta_rk2(0.5),
        BOTH,
        1,
        "ren2025fast",
        "algorithm of the theta-RK-2 method, theta = 1/2",
        "Midpoint rates, from the beginning of the step.",
        deviation="its mean rates are right to second order but the jumps of the inner leap are drawn anew, "
        "so that the law is of first order; the source speaks of KL, in which a law of first order has second order",
    ),
    TokenSampler(
        "theta_trapezoidal",
        theta_trapezoidal(0.5),
        BOTH,
        2,
        "ren2025fast",
        "algorithm of the theta-trapezoidal method, theta = 1/2; Hu, Li and Min (2011) for chemical kinetics, "
        "Anderson and Mattingly (2011) for diffusions",
        "A leap to the middle and on from there with extrapolated rates.",
        rough_order=1,
        deviation="where a jump lowers another rate below (1 - theta)^2 + theta^2 of its value the extrapolated "
        "rate is negative and counts as zero: the order in law is then 1",
    ),
    TokenSampler(
        "theta_trapezoidal_clock",
        theta_trapezoidal(0.5, clock="noise"),
        BOTH,
        2,
        "ren2025fast",
        "algorithm of the theta-trapezoidal method, theta = 1/2, in the clock of the noise",
        "The same in the clock of the noise, where the schedule's singularity is gone.",
        rough_order=1,
    ),
    TokenSampler(
        "tempered",
        Bridge(temperature=COOL),
        BOTH,
        0,
        "nie2025llada",
        f"{_LLADA}, temperature (lines 8-19), here 0.8",
        "Ancestral sampling with the marginals to the power 1/0.8: another target, which no number of steps mends.",
    ),
    TokenSampler(
        "remdm_forward_backward",
        Remask(_loss, capped=False),
        MASKED,
        1,
        "wang2025remdm",
        f"{_REMDM}, forward-backward, lines 686-699",
        "Masks again what one step of noising would lose.",
        deviation="in the last step the share exceeds its bound (1 - alpha_s)/alpha_t: official code gets a negative "
        "probability (line 696), which its draw takes for zero, masks shown tokens again, and fills the masks that are "
        "left with the most likely tokens, all at once (line 892); here the last step is the bridge",
    ),
    TokenSampler(
        "remdm_cap",
        Remask(_constant),
        MASKED,
        0,
        "wang2025remdm",
        f"{_REMDM}, remdm-cap with eta = 0.4, lines 700-713",
        "Masks two fifths of the shown tokens again, at every step.",
        deviation="official code ends at the time 1e-5 and fills the masks that are left with the most likely tokens "
        "(lines 847 and 892); here the last step is the bridge",
    ),
    TokenSampler(
        "remdm_rescale",
        Remask(_rescaled),
        MASKED,
        0,
        "wang2025remdm",
        f"{_REMDM}, remdm-rescale with eta = 0.4, lines 714-728",
        "Masks again two fifths of the largest share that is possible.",
    ),
    TokenSampler(
        "first_hitting",
        Unmask(one=True),
        MASKED,
        None,
        "zheng2025masked",
        f"the first-hitting sampler; {_BLOCKS}, _semi_ar_sampler, lines 1025-1029, and _ddpm_caching_update, 580-587",
        "Jumps from one event of the reverse chain to the next: random-order autoregression.",
        exact=True,
        deviation="this code keeps the times as well, on which the output of a model without time does not depend, "
        "takes one sequence at a time (line 1028), and stops after num_steps tokens of a block: with fewer steps than "
        "tokens masks are left. Without first_hitting its steps do not join: the times are 1/(num_steps - 1) apart "
        "and the steps 1/num_steps long (lines 1017-1019)",
    ),
    TokenSampler(
        "uniformisation",
        Uniformisation(),
        BOTH,
        None,
        "chen2024uniformization",
        "the algorithm of uniformization",
        "Candidate times at a bounding rate, thinned: exact for any bound.",
        exact=True,
    ),
    TokenSampler(
        "random_parallel",
        Unmask(),
        MASKED,
        None,
        "nie2025llada",
        f"{_LLADA}, remasking='random', lines 104-105",
        "So many random tokens a step.",
    ),
    TokenSampler(
        "cosine_parallel",
        Unmask(rule="cosine"),
        MASKED,
        None,
        "chang2022maskgit",
        f"the cosine schedule; {_MASKGIT}, mask_schedule.py, line 45, and parallel_decode.py, lines 148-154",
        "Few random tokens at first, many at the end.",
        deviation=f"only the numbers are those of the source, which chooses the tokens by confidence with Gumbel noise "
        f"that fades ({_MASKGIT}, parallel_decode.py, lines 49-50 and 158-159); here they are random",
    ),
    TokenSampler(
        "confidence",
        Unmask(order="confidence"),
        MASKED,
        None,
        "nie2025llada",
        f"{_LLADA}, remasking='low_confidence', lines 100-118",
        "The tokens whose guesses are the most probable.",
        deviation="official code draws at temperature 0 unless told otherwise (line 44), so that it returns one "
        "sequence; ties go to whichever torch.topk returns first (line 116), here at random. Its option "
        "confidence_eos_eot_inf does not lower the confidence of the end token EOS: line 98 writes to "
        "logits_with_noise, which is not read again",
    ),
    TokenSampler(
        "margin",
        Unmask(order="margin"),
        MASKED,
        None,
        "kim2025train",
        "the adaptive inference by probability margin",
        "The tokens where the two best guesses differ the most.",
    ),
    TokenSampler(
        "blocks",
        Unmask(order="confidence", blocks=2),
        MASKED,
        None,
        "nie2025llada",
        f"{_LLADA}, block_length, lines 68-76 and 109",
        "Two halves, left to right, by confidence within each.",
    ),
    TokenSampler(
        "left_to_right",
        Unmask(order="left"),
        MASKED,
        None,
        "nie2025llada",
        "autoregressive order, one block",
        "From left to right.",
    ),
)

SAMPLERS: dict[str, TokenSampler] = {record.name: record for record in _LISTED}
"""All samplers by name."""


def samplers(process: str | None = None) -> dict[str, TokenSampler]:
    """Records by name, of one process or of all.

    Parameters
    ----------
    process : {"masked", "uniform"}, optional
        Only those that run on this process.

    Returns
    -------
    dict of str to TokenSampler

    Raises
    ------
    ValueError
        For a process other than ``"masked"`` and ``"uniform"``.
    """
    if process is not None and process not in BOTH:
        msg = f"process={process!r} is unknown: use one of {', '.join(BOTH)}, or leave it out"
        raise ValueError(msg)
    return {name: r for name, r in SAMPLERS.items() if process is None or process in r.processes}


def sampler(given: str | TokenSampler) -> TokenSampler:
    """Record of a name, or the record itself.

    Parameters
    ----------
    given : str or TokenSampler
        Name of :func:`samplers`, or a record.

    Returns
    -------
    TokenSampler

    Raises
    ------
    ValueError
        For an unknown name.
    TypeError
        For anything else.
    """
    if isinstance(given, TokenSampler):
        return given
    if not isinstance(given, str):
        msg = f"sampler={given!r}: pass a name or a TokenSampler; a sampler of one's own goes to convergence_study"
        raise TypeError(msg)
    if given not in SAMPLERS:
        msg = f"sampler {given!r} is unknown: use one of {', '.join(SAMPLERS)}"
        raise ValueError(msg)
    return SAMPLERS[given]
