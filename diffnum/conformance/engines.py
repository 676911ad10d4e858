"""Test vectors for engines: host tables with inputs and the states that they lead to, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from diffnum import grids
from diffnum.coefficients.method import Method
from diffnum.plans import plan
from diffnum.plans.as_shipped import EVALUATIONS
from diffnum.plans.host_tables import rounded_to
from diffnum.schedules import FlowMatching

__all__ = ["STEPS", "engine_inputs"]

STEPS: Final = 5
"""Steps of a run: the start-up, two full steps, and the end."""

_DTYPES = ("float32", "bfloat16")
_SIZE = 6


def _told(values: Sequence[Any]) -> Callable[[Any, float], Any]:
    """A network that returns given numbers, one after the other."""
    left = iter(values)
    return lambda *_: next(left)


def engine_inputs(record: Method) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Identity, input and expected states of every engine's vector of a method; none where no evaluation is known.

    The network's outputs are given numbers, so that nothing but the table is put to the test.

    Parameters
    ----------
    record : Method
        A method of the catalogue.
    """
    schedule = FlowMatching(shift=3.0)
    nodes = grids.uniform_time(schedule, STEPS, t_start=0.99, t_end=0.0, terminal="lower_order")
    for evaluation in EVALUATIONS.values():
        if record.name not in evaluation.methods:
            continue
        made = plan(record, schedule, nodes, prediction="velocity")
        for dtype in _DTYPES:
            table = made.host_table(dtype, evaluation.scheduler)
            rng = np.random.default_rng(7)
            x, *values = rounded_to(dtype, rng.standard_normal((STEPS + 1, _SIZE)))
            states = table.run(_told(values), x, return_trajectory=True)
            given = {"table": table.to_dict(), "sha256": table.sha256, "x": x.tolist()}
            given["outputs"] = [value.tolist() for value in values]
            yield f"{evaluation.scheduler}/{dtype}", given, {"x": [state.tolist() for state in states]}
