"""Citations: every method and schedule leads to an entry of the bibliography."""

from __future__ import annotations

import re

import pytest

import diffnum as dn
from diffnum.plans.citation import SCHEDULES


def keys(text: str) -> list[str]:
    return re.findall(r"^@\w+\{([^,\s]+),", text, re.MULTILINE)


@pytest.mark.parametrize("name", dn.methods("all"))
def test_a_method_cites_the_package_and_its_source(name: str) -> None:
    text = dn.cite(name)
    assert keys(text)[:2] == ["diffnum", dn.method(name).cite]
    assert text.count("{") == text.count("}")
    assert dn.__version__ in text


@pytest.mark.parametrize("schedule", [dn.schedules.VPLinear(), dn.schedules.EDM(), dn.schedules.FlowMatching()])
def test_a_plan_cites_its_method_and_its_schedule_once(schedule: dn.types.Schedule) -> None:
    grid = dn.grids.uniform_half_log_snr(schedule, n=3)
    found = keys(dn.cite(dn.plan("edm_heun", schedule, grid)))
    assert found == list(dict.fromkeys(["diffnum", "karras2022edm", SCHEDULES[schedule.name]]))


def test_several_are_cited_once_each() -> None:
    assert keys(dn.cite("dpmpp_2m", "ddim", "dpmpp_2s")) == ["diffnum", "lu2022dpmpp", "song2021ddim"]


def test_schedules_cite_works_of_the_bibliography_and_nothing_else_is_named() -> None:
    assert set(SCHEDULES) <= set(dn.schedules.SCHEDULES)
    for key in SCHEDULES.values():
        assert key in keys(dn.cite(dn.plan("ddim", made(key), dn.grids.uniform_half_log_snr(made(key), n=2))))


def made(key: str) -> dn.types.Schedule:
    name = next(name for name, work in SCHEDULES.items() if work == key)
    kind = dn.schedules.SCHEDULES[name]
    return kind(mean=0.0) if name == "mean-reverting" else kind()


def test_what_cannot_be_cited_is_refused() -> None:
    with pytest.raises(TypeError, match="used=3 is a int: pass a plan"):
        dn.cite(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="nothing is given"):
        dn.cite()
    with pytest.raises(ValueError, match=r"dpmpp_2mm' is unknown"):
        dn.cite("dpmpp_2mm")
