"""Published FIDs: their runs are plans of ours, and their correlation with the Gaussian response is what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.analysis import rank_correlation, spectrum_error

FILE = Path(__file__).resolve().parents[2] / "book/data/fid-diff-sampler.json"
TABLE = json.loads(FILE.read_text(encoding="utf-8"))
SPECTRUM = np.geomspace(0.02, 15.0, 40) ** 2


def run(solver: str, nfe: int, method: str | None = None) -> dn.Plan | None:
    """Plan of a published run; None where the solver cannot spend that many evaluations."""
    words = TABLE["solvers"][solver]
    record = dn.method(method or words["method"])
    schedule = dn.schedules.from_dict({"schedule": words["schedule"]})
    try:
        steps = record.steps_for(nfe)
    except ValueError:
        return None
    grid = dn.grids.GRIDS[words["grid"]](schedule, steps, t_start=None, t_end=None, terminal=words["terminal"])
    numbers = dn.plan(record, schedule, grid)
    return numbers if numbers.nfe == nfe else None


def column(data: str, nfe: int, methods: dict[str, str] | None = None) -> tuple[list[float], list[float]]:
    """RMS log gain and FID of all solvers with that many evaluations."""
    pairs = []
    for solver, values in TABLE["fid"][data].items():
        fid, numbers = values[TABLE["nfe"].index(nfe)], run(solver, nfe, (methods or {}).get(solver))
        if fid is not None:
            assert numbers is not None
            pairs.append((spectrum_error(numbers, SPECTRUM).rms_log, fid))
    return tuple(map(list, zip(*pairs, strict=True)))  # type: ignore[return-value]


def test_the_file_says_where_it_is_from_and_every_row_has_a_run() -> None:
    assert "at 68d5ce42" in TABLE["source"]
    for rows in TABLE["fid"].values():
        assert set(rows) == set(TABLE["solvers"])
        for solver, values in rows.items():
            assert len(values) == len(TABLE["nfe"])
            assert [v is not None for v in values] == [run(solver, n) is not None for n in TABLE["nfe"]]


def test_every_run_goes_from_80_to_0_002() -> None:
    for solver in TABLE["solvers"]:
        numbers: Any = run(solver, 8)
        ends = np.exp(-numbers.schedule.half_log_snr(numbers.times[[0, -1]]))
        np.testing.assert_allclose(ends, [80.0, 0.002], rtol=1e-9)


@pytest.mark.parametrize(
    ("data", "shipped", "meant"), [("CIFAR-10", 0.74, 0.98), ("FFHQ", 0.71, 0.95), ("ImageNet", 0.62, 0.86)]
)
def test_one_solver_decides_how_well_the_response_follows_the_fid_at_ten_evaluations(
    data: str, shipped: float, meant: float
) -> None:
    # iPNDM_v as its code has it, and by the weights that it is meant to have
    as_shipped, as_meant = (rank_correlation(*column(data, 10, m)) for m in (None, {"iPNDM_v-4": "lms_4"}))
    assert as_shipped.value == pytest.approx(shipped, abs=0.005)
    assert as_meant.value == pytest.approx(meant, abs=0.005)
    assert as_shipped.low < 0.5 < as_shipped.high  # eight solvers: the interval is wide


def test_at_three_evaluations_the_response_does_not_follow_the_fid() -> None:
    assert rank_correlation(*column("CIFAR-10", 3)).value < 0
