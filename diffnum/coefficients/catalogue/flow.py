"""Records of the methods of flow matching."""

from __future__ import annotations

from diffnum.coefficients import flow, runge_kutta
from diffnum.coefficients.catalogue.members import fixed
from diffnum.coefficients.method import Method
from diffnum.forms import VELOCITY

__all__ = ["FAMILY"]


def _flow_heun(name: str) -> Method:
    return Method(
        name=name,
        title="Heun for flow matching",
        family="heun",
        form=VELOCITY,
        order=2,
        rule=runge_kutta.heun_step,
        depth=0,
        cite="lipman2023flow",
        equation="eq. (1), with algorithm 1 of Karras et al.",
        summary="Explicit trapezoidal rule on the velocity, in sigma/(alpha + sigma): in time, for rectified flow.",
        claimed_order=2,
        order_with_startup=2,
        aliases={"diffusers": "FlowMatchHeunDiscreteScheduler"},
        distinguish="edm_heun, in sigma/alpha: another method on the same nodes.",
    )


def _flowturbo(name: str) -> Method:
    return Method(
        name=name,
        title="FlowTurbo pseudo-corrector",
        family="pseudo_corrector",
        form=VELOCITY,
        order=2,
        rule=flow.pseudo_corrector_step,
        depth=0,
        cite="zhao2024flowturbo",
        equation="shiml20/FlowTurbo at 361b16ba, transport/integrators.py",
        summary="Trapezoidal rule that keeps the velocity at the predicted point for the next step.",
        claimed_order=2,
        order_with_startup=2,
        aliases={
            "papers": "UniC-1 in the velocity clock; its predicted points are Adams-Bashforth 2 on constant steps"
        },
        distinguish="flow_heun, which evaluates again at the corrected point.",
    )


FAMILY = (
    fixed("flow_heun", _flow_heun, flow_euler="ab_velocity_1"),
    fixed("flowturbo", _flowturbo, flowturbo_pseudo_corrector="flowturbo"),
)
