"""Grids with another number of steps keep their ends, their nodes where these fall together, and their curve."""

from __future__ import annotations

import numpy as np
import pytest

import diffnum as dn

VP = dn.schedules.VPLinear()
GRID = dn.grids.karras(VP, 6, t_start=0.9, t_end=1e-3)


def test_twice_the_steps_keep_every_node_and_halve_the_intervals() -> None:
    fine = dn.grids.resampled(GRID, VP, 12)
    np.testing.assert_allclose(fine.lam[::2], GRID.lam, rtol=1e-14)
    np.testing.assert_allclose(np.diff(fine.lam)[::2], np.diff(fine.lam)[1::2], rtol=1e-12)


def test_the_same_number_of_steps_is_the_same_grid() -> None:
    np.testing.assert_allclose(dn.grids.resampled(GRID, VP, 6).t, GRID.t, rtol=1e-12)


def test_an_even_grid_stays_even() -> None:
    even = dn.grids.uniform_half_log_snr(VP, 7, t_end=1e-3)
    other = dn.grids.resampled(even, VP, 4)
    np.testing.assert_allclose(other.lam, dn.grids.uniform_half_log_snr(VP, 4, t_end=1e-3).lam, rtol=1e-12)


def test_a_grid_goes_to_another_process_by_its_levels() -> None:
    edm = dn.schedules.EDM()
    there = dn.grids.resampled(GRID, edm, 6)
    np.testing.assert_allclose(edm.sigma(there.t), np.exp(-GRID.lam), rtol=1e-12)


def test_a_grid_that_ends_without_noise_is_refused() -> None:
    flow = dn.schedules.FlowMatching()
    with pytest.raises(ValueError, match=r"grid.*sigma = 0.*split"):
        dn.grids.resampled(dn.grids.uniform_time(flow, 4, t_start=0.99, t_end=0.0), flow, 3)
