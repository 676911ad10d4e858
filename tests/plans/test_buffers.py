"""No run overwrites what it still reads."""

from __future__ import annotations

from typing import Any

import pytest

import diffnum as dn
from diffnum.plans.buffers import Layout, layout

SCHEDULE = dn.schedules.VPLinear()
GRID = dn.grids.uniform_half_log_snr(SCHEDULE, 9, t_start=0.9, t_end=0.1)
PREDICTIONS = ("noise", "data", "v")


def complaints(plan: dn.Plan, found: Layout) -> list[str]:
    """What goes wrong when rows are computed in order, term by term, and evaluations are views of their states."""
    memory: dict[int, object] = {}
    where: dict[str, tuple[object, int | None]] = {"x": (None, None)}  # content and buffer
    wrong = []
    for step, rows, (before, end) in zip(plan.steps, plan.programme, found.steps, strict=True):
        after = {}
        for number in range(step.nfe + 1):
            part = end if number == step.nfe else before[number]
            if part is None:
                where[f"k{number + 1}"] = where["x"]
                continue
            for target, terms, place in part.rows:
                for i, (name, _) in enumerate(terms):
                    content, lies = where.get(name, (None, None))
                    if lies is not None and memory[lies] is not content:
                        wrong.append(f"{target} reads {name} from buffer {lies}, which was overwritten")
                    if lies == place and i > 0:
                        wrong.append(f"{target} reads {name} after it began to overwrite buffer {place}")
                memory[place] = object()
                (after if part is end else where)[target] = (memory[place], place)
            given = {target: where.get(name, (None, None)) for target, name in part.given}
            (after if part is end else where).update(given)
        assert after.keys() == dict(rows[step.nfe :]).keys()
        where = after
        for name, (content, lies) in where.items():
            if lies is not None and memory[lies] is not content:
                wrong.append(f"{name} was overwritten in buffer {lies} before the next step")
    return wrong


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("method", dn.methods("all"))
def test_no_row_reads_what_has_been_overwritten(method: str, prediction: Any) -> None:
    plan = dn.plan(method, SCHEDULE, GRID, prediction=prediction)
    assert complaints(plan, plan.layout) == []


def test_overwriting_is_noticed() -> None:
    plan = dn.plan("dpmpp_2m", SCHEDULE, GRID, prediction="noise")
    steps = [
        (before, end._replace(rows=tuple(row._replace(place=0) for row in end.rows)))
        for before, end in plan.layout.steps
    ]
    assert any("overwritten" in line for line in complaints(plan, Layout(tuple(steps), 1)))
    steps = [
        (before, end._replace(rows=tuple(row._replace(terms=row.terms[::-1]) for row in end.rows)))
        for before, end in plan.layout.steps
    ]
    assert any("began" in line for line in complaints(plan, Layout(tuple(steps), 3)))


@pytest.mark.parametrize(("method", "buffers"), [("ddim", 2), ("dpmpp_2m", 3), ("dpmpp_3m", 4), ("unipc_2_bh2", 5)])
def test_a_history_is_updated_in_place(method: str, buffers: int) -> None:
    assert dn.plan(method, SCHEDULE, GRID, prediction="noise").layout.buffers == buffers


def test_rows_that_are_no_sums_of_numbers_times_vectors_have_no_pairs() -> None:
    found = layout([(1, [("k1", {"x": 1.0}), ("x", {"x": 0.5, "one": 2.0})]), (0, [("x", {"x": 2.0})])])
    (stages, first), (_, second) = found.steps
    assert stages == (None,)
    assert first.pairs is None
    assert second.pairs is not None
    assert [row.place for row in (*first.rows, *second.rows)] == [0, 0]


def test_kernels_are_given_two_rows_at_a_time_over_their_common_sources() -> None:
    rows = [("x", {"x": 0.5, "k1": 2.0}), ("m1", {"k1": 3.0, "m2": 1.5}), ("m2", {"x": 4.0})]
    _, end = layout([(1, [("k1", {"x": 1.0}), *rows])]).steps[0]
    assert end.pairs is not None
    first, second = end.pairs
    assert (first.sources, first.weights) == (("x", "k1", "m2"), ((0.5, 2.0, 0.0), (0.0, 3.0, 1.5)))
    assert (second.sources, second.weights) == (("x",), ((4.0,),))
