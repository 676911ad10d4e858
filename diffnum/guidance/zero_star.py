r"""CFG-Zero*: the unconditional velocity, scaled to be nearest to the conditional one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from array_api_compat import array_namespace, is_array_api_obj

from diffnum.guidance.altered import Altered, along, both, check_schedules, unconditional_of
from diffnum.guidance.guided import Scale, beside, check_scale, weight_at
from diffnum.guidance.record import GuidanceRule
from diffnum.types import Array, Denoiser

__all__ = ["RULES", "zero_star"]


@dataclass(frozen=True)
class _ZeroStar:
    """Extrapolated velocity; none where there is more noise than ``zero_above``."""

    unconditional: Denoiser | None
    scale: Scale
    zero_above: float

    def __call__(self, model: Any, x: Array, t: Any) -> Array:
        given, free = both(model, self.unconditional, x, t, "velocity")
        xp = array_namespace(x)
        size = along(free, free)
        free = along(given, free) / xp.where(size > 0.0, size, 1.0) * free
        found = free + beside(weight_at(self.scale, t), x) * (given - free)
        if math.isinf(self.zero_above):
            return found
        noisy = model.schedule.half_log_snr(t) < -math.log(self.zero_above)
        if is_array_api_obj(noisy) and noisy.ndim:
            return xp.where(beside(xp.astype(noisy, x.dtype), x) > 0.5, xp.zeros_like(found), found)
        return xp.zeros_like(found) if bool(noisy) else found


def zero_star(
    model: Denoiser,
    scale: Scale,
    *,
    unconditional: Denoiser | None = None,
    zero_above: float = math.inf,
) -> Altered:
    r"""CFG-Zero*: :math:`\tilde v = s v_\emptyset + w\,(v_c - s v_\emptyset)`, with the best multiple s.

    With :math:`s = \langle v_c, v_\emptyset \rangle / \lVert v_\emptyset \rVert^2` the multiple
    :math:`s v_\emptyset` is the nearest to :math:`v_c`. The velocity is :math:`\epsilon - x_0` on every schedule; on
    the linear path it is that of the flow, for which the rule was made. The projection is another one in each
    prediction.

    Parameters
    ----------
    model, scale, unconditional
        As for :func:`classifier_free`; the scale 1 is no guidance.
    zero_above : float
        Noise level sigma/alpha above which the velocity is zero, so that the state stays; for the linear path only.
        (The paper's "zero-init" is for a number of steps.)

    Returns
    -------
    Altered
        A model of the velocity.

    Raises
    ------
    ValueError
        If the level is not positive, or the schedule is not the linear path where there is one.

    References
    ----------
    Fan et al. 2025, arXiv:2503.18886, section 4; WeichenFan/CFG-Zero-star at 3162be1f, models/Cogview4/pipeline.py,
    ``optimized_scale``.
    """
    check_scale(scale)
    check_schedules(model, unconditional, "unconditional")
    unconditional_of(model, unconditional)
    if not zero_above > 0.0:
        msg = f"zero_above={zero_above!r} is no noise level: give sigma/alpha > 0, or math.inf for none"
        raise ValueError(msg)
    schedule = model.schedule
    times = [schedule.t_min + share * (schedule.t_max - schedule.t_min) for share in (0.3, 0.7)]
    straight = all(abs(float(schedule.alpha(t)) + float(schedule.sigma(t)) - 1.0) < 1e-9 for t in times)
    if math.isfinite(zero_above) and not straight:
        msg = (
            f"zero_above={zero_above!r}: on the schedule {schedule.name} a state with velocity zero moves; leave it "
            "out, or use a flow-matching schedule"
        )
        raise ValueError(msg)
    return Altered(model, _ZeroStar(unconditional, scale, float(zero_above)), "velocity")


RULES = MappingProxyType(
    {
        "zero_star": GuidanceRule(
            name="zero_star",
            title="the unconditional velocity scaled to the conditional one (CFG-Zero*)",
            formula=r"s v_\emptyset + w\,(v_c - s v_\emptyset), \quad "
            r"s = \langle v_c, v_\emptyset \rangle / \lVert v_\emptyset \rVert^2",
            source="Fan et al. 2025, section 4",
            cite="fan2025cfgzero",
            build=zero_star,
            takes=("unconditional", "zero_above"),
            code="WeichenFan/CFG-Zero-star at 3162be1f, models/Cogview4/pipeline.py, optimized_scale",
            deviations=("zero-init is given by a noise level, not by a number of steps",),
        )
    }
)
