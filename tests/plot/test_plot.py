"""Figures: they show what the results say, leave matplotlib's settings alone, and stand alone in a page."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from diffnum.convergence.rate import RateEstimate, estimate_rate
from diffnum.plot import (
    FAMILIES,
    INK,
    image_grid,
    look_of,
    plot_study,
    plot_work_precision,
    save,
    style,
    to_data_uri,
    to_svg,
)
from diffnum.plot.labels import inside, label_ends, label_lines, spread

STEPS = (20, 40, 80, 160, 320)


@dataclass(frozen=True)
class FakeSeries:
    problem: str
    grid: str
    variant: str
    measure: str
    estimate: RateEstimate
    quantity: str = ""

    @property
    def order(self) -> float | None:
        return self.estimate.order


@dataclass(frozen=True)
class FakeStudy:
    series: tuple[FakeSeries, ...]
    name: str = "a method"
    primary: str = "formula"
    measure: str = "global"


@dataclass(frozen=True)
class FakeCurve:
    label: str
    family: str
    nfe: tuple[int, ...]
    errors: tuple[float, ...]


def series(grid: str, order: float, variant: str = "formula", size: float = 1.0, problem: str = "p") -> FakeSeries:
    errors = [size * n**-order for n in STEPS]
    return FakeSeries(problem, grid, variant, "global", estimate_rate(STEPS, errors))


def texts(ax: object) -> list[str]:
    return [t.get_text() for t in ax.texts]  # type: ignore[attr-defined]


def test_a_study_shows_every_grid_and_a_guide_of_each_measured_order() -> None:
    ax = plot_study(FakeStudy((series("uniform", 2), series("smooth", 2, size=9.0), series("irregular", 1))))
    assert {"uniform", "smooth", "irregular", "order 1", "order 2"} <= set(texts(ax))
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_guide_lines_have_the_slope_they_are_labelled_with_and_lie_below_the_data() -> None:
    ax = plot_study(FakeStudy((series("uniform", 3),)))
    guide = next(line for line in ax.lines if line.get_color() == INK and line.get_linestyle() == "--")
    n, e = guide.get_data()
    assert -np.polyfit(np.log(n), np.log(e), 1)[0] == pytest.approx(3.0)
    assert np.all(np.asarray(e) < np.asarray(n, dtype=float) ** -3.0)


def test_a_run_as_shipped_is_drawn_only_where_it_differs() -> None:
    same = plot_study(FakeStudy((series("uniform", 2), series("uniform", 2, "as shipped"))))
    other = plot_study(FakeStudy((series("uniform", 3), series("uniform", 2, "as shipped"))))
    assert "uniform, also as shipped" in texts(same)
    assert "uniform, as shipped" in texts(other)


def test_levels_at_the_floor_are_grey_and_undecided_curves_say_so() -> None:
    errors = [1e-9, 1e-12, 1e-15, 1e-15, 1e-15]
    found = FakeSeries("p", "uniform", "formula", "global", estimate_rate(STEPS, errors))
    ax = plot_study(FakeStudy((found,)))
    grey = [line for line in ax.lines if line.get_color() == INK and line.get_linestyle() == "None"]
    assert np.isfinite(np.asarray(grey[0].get_ydata(), dtype=float)).sum() >= 2
    assert "uniform (undecided)" in texts(ax)


def test_the_problem_with_the_largest_error_is_drawn_and_named() -> None:
    ax = plot_study(FakeStudy((series("uniform", 2, problem="easy"), series("uniform", 2, size=100.0, problem="hard"))))
    assert "hard" in ax.get_title(loc="left")


def test_a_study_without_global_errors_is_refused() -> None:
    with pytest.raises(ValueError, match="no global errors"):
        plot_study(FakeStudy(()))


def test_work_precision_names_every_curve_and_shades_the_floor() -> None:
    curves = [FakeCurve("one", "adams", (5, 10, 20), (1e-1, 5e-2, 2e-2)), FakeCurve("two", "heun", (4, 8), (1.0, 0.1))]
    ax = plot_work_precision(curves, floor=1e-2, title="here")
    assert {"one", "two", "order"} <= set(texts(ax))
    assert ax.patches
    assert ax.get_title(loc="left") == "here"


@pytest.mark.parametrize(
    ("curves", "message"),
    [([], "curves is empty"), ([FakeCurve("one", "adams", (5, 10), (1.0,))], "2 nfe and 1 errors")],
)
def test_curves_that_cannot_be_drawn_are_refused(curves: list[FakeCurve], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_work_precision(curves)


def test_an_error_that_is_not_finite_does_not_break_the_figure() -> None:
    ax = plot_work_precision([FakeCurve("one", "adams", (5, 10, 20), (np.inf, 0.1, 0.01))])
    assert "one" in texts(ax)


def test_global_settings_are_left_alone() -> None:
    before = dict(mpl.rcParams)
    plot_study(FakeStudy((series("uniform", 2),)))
    with style():
        assert mpl.rcParams["svg.fonttype"] == "none"
    assert dict(mpl.rcParams) == before


def test_families_differ_in_colour_marker_and_dash() -> None:
    looks = list(FAMILIES.values())
    assert len({look.color for look in looks}) == len({look.marker for look in looks}) == len(looks)
    assert len({str(look.dash) for look in looks}) == len(looks), "on paper without colour, dashes tell curves apart"
    assert look_of("never heard of") == look_of("never heard of")


def test_svg_is_well_formed_labelled_and_free_of_addresses() -> None:
    svg = to_svg(plot_study(FakeStudy((series("uniform", 2),))), title='errors < "small" & falling', prefix="one")
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'errors < "small" & falling'
    assert "http" not in svg
    assert INK not in svg
    assert "currentColor" in svg


def test_identifiers_of_two_svgs_do_not_meet_and_links_within_one_hold() -> None:
    ax = plot_study(FakeStudy((series("uniform", 2),)))
    one, two = (to_svg(ax, title="x", prefix=prefix) for prefix in ("one", "two"))
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', one)) <= ids[0]


def test_figures_are_reproducible() -> None:
    one, two = (to_svg(plot_study(FakeStudy((series("uniform", 2),))), title="x", prefix="p") for _ in range(2))
    assert one == two


def test_save_writes_the_format_of_the_ending(tmp_path: object) -> None:
    path = tmp_path / "figure.png"  # type: ignore[operator]
    save(plot_study(FakeStudy((series("uniform", 2),))), path)
    assert path.read_bytes().startswith(b"\x89PNG")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.2))
def test_labels_keep_their_order_and_their_distance(heights: list[float], gap: float) -> None:
    placed = spread(heights, gap)
    order = np.argsort(heights, kind="stable")
    assert np.all(np.diff(np.array(placed)[order]) >= gap * (1 - 1e-9))
    assert np.mean(placed) == pytest.approx(np.mean(heights), abs=1e-9)


def test_labels_that_do_not_touch_stay_where_they_are() -> None:
    assert spread([0.9, 0.1, 0.5], 0.1) == [0.9, 0.1, 0.5]


@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=8), st.floats(0.01, 0.2))
def test_labels_stay_beside_the_axes_where_they_have_room(heights: list[float], gap: float) -> None:
    apart = spread(heights, gap)
    placed = inside(apart, gap)
    if gap * (len(heights) - 1) > 1:
        assert placed == apart
        return
    assert min(placed) >= -1e-9
    assert max(placed) <= 1 + 1e-9
    assert np.all(np.diff(np.array(placed)[np.argsort(apart)]) >= gap * (1 - 1e-9))
    assert placed == pytest.approx(apart) or min(apart) < 0 or max(apart) > 1


def lines_of(**curves: tuple[list[float], list[float]]) -> Axes:
    ax = Figure().subplots()
    for label, (x, y) in curves.items():
        ax.plot(x, y, label=label)
    ax.axhline(0.5)
    ax.legend()
    return ax


def test_labels_replace_a_legend_and_stand_at_their_lines() -> None:
    ax = lines_of(up=([0.0, 1.0, 2.0], [0.0, 2.0, 4.0]), down=([0.0, 2.0], [3.0, np.nan]))
    ax.set_xscale("linear")
    label_lines(ax, {"up": (1.5, -4.0, 2.0)})
    assert ax.get_legend() is None
    assert {t.get_text(): t.xy for t in ax.texts} == {"up": (1.5, 3.0), "down": (0.0, 3.0)}


def test_a_label_on_logarithmic_axes_lies_on_the_line_as_drawn() -> None:
    ax = lines_of(power=([1.0, 100.0], [1.0, 1e-4]))
    ax.set(xscale="log", yscale="log")
    label_lines(ax, {"power": 10.0})
    assert ax.texts[0].xy == pytest.approx((10.0, 1e-2))


@pytest.mark.parametrize(
    ("at", "complaint"), [({"none": 1.0}, "which no line is labelled"), ({"up": 3.0}, "outside its line")]
)
def test_a_label_without_a_place_is_refused(at: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        label_lines(lines_of(up=([0.0, 1.0], [0.0, 1.0])), at)  # type: ignore[arg-type]


def test_image_grid_puts_images_where_they_belong() -> None:
    images = np.zeros((3, 2, 4))
    images[1] = 1.0
    picture = imread(io.BytesIO(image_grid(images, columns=2, pad=1, scale=3)))
    assert picture.shape == (13, 25, 4)
    assert picture[:6, :12, :3].max() == 0.0
    assert picture[:6, 13:, :3].min() == 1.0
    assert picture[7:, 13:, 3].max() == 0.0, "the missing fourth image is transparent"


def test_image_grid_takes_colour() -> None:
    images = np.zeros((1, 2, 2, 3))
    images[..., 0] = 1.0
    assert imread(io.BytesIO(image_grid(images)))[0, 0].tolist() == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("shape", [(2, 2), (0, 2, 2), (1, 2, 2, 4)])
def test_image_grid_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images has shape"):
        image_grid(np.zeros(shape))


def test_image_grid_refuses_values_that_are_not_finite() -> None:
    with pytest.raises(ValueError, match="not finite"):
        image_grid(np.full((1, 2, 2), np.nan))


def test_data_uri_holds_the_bytes() -> None:
    assert to_data_uri(b"abc") == "data:image/png;base64,YWJj"


def test_names_at_points_stand_beside_the_axes_at_the_height_of_the_points() -> None:
    figure = Figure(figsize=(5.5, 3.4))
    ax = figure.subplots()
    points = {"low": (1e-3, 1e-2), "high": (1e-1, 1.0)}
    for x, y in points.values():
        ax.loglog(x, y, "o")
    label_ends(ax, [(x, y, name, "black") for name, (x, y) in points.items()])
    for text in ax.texts:
        x, y = text.get_position()  # in parts of the axes
        wanted = ax.transAxes.inverted().transform(ax.transData.transform(points[text.get_text()]))[1]
        assert x > 1.0
        assert y == pytest.approx(wanted, abs=0.1)
