"""End points of a teacher are the same whoever asks, and are found once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum.calibration import fit_plan
from diffnum.calibration.hosts import ExactHost, host_of
from diffnum.calibration.rivals import catalogue_plans, ranked
from diffnum.calibration.teachers import converged_samples
from diffnum.jobs.ledger import Ledger

VP = dn.schedules.VPLinear()
MODEL = dn.problems.rotated_product(4).denoiser(VP, "noise")
ENDS = 1.0, 1e-2
SMALL: dict[str, Any] = {"n": 24, "n_test": 16, "starts": 1, "iterations": 2, "t_end": 1e-2}


def test_end_points_do_not_depend_on_how_many_go_through_at_once() -> None:
    whole, split = (converged_samples(host_of(MODEL), ENDS, 40, 3, chunk=chunk) for chunk in (40, 7))
    assert np.array_equal(np.concatenate(whole.target), np.concatenate(split.target))
    assert np.array_equal(np.concatenate(whole.x), np.concatenate(split.x))
    assert split.count == 40 == split.head(99).count
    assert split.head(10).count == 10


def test_fits_with_other_evaluations_share_the_teacher_and_have_the_bits_that_they_have_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [fit_plan(MODEL, nfe, **SMALL) for nfe in (2, 3)]
    cache = tmp_path / "cache.jsonl"
    first = fit_plan(MODEL, 2, cache=cache, **SMALL)

    def gone(*_: object) -> None:
        msg = "the teacher was run again"
        raise AssertionError(msg)

    monkeypatch.setattr("diffnum.calibration.teachers.solve", gone)
    second = fit_plan(MODEL, 3, cache=cache, **SMALL)
    assert [first.plan, second.plan] == [fit.plan for fit in alone]
    assert second.teacher.agreement == alone[1].teacher.agreement
    with pytest.raises(AssertionError, match="run again"):
        fit_plan(MODEL, 3, cache=cache, **{**SMALL, "seed": 1})


def test_errors_of_the_catalogue_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = converged_samples(host_of(MODEL), ENDS, 8, 0, cache=tmp_path / "cache.jsonl")
    rivals = catalogue_plans(VP, ENDS, 3)[:5]
    found = ranked(rivals, samples)
    again = converged_samples(host_of(MODEL), ENDS, 8, 0, cache=tmp_path / "cache.jsonl")
    monkeypatch.setattr("diffnum.calibration.rivals.endpoint_error", lambda *_: float("nan"))
    assert [(r.name, r.error) for r in ranked(rivals, again)] == [(r.name, r.error) for r in found]
    assert any(np.isnan(r.error) for r in ranked(rivals, again.head(4)))  # other samples are others


def test_a_cache_of_another_model_is_none(tmp_path: Path) -> None:
    cache = tmp_path / "cache.jsonl"
    converged_samples(ExactHost(MODEL), ENDS, 4, 0, cache=cache)
    known = len(Ledger(cache)._known)
    other = dn.problems.rotated_product(4, seed=9).denoiser(VP, "noise")
    samples = converged_samples(ExactHost(other), ENDS, 4, 0, cache=cache)
    alone = converged_samples(ExactHost(other), ENDS, 4, 0)
    assert np.array_equal(samples.target[0], alone.target[0])
    assert len(Ledger(cache)._known) == 2 * known
