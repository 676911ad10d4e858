"""Plans: a method on a schedule and a grid, with every number computed once in float64.

A plan is a list of :class:`~diffnum.tableau.Tableau`; the loop over it (:mod:`diffnum.solver`) knows nothing else.
Engines that replace a scheduler bit for bit take its :class:`HostTable`.
"""

from diffnum.plans.building import plan, plan_for
from diffnum.plans.citation import cite
from diffnum.plans.declarations import declarations, schema
from diffnum.plans.host_tables import HostTable
from diffnum.plans.record import Plan
from diffnum.plans.reversible import reversible_plan

__all__ = ["HostTable", "Plan", "cite", "declarations", "plan", "plan_for", "reversible_plan", "schema"]
