"""Figures of the analysis are drawn from objects that merely look right, on given axes or new ones."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import diffnum as dn
from diffnum.analysis import analyse, frequency_response, propagate, stability_region
from diffnum.grids import uniform_half_log_snr
from diffnum.schedules import VPLinear

plot_analysis = pytest.importorskip("diffnum.plot.analysis")


def test_regions_share_axes_and_are_named() -> None:
    axis = np.linspace(-2.5, 1.0, 31)
    first = stability_region("lms_2", re=axis, im=axis)
    ax = plot_analysis.plot_stability(first)
    again = plot_analysis.plot_stability(stability_region("dpmpp_2m", 0.5, re=axis, im=axis), ax, fill=False)
    assert again is ax
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["lms_2", "dpmpp_2m, h = 0.5"]
    below = ax.get_legend().get_bbox_to_anchor().transformed(ax.transAxes.inverted()).y0
    assert below >= 1.0, "names stand above the axes, on no curve"
    names = ax.get_legend().get_lines()
    assert len({str(line._dash_pattern) for line in names}) == len(names)
    regions = [found for found in ax.collections if len(found.get_edgecolor())]
    drawn = [(found.get_edgecolor()[0][:3].tolist(), found.get_linestyle()[0][1]) for found in regions]
    assert [found[0] for found in drawn] == [list(to_rgb(line.get_color())) for line in names]
    assert [found[1] is None for found in drawn] == [line.get_linestyle() == "-" for line in names]


def test_a_region_of_another_shape_is_refused() -> None:
    wrong = SimpleNamespace(method="m", step=0.0, re=np.zeros(3), im=np.zeros(2), radius=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="shape"):
        plot_analysis.plot_stability(wrong)


def test_responses_have_a_curve_for_each_number_of_evaluations() -> None:
    response = frequency_response("dpmpp_2m", VPLinear(), [5, 10], [0.0, 0.1, 1.0, 10.0])
    labels = [line.get_label() for line in plot_analysis.plot_response(response).lines]
    assert labels[1:] == ["5 NFE", "10 NFE"]


def test_a_single_output_is_drawn_too() -> None:
    schedule = VPLinear()
    numbers = dn.plan("ddim", schedule, uniform_half_log_snr(schedule, 5))
    assert len(plot_analysis.plot_response(propagate(numbers, 0.0, [0.1, 1.0])).lines) == 2
    with pytest.raises(ValueError, match="no positive eigenvalue"):
        plot_analysis.plot_response(propagate(numbers, 0.0, [0.0]))


def test_an_analysis_is_drawn_with_a_panel_for_each_part_that_applies() -> None:
    found = analyse("dpmpp_2m", nfe=(5, 10), eigenvalues=(0.1, 1.0))
    assert len(plot_analysis.plot_analysis(found).axes) == 5
    fast = analyse("fon", nfe=(13, 20), parameters={"alpha_ahead": 0.9, "labels": 1.0})
    assert set(fast.refusals) >= {"stability", "region", "constant"}
    assert len(plot_analysis.plot_analysis(fast).axes) == 2
    nothing = SimpleNamespace(
        method="m", stability=None, region=None, constant=None, response=None, refusals={"a": "b"}
    )
    with pytest.raises(ValueError, match="nothing of m can be analysed: b"):
        plot_analysis.plot_analysis(nothing)


def test_distances_are_drawn_where_they_are_finite_and_positive() -> None:
    response = frequency_response("ddim", VPLinear(), [5, 10, 20], [0.1, 1.0])
    lines = plot_analysis.plot_distances(response).lines
    assert [len(line.get_xdata()) for line in lines] == [3, 3, 3]
    np.testing.assert_array_equal(lines[0].get_ydata(), response.w2())
