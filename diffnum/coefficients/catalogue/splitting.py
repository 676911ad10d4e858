"""Records of the split stochastic methods (ancestral, churned); orders as in :mod:`.stochastic`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from diffnum.coefficients import splitting
from diffnum.coefficients.catalogue.members import Members
from diffnum.coefficients.catalogue.stochastic import LEVEL, noise_of
from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Rule
from diffnum.forms import DATA

__all__ = ["FAMILY"]

_ETA = r"(?:_eta(\d+(?:\.\d+)?))?"
"""Optional eta of k-diffusion at the end of a name; 1 without it."""

_FRACTION = r"\d+(?:\.\d+|/\d+)?"
_HALF = Fraction(1, 2)


@dataclass(frozen=True)
class _Base:
    """A one-step method of the probability flow that is split."""

    title: str
    rule: Rule
    derivation: str
    order: int
    function: str


_DOWN: Mapping[str, _Base] = {
    "dpm_2_ancestral": _Base(
        "DPM-2 ancestral", splitting.noise_midpoint_step, "noise_midpoint", 2, "sample_dpm_2_ancestral"
    ),
    "dpmpp_2s_ancestral": _Base(
        "DPM-Solver++(2S) ancestral", splitting.midpoint_step, "dpm_solver", 2, "sample_dpmpp_2s_ancestral"
    ),
}
_CHURNED: Mapping[str, _Base] = {
    "edm_euler_churn": _Base("EDM Euler with churn", splitting.euler_step, "adams", 1, "sample_euler"),
    "edm_heun_churn": _Base("EDM's stochastic sampler", splitting.noise_heun_step, "noise_heun", 2, "sample_heun"),
    "dpm_2_churn": _Base("DPM-2 with churn", splitting.noise_midpoint_step, "noise_midpoint", 2, "sample_dpm_2"),
}


def _ancestral(found: re.Match[str]) -> Method:
    base, eta = _DOWN[found[1]], float(found[2] or 1)
    return Method(
        name=found[0],
        title=base.title,
        family=found[1],
        form=DATA,
        order=base.order,
        rule=partial(splitting.ancestral_step, base=base.rule, eta=eta),
        depth=0,
        cite="katherine2022kdiffusion",
        equation=f"version 0.1.1, sampling.py, {base.function}",
        summary="A step of the probability flow down to sigma_down, then noise.",
        claimed_order=base.order,
        order_with_startup=base.order,
        noise=noise_of("ancestral", base.derivation, eta, base.order, 1, base.order),
        aliases={"k-diffusion": f"{base.function}(eta={eta:g})", "ComfyUI": found[1]},
        distinguish="a solver of weak order 2: the law of the output is of order 2, not the law given the start.",
    )


def _dpmpp_sde(found: re.Match[str]) -> Method:
    node, eta = Fraction(found["r"] or _HALF), float(found["eta"] or 1)
    if not 0 < node <= 1:
        msg = f"method={found[0]!r} has the inner node {node}: use a fraction of the step, 0 < r <= 1"
        raise ValueError(msg)
    weak = 2 if eta in (0, 1) else 1
    at = "" if node == _HALF else f", r={node}"
    return Method(
        name=found[0],
        title=f"DPM-Solver++ (stochastic){at and f' (r = {node})'}",
        family="dpmpp_sde",
        form=DATA,
        order=2,
        rule=partial(splitting.dpmpp_sde_step, eta=eta, nodes=(node,)),
        depth=0,
        cite="katherine2022kdiffusion",
        equation=f"version 0.1.1, sampling.py, sample_dpmpp_sde (r = {node})",
        summary="Two stages, each with the noise of an ancestral step; the draws are increments of one path in sigma.",
        claimed_order=2,
        order_with_startup=2,
        options={"nodes": (node,)},
        # an eta is the level tau of each step, whose equation keeps the marginals: their order is that of the weak
        # conditions at that level
        noise=noise_of("stages", "dpm_solver", eta, 2, weak, 2),
        aliases={"k-diffusion": f"sample_dpmpp_sde(eta={eta:g}{at})"} | ({} if at else {"ComfyUI": "dpmpp_sde"}),
        distinguish="the same function with independent draws, which has weak order 1.",
    )


def _churn(found: re.Match[str]) -> Method:
    base, tau, given = _CHURNED[found[1]], float(found[2] or 1), bool(found[3])
    return Method(
        name=found[0],
        title=base.title,
        family=found[1],
        form=DATA,
        order=base.order,
        rule=partial(splitting.churn_step, base=base.rule, tau=tau, given=given),
        parameters=("churn",) if given else (),
        depth=0,
        cite="karras2022edm",
        equation=f"algorithm 2; k-diffusion 0.1.1, sampling.py, {base.function}",
        summary="Noise raises sigma by a factor; a step of the probability flow leads down from there.",
        claimed_order=base.order,
        order_with_startup=base.order,
        noise=noise_of("churn", base.derivation, tau, base.order, 1, base.order),
        aliases={"k-diffusion": f"{base.function}(s_churn=...)"},
        distinguish="the churn of EDM is a number a step: ..._given takes it, as splitting.churn(...) makes it; "
        "..._tauT has the churn exp(T^2 h) - 1, for which the reverse equation of that noise level is approached.",
    )


FAMILY = (
    Members(
        rf"({'|'.join(_DOWN)}){_ETA}", _ancestral, tuple(_DOWN), {"dpm2_ancestral": "dpm_2_ancestral"}, "stochastic"
    ),
    Members(
        rf"dpmpp_sde(?:_r(?P<r>{_FRACTION}))?(?:_eta(?P<eta>\d+(?:\.\d+)?))?",
        _dpmpp_sde,
        ("dpmpp_sde",),
        kind="stochastic",
    ),
    Members(
        rf"({'|'.join(_CHURNED)}){LEVEL}", _churn, tuple(_CHURNED), {"edm_stochastic": "edm_heun_churn"}, "stochastic"
    ),
)
