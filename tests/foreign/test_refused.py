"""Schedulers that draw noise are refused with the reason, and not judged."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from diffnum.convergence.judgement import judge  # noqa: E402
from diffnum.foreign.adapters import built  # noqa: E402
from diffnum.foreign.families import KINDS, kind_of, known_name  # noqa: E402
from diffnum.foreign.layout import heeds_nodes  # noqa: E402
from diffnum.problems import three_peaks  # noqa: E402


@pytest.mark.parametrize("name", ["DPMSolverSDEScheduler", "CosineDPMSolverMultistepScheduler"])
def test_a_brownian_tree_is_no_order_of_zero(name: str) -> None:
    pytest.importorskip("torchsde")
    with pytest.raises(ValueError, match="is stochastic: it draws its noise from a Brownian tree"):
        judge(built(getattr(diffusers, name)), 2, three_peaks(), grids=("uniform",))


def test_noise_that_sets_in_on_long_runs_is_found() -> None:
    with pytest.raises(ValueError, match="is random on long runs: two runs of 252 steps differ"):
        judge(diffusers.SASolverScheduler(), 2, three_peaks(), grids=("uniform",))


class OwnTable(diffusers.EulerDiscreteScheduler):  # type: ignore[misc]
    """Steps along levels that it hides."""

    def set_timesteps(self, n: int, *more: Any, **options: Any) -> None:
        super().set_timesteps(n, *more, **options)
        self.hidden = self.sigmas.clone()

    def step(self, output: Any, t: Any, x: Any, **options: Any) -> Any:
        shown, self.sigmas = self.sigmas, self.hidden
        try:
            return super().step(output, t, x, **options)
        finally:
            self.sigmas = shown


class OwnNumber(diffusers.EulerDiscreteScheduler):  # type: ignore[misc]
    """Cannot step where its levels are not its own."""

    def step(self, output: Any, t: Any, x: Any, **options: Any) -> Any:
        if float(self.sigmas[0]) < 10:
            msg = "where is my first level?"
            raise KeyError(msg)
        return super().step(output, t, x, **options)


class WrongEverywhere(diffusers.EulerDiscreteScheduler):  # type: ignore[misc]
    """Loses a part of each step, on any levels."""

    def step(self, output: Any, t: Any, x: Any, **options: Any) -> Any:
        return super().step(1.1 * output, t, x, **options)


@pytest.mark.parametrize(("kind", "word"), [(OwnTable, "off where all data are in one point"), (OwnNumber, "KeyError")])
def test_a_scheduler_that_keeps_levels_of_its_own_is_refused_and_not_judged(kind: Any, word: str) -> None:
    with pytest.raises(ValueError, match=rf"{kind.__name__} cannot be laid out on given noise levels: .*{word}"):
        judge(kind(), 1, three_peaks(), grids=("uniform",), steps=(12, 24, 48, 96))


def test_a_scheduler_that_is_wrong_on_its_own_levels_too_is_judged() -> None:
    found = judge(WrongEverywhere(), 1, three_peaks(), grids=("uniform",), steps=(12, 24, 48, 96))
    assert found.verdict == "fails"


def test_no_scheduler_of_the_library_that_can_be_laid_out_is_refused() -> None:
    from diffnum.audits.subjects import subjects

    for subject in subjects("diffusers")[0]:
        if not (subject.sweep or subject.inverse):
            heeds_nodes(subject.build(), subject.options)


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
