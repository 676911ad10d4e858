"""Schedulers that draw noise are refused with the reason, and not judged."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from diffnum.convergence.judgement import judge  # noqa: E402
from diffnum.foreign.adapters import built  # noqa: E402
from diffnum.foreign.families import KINDS, kind_of, known_name  # noqa: E402
from diffnum.problems import three_peaks  # noqa: E402


@pytest.mark.parametrize("name", ["DPMSolverSDEScheduler", "CosineDPMSolverMultistepScheduler"])
def test_a_brownian_tree_is_no_order_of_zero(name: str) -> None:
    pytest.importorskip("torchsde")
    with pytest.raises(ValueError, match="is stochastic: it draws its noise from a Brownian tree"):
        judge(built(getattr(diffusers, name)), 2, three_peaks(), grids=("uniform",))


def test_noise_that_sets_in_on_long_runs_is_found() -> None:
    with pytest.raises(ValueError, match="is random on long runs: two runs of 252 steps differ"):
        judge(diffusers.SASolverScheduler(), 2, three_peaks(), grids=("uniform",))


@pytest.mark.parametrize("name", sorted(KINDS))
def test_what_is_known_of_a_class_holds_for_its_descendants(name: str) -> None:
    known = getattr(diffusers, name, None)
    if known is None:
        pytest.skip(f"{name} is not in this version")

    class Mine(known):  # type: ignore[misc, valid-type]
        pass

    made: Any = object.__new__(Mine)
    assert kind_of(made) is KINDS[name]
    assert known_name(made) == name
