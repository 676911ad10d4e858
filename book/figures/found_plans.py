"""Draw found plans beside the catalogue: ``python book/figures/found_plans.py book/static/found_plans.png``.

Its numbers are those of ``book/results/found_plans*.json``, which ``tests/benchmarks/found_plans.py`` writes.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parents[1] / "results"
NETWORKS = {
    "toy-digits": "toy/digits",
    "toy-digits-flow": "toy/digits-flow",
    "galaxies-hsc-32": "galaxies/hsc-32",
    "toy-emoji-32": "toy/emoji-32",
}
SERIES = {"best_error": ("best of all methods on all grids", "o--", "#6c7a92"), "error": ("found", "o-", "#d55e00")}


def at_home(rows: Sequence[Mapping[str, Any]], stem: str) -> list[Mapping[str, Any]]:
    """Rows of one network on its own, fewest evaluations first."""
    found = [r for r in rows if r["on"] == "its own" and r["plan"] == f"{stem}-{r['nfe']}"]
    return sorted(found, key=lambda r: r["nfe"])


def panels(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of each network that has some, by its name."""
    return {title: found for stem, title in NETWORKS.items() if (found := at_home(rows, stem))}


def galaxies(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of the networks of galaxies that have no panel of their own, by their names."""
    stems = {r["plan"].rsplit("-", 1)[0] for r in rows if r["plan"].startswith("galaxies-")} - set(NETWORKS)
    return {stem.replace("-", "/", 1): at_home(rows, stem) for stem in sorted(stems)}


def draw_ratios(ax: plt.Axes, networks: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Ratio of the two errors, a line for each network and a column for each number of evaluations."""
    counts = sorted({r["nfe"] for rows in networks.values() for r in rows})
    ratios = np.full((len(networks), len(counts)), np.nan)
    for line, rows in enumerate(networks.values()):
        ratios[line, [counts.index(r["nfe"]) for r in rows]] = [r["ratio"] for r in rows]
    ax.pcolormesh(np.log2(ratios), cmap="PuOr", vmin=-2, vmax=2, edgecolors="white", lw=2)
    for line, column in np.argwhere(np.isfinite(ratios)):
        ratio = ratios[line, column]
        ink = "white" if abs(np.log2(ratio)) > 1.3 else "black"
        ax.annotate(f"{ratio:.2f}", (column + 0.5, line + 0.5), ha="center", va="center", color=ink)
    ax.set(xlabel="evaluations", title="found over best, other galaxies")
    ax.set_xticks(np.arange(len(counts)) + 0.5, counts)
    ax.set_yticks(np.arange(len(networks)) + 0.5, [name.removeprefix("galaxies/") for name in networks])
    ax.invert_yaxis()
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def draw(ax: plt.Axes, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Error against evaluations, with the ratio of the two beside each pair."""
    nfe = [r["nfe"] for r in rows]
    for key, (label, style, colour) in SERIES.items():
        ax.plot(nfe, [r[key] for r in rows], style, color=colour, label=label, ms=5, lw=1.4)
    for before, r, after in zip([None, *rows], rows, [*rows[1:], None], strict=False):
        falls = after is not None and after["error"] < r["error"]
        rises = before is not None and before["error"] < r["error"]
        side = "left" if rises else "right" if falls else "center"  # away from the line, which goes down there
        shift = {"left": 4, "right": -1, "center": 0}[side]
        ax.annotate(f"{r['ratio']:.2f}", (r["nfe"], r["error"]), (shift, -13), textcoords="offset points", ha=side)
    ax.set(yscale="log", xlabel="evaluations", title=title, xticks=nfe)
    ax.margins(x=0.1, y=0.18)
    ax.grid(visible=True, which="major", alpha=0.3)


def main(path: str) -> None:
    """Draw one panel a network."""
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    written = [json.loads(f.read_text(encoding="utf-8")) for f in sorted(RESULTS.glob("found_plans*.json"))]
    rows = [row for one in written for row in one["rows"]]
    shown = panels(rows)
    others = galaxies(rows)
    high = -(-(len(shown) + 1) // 2)
    fig, axes = plt.subplots(high, 2, figsize=(10, 3.2 * high), squeeze=False, layout="constrained")
    for ax in axes.flat[len(shown) + 1 :]:
        ax.set_axis_off()
    for ax, (title, found) in zip(axes.flat, shown.items(), strict=False):
        draw(ax, found, title)
    draw_ratios(axes.flat[len(shown)], others)
    for ax in list(axes[:, 0])[: len(shown) // 2]:
        ax.set_ylabel("distance from the converged run")
    axes[0, 0].legend(frameon=False, loc="lower left")
    fig.savefig(path, dpi=144)


if __name__ == "__main__":
    main(sys.argv[1])
