"""Every method of the catalogue can be analysed in all respects, in one object."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

import diffnum as dn
from diffnum.analysis import analyse, error_constant, frequency_response, stability
from diffnum.coefficients.flow_sde import DIVISIONS

CHEAP = {"nfe": (16,), "eigenvalues": (0.1, 1.0)}


HOMES = (
    {},
    # noise that is put in at first must fit under the largest level
    {"schedule": dn.schedules.EDM(), "grid": partial(dn.grids.uniform_half_log_snr, dn.schedules.EDM(), t_start=20.0)},
    {"schedule": dn.schedules.MeanReverting()},
)
"""Where a method can be run: on VP-linear, later on a process with room above, on a mean-reverting process."""


@pytest.mark.parametrize("name", dn.methods("all"))
def test_nothing_is_missing_for_any_listed_method(name: str) -> None:
    homes = (analyse(name, **CHEAP, **home) for home in HOMES)
    found = next((one for one in homes if "response" not in one.refusals), None)
    assert found is not None
    assert np.isfinite(found.response.w2()).all()
    scheme = getattr(dn.method(name).noise, "scheme", "")
    if scheme == "extended" or scheme in DIVISIONS:  # weights that depend on the level of noise, not on the step alone
        assert set(found.refusals) == {"stability", "region", "constant"}
        return
    assert found.refusals == {}
    assert found.stability.zero.stable
    assert found.constant.order >= 1
    assert json.loads(json.dumps(found.to_dict()))["method"] == dn.method(name).name


def test_the_parts_are_those_of_the_functions() -> None:
    found = analyse("unipc_2_bh2", step=0.3, **CHEAP)
    assert found.stability.real == stability("unipc_2_bh2", 0.3).real
    assert found.constant.linear == error_constant("unipc_2_bh2").linear
    expected = frequency_response("unipc_2_bh2", dn.schedules.VPLinear(), (16,), (0.1, 1.0))
    np.testing.assert_array_equal(found.response.gain, expected.gain)
    for part in (found.stability, found.constant, found.response):
        assert str(part) in str(found)


def test_a_method_built_from_statistics_has_an_output_law_and_says_why_it_has_no_region() -> None:
    statistics = dn.ModelStatistics.constant(0.5, 0.0, 0.0)
    found = analyse(dn.dpm_solver_v3(statistics, 2), **CHEAP)
    assert found.response.w2()[0] < 1
    assert set(found.refusals) == {"stability", "region", "constant"}
    assert "no region: method='dpm_solver_v3_2' has a term without the state" in str(found)
