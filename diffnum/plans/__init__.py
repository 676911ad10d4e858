"""Plans: a method on a schedule and a grid, with every number computed once in float64.

A plan is a list of :class:`~diffnum.tableau.Tableau`; the loop over it (:mod:`diffnum.solver`) knows nothing else.
"""

from diffnum.plans.building import plan, plan_for
from diffnum.plans.citation import cite
from diffnum.plans.record import Plan
from diffnum.plans.reversible import reversible_plan

__all__ = ["Plan", "cite", "plan", "plan_for", "reversible_plan"]
