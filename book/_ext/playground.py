"""Sphinx directive that sets a sampler to play with into a page, and the plans that it runs.

````
```{playground} dpmpp_2m
:evaluations: 10
:grid: uniform_time
:view: order

The question that the reader answers with it.
```
````

The plans are written by the package when the book is built, one script a method, so that pages opened from a disk find
them as well as those of a server. ``:view:`` is one of ``paths``, ``order``, ``response``, ``numbers``, ``stability``.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import diffnum as dn
from diffnum.analysis import linear_step

SCHEDULE = dn.schedules.VPLinear()
BUDGETS = (3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40)
"""Evaluations that a reader may choose."""
GRIDS = ("uniform_half_log_snr", "uniform_time", "quadratic_time", "karras")
VIEWS = ("paths", "order", "response", "numbers", "stability")
STEPS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
"""Steps in half-log-SNR whose region of stability is shown; 0 is the limit of small ones."""


@dataclass(frozen=True)
class Entry:
    """A line of the menu: a title, and the methods that its slider goes through."""

    title: str
    methods: Mapping[str, str]
    """Setting of the slider -> name in the catalogue; one entry with the key "" where there is no slider."""


def _one(title: str, name: str) -> Entry:
    return Entry(title, {"": name})


MENU: Mapping[str, Entry] = {
    "ddim": Entry(
        "DDIM", {"0": "ddim", "0.25": "ddim_eta0.25", "0.5": "ddim_eta0.5", "0.75": "ddim_eta0.75", "1": "ddim_eta1"}
    ),
    "ab_velocity_2": _one("Adams-Bashforth 2 for the velocity", "ab_velocity_2"),
    "eab_2": _one("Exponential Adams 2", "eab_2"),
    "eab_4": _one("Exponential Adams 4", "eab_4"),
    "dpmpp_2m": _one("DPM-Solver++(2M)", "dpmpp_2m"),
    "dpmpp_3m": _one("DPM-Solver++(3M)", "dpmpp_3m"),
    "unipc_2_bh2": _one("UniPC-2", "unipc_2_bh2"),
    "unipc_3_bh2": _one("UniPC-3", "unipc_3_bh2"),
    "deis_tab3": _one("DEIS tab3", "deis_tab3"),
    "plms_4": _one("PLMS", "plms_4"),
    "lms_4": _one("LMS", "lms_4"),
    "edm_heun": _one("Heun (EDM)", "edm_heun"),
    "dpm_solver_3": _one("DPM-Solver-3", "dpm_solver_3"),
    "rho_rk_rk4": _one("Runge-Kutta 4", "rho_rk_rk4"),
    "ghvb_1.8": _one("Heavy ball GHVB 1.8", "ghvb_1.8"),
    "sde_dpmpp_2m": _one("SDE-DPM-Solver++(2M)", "sde_dpmpp_2m"),
    "ddpm": _one("DDPM", "ddpm"),
}


def plans(name: str) -> Iterator[tuple[str, str, dn.Plan]]:
    """Every grid and number of evaluations that a method can be planned on, with its plan."""
    record = dn.method(name)
    for grid in GRIDS:
        done = set()
        for budget in BUDGETS:
            try:
                steps = record.steps_for(budget)
            except ValueError:
                continue  # too few evaluations for one step of the method
            if steps not in done:
                done.add(steps)
                found = dn.plan(record, SCHEDULE, getattr(dn.grids, grid)(SCHEDULE, steps))
                yield grid, str(found.nfe), found.for_prediction("data")


def script(name: str) -> str:
    """What the page loads when a method is chosen: its plans, its order, its steps on the test equation."""
    tree: dict[str, dict[str, Any]] = {grid: {} for grid in GRIDS}
    for grid, count, found in plans(name):
        tree[grid][count] = found.to_dict()
    linear = [linear_step(name, h) for h in STEPS]
    data = {
        "name": name,
        "order": dn.method(name).order,
        "plans": tree,
        "linear": [
            {"h": h, "step": s.step, "rate": s.rate, **{m: getattr(s, m).tolist() for m in "UAVB"}}
            for h, s in zip(STEPS, linear, strict=True)
        ],
    }
    return f"DiffnumPlans[{json.dumps(name)}] = {json.dumps(data, separators=(',', ':'), allow_nan=False)};\n"


def menu() -> str:
    """The first script of a page: what can be chosen. Settings are pairs, whose order an object would not keep."""
    entries = {key: {"title": entry.title, "settings": list(entry.methods.items())} for key, entry in MENU.items()}
    return f"window.DiffnumPlans = {{}};\nwindow.DiffnumMenu = {json.dumps(entries)};\n"


class Playground(SphinxDirective):
    """The directive."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {
        "evaluations": directives.positive_int,
        "grid": lambda text: directives.choice(text, GRIDS),
        "view": lambda text: directives.choice(text, VIEWS),
        "eta": directives.unchanged,
        "guidance": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        """A place for the playground, what stands there without scripts, and the question."""
        key = self.arguments[0]
        if key not in MENU:
            msg = f"playground: {key!r} is not in its menu: {', '.join(MENU)}"
            raise self.error(msg)
        data = {"method": key, **{k: str(v) for k, v in self.options.items()}}
        attributes = " ".join(f'data-{name}="{html.escape(value)}"' for name, value in data.items())
        place = nodes.raw(
            "",
            f'<div class="playground" {attributes}><noscript>This part of the page needs JavaScript.</noscript></div>',
        )
        place["format"] = "html"
        question = nodes.admonition("", nodes.title("", "Try it"), classes=["playground-question"])
        self.state.nested_parse(self.content, self.content_offset, question)
        self.env.metadata[self.env.docname]["playground"] = True
        return [question, place]


def write(app: Sphinx) -> None:
    """Put the plans beside the other static files of the built book."""
    if app.builder.format != "html":
        return
    folder = Path(app.outdir) / "_static/playground/plans"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "menu.js").write_text(menu(), encoding="utf-8")
    for name in (name for entry in MENU.values() for name in entry.methods.values()):
        (folder / f"{name}.js").write_text(script(name), encoding="utf-8")


def load(app: Sphinx, pagename: str, *_: object) -> None:
    """Give a page that has a playground what it needs, and no other page."""
    if "playground" in app.env.metadata.get(pagename, {}):
        app.add_css_file("playground/playground.css")
        for name in ("plans/menu.js", "core.js", "view.js"):
            app.add_js_file(f"playground/{name}", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and what its pages load."""
    app.add_directive("playground", Playground)
    app.connect("builder-inited", write)
    app.connect("html-page-context", load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
